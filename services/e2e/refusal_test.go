package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/varvelog/varve/services/e2e/cluster"
)

// refuses starts a node that must end by itself with exit code 1 and one line that holds every one of the given texts.
func refuses(t *testing.T, n *cluster.Node, want ...string) {
	t.Helper()
	before := len(n.Log())
	n.Launch()
	err := n.AwaitReady(patience)
	if n.Running() {
		t.Fatalf("%s was not refused: ready with %v", n, err)
	}
	if code := n.ExitCode(); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	var said []string
	for line := range strings.Lines(n.Log()[before:]) {
		if strings.HasPrefix(line, "varve: ") {
			said = append(said, line)
		} else if !strings.HasPrefix(line, "time=") {
			t.Errorf("neither a log line nor the one line that says why: %q", line)
		}
	}
	if len(said) != 1 {
		t.Fatalf("%d lines say why, want one:\n%s", len(said), n.Log()[before:])
	}
	for _, text := range want {
		if !strings.Contains(said[0], text) {
			t.Errorf("%q lacks %q", said[0], text)
		}
	}
}

func TestAPortInUseIsNamedByItsFlag(t *testing.T) {
	t.Parallel()
	for _, flag := range []string{"kafka-addr", "http-addr", "internal-addr", "nats-addr"} {
		t.Run(flag, func(t *testing.T) {
			t.Parallel()
			taken, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer taken.Close()
			n := cluster.New(t, "serve", "--"+flag, taken.Addr().String()) // the last of two flags counts
			refuses(t, n, "--"+flag, taken.Addr().String(), "address already in use")
		})
	}
}

func TestAnUnknownFieldIsNamed(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "varve.yaml")
	if err := os.WriteFile(file, []byte("zone: a\nkafka-adr: 127.0.0.1:1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	refuses(t, cluster.New(t, "serve", "--config", file), "varve.yaml:2", `unknown field "kafka-adr"`)
	refuses(t, cluster.New(t, "serve", "--seal-age", "soon"), "seal-age", "soon")
	refuses(t, cluster.New(t, "serve", "--no-such-flag"), "--no-such-flag")
	refuses(t, cluster.New(t, "ingest"), "bucket", "must be set")
}

func TestASecondProcessOnOneDirectoryIsRefused(t *testing.T) {
	t.Parallel()
	first := cluster.Serve(t)
	createTopic(t, first, "undisturbed", 1)
	second := cluster.New(t, "serve")
	second.DataDir = first.DataDir
	refuses(t, second, "--data-dir", first.DataDir)

	r := cluster.StartRoles(t, cluster.RolesConfig{Ingest: 1})
	ingest := cluster.New(t, "ingest", r.Ingest[0].Flags()...)
	ingest.DataDir = r.Ingest[0].DataDir
	refuses(t, ingest, r.Ingest[0].DataDir)

	produce(t, dial(t, first), numbered("undisturbed", "r", 0, 10)...)
	if got := flatten(readAll(t, first, "undisturbed")); len(got) != 10 {
		t.Errorf("%d records", len(got))
	}
}

func TestAClusterThatDoesNotFitItsBucketIsRefused(t *testing.T) {
	t.Parallel()
	a, b := cluster.Serve(t), cluster.Serve(t)
	for _, n := range []*cluster.Node{a, b} {
		createTopic(t, n, "mine", 1)
		produce(t, dial(t, n), numbered("mine", n.Kafka, 0, 100)...)
		n.Stop()
	}
	bucketOf := func(n *cluster.Node) string { return "file://" + n.BucketDir() }

	t.Run("another cluster's bucket", func(t *testing.T) {
		a.SetFlags("--bucket", bucketOf(b))
		refuses(t, a, b.BucketDir(), "varve recover")
	})
	t.Run("a new bucket", func(t *testing.T) {
		a.SetFlags("--bucket", "file://"+filepath.Join(t.TempDir(), "bucket"))
		refuses(t, a, a.DataDir, "varve recover")
	})
	t.Run("without its metadata log", func(t *testing.T) {
		n := cluster.New(t, "serve", "--bucket", bucketOf(b))
		refuses(t, n, b.BucketDir(), "varve recover")
	})
	t.Run("another kind of metadata log", func(t *testing.T) {
		a.SetFlags("--metalog=bucket", "--bucket", bucketOf(a))
		refuses(t, a, a.BucketDir(), "jetstream", "varve recover")
	})
	t.Run("its own", func(t *testing.T) {
		for _, n := range []*cluster.Node{a, b} {
			n.SetFlags()
			n.Start()
			got := flatten(readAll(t, n, "mine"))
			if len(got) != 100 || !strings.HasPrefix(string(got[0].Value), n.Kafka) {
				t.Errorf("%d records after all refusals", len(got))
			}
		}
	})
}

func TestASecondCoordinatorNeverBecomesASecondSequencer(t *testing.T) {
	t.Parallel()
	for _, metalog := range []string{"jetstream", "bucket"} {
		t.Run(metalog, func(t *testing.T) {
			t.Parallel()
			nats := cluster.FreeAddress(t)
			server := startJetStream(t, nats)
			defer server.Shutdown()
			r := cluster.StartRoles(t, cluster.RolesConfig{Ingest: 1, NATSURL: "nats://" + nats, Flags: []string{"--metalog=" + metalog}})
			createTopic(t, r.Ingest[0], "sequenced", 1, "varve.durability", "local")
			producer := dial(t, r.Ingest[0])
			records := numbered("sequenced", "r", 0, 600)
			produce(t, producer, records[:200]...)

			// While the first lives, a second one is refused.
			second := cluster.New(t, "coordinator", r.Coordinator.Flags()...)
			refuses(t, second, "leads", r.Coordinator.Internal)
			produce(t, producer, records[200:400]...)

			// One that sleeps is succeeded, and when it wakes it finds that it has been.
			r.Coordinator.Freeze()
			second.Start()
			produce(t, producer, records[400:500]...)
			r.Coordinator.Thaw()
			produce(t, producer, records[500:]...)
			cluster.Eventually(t, patience, "the first one's end", func() error {
				if r.Coordinator.Running() {
					return fmt.Errorf("it runs")
				}
				return nil
			})
			if code := r.Coordinator.ExitCode(); code != 1 {
				t.Errorf("exit code %d", code)
			}
			compare(t, flatten(readAll(t, r.Ingest[0], "sequenced")), records)
		})
	}
}
