package fetch_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/ingest/fetch"
	"github.com/varvelog/varve/ingest/recordbatch"
)

// compact puts one part in the place of all that is stored of a partition: of it only the records at some offsets are left, each in a batch
// of its own, and the last batch reaches to the part's end.
func (w *world) compact(tp meta.TopicPartition, kept ...int64) {
	w.t.Helper()
	w.cluster.Apply(&metapb.Command{Kind: &metapb.Command_AlterConfig{AlterConfig: &metapb.AlterConfig{Name: "a", Entries: []*metapb.ConfigEntry{
		{Name: "cleanup.policy", Value: "compact"}, {Name: "min.cleanable.dirty.ratio", Value: "0"},
	}}}})
	job := w.cluster.Propose(&metapb.Command{Kind: &metapb.Command_LeaseCompaction{LeaseCompaction: &metapb.LeaseCompaction{Worker: "c", LeaseMillis: 60_000}}})
	var end int64
	w.cluster.View(func(st *meta.State) {
		r, _ := st.Round(job.JobID)
		end = r.Parts[len(r.Parts)-1].NextOffset
	})
	var body []byte
	b := recordbatch.NewBuilder(recordbatch.BuilderOptions{})
	for i, offset := range kept {
		b.Reset(offset, 0)
		if err := b.Append(offset, 1000+offset, []byte("key"), fmt.Append(nil, offset), nil); err != nil {
			w.t.Fatal(err)
		}
		if i == len(kept)-1 {
			if err := b.SetLastOffset(end - 1); err != nil {
				w.t.Fatal(err)
			}
		}
		data, _, err := b.Build(nil)
		if err != nil {
			w.t.Fatal(err)
		}
		body = append(body, data...)
	}
	if len(kept) == 0 {
		body = recordbatch.EmptyBatch(0, end-1, 0)
	}
	if _, err := w.bucket.PutIfAbsent(context.Background(), meta.SegmentKey(job.JobID, 0), body); err != nil {
		w.t.Fatal(err)
	}
	v := w.cluster.Propose(&metapb.Command{Kind: &metapb.Command_CompactRange{CompactRange: &metapb.CompactRange{
		JobId: uint64(job.JobID), ToOffset: end, LeaseMillis: 60_000, Done: true, CleanedTo: end,
		Part: &metapb.CompactedPart{SizeBytes: uint64(len(body)), Length: uint64(len(body)), Records: uint64(len(kept)), MaxTimestamp: 1000 + end, MinTimestamp: 1000},
	}}})
	if v.Code != meta.OK {
		w.t.Fatal(v)
	}
}

func TestReadsOfACompactedPartition(t *testing.T) {
	for _, kept := range [][]int64{{0, 1, 5, 9}, {3, 4}, {7}, {}} {
		t.Run(fmt.Sprint(kept), func(t *testing.T) {
			w := newWorld(t, fetch.Config{})
			tp := partition(w.cluster.CreateTopic(t, "a", "local", 1), 0)
			w.produce(tp, 1000, numbered(0, 6)...)
			w.produce(tp, 1000, numbered(6, 10)...)
			w.ship()
			w.compact(tp, kept...)
			w.produce(tp, 5000, "10", "11")
			for offset := int64(0); offset <= 12; offset++ {
				var want []string
				for _, k := range append(append([]int64(nil), kept...), 10, 11) {
					if k >= offset {
						want = append(want, fmt.Sprint(k))
					}
				}
				for _, limit := range []int{1, 100, 1 << 20} {
					w.expect(w.readAll(tp, offset, limit), want)
				}
			}
			for millis := int64(1000); millis <= 1010; millis++ {
				want := int64(10)
				for i := len(kept) - 1; i >= 0 && 1000+kept[i] >= millis; i-- {
					want = kept[i]
				}
				got, found, err := w.reader.OffsetForTimestamp(context.Background(), tp, millis)
				if err != nil || !found || got.Offset != want {
					t.Fatalf("at %d: %+v, %v, %v, want %d", millis, got, found, err, want)
				}
			}
		})
	}
}

// A consumer that waits at the end of a compacted log is at its end, and hears of what comes.
func TestACompactedEndIsAnEnd(t *testing.T) {
	w := newWorld(t, fetch.Config{})
	tp := partition(w.cluster.CreateTopic(t, "a", "local", 1), 0)
	w.produce(tp, 1000, numbered(0, 10)...)
	w.ship()
	w.compact(tp, 2)
	r := w.read(tp, 3, 1<<20)
	_, next := records(t, &r.Partitions[0], 3)
	r.Release()
	if next != 10 {
		t.Fatalf("the next offset is %d, the high watermark 10", next)
	}
	answer := make(chan []string)
	go func() {
		r := w.reader.Read(context.Background(), &fetch.Request{
			Partitions: []fetch.PartitionRead{{TopicPartition: tp, Offset: 10, MaxBytes: 1000, LeaderEpoch: -1}}, MinBytes: 1, MaxBytes: 1000, MaxWait: time.Minute,
		})
		values, _ := records(t, &r.Partitions[0], 10)
		r.Release()
		answer <- values
	}()
	w.await("the reader waits", func() bool { return w.cluster.Watching(tp) > 0 })
	w.produce(tp, 2000, "new")
	w.expect(<-answer, []string{"new"})
}
