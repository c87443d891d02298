package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varvelog/varve/services/e2e/cluster"
	"github.com/varvelog/varve/services/recovery"
)

// recoverBucket runs varve recover and returns its report.
func recoverBucket(t *testing.T, bucket string, args ...string) *recovery.Report {
	t.Helper()
	args = append([]string{"recover", "--json", "--yes", "--bucket", "file://" + bucket}, args...)
	var report recovery.Report
	if err := json.Unmarshal([]byte(cluster.MustCommand(t, "", cluster.Binary(), args...)), &report); err != nil {
		t.Fatalf("varve recover: no report: %v", err)
	}
	return &report
}

// loseAllButTheBucket removes what is in the data directory but the bucket, and what is said to stay.
func loseAllButTheBucket(t *testing.T, n *cluster.Node, stays ...string) {
	t.Helper()
	entries, err := os.ReadDir(n.DataDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if entry.Name() != "bucket" && !slices.Contains(stays, entry.Name()) {
			if err := os.RemoveAll(filepath.Join(n.DataDir, entry.Name())); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// contentsOf reads all topics, and the values that read_committed consumers get of those with transactions.
func contentsOf(t *testing.T, n *cluster.Node, topics ...string) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	for _, topic := range topics {
		for _, r := range flatten(readAll(t, n, topic, kgo.KeepControlRecords())) {
			all[topic] = append(all[topic], fmt.Sprintf("%d@%d %s", r.Partition, r.Offset, describe(r)))
		}
		committed := valuesOf(t, n, topic, kgo.ReadCommitted())
		slices.Sort(committed)
		all[topic+" committed"] = committed
	}
	return all
}

func TestRecoverFromTheBucketAlone(t *testing.T) {
	t.Parallel()
	for _, metalog := range []string{"jetstream", "bucket"} {
		t.Run(metalog, func(t *testing.T) {
			t.Parallel()
			n := cluster.Serve(t, append([]string{"--metalog=" + metalog}, quickTiering...)...)
			writeABitOfEverything(t, n)
			topics := []string{"plain", "transacted", "direct", "table"}
			offsets := kadm.Offsets{}
			offsets.AddOffset("plain", 1, 42, -1)
			if err := admin(t, n).CommitAllOffsets(within(t, patience), "readers", offsets); err != nil {
				t.Fatal(err)
			}
			awaitHotLogReleased(t, n)
			want := contentsOf(t, n, topics...)
			awaitArchived(t, n)
			n.Kill()

			if metalog == "jetstream" {
				loseAllButTheBucket(t, n)
				refuses(t, n, n.BucketDir(), "varve recover")
			}
			loseAllButTheBucket(t, n)
			report := recoverBucket(t, n.BucketDir())
			if report.LostOffsets != 0 || report.Topics != len(topics) || report.Groups != 1 || !report.Done {
				t.Errorf("%+v", report)
			}
			if again := recoverBucket(t, n.BucketDir()); !again.Again || again.LostOffsets != 0 || again.FormerLog != report.FormerLog {
				t.Errorf("a second time, before it was used: %+v", again)
			}
			if metalog == "jetstream" {
				loseAllButTheBucket(t, n)
			}
			n.Start()
			for topic, got := range contentsOf(t, n, topics...) {
				if !slices.Equal(got, want[topic]) {
					t.Errorf("%s: %d records after the recovery, %d before", topic, len(got), len(want[topic]))
				}
			}
			fetched, err := admin(t, n).FetchOffsets(within(t, patience), "readers")
			if err != nil {
				t.Fatal(err)
			}
			if o, ok := fetched.Lookup("plain", 1); !ok || o.At != 42 {
				t.Errorf("the group's offset is %+v", o)
			}
			produce(t, dial(t, n), numbered("plain", "after", 0, 100)...)
			transaction(t, dial(t, n, kgo.TransactionalID("verified")), "transacted", "again", 10, kgo.TryCommit)
			if got := len(flatten(readAll(t, n, "plain"))); got != 600 {
				t.Errorf("%d records of plain, want 600", got)
			}
			awaitShipped(t, n, "plain", 3)
			n.Stop()
			if report, code := verifyBucket(t, n.BucketDir(), "--hotlog", n.DataDir); code != 0 {
				t.Errorf("verify: %+v", report.Findings)
			}
			// Its metadata log is the bucket's, or was lost and comes again: the same directory goes on.
			n.Start()
			if got := len(flatten(readAll(t, n, "plain"))); got != 600 {
				t.Errorf("%d records of plain after another start, want 600", got)
			}
		})
	}
}

// awaitArchived waits until the bucket knows all that the metadata log holds.
func awaitArchived(t *testing.T, n *cluster.Node) {
	t.Helper()
	cluster.Eventually(t, patience, "the metadata log in the archive", func() error {
		lag, err := n.Metric("varve_metalog_archive_lag_entries")
		if err == nil && lag > 0 {
			err = fmt.Errorf("%v entries are not", lag)
		}
		return err
	})
}
