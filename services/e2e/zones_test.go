package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varvelog/varve/services/e2e/cluster"
)

var zones = []string{"eu-1a", "eu-1b", "eu-1c"}

// startZones starts a cluster with an ingest node in each zone, all of which have a listener for clients of eu-1c.
func startZones(t *testing.T) (r *cluster.Roles, listeners []string) {
	t.Helper()
	r = cluster.StartRoles(t, cluster.RolesConfig{Ingest: len(zones), FlagsOf: func(i int) []string {
		listeners = append(listeners, cluster.FreeAddress(t))
		return []string{"--zone=" + zones[i], "--zone-listeners=eu-1c=" + listeners[i]}
	}})
	awaitNodes(t, r.Ingest[0], r.Ingest...)
	return r, listeners
}

// traffic are the bytes of records that each node has taken and given.
func traffic(t *testing.T, r *cluster.Roles) (produced, fetched []float64) {
	t.Helper()
	for _, n := range r.Ingest {
		read := func(labels ...string) float64 {
			v, err := n.Metric("varve_kafka_bytes_total", labels...)
			if err != nil {
				return 0 // nobody has asked for that yet
			}
			return v
		}
		produced, fetched = append(produced, read(`api="Produce"`, `direction="in"`)), append(fetched, read(`api="Fetch"`, `direction="out"`))
	}
	return produced, fetched
}

// expectZone runs something that sends and reads some bytes of records, and fails the test unless they went through the node of a zone alone.
func expectZone(t *testing.T, r *cluster.Roles, what string, zone, bytes int, sends bool, act func()) {
	t.Helper()
	producedBefore, fetchedBefore := traffic(t, r)
	act()
	produced, fetched := traffic(t, r)
	for i := range r.Ingest {
		sent, read := produced[i]-producedBefore[i], fetched[i]-fetchedBefore[i]
		t.Logf("%s: node in %s took %.0f bytes and gave %.0f", what, zones[i], sent, read)
		// An answer without records, which names the node to read from, has some hundred bytes.
		const answers = 2000
		switch {
		case i != zone && (sent > 0 || read > answers):
			t.Errorf("%s of %s: the node in %s took %.0f bytes and gave %.0f", what, zones[zone], zones[i], sent, read)
		case i == zone && (sends && sent < float64(bytes) || !sends && read < float64(bytes)):
			t.Errorf("%s: the node of its zone took %.0f bytes and gave %.0f, want %d", what, sent, read, bytes)
		}
	}
}

// incompressible returns records of 1 KiB.
func incompressible(topic string, count int) []*kgo.Record {
	records := make([]*kgo.Record, count)
	random := scrambled(count << 10)
	for i := range records {
		records[i] = &kgo.Record{Topic: topic, Value: random[i<<10 : (i+1)<<10]}
	}
	return records
}

func scrambled(n int) []byte {
	b := make([]byte, n)
	x := uint64(88172645463325252)
	for i := range b {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b[i] = byte(x)
	}
	return b
}

func TestProducersAndConsumersStayInTheirZones(t *testing.T) {
	t.Parallel()
	r, listeners := startZones(t)
	const partitions, count = 6, 1000
	createTopic(t, r.Ingest[0], "zoned", partitions, "varve.durability", "local")
	bytes := count << 10
	read := func(client *kgo.Client) {
		collect(t, client, count)
		client.Close() // so that it reads nothing that comes later
	}
	start := []kgo.Opt{kgo.ConsumeTopics("zoned"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart())}
	// Every client begins at the node of another zone.
	for zone := range zones {
		seed := r.Ingest[(zone+1)%len(zones)]
		id := kgo.ClientID("app,zone=" + zones[zone])
		expectZone(t, r, "a producer with a zone in its client id", zone, bytes, true, func() {
			produce(t, dial(t, seed, id), incompressible("zoned", count)...)
		})
		for name, option := range map[string]kgo.Opt{"a zone in its client id": id, "a rack": kgo.Rack(zones[zone])} {
			expectZone(t, r, "a consumer with "+name, zone, bytes, false, func() { read(dial(t, seed, append(slices.Clone(start), option)...)) })
		}
	}
	// A client that comes through a zone's listener is told addresses of the same kind, and stays.
	through := *r.Ingest[0]
	through.Kafka = listeners[0]
	var seen []string
	expectZone(t, r, "a consumer through a zone's listener", 2, bytes, false, func() { read(dial(t, &through, start...)) })
	brokers, err := admin(t, &through).ListBrokers(within(t, patience))
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range brokers {
		seen = append(seen, fmt.Sprintf("%s:%d", b.Host, b.Port))
	}
	if slices.Sort(seen); !slices.Equal(seen, slices.Sorted(slices.Values(listeners))) {
		t.Errorf("through a zone's listener clients are told %v, want %v", seen, listeners)
	}
	// Where a zone has no node left, its clients are sent to the others.
	r.Ingest[0].Stop()
	awaitNodes(t, r.Ingest[1], r.Ingest[1:]...)
	produce(t, dial(t, r.Ingest[1], kgo.ClientID("zone="+zones[0])), numbered("zoned", "r", 0, 10)...)
}

