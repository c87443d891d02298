package e2e

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varvelog/varve/services/e2e/cluster"
)

// table is what was produced to a compacted topic: the last record of each key, which is a tombstone where its value is nil.
type table map[string]*kgo.Record

func (t table) put(records ...*kgo.Record) {
	for _, r := range records {
		t[string(r.Key)] = r
	}
}

// rows are the records that are not tombstones.
func (t table) rows() (rows []*kgo.Record) {
	for _, r := range t {
		if r.Value != nil {
			rows = append(rows, r)
		}
	}
	return rows
}

// updates are records of keys from to to, with a header; a tombstone for every key that gone says.
func updates(topic, round string, from, to int, gone func(key int) bool) (records []*kgo.Record) {
	for key := from; key < to; key++ {
		r := &kgo.Record{
			Topic: topic, Key: fmt.Appendf(nil, "key %d", key), Value: fmt.Appendf(nil, "%s of key %d", round, key),
			Headers: []kgo.RecordHeader{{Key: "round", Value: []byte(round)}},
		}
		if gone(key) {
			r.Value = nil
		}
		records = append(records, r)
	}
	return records
}

// A compacted topic ends up with the last record of each key, as it was produced, and nothing of what was deleted or aborted.
func TestCompaction(t *testing.T) {
	t.Parallel()
	// A round that the stop below interrupts waits for its lease: without the hot log its worker is not known again.
	flags := append([]string{"--compact-interval=100ms", "--job-lease=2s"}, quickTiering...)
	n := cluster.Serve(t, flags...)
	const topic, partitions, keys = "table", 3, 60
	createTopic(t, n, topic, partitions, "cleanup.policy", "compact", "min.cleanable.dirty.ratio", "0", "delete.retention.ms", "200")
	producer := dial(t, n)
	if err := tryProduce(t, producer, &kgo.Record{Topic: topic, Value: []byte("of no key")}); !errors.Is(err, kerr.InvalidRecord) {
		t.Fatalf("a record without a key: %v", err)
	}
	want := table{}
	for round := range 5 {
		records := updates(topic, fmt.Sprint("round ", round), 0, keys, func(key int) bool { return key%(round+5) == 0 })
		produce(t, producer, records...)
		want.put(records...)
		awaitShipped(t, n, topic, partitions)
	}
	transactional := dial(t, n, kgo.TransactionalID("updater"))
	for _, end := range []kgo.TransactionEndTry{kgo.TryCommit, kgo.TryAbort} {
		if err := transactional.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		records := updates(topic, map[kgo.TransactionEndTry]string{kgo.TryCommit: "committed", kgo.TryAbort: "aborted"}[end], 10, 30, func(key int) bool { return key%4 == 0 })
		produce(t, transactional, records...)
		if err := transactional.EndTransaction(within(t, patience), end); err != nil {
			t.Fatal(err)
		}
		if end == kgo.TryCommit {
			want.put(records...)
		}
	}
	// The log ends with what compaction removes: a consumer has to come to its end all the same.
	awaitTable(t, n, topic, want)
	starts, err := listOffsets(within(t, patience), dial(t, n), topic, partitions, earliestOffset)
	if err != nil {
		t.Fatal(err)
	}
	for p, start := range starts {
		if start.Offset != 0 {
			t.Errorf("compaction has moved the log start of partition %d to %d", p, start.Offset)
		}
	}

	// One record more in each partition marks the end of the log for those who count.
	for p := range int32(partitions) {
		end := &kgo.Record{Topic: topic, Partition: p, Key: fmt.Appendf(nil, "the end of %d", p), Value: []byte("the end"), Headers: []kgo.RecordHeader{{Key: "round", Value: []byte("last")}}}
		produce(t, dial(t, n, kgo.RecordPartitioner(kgo.ManualPartitioner())), end)
		want.put(end)
	}
	compare(t, flatten(readAll(t, n, topic)), want.rows())
	lookUp(t, n, topic, partitions, want)

	awaitShipped(t, n, topic, partitions)
	n.Stop()
	if err := os.RemoveAll(n.HotLogDir()); err != nil {
		t.Fatal(err)
	}
	n.Start()
	compare(t, flatten(readAll(t, n, topic)), want.rows())
	records := updates(topic, "after", 0, keys, func(key int) bool { return key > 5 })
	produce(t, dial(t, n), records...)
	want.put(records...)
	awaitTable(t, n, topic, want)
	if removed, err := n.Metric("varve_compacted_records_total", `outcome="removed"`); err != nil || removed == 0 {
		t.Errorf("%v records removed, %v", removed, err)
	}
}

// awaitTable returns when a consumer that reads from the beginning to the end finds the rows, and nothing else.
func awaitTable(t *testing.T, n *cluster.Node, topic string, want table) {
	t.Helper()
	var rows []string
	for _, r := range want.rows() {
		rows = append(rows, fmt.Sprintf("%d@%d %s=%s round=%s", r.Partition, r.Offset, r.Key, r.Value, r.Headers[0].Value))
	}
	slices.Sort(rows)
	cluster.Eventually(t, patience, "compaction of "+topic, func() error {
		got := strings.Split(strings.TrimSpace(kcat(t, n, "", "-C", "-t", topic, "-o", "beginning", "-e", "-q", "-X", "isolation.level=read_uncommitted", "-f", `%p@%o %k=%s %h\n`)), "\n")
		slices.Sort(got)
		if !slices.Equal(got, rows) {
			return fmt.Errorf("%d records, want %d", len(got), len(rows))
		}
		return nil
	})
}

