package config

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// load parses as the binary does: flags, then environment and file.
func load(t *testing.T, role Role, yaml string, env map[string]string, args ...string) (*Config, error) {
	t.Helper()
	var c Config
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	c.Register(flags)
	if yaml != "" {
		path := filepath.Join(t.TempDir(), "varve.yaml")
		if err := os.WriteFile(path, []byte(yaml), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--config", path)
	}
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	err := c.Load(flags, func(name string) (string, bool) { v, ok := env[name]; return v, ok })
	if err == nil {
		err = c.Validate(role)
	}
	return &c, err
}

func TestDefaultsServeOnLoopback(t *testing.T) {
	c, err := load(t, RoleServe, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	if c.KafkaAddr != "127.0.0.1:9092" || c.AdvertisedAddr != "127.0.0.1:9092" || c.HTTPAddr != "127.0.0.1:8080" || c.NATSAddr != "127.0.0.1:4222" {
		t.Errorf("addresses: %+v", c)
	}
	if !strings.HasPrefix(c.Bucket, "file:///") || !strings.HasSuffix(c.Bucket, "varve-data/bucket") {
		t.Errorf("bucket: %s", c.Bucket)
	}
}

func TestFlagBeatsEnvironmentBeatsFile(t *testing.T) {
	yaml := "zone: from-file\nlog-level: debug\nhot-segment-bytes: 32MiB\n"
	env := map[string]string{"VARVE_ZONE": "from-env", "VARVE_LOG_LEVEL": "warn"}
	c, err := load(t, RoleServe, yaml, env, "--zone", "from-flag")
	if err != nil {
		t.Fatal(err)
	}
	if c.Zone != "from-flag" || c.LogLevel != "warn" || c.HotSegmentBytes != 32*MiB {
		t.Errorf("zone %s, log-level %s, hot-segment-bytes %s", c.Zone, c.LogLevel, c.HotSegmentBytes)
	}
}

func TestWrongValuesNameTheField(t *testing.T) {
	tests := []struct {
		name string
		role Role
		yaml string
		env  map[string]string
		args []string
		want string
	}{
		{name: "unknown field in file", yaml: "zone: a\nkafka-adr: x\n", want: `varve.yaml:2: unknown field "kafka-adr"`},
		{name: "nested file", yaml: "zone:\n  a: b\n", want: `field "zone": want a single value`},
		{name: "field twice", yaml: "zone: a\nzone: b\n", want: `"zone" stands twice`},
		{name: "duration", yaml: "seal-age: soon\n", want: "varve.yaml:1): want a duration"},
		{name: "size in environment", env: map[string]string{"VARVE_CACHE_BYTES": "lots"}, want: "environment variable VARVE_CACHE_BYTES"},
		{name: "address", args: []string{"--kafka-addr", "nowhere"}, want: `kafka-addr="nowhere"`},
		{name: "metalog", args: []string{"--metalog", "postgres"}, want: "metalog=\"postgres\""},
		{name: "bucket scheme", args: []string{"--bucket", "gs://b"}, want: "bucket=\"gs://b\""},
		{name: "no bucket for a role alone", role: RoleIngest, want: "bucket"},
		{name: "wildcard without advertised", args: []string{"--kafka-addr", ":9092"}, want: "advertised-addr"},
		{name: "too small", args: []string{"--hot-segment-bytes", "1KiB"}, want: "hot-segment-bytes"},
		{name: "hot log of two segments", args: []string{"--hot-log-bytes", "128MiB"}, want: "hot-log-bytes"},
		{name: "negative puts", args: []string{"--object-puts-per-second", "-1"}, want: "object-puts-per-second"},
		{name: "zone listener without address", args: []string{"--zone-listeners", "a"}, want: `zone-listeners="a" (flag --zone-listeners): "a": want zone=host:port`},
		{name: "zone listener without port", args: []string{"--zone-listeners", "a=host"}, want: "zone a: want host:port: address host: missing port"},
		{name: "zone listener on every address", args: []string{"--zone-listeners", "a=:1"}, want: "zone a: want an address behind @"},
		{name: "zone twice", args: []string{"--zone-listeners", "a=h:1,a=h:2"}, want: "zone a stands twice"},
		{name: "zones at one address", args: []string{"--zone-listeners", "a=h:1,b=h:1@x:2"}, want: "zone b: h:1 is the address of zone a too"},
		{name: "zone at the general address", args: []string{"--zone-listeners", "a=127.0.0.1:9092"}, want: "is the address of kafka-addr too"},
		{name: "zones told one address", args: []string{"--zone-listeners", "a=h:1@x:1,b=h:2@x:1"}, want: "zone b: clients are told x:1 for zone a too"},
		{name: "nats url", args: []string{"--nats-url", "localhost"}, want: "nats-url"},
		{name: "port of a nats url", args: []string{"--nats-url", "nats://h:99999"}, want: "nats-url"},
		{name: "password in a nats url", args: []string{"--nats-url", "nats://varve:hunter2@h:0"}, want: `nats-url="nats://varve:xxxxx@h:0"`},
		{name: "password in what is no url", args: []string{"--nats-url", "nats://varve:hunter2@h:abc"}, want: `nats-url="xxxxx@h:abc"`},
		{name: "named port of a listener", args: []string{"--http-addr", "127.0.0.1:http"}, want: `http-addr="127.0.0.1:http" (flag --http-addr): want host:port: port "http" is not a number`},
		{name: "port of a listener out of range", args: []string{"--kafka-addr", "h:65536"}, want: `kafka-addr="h:65536"`},
		{name: "advertised port", args: []string{"--advertised-addr", "host:abc"}, want: `advertised-addr="host:abc" (flag --advertised-addr): want host:port: port "abc" is not a number from 1 to 65535`},
		{name: "advertised port out of range", yaml: "advertised-addr: host:99999\n", want: `varve.yaml:1): want host:port: port "99999"`},
		{name: "advertised port 0", args: []string{"--advertised-addr", "host:0"}, want: "nobody can connect to port 0"},
		{name: "advertised wildcard", args: []string{"--advertised-addr", "0.0.0.0:9092"}, want: "nobody can connect to 0.0.0.0"},
		{name: "advertised internal port", env: map[string]string{"VARVE_ADVERTISED_INTERNAL_ADDR": "host:abc"}, want: `advertised-internal-addr="host:abc" (environment variable VARVE_ADVERTISED_INTERNAL_ADDR): want host:port: port "abc"`},
		{name: "advertised internal port 0", args: []string{"--advertised-internal-addr", "host:0"}, want: "advertised-internal-addr"},
		{name: "zone's advertised port", args: []string{"--zone-listeners", "a=127.0.0.1:1@h:abc"}, want: `(flag --zone-listeners): zone a: want an address behind @`},
		{name: "zone's advertised port 0", args: []string{"--zone-listeners", "a=127.0.0.1:1@h:0"}, want: `zone a: want an address behind @`},
		{name: "zone listener's port", args: []string{"--zone-listeners", "a=127.0.0.1:abc"}, want: `zone a: want host:port: port "abc"`},
		{name: "empty in environment", env: map[string]string{"VARVE_METALOG": ""}, want: `metalog="" (environment variable VARVE_METALOG): want jetstream or bucket`},
		{name: "limit in environment", env: map[string]string{"VARVE_SEAL_AGE": "1ms"}, want: "(environment variable VARVE_SEAL_AGE)"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if test.role == 0 {
				test.role = RoleServe
			}
			_, err := load(t, test.role, test.yaml, test.env, test.args...)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want a message with %q", err, test.want)
			}
		})
	}
}

