package e2e

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/varvelog/varve/services/e2e/cluster"
)

// jetStreamGroup returns the coordinators of a group with embedded servers, and an ingest node, none of which has been started.
func jetStreamGroup(t *testing.T) (coordinators []*cluster.Node, ingest *cluster.Node) {
	t.Helper()
	bucket := "file://" + t.TempDir()
	coordinators = cluster.NewGroup(t, 3, "--bucket", bucket)
	ingest = cluster.New(t, "ingest", "--bucket", bucket, "--nats-url", cluster.NATSURL(coordinators), "--peers", coordinators[0].Peers)
	return coordinators, ingest
}

func TestAGroupStartsInAnyOrderAndGoesOnWithOneMissing(t *testing.T) {
	t.Parallel()
	coordinators, ingest := jetStreamGroup(t)
	coordinators[2].Launch() // alone, it has no majority
	ingest.Launch()
	cluster.Eventually(t, patience, "the first says that it waits", func() error {
		if !strings.Contains(coordinators[2].Log(), "cannot open the metadata log") {
			return fmt.Errorf("it says %q", coordinators[2].Log())
		}
		return nil
	})
	if coordinators[2].Leads() {
		t.Error("one of three leads")
	}
	coordinators[0].Launch()
	coordinators[1].Launch() // a new log begins when all are there
	for _, n := range append(slices.Clone(coordinators), ingest) {
		if err := n.AwaitReady(patience); err != nil {
			t.Fatal(err)
		}
	}
	createTopic(t, ingest, "early", 1, "varve.durability", "local")
	for _, n := range coordinators {
		n.Kill()
	}
	ingest.Kill()
	ingest.Launch()
	cluster.StartAll(t, coordinators[0], coordinators[2]) // it goes on when most are there
	if err := ingest.AwaitReady(patience); err != nil {
		t.Fatal(err)
	}
	produce(t, dial(t, ingest), numbered("early", "r", 0, 100)...)
	coordinators[1].Start()
	leader, _ := cluster.AwaitLeader(t, patience, coordinators...)
	leader.Stop()
	produce(t, dial(t, ingest), numbered("early", "r", 100, 100)...)
	if got := len(flatten(readAll(t, ingest, "early"))); got != 200 {
		t.Errorf("%d records of 200", got)
	}
}

func TestACoordinatorMayLoseItsDisk(t *testing.T) {
	t.Parallel()
	coordinators, ingest := jetStreamGroup(t)
	cluster.StartAll(t, coordinators...)
	ingest.Start()
	createTopic(t, ingest, "kept", 1, "varve.durability", "local")
	producer := dial(t, ingest)
	sent := 0
	more := func() {
		t.Helper()
		for range 20 { // each its own entry, mostly
			produce(t, producer, numbered("kept", "r", sent, 10)...)
			sent += 10
		}
	}
	more()
	lost, _ := cluster.AwaitLeader(t, patience, coordinators...)
	lost.Kill()
	if err := os.RemoveAll(lost.DataDir); err != nil {
		t.Fatal(err)
	}
	more()
	lost.Start()
	// Its copy counts again: with it, one of the others may be gone.
	cluster.Eventually(t, patience, "it has caught up", func() error { _, err := lost.Get("/readyz"); return err })
	other := coordinators[slices.IndexFunc(coordinators, func(n *cluster.Node) bool { return n != lost })]
	other.Kill()
	more()
	other.Start()
	for _, n := range coordinators {
		n.Kill()
	}
	ingest.Kill()
	cluster.StartAll(t, append(slices.Clone(coordinators), ingest)...)
	if got := len(flatten(readAll(t, ingest, "kept"))); got != sent {
		t.Errorf("%d records of %d", got, sent)
	}
}

func TestACoordinatorThatDoesNotFitIsRefusedInOneLine(t *testing.T) {
	t.Parallel()
	bucket := "file://" + t.TempDir()
	coordinators := cluster.NewGroup(t, 3, "--bucket", bucket, "--metalog=bucket")
	cluster.StartAll(t, coordinators...)
	peers := coordinators[0].Peers
	alien := "file://" + t.TempDir()
	address := cluster.FreeAddress(t)
	port := address[strings.LastIndexByte(address, ':')+1:]
	cluster.AwaitLeader(t, patience, coordinators...)
	for name, c := range map[string]struct {
		flags []string
		want  string
	}{
		"no number":             {[]string{"--peers", peers}, "must be this coordinator's number"},
		"no such number":        {[]string{"--peers", peers, "--node-id", "4"}, "is not among --peers"},
		"numbers without list":  {[]string{"--node-id", "1"}, "needs --peers"},
		"the same number twice": {[]string{"--peers", "1=127.0.0.1:" + port + ":1,1=127.0.0.1:2:3", "--node-id", "1"}, "stands twice"},
		"no number of NATS":     {[]string{"--peers", "1=127.0.0.1:" + port, "--node-id", "1"}, "has no NATS port"},
		"another address":       {[]string{"--peers", peers, "--node-id", "1", "--advertised-internal-addr", "127.0.0.1:1"}, "--peers says"},
		"two with JetStream":    {[]string{"--peers", "1=127.0.0.1:" + port + ":1,2=127.0.0.1:2:3", "--node-id", "1", "--metalog=jetstream"}, "odd number"},
		"its number is taken":   {[]string{"--peers", peers, "--node-id", "2"}, "another process answers as node 2"},
		"lists that differ":     {[]string{"--peers", peers[:strings.Index(peers, "3=")] + "3=127.0.0.1:" + port + ":1", "--node-id", "3", "--internal-addr", address}, "has --peers"},
		"another bucket":        {[]string{"--peers", peers, "--node-id", "2", "--bucket", alien}, "of another cluster"},
	} {
		t.Run(name, func(t *testing.T) {
			n := cluster.New(t, "coordinator", append([]string{"--bucket", bucket, "--metalog=bucket", "--nats-cluster-addr", cluster.FreeAddress(t)}, c.flags...)...)
			n.Launch()
			select {
			case <-n.Exited():
			case <-time.After(patience):
				t.Fatal("it runs")
			}
			lines := strings.Split(strings.TrimSpace(n.Log()), "\n")
			last := lines[len(lines)-1]
			if n.ExitCode() == 0 || !strings.Contains(last, c.want) {
				t.Errorf("exit code %d, last line %q", n.ExitCode(), last)
			}
		})
	}
	cluster.AwaitLeader(t, patience, coordinators...)
}