// lookUp compares ListOffsets by time with the records that are left.
func lookUp(t *testing.T, n *cluster.Node, topic string, partitions int32, want table) {
	t.Helper()
	client := dial(t, n)
	for _, asked := range want.rows() {
		millis := asked.Timestamp.UnixMilli()
		var first *kgo.Record
		for _, r := range want.rows() {
			if r.Partition == asked.Partition && r.Timestamp.UnixMilli() >= millis && (first == nil || r.Offset < first.Offset) {
				first = r
			}
		}
		answers, err := listOffsets(within(t, patience), client, topic, partitions, millis)
		if err != nil {
			t.Fatal(err)
		}
		if got := answers[asked.Partition]; got.Offset != first.Offset || got.Timestamp != first.Timestamp.UnixMilli() {
			t.Fatalf("partition %d at %d ms: offset %d of %d ms, want %d of %d ms", asked.Partition, millis, got.Offset, got.Timestamp, first.Offset, first.Timestamp.UnixMilli())
		}
	}
}

// A server that is killed again and again while it compacts loses nothing of the table, and comes to compact it in the end. Where the keys do
// not fit in memory it takes its rounds.
func TestCompactionSurvivesKills(t *testing.T) {
	t.Parallel()
	n := cluster.New(t, "serve", append([]string{"--compact-interval=100ms", "--compact-memory=1MiB", "--job-lease=2s"}, quickTiering...)...)
	n.Start()
	const topic, partitions, keys = "battered", 1, 50_000 // more than fit in 1 MiB
	createTopic(t, n, topic, partitions, "cleanup.policy", "compact", "min.cleanable.dirty.ratio", "0", "delete.retention.ms", "500", "varve.durability", "object")
	want := table{}
	for round := range 4 {
		records := updates(topic, fmt.Sprint("round ", round), round*1000, keys+round*1000, func(key int) bool { return key%(round+7) == 0 })
		before, err := n.Metric("varve_compacted_records_total")
		if err != nil {
			before = 0 // nothing has been compacted since the start
		}
		produce(t, dial(t, n), records...) // which may all be compacted by the time that it returns
		want.put(records...)
		cluster.Eventually(t, patience, "compaction under way", func() error {
			now, err := n.Metric("varve_compacted_records_total")
			if err == nil && now == before {
				err = fmt.Errorf("%v records", now)
			}
			return err
		})
		n.Kill()
		n.Start()
	}
	awaitTable(t, n, topic, want)
	var rows []*kgo.Record
	for _, some := range readAllOf(t, n, topic, want) {
		rows = append(rows, some...)
	}
	compare(t, rows, want.rows())
}

// readAllOf reads each partition up to its last row: what lies behind it has been compacted away.
func readAllOf(t *testing.T, n *cluster.Node, topic string, want table) map[int32][]*kgo.Record {
	t.Helper()
	last := map[int32]int64{}
	assigned := map[int32]kgo.Offset{}
	for _, r := range want.rows() {
		last[r.Partition] = max(last[r.Partition], r.Offset)
		assigned[r.Partition] = kgo.NewOffset().AtStart()
	}
	client := dial(t, n, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: assigned}))
	all := map[int32][]*kgo.Record{}
	ctx := within(t, patience)
	for len(last) > 0 {
		fetches := client.PollFetches(ctx)
		if err := errors.Join(ctx.Err(), fetches.Err()); err != nil {
			t.Fatalf("partitions not read to their last rows %v: %v", last, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			all[r.Partition] = append(all[r.Partition], r)
			if end, open := last[r.Partition]; open && r.Offset >= end {
				delete(last, r.Partition)
			}
		})
	}
	return all
}

// A worker in a process of its own, which is killed on the way, compacts what two nodes took, and no node shows what was compacted away.
func TestAWorkerOfItsOwnCompacts(t *testing.T) {
	t.Parallel()
	r := cluster.StartRoles(t, cluster.RolesConfig{Flags: append([]string{"--compact-interval=100ms", "--job-lease=1s"}, quickTiering...)})
	const topic, partitions, keys = "apart", 2, 2000
	createTopic(t, r.Ingest[0], topic, partitions, "cleanup.policy", "compact", "min.cleanable.dirty.ratio", "0", "delete.retention.ms", "0", "local.retention.ms", "600000", "varve.durability", "local")
	awaitNodes(t, r.Ingest[0], r.Ingest...)
	want := table{}
	for round := range 3 {
		for i, n := range r.Ingest {
			records := updates(topic, fmt.Sprint("round ", round, " of ", i), i*500, keys+i*500, func(key int) bool { return key%(round+7) == 0 })
			produce(t, dial(t, n), records...)
			want.put(records...)
		}
		r.Tiering.Kill()
		r.Tiering.Start()
	}
	for _, n := range r.Ingest {
		awaitTable(t, n, topic, want)
	}
}