func TestFieldErrorsCanBeTold(t *testing.T) {
	_, err := load(t, RoleServe, "", nil, "--metalog", "x")
	var fieldError *FieldError
	if !errors.As(err, &fieldError) || fieldError.Field != "metalog" {
		t.Errorf("got %v", err)
	}
}

func TestBytes(t *testing.T) {
	for text, want := range map[string]Bytes{"0": 0, "1048576": MiB, "64MiB": 64 * MiB, "1 GiB": GiB, "3KiB": 3 * KiB, "12B": 12} {
		var b Bytes
		if err := b.Set(text); err != nil || b != want {
			t.Errorf("%q: %d, %v", text, b, err)
		}
	}
	for _, text := range []string{"", "x", "-1", "1TB", "99999999999GiB"} {
		var b Bytes
		if err := b.Set(text); err == nil {
			t.Errorf("%q gave %d", text, b)
		}
	}
}

func TestZoneListeners(t *testing.T) {
	c, err := load(t, RoleIngest, "", nil, "--bucket", "file:///b", "--zone-listeners", "eu-1a=:9093@a.example:19093, eu-1b=127.0.0.1:9094")
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.ParseZoneListeners()
	want := []ZoneListener{{"eu-1a", ":9093", "a.example:19093"}, {"eu-1b", "127.0.0.1:9094", "127.0.0.1:9094"}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
}

// Port 0 is any that is free: others are told the one that the listener was given.
func TestAdvertisedPortsFollowListenersThatChooseThem(t *testing.T) {
	c, err := load(t, RoleServe, "", nil, "--kafka-addr", ":0", "--advertised-addr", "a.example:0", "--internal-addr", "127.0.0.1:0", "--zone-listeners", "z=:0@z.example:0")
	if err != nil {
		t.Fatal(err)
	}
	given := &net.TCPAddr{IP: net.IPv4zero, Port: 40_000}
	for advertised, want := range map[string]string{
		c.AdvertisedAddr: "a.example:40000", c.AdvertisedInternalAddr: "127.0.0.1:40000", "a.example:9092": "a.example:9092", "[::1]:0": "[::1]:40000",
	} {
		if got := WithPort(advertised, given); got != want {
			t.Errorf("%s is told as %s, want %s", advertised, got, want)
		}
	}
}
