package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/varvelog/varve/services/e2e/cluster"
)

// python runs a program of testdata with Confluent's client to its end, and returns what it printed.
func python(t *testing.T, program string, args ...string) string {
	t.Helper()
	interpreter := filepath.Join(cluster.Root(), ".cache", "venv", "bin", "python")
	if _, err := os.Stat(interpreter); err != nil {
		t.Skip("Confluent's Python client is not installed: run services/e2e/python.sh")
	}
	return cluster.MustCommand(t, "", interpreter, append([]string{filepath.Join("testdata", program)}, args...)...)
}

func TestPythonTutorialPrograms(t *testing.T) {
	t.Parallel()
	n := cluster.Serve(t)
	const messages = 1003
	got := python(t, "tutorial_producer.py", n.Kafka, "mytopic")
	if delivered := strings.Count(got, "Message delivered to mytopic ["); delivered != messages || strings.Count(got, "\n") != messages {
		t.Errorf("%d of %d messages delivered:\n%.2000s", delivered, messages, got)
	}
	got = python(t, "tutorial_consumer.py", n.Kafka, "mytopic", fmt.Sprint(messages))
	if received := strings.Count(got, "Received message: "); received != messages || strings.Contains(got, "error") {
		t.Errorf("%d of %d messages received:\n%.2000s", received, messages, got)
	}
	// The group goes on where it was.
	python(t, "tutorial_producer.py", n.Kafka, "mytopic")
	if again := python(t, "tutorial_consumer.py", n.Kafka, "mytopic", "1"); again != "Received message: first\n" {
		t.Errorf("after a commit the group received %q", again)
	}
}

func TestPythonAdministersTopics(t *testing.T) {
	t.Parallel()
	n := cluster.Serve(t)
	want := `again: TOPIC_ALREADY_EXISTS
partitions: 3
retention.ms: 86400000
partitions: 4
latest: 0
cluster: 1 node
deleted: True
`
	if got := python(t, "admin.py", n.Kafka, "administered"); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestPythonIdempotentProducerKeepsOrderKeysAndHeaders(t *testing.T) {
	t.Parallel()
	n := cluster.Serve(t)
	createTopic(t, n, "ordered", 4)
	want := "unflushed: 0 failed: []\nreceived: 5000 committed: 5000\n"
	if got := python(t, "idempotent.py", n.Kafka, "ordered"); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}
