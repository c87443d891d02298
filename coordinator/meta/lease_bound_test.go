package meta

import (
	"testing"

	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/ingest/chunk"
)

// TestAJobIsBoundedInRunsToo: many small runs are few bytes, and a worker could not be told of all of them.
func TestAJobIsBoundedInRunsToo(t *testing.T) {
	l := newTestLog(t)
	l.lead(1)
	node := l.register("disk")
	l.topic("t", 10)
	for segment := uint64(1); segment <= 5; segment++ {
		var batches []chunk.Batch
		for p := range int32(10) {
			batches = append(batches, chunk.Batch{Topic: topicID("t"), Partition: p, Records: 1, ProducerID: -1, MaxTimestamp: l.now})
		}
		l.do(commitOf(node.NodeID, node.NodeEpoch, 0, segment, segment, 0, batches...))
		l.do(&metapb.SealContainer{NodeId: int32(node.NodeID), NodeEpoch: node.NodeEpoch, Segment: segment})
	}
	for _, c := range []struct {
		runs int
		want uint32
	}{{1, 1}, {10, 1}, {19, 1}, {20, 2}, {49, 4}, {50, 5}, {1000, 5}} {
		if got := l.s.LeaseBound(l.now, c.runs); got != c.want {
			t.Errorf("%d containers for %d runs, want %d", got, c.runs, c.want)
		}
	}
	id := l.do(&metapb.LeaseJob{Worker: "w", LeaseMillis: 1000, MaxContainers: l.s.LeaseBound(l.now, 25)}).JobID
	if j, _ := l.s.Job(id); len(j.Containers) != 2 {
		t.Errorf("a job of %d containers", len(j.Containers))
	}
	if got := l.s.LeaseBound(l.now, 1000); got != 3 {
		t.Errorf("%d containers while two are leased, want 3", got)
	}
}
