package e2e

import (
	"fmt"
	"os"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varvelog/varve/services/e2e/cluster"
)

// What comes slowly is shipped in small parts, and these are put together; all of it is there afterwards, transactions too.
func TestMerging(t *testing.T) {
	t.Parallel()
	flags := append([]string{"--compact-interval=100ms", "--merge-age=1ms", "--job-lease=2s"}, quickTiering...)
	n := cluster.Serve(t, flags...)
	const topic, rounds = "trickle", 12
	createTopic(t, n, topic, 1)
	var want []*kgo.Record
	for round := range rounds {
		client := dial(t, n, kgo.TransactionalID("trickle"))
		if err := client.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		records := numbered(topic, fmt.Sprint("round ", round), 0, 10)
		records[5].Value = noise(450_000, uint64(round))
		produce(t, client, records...)
		end := kgo.TransactionEndTry(round%3 > 0)
		if err := client.EndTransaction(within(t, patience), end); err != nil {
			t.Fatal(err)
		}
		plain := numbered(topic, fmt.Sprint("plain ", round), 0, 10)
		produce(t, dial(t, n), plain...)
		if end == kgo.TryCommit {
			want = append(want, records...)
		}
		want = append(want, plain...)
		awaitShipped(t, n, topic, 1)
	}
	cluster.Eventually(t, patience, "a merge", func() error {
		merges, err := n.Metric("varve_merge_rounds_total")
		if err == nil && merges == 0 {
			err = fmt.Errorf("%v merges", merges)
		}
		return err
	})
	compare(t, flatten(readAll(t, n, topic, kgo.FetchIsolationLevel(kgo.ReadCommitted()))), want)
	n.Stop()
	if report, code := verifyBucket(t, n.BucketDir()); code != 0 || !report.OK() || report.Segments.Objects >= rounds {
		t.Fatalf("exit code %d, %d objects, %+v", code, report.Segments.Objects, report.Findings)
	}
	if err := os.RemoveAll(n.HotLogDir()); err != nil {
		t.Fatal(err)
	}
	n.Start()
	compare(t, flatten(readAll(t, n, topic, kgo.FetchIsolationLevel(kgo.ReadCommitted()))), want)
}
