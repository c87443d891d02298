package kafka

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// kafkaAPI is an API key of Apache Kafka's, of testdata.
type kafkaAPI struct {
	key      int16
	name     string
	min, max int16
}

func kafkaAPIs(t *testing.T) (all []kafkaAPI) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "kafka-4.1-apis.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		var a kafkaAPI
		if _, err := fmt.Sscanf(line, "%d\t%s\t%d\t%d", &a.key, &a.name, &a.min, &a.max); err != nil {
			t.Fatalf("line %q: %v", line, err)
		}
		all = append(all, a)
	}
	return all
}

// apiExceptions are the API keys that are not what they are in Kafka 4.1, and why.
var apiExceptions = map[int16]string{
	88: "Kafka offers it where unstable versions are enabled. Streams groups are complete here, and Kafka's own clients use them as soon as they are offered.",
	89: "As StreamsGroupHeartbeat.",
}

// TestAPIPage holds docs/apis.md to what is served, and what is served to Kafka. Run with -update-docs to write it anew.
func TestAPIPage(t *testing.T) {
	var page, exceptions bytes.Buffer
	page.WriteString("# API keys and versions\n\nGenerated: a test holds it to what is served, and that to the table of Apache Kafka 4.1.0 for a broker's listener.\n\n| key | API | Kafka 4.1 | Varve |\n|---|---|---|---|\n")
	apis, known := newApis(), map[int16]bool{}
	versions := func(first, last int16) string {
		if last < 0 {
			return "unstable"
		}
		return fmt.Sprintf("%d to %d", first, last)
	}
	for _, k := range kafkaAPIs(t) {
		known[k.key] = true
		served, why := apis.lookup(k.key), apiExceptions[k.key]
		ours, same := "none", false
		if served != nil {
			ours, same = versions(served.min, served.max), served.min == k.min && served.max == k.max
		}
		fmt.Fprintf(&page, "| %d | %s | %s | %s |\n", k.key, k.name, versions(k.min, k.max), ours)
		switch {
		case !same && why == "":
			t.Errorf("%s (key %d): Kafka has versions %s, Varve %s", k.name, k.key, versions(k.min, k.max), ours)
		case same && why != "":
			t.Errorf("%s (key %d) is no exception any more", k.name, k.key)
		case !same:
			fmt.Fprintf(&exceptions, "| %d | %s | %s |\n", k.key, k.name, why)
		}
	}
	for _, a := range apis.list {
		if !known[a.key] {
			t.Errorf("%s (key %d) is no API of Kafka's", a.name, a.key)
		}
	}
	fmt.Fprintf(&page, "\nProduce is named from version %d on in ApiVersions and refused below 3, as Kafka does it for librdkafka's sake. GetTelemetrySubscriptions and\nPushTelemetry are always named; Kafka names them where a plug-in takes what clients push.\n\n## Exceptions\n| key | API | why |\n|---|---|---|\n%s", produceAdvertisedMin, exceptions.String())
	path := filepath.Join("..", "..", "docs", "apis.md")
	if *updateErrors {
		if err := os.WriteFile(path, page.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, page.Bytes()) {
		t.Error("docs/apis.md is not what is served: go test ./ingest/kafka -run TestAPIPage -update-docs")
	}
}
