package config

import (
	"slices"
	"testing"
)

func TestUnknownNamesInTheEnvironmentAreTold(t *testing.T) {
	environ := []string{
		"PATH=/bin", "VARVE_ZONE=a", "VARVE_CONFIG=c.yaml", "VARVE_BROKERS=b", "VARVERY=x",
		"VARVE_BUKCET=s3://b", "VARVE_SEALAGE=1s", "VARVE_DURABILITY=object",
		// Kubernetes, for services "varve" and "varve-kafka":
		"VARVE_SERVICE_HOST=10.0.0.1", "VARVE_SERVICE_PORT=9092", "VARVE_SERVICE_PORT_KAFKA=9092", "VARVE_PORT=tcp://10.0.0.1:9092",
		"VARVE_PORT_9092_TCP=tcp://10.0.0.1:9092", "VARVE_PORT_9092_TCP_ADDR=10.0.0.1", "VARVE_KAFKA_SERVICE_HOST=10.0.0.2", "VARVE_KAFKA_PORT=tcp://10.0.0.2:9092",
	}
	want := []UnknownName{{"VARVE_BUKCET", "VARVE_BUCKET"}, {"VARVE_DURABILITY", ""}, {"VARVE_SEALAGE", "VARVE_SEAL_AGE"}}
	if got := new(Config).UnknownEnvironment(environ, "VARVE_BROKERS"); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
