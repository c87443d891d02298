package kafka

import (
	"testing"
	"time"

	"github.com/varvelog/varve/coordinator/share"
	"github.com/varvelog/varve/ingest/fetch"
	"github.com/varvelog/varve/ingest/recordbatch"
)

// The records of a forgotten node's disk are served as an empty batch. A member that is given its offsets lists each of them, to acknowledge them one by one.
func TestOffsetsThatAreLostAreGivenToNobody(t *testing.T) {
	lost := int64(50_000_000)
	record, _ := batchOf(t, lost)
	read := share.Read{MaxRecords: 500, BatchSize: 500}
	for _, b := range sharedBatches(&fetch.PartitionData{Records: [][]byte{recordbatch.EmptyBatch(0, lost-1, 0), record}}) {
		read.Batches = append(read.Batches, share.ReadBatch{Base: b.base, Next: b.next, Withheld: b.withheld})
	}
	p := share.Restore(0, nil)
	given := p.Acquire(time.Now(), "a", share.Limits{MaxDeliveries: 5, MaxInFlight: 2000, Lock: time.Minute}, read)
	if len(given) != 1 || given[0].Base != lost || given[0].Next != lost+1 {
		t.Errorf("given %v", given)
	}
	if p.Start() != lost {
		t.Errorf("start %d", p.Start())
	}
}

func batchOf(t *testing.T, offset int64) ([]byte, recordbatch.Header) {
	t.Helper()
	b := recordbatch.NewBuilder(recordbatch.BuilderOptions{})
	if err := b.Append(0, 1000, nil, []byte("v"), nil); err != nil {
		t.Fatal(err)
	}
	data, header, err := b.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	recordbatch.SetBaseOffset(data, offset)
	return data, header
}
