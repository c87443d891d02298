package fetch_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/ingest/fetch"
)

// amongOthers commits small batches of one partition with a large one of another behind each.
func (w *world) amongOthers(count int) (tp meta.TopicPartition, values []string) {
	topic := w.cluster.CreateTopic(w.t, "a", "local", 2)
	tp = partition(topic, 0)
	for i := range count {
		values = append(values, fmt.Sprint(i))
		w.produceAll(batchOf{tp, 1000, values[i:]}, batchOf{partition(topic, 1), 1000, []string{strings.Repeat("x", 3500)}})
	}
	return tp, values
}

// What stands between the small runs of a partition is read with them, and is memory like they are.
func TestWhatIsReadBetweenRunsCountsAsMemory(t *testing.T) {
	w := newWorld(t, fetch.Config{})
	tp, values := w.amongOthers(400)
	r := w.read(tp, 0, 1<<20)
	defer r.Release()
	got, _ := records(t, &r.Partitions[0], 0)
	w.expect(got, values)
	// Buffers are up to twice what they were asked for.
	if kept, held := int64(fetch.BufferedBytes(r)), w.reader.HeldBytes(); kept > 2*held {
		t.Errorf("an answer of %d bytes keeps %d bytes of memory, and the budget counts %d", r.Partitions[0].Bytes, kept, held)
	}
}

// Where the budget has no room for what stands between them they are read all the same, without it.
func TestRunsAreReadApartWhereMemoryIsShort(t *testing.T) {
	const budget = 200 << 10 // the runs are 32 KB, and 1.4 MB with what is between them
	w := newWorld(t, fetch.Config{BudgetBytes: budget})
	tp, values := w.amongOthers(400)
	r := w.read(tp, 0, 1<<20)
	defer r.Release()
	got, _ := records(t, &r.Partitions[0], 0)
	w.expect(got, values)
	if kept := fetch.BufferedBytes(r); kept > budget {
		t.Errorf("an answer of %d bytes keeps %d bytes of memory, of a budget of %d", r.Partitions[0].Bytes, kept, budget)
	}
}

// readFirst reads one batch of a partition, however large, and nothing else, waiting for memory as long as wait.
func readFirst(ctx context.Context, reader *fetch.Reader, tp meta.TopicPartition, wait time.Duration) *fetch.Response {
	return reader.Read(ctx, &fetch.Request{
		Partitions: []fetch.PartitionRead{{TopicPartition: tp, MaxBytes: 1, LeaderEpoch: -1}}, MinBytes: 1, MaxBytes: 1, MaxWait: wait,
	})
}

// Batches that go out because at least one has to are memory like others. Who finds none gets his when others have given theirs back.
func TestAFirstBatchAboveTheLimitCountsAsMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const budget = 4 << 20
		w := newWorld(t, fetch.Config{BudgetBytes: budget})
		tp := partition(w.cluster.CreateTopic(t, "a", "local", 1), 0)
		size := w.produce(tp, 1000, strings.Repeat("x", 1<<20))
		var held []*fetch.Response
		for {
			r := readFirst(t.Context(), w.reader, tp, 50*time.Millisecond)
			if data := &r.Partitions[0]; data.Code != fetch.OK || data.Bytes != 0 && data.Bytes != size {
				t.Errorf("%d of %d bytes: %v", data.Bytes, size, data.Code)
			}
			if r.Partitions[0].Bytes == 0 {
				r.Release()
				break
			}
			if held = append(held, r); len(held)*size > budget {
				t.Fatalf("%d answers of %d bytes are held, of a budget of %d, which says %d", len(held), size, budget, w.reader.HeldBytes())
			}
		}
		var waiting sync.WaitGroup
		waiting.Go(func() {
			r := readFirst(t.Context(), w.reader, tp, patience)
			defer r.Release()
			if r.Partitions[0].Bytes != size {
				t.Errorf("%d of %d bytes when there was memory again", r.Partitions[0].Bytes, size)
			}
		})
		synctest.Wait()
		for _, r := range held {
			r.Release()
		}
		waiting.Wait()
	})
}

// A batch that is larger than the whole budget goes out by itself, to however many at once, from here or from another node.
func TestABatchAboveTheBudgetGoesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, fetch.Config{})
		tp := partition(w.cluster.CreateTopic(t, "a", "local", 1), 0)
		size := w.produce(tp, 1000, strings.Repeat("x", 1<<20))
		config := fetch.Config{BudgetBytes: 100 << 10}
		for _, reader := range []*fetch.Reader{
			w.newReader(config, w.cluster.DiskID, nil), w.newReader(config, [16]byte{0xff}, &oneDisk{log: w.log}),
		} {
			var reading sync.WaitGroup
			for range 8 {
				reading.Go(func() {
					r := readFirst(t.Context(), reader, tp, patience)
					defer r.Release()
					if held := reader.HeldBytes(); r.Partitions[0].Bytes != size || held != config.BudgetBytes {
						t.Errorf("%d of %d bytes, %d are held", r.Partitions[0].Bytes, size, held)
					}
				})
			}
			reading.Wait()
			if held := reader.HeldBytes(); held != 0 {
				t.Errorf("%d bytes are held in the end", held)
			}
		}
	})
}
