package compact

import (
	"cmp"
	"slices"
	"sort"

	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/ingest/recordbatch"
)

// transactions tell what became of transactional batches, and which markers have lost theirs.
type transactions struct {
	aborted map[int64][]span // by producer, in order
	// open are the producers of which batches were read since their last marker.
	open map[int64]struct{}
}

// span is an aborted transaction's range of offsets, its marker included.
type span struct{ first, last int64 }

func newTransactions(aborted []*metapb.CompactionAborted) *transactions {
	t := &transactions{aborted: map[int64][]span{}}
	for _, a := range aborted {
		t.aborted[a.ProducerId] = append(t.aborted[a.ProducerId], span{a.FirstOffset, a.LastOffset})
	}
	for _, spans := range t.aborted {
		slices.SortFunc(spans, func(x, y span) int { return cmp.Compare(x.first, y.first) })
	}
	t.rewind()
	return t
}

// rewind forgets which batches were read.
func (t *transactions) rewind() { t.open = map[int64]struct{}{} }

// isAborted says whether the batch is of an aborted transaction.
func (t *transactions) isAborted(h *recordbatch.Header) bool {
	if !h.IsTransactional() || h.IsControl() {
		return false
	}
	spans := t.aborted[h.ProducerID]
	i := sort.Search(len(spans), func(i int) bool { return spans[i].last >= h.BaseOffset })
	return i < len(spans) && spans[i].first <= h.BaseOffset
}

// read notes a batch. Of a marker it says whether no batch of its transaction was read before it: nothing is left of it, then.
func (t *transactions) read(h *recordbatch.Header) (orphan bool) {
	switch {
	case h.IsControl():
		_, open := t.open[h.ProducerID]
		delete(t.open, h.ProducerID)
		return !open
	case h.IsTransactional():
		t.open[h.ProducerID] = struct{}{}
	}
	return false
}
