package fetch

import (
	"testing"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/ingest/recordbatch"
)

// A copy on another node's disk ends at offset 5, in the middle of the batch of the stored part that goes on: both came in one
// round, and offsets 3 and 4 twice in one answer.
func TestBatchesOfAnAnswerDoNotOverlap(t *testing.T) {
	var data PartitionData
	c := cursor{data: &data, extents: []extent{
		{records: recordbatch.EmptyBatch(0, 4, 0), next: 5, done: true, loc: meta.Location{NextOffset: 5}},
		{records: recordbatch.EmptyBatch(3, 9, 0), next: 10, done: true, loc: meta.Location{NextOffset: 10}},
	}}
	f := reading{reader: &Reader{}}
	f.take(&c)
	if len(data.Records) != 1 || c.next != 5 || data.Code != OK {
		t.Errorf("%d slices up to offset %d, code %v", len(data.Records), c.next, data.Code)
	}
	c = cursor{data: new(PartitionData), next: 5, extents: c.extents[1:]}
	if f.take(&c); c.next != 10 {
		t.Errorf("the next answer goes up to offset %d, want 10", c.next)
	}
}