func TestLibrdkafkaStaysInItsZone(t *testing.T) {
	t.Parallel()
	r, _ := startZones(t)
	createTopic(t, r.Ingest[0], "zoned", 6, "varve.durability", "local")
	// Varve compresses what comes plain, so that only bytes nobody can compress bound what a consumer is given.
	const count, width = 1000, 1 << 10
	var input strings.Builder
	random := scrambled(count * width / 2)
	for line := range slices.Chunk(random, width/2) {
		fmt.Fprintf(&input, "%x\n", line)
	}
	expectZone(t, r, "kcat, producing", 1, count*width, true, func() {
		kcat(t, r.Ingest[0], input.String(), "-P", "-t", "zoned", "-X", "client.id=zone=eu-1b")
	})
	for _, setting := range []string{"client.id=ws_az=eu-1b", "client.rack=eu-1b"} {
		expectZone(t, r, "kcat, consuming with "+setting, 1, len(random), false, func() {
			got := kcat(t, r.Ingest[0], "", "-C", "-t", "zoned", "-o", "beginning", "-c", fmt.Sprint(count), "-q", "-X", setting)
			if !slices.Equal(slices.Sorted(strings.SplitSeq(got, "\n")), slices.Sorted(strings.SplitSeq(input.String(), "\n"))) {
				t.Errorf("%s: %d lines that differ from the %d produced", setting, strings.Count(got, "\n"), count)
			}
		})
	}
}

func TestJavaStaysInItsZone(t *testing.T) {
	t.Parallel()
	r, _ := startZones(t)
	createTopic(t, r.Ingest[0], "zoned", 6, "varve.durability", "local")
	settings := writeFile(t, "bootstrap.servers="+r.Ingest[0].Kafka+"\nclient.id=zone=eu-1b\n")
	expectZone(t, r, "a Java producer", 1, 1000<<10, true, func() {
		result := javaTool(t, "org.apache.kafka.tools.ProducerPerformance",
			words("--topic zoned --num-records 1000 --throughput -1 --record-size 1024 --producer.config "+settings)...)
		if result.Code != 0 {
			t.Fatalf("%s%s", result.Stdout, result.Stderr)
		}
	})
	rack := writeFile(t, "client.rack=eu-1b\nfetch.max.wait.ms=100\n")
	expectZone(t, r, "a Java consumer", 1, 100_000, false, func() {
		result := javaTool(t, "org.apache.kafka.tools.consumer.ConsoleConsumer",
			words("--bootstrap-server "+r.Ingest[0].Kafka+" --topic zoned --from-beginning --max-messages 1000 --timeout-ms 30000 --consumer.config "+rack)...)
		if result.Code != 0 || strings.Count(result.Stdout, "\n") != 1000 {
			t.Errorf("%d lines\n%s", strings.Count(result.Stdout, "\n"), result.Stderr)
		}
	})
}

func TestBadZoneListenersAreRefusedByName(t *testing.T) {
	t.Parallel()
	n := cluster.New(t, "serve", "--zone-listeners=eu-1a:9093")
	n.Launch()
	select {
	case <-n.Exited():
	case <-time.After(patience):
		t.Fatal("it runs")
	}
	if log := strings.TrimSpace(n.Log()); n.ExitCode() == 0 || strings.Contains(log, "\n") || !strings.Contains(log, `zone-listeners="eu-1a:9093"`) {
		t.Errorf("exit code %d\n%s", n.ExitCode(), log)
	}
}
