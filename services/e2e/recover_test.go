package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varvelog/varve/services/e2e/cluster"
	"github.com/varvelog/varve/services/recovery"
)

// recoverBucket runs varve recover and returns its report.
func recoverBucket(t *testing.T, bucket string, args ...string) *recovery.Report {
	t.Helper()
	return recoverURL(t, "file://"+bucket, args...)
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

// contentsOf reads all topics, and the values that read_committed consumers get of those with transactions. Of "table", which is compacted
// whenever somebody finds the time, it is the last value of each key.
func contentsOf(t *testing.T, n *cluster.Node, topics ...string) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	for _, topic := range topics {
		if topic == "table" {
			rows := table{}
			rows.put(flatten(readAll(t, n, topic))...)
			for _, r := range rows.rows() {
				all[topic] = append(all[topic], fmt.Sprintf("%d@%d %s", r.Partition, r.Offset, describe(r)))
			}
			slices.Sort(all[topic])
			continue
		}
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

// unshipped keeps what is written on the nodes' disks.
var unshipped = []string{"--seal-age=1h", "--hot-segment-bytes=16MiB"}

func TestRecoverDeclaresWhatWasOnLostDisksLost(t *testing.T) {
	t.Parallel()
	n := cluster.Serve(t, unshipped...)
	createTopic(t, n, "kept", 1, "varve.durability", "object")
	createTopic(t, n, "lost", 2)
	client := dial(t, n)
	produce(t, client, numbered("kept", "k", 0, 100)...)
	lost := numbered("lost", "l", 0, 300)
	produce(t, client, lost...)
	counts := map[int32]int64{}
	for _, r := range lost {
		counts[r.Partition]++
	}
	awaitArchived(t, n)
	n.Kill()
	loseAllButTheBucket(t, n)

	report := recoverBucket(t, n.BucketDir(), "--dry-run")
	if report.Done || report.LostOffsets != 300 {
		t.Errorf("a dry run: done %v, %d offsets lost", report.Done, report.LostOffsets)
	}
	if result := cluster.Command(t, "no\n", cluster.Binary(), "recover", "--bucket", "file://"+n.BucketDir()); result.Code != 1 {
		t.Errorf("not confirmed: exit code %d", result.Code)
	}
	report = recoverBucket(t, n.BucketDir())
	for _, l := range report.Lost {
		if l.Topic != "lost" || l.BaseOffset != 0 || l.NextOffset != counts[l.Partition] || l.Node != 1 || !l.Known {
			t.Errorf("lost %+v, want %d offsets of its partition", l, counts[l.Partition])
		}
	}
	if len(report.Lost) != 2 || report.LostOffsets != 300 {
		t.Errorf("lost %+v", report.Lost)
	}
	n.Start()
	if got := len(flatten(readAll(t, n, "kept"))); got != 100 {
		t.Errorf("%d records of the topic whose chunks are in the bucket", got)
	}
	// A consumer passes over what is lost, and finds what comes after.
	after := numbered("lost", "a", 0, 50)
	produce(t, dial(t, n), after...)
	got := flatten(readAll(t, n, "lost"))
	if len(got) != 50 {
		t.Fatalf("%d records, want the 50 new ones", len(got))
	}
	for _, r := range got {
		if r.Offset < counts[r.Partition] {
			t.Errorf("partition %d: offset %d was given again", r.Partition, r.Offset)
		}
	}
	if report, code := verifyBucket(t, n.BucketDir(), "--hotlog", n.DataDir); code != 0 {
		t.Errorf("verify: %+v", report.Findings)
	}
}

func TestRecoverAdoptsHotLogsThatAreThere(t *testing.T) {
	t.Parallel()
	n := cluster.Serve(t, unshipped...)
	createTopic(t, n, "hot", 2)
	awaitArchived(t, n)
	want := numbered("hot", "h", 0, 300)
	produce(t, dial(t, n), want...)
	n.Kill() // what the archive has not got, the hot log has
	loseAllButTheBucket(t, n, "hotlog", "cluster")
	refuses(t, n, n.BucketDir(), "varve recover")

	// Without its disk the directory is refused, and nothing of it is lost by that.
	if report := recoverBucket(t, n.BucketDir()); len(report.Disks) != 0 {
		t.Errorf("disks %v", report.Disks)
	}
	refuses(t, n, n.HotLogDir(), "varve recover --hotlog")

	report := recoverBucket(t, n.BucketDir(), "--hotlog", n.DataDir)
	if report.LostOffsets != 0 || len(report.Disks) != 1 || !report.Again {
		t.Errorf("%+v", report)
	}
	n.Start()
	if got := flatten(readAll(t, n, "hot")); len(got) != len(want) {
		t.Errorf("%d records, want %d", len(got), len(want))
	}
	produce(t, dial(t, n), numbered("hot", "after", 0, 10)...)
	n.Stop()
	n.Start()
	if got := flatten(readAll(t, n, "hot")); len(got) != len(want)+10 {
		t.Errorf("%d records, want %d", len(got), len(want)+10)
	}
}

func TestRecoverRefusesALivingCluster(t *testing.T) {
	t.Parallel()
	n := cluster.Serve(t)
	createTopic(t, n, "mine", 1)
	awaitArchived(t, n)
	result := cluster.Command(t, "", cluster.Binary(), "recover", "--yes", "--bucket", "file://"+n.BucketDir())
	if result.Code != 1 || !strings.Contains(result.Stderr, "leads this cluster") || !strings.Contains(result.Stderr, n.Internal) {
		t.Errorf("exit code %d: %s", result.Code, result.Stderr)
	}
	n.Stop()
	n.Start()
}

func TestRecoverFromSegmentsWithoutAnyMetadata(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ name, lost string }{{"metadata", "meta"}, {"metadata and identity", "cluster.json"}} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			n := cluster.Serve(t, quickTiering...)
			writeABitOfEverything(t, n)
			setConfig(t, n, "plain", "retention.ms", "123456789")
			produce(t, dial(t, n), numbered("plain", "later", 0, 30)...)
			awaitShipped(t, n, "plain", 3)
			awaitHotLogReleased(t, n)
			topics := []string{"plain", "transacted", "direct", "table"}
			want := contentsOf(t, n, topics...)
			n.Kill()
			loseAllButTheBucket(t, n)
			for _, lost := range []string{"meta", row.lost} {
				if err := os.RemoveAll(filepath.Join(n.BucketDir(), lost)); err != nil {
					t.Fatal(err)
				}
			}
			report := recoverBucket(t, n.BucketDir())
			if report.LostOffsets != 0 || report.Topics != len(topics) || report.Seq != 0 || len(report.Missing) == 0 {
				t.Errorf("%+v", report)
			}
			n.Start()
			for topic, got := range contentsOf(t, n, topics...) {
				if !slices.Equal(got, want[topic]) {
					t.Errorf("%s: %d records after the recovery, %d before\n%.2000q\n%.2000q", topic, len(got), len(want[topic]), got, want[topic])
				}
			}
			settings := settingsOf(t, n, topics...)
			for name, want := range map[string]string{
				"plain retention.ms": "123456789", "table cleanup.policy": "compact", "direct varve.durability": "object", "plain varve.durability": "local",
			} {
				if settings[name] != want {
					t.Errorf("%s is %q, want %q", name, settings[name], want)
				}
			}
			produce(t, dial(t, n), numbered("plain", "after", 0, 100)...)
			transaction(t, dial(t, n, kgo.TransactionalID("verified")), "transacted", "again", 10, kgo.TryCommit)
			n.Stop()
			if report, code := verifyBucket(t, n.BucketDir(), "--hotlog", n.DataDir); code != 0 {
				t.Errorf("verify: %+v", report.Findings)
			}
		})
	}
}

// settingsOf are topics' settings by "topic name".
func settingsOf(t *testing.T, n *cluster.Node, topics ...string) map[string]string {
	t.Helper()
	configs, err := admin(t, n).DescribeTopicConfigs(within(t, patience), topics...)
	if err != nil {
		t.Fatal(err)
	}
	settings := map[string]string{}
	for _, c := range configs {
		for _, entry := range c.Configs {
			settings[c.Name+" "+entry.Key] = entry.MaybeValue()
		}
	}
	return settings
}
