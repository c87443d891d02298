package fetch_test

import (
	"fmt"
	"strings"
	"testing"

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
