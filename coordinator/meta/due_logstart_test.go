package meta

import (
	"testing"

	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/ingest/chunk"
)

// TestRetentionIsDueByWhatStandsAtTheHeadAfterADeletion: what DeleteRecords leaves at the head may be older than what stood before it.
func TestRetentionIsDueByWhatStandsAtTheHeadAfterADeletion(t *testing.T) {
	l := newTestLog(t)
	l.lead(1)
	node := l.register("disk")
	l.topic("t", 1, &metapb.ConfigEntry{Name: "retention.ms", Value: "1000000"})
	id := topicID("t")
	const ahead = 50_000_000
	for seq, at := range []int64{l.now + ahead, l.now} {
		l.do(commitOf(node.NodeID, node.NodeEpoch, 0, uint64(seq+1), 1, uint32(seq*1000), chunk.Batch{Topic: id, Records: 1, ProducerID: -1, MaxTimestamp: at}))
	}
	l.do(&metapb.Tick{Retention: true})
	if d := l.s.Due(l.now); d.Retention || d.NextMillis <= l.now+2_000_000 {
		t.Fatalf("due %+v", d)
	}
	l.do(&metapb.AdvanceLogStart{TopicId: id[:], Offset: 1})
	if d := l.s.Due(l.now + 2_000_000); !d.Retention {
		t.Errorf("a record whose time was over long ago is looked at in %d s only", (d.NextMillis-l.now)/1000)
	}
}
