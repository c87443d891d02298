package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varvelog/varve/services/e2e/cluster"
)

// TestClocksThatAreMinutesOffWhenTheLeaderChanges: whoever leads, time goes on where it was. A transaction is not over before its time, and offsets and
// records stay. It needs a binary whose clock can be moved (services/nemesis/patched), which VARVE_MOVABLE_CLOCK=1 says that VARVE_BIN is.
func TestClocksThatAreMinutesOffWhenTheLeaderChanges(t *testing.T) {
	if os.Getenv("VARVE_MOVABLE_CLOCK") == "" {
		t.Skip("VARVE_BIN is no binary whose clock can be moved: make clocks runs this")
	}
	t.Parallel()
	for _, metalog := range []string{"bucket", "jetstream"} {
		t.Run(metalog, func(t *testing.T) {
			t.Parallel()
			testWrongClocks(t, metalog)
		})
	}
}

func testWrongClocks(t *testing.T, metalog string) {
	bucket := minioBucket(t)
	off := func(n *cluster.Node, by time.Duration) {
		file := filepath.Join(t.TempDir(), "clock")
		if err := os.WriteFile(file, fmt.Append(nil, int64(by)), 0o600); err != nil {
			t.Fatal(err)
		}
		n.SetEnvironment("NEMESIS_CLOCK=" + file)
	}
	coordinators := cluster.NewGroup(t, 3, "--bucket", bucket, "--metalog", metalog)
	for i, by := range []time.Duration{8 * time.Minute, -8 * time.Minute, 12 * time.Minute} {
		off(coordinators[i], by)
	}
	cluster.StartAll(t, coordinators...)
	n := cluster.New(t, "ingest", "--bucket", bucket, "--metalog", metalog, "--peers", coordinators[0].Peers, "--nats-url", cluster.NATSURL(coordinators))
	off(n, -5*time.Minute)
	n.Start()
	createTopic(t, n, "facts", 1, "varve.durability", "local", "retention.ms", "240000")
	client := dial(t, n, kgo.TransactionalID("patient"), kgo.TransactionTimeout(4*time.Minute))
	offsets := kadm.Offsets{}
	offsets.AddOffset("facts", 0, 3, -1)
	if err := admin(t, n).CommitAllOffsets(within(t, patience), "readers", offsets); err != nil {
		t.Fatal(err)
	}
	if err := client.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	for round := range 4 {
		produce(t, client, numbered("facts", "r", round*10, 10)...)
		leader, others := cluster.AwaitLeader(t, patience, coordinators...)
		leader.Kill()
		cluster.AwaitLeader(t, patience, others...)
		leader.Start()
	}
	if err := client.EndTransaction(within(t, patience), kgo.TryCommit); err != nil {
		t.Fatalf("commit %v after the beginning: %v", time.Since(began), err)
	}
	if got := len(valuesOf(t, n, "facts", kgo.ReadCommitted())); got != 40 {
		t.Errorf("%d of 40 records", got)
	}
	kept, err := admin(t, n).FetchOffsets(within(t, patience), "readers")
	if o, ok := kept.Lookup("facts", 0); err != nil || !ok || o.At != 3 {
		t.Errorf("offset %+v, %v; want 3", o, err)
	}
}
