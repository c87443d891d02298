package e2e

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varvelog/varve/services/e2e/cluster"
)

// kcat runs kcat against a node to its end, and returns what it printed.
func kcat(t *testing.T, n *cluster.Node, input string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath("kcat")
	if err != nil {
		t.Skip("kcat is not installed (on Debian: apt-get install kcat)")
	}
	return cluster.MustCommand(t, input, path, append([]string{"-b", n.Kafka}, args...)...)
}

func TestKcatProducesAndConsumesKeysAndHeadersInEveryCodec(t *testing.T) {
	t.Parallel()
	n := cluster.Serve(t)
	for _, codec := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		topic := "kcat-" + codec
		input := "alpha:first\nbeta:second\nalpha:third\n"
		kcat(t, n, input, "-P", "-t", topic, "-K:", "-z", codec, "-H", "origin=test", "-H", "codec="+codec)
		got := kcat(t, n, "", "-C", "-t", topic, "-o", "beginning", "-e", "-q", "-f", `%k:%s|%h|%o\n`)
		headers := "|origin=test,codec=" + codec + "|"
		want := "alpha:first" + headers + "0\nbeta:second" + headers + "1\nalpha:third" + headers + "2\n"
		if got != want {
			t.Errorf("%s: got\n%swant\n%s", codec, got, want)
		}
	}
}

func TestKcatConsumesAsAGroup(t *testing.T) {
	t.Parallel()
	n := cluster.Serve(t)
	createTopic(t, n, "grouped", 3)
	for range 3 { // keys spread over the partitions
		kcat(t, n, "a:1\nb:2\nc:3\nd:4\ne:5\n", "-P", "-t", "grouped", "-K:")
	}
	consume := func() string {
		return kcat(t, n, "", "-G", "kcat-readers", "-e", "-q", "-X", "auto.offset.reset=earliest", "-f", `%k=%s\n`, "grouped")
	}
	if got := strings.Count(consume(), "\n"); got != 15 {
		t.Errorf("first run received %d records, want 15", got)
	}
	kcat(t, n, "f:6\n", "-P", "-t", "grouped", "-K:")
	if got := consume(); got != "f=6\n" {
		t.Errorf("second run received %q, want what came since the first", got)
	}
}

func TestKcatListsMetadata(t *testing.T) {
	t.Parallel()
	n := cluster.Serve(t)
	createTopic(t, n, "listed", 3)
	got := kcat(t, n, "", "-L")
	for _, want := range []string{" 1 brokers:", "at " + n.Kafka, `topic "listed" with 3 partitions:`, "partition 2, leader "} {
		if !strings.Contains(got, want) {
			t.Errorf("metadata lacks %q:\n%s", want, got)
		}
	}
}

func TestKcatAsksForOffsetsByTime(t *testing.T) {
	t.Parallel()
	n := cluster.Serve(t)
	createTopic(t, n, "timed", 1, "retention.ms", "-1")
	producer := dial(t, n)
	for i := range 10 {
		produce(t, producer, &kgo.Record{Topic: "timed", Value: fmt.Append(nil, i), Timestamp: time.UnixMilli(int64(1_600_000_000_000 + 1000*i))})
	}
	if got := kcat(t, n, "", "-Q", "-t", "timed:0:1600000003500"); !strings.Contains(got, "offset 4") {
		t.Errorf("offset at a time: %q", got)
	}
	if got := kcat(t, n, "", "-C", "-t", "timed", "-p", "0", "-o", "s@1600000008000", "-e", "-q"); got != "8\n9\n" {
		t.Errorf("from a time: %q", got)
	}
	if got := kcat(t, n, "", "-C", "-t", "timed", "-p", "0", "-o", "-3", "-e", "-q"); got != "7\n8\n9\n" {
		t.Errorf("the last three: %q", got)
	}
}
