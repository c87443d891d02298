package meta

import (
	"testing"

	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/ingest/chunk"
)

// TestAForgottenNodesLocalCopiesGoAfterARestartToo: who has the state from a snapshot and who has applied the whole log make the same of ForgetNode, also
// where a partition has nothing but local copies in a container.
func TestAForgottenNodesLocalCopiesGoAfterARestartToo(t *testing.T) {
	l := newTestLog(t)
	l.lead(1)
	node := l.register("disk")
	l.topic("t", 1, &metapb.ConfigEntry{Name: "local.retention.ms", Value: "60000000"})
	id := topicID("t")
	l.do(commitOf(node.NodeID, node.NodeEpoch, 0, 1, 1, 0, chunk.Batch{Topic: id, Partition: 0, Records: 2, ProducerID: -1, MaxTimestamp: l.now}))
	l.do(&metapb.SealContainer{NodeId: int32(node.NodeID), NodeEpoch: node.NodeEpoch, Segment: 1})
	job := l.do(&metapb.LeaseJob{Worker: "w", LeaseMillis: 1000}).JobID
	l.do(&metapb.FinishJob{JobId: uint64(job), Objects: []*metapb.SegmentObject{{JobId: uint64(job), SizeBytes: 100, Parts: []*metapb.Part{
		{TopicId: id[:], BaseOffset: 0, NextOffset: 2, Length: 50, Records: 2, MaxTimestamp: l.now},
	}}}})
	if p := l.s.Topic(id).Partition(0); len(p.local) != 1 || len(p.runs) != 0 {
		t.Fatalf("%d local, %d runs", len(p.local), len(p.runs))
	}
	l.do(&metapb.SetNodeLive{NodeId: int32(node.NodeID), NodeEpoch: node.NodeEpoch})

	restored := l.s.reread(t)
	if restored.Hash() != l.s.Hash() {
		t.Fatal("another hash right after the snapshot")
	}
	e := &metapb.Entry{Format: EntryFormat, LogId: testLogID[:], LeaderEpoch: l.epoch, TimeMillis: l.now, Commands: []*metapb.Command{
		command(&metapb.ForgetNode{NodeId: int32(node.NodeID), NodeEpoch: node.NodeEpoch}),
	}}
	for _, s := range []*State{l.s, restored} {
		if err := s.Apply(s.Seq()+1, e, nil); err != nil {
			t.Fatal(err)
		}
	}
	if restored.Hash() != l.s.Hash() {
		t.Fatal("two replicas at one sequence differ")
	}
}

// TestReplicasAgreeOnWhoReturnsAfterBeingForgotten: a container that one of two replicas still had would keep the node known to it alone, and what
// the node commits under its next number would be there for the other alone.
func TestReplicasAgreeOnWhoReturnsAfterBeingForgotten(t *testing.T) {
	l := newTestLog(t)
	l.lead(1)
	l.register("stays")
	l.register("other")
	node := l.register("disk")
	l.topic("t", 1, &metapb.ConfigEntry{Name: "local.retention.ms", Value: "500000000"})
	id := topicID("t")
	l.do(commitOf(node.NodeID, node.NodeEpoch, 0, 1, 1, 0, chunk.Batch{Topic: id, Records: 2, ProducerID: -1, MaxTimestamp: l.now}))
	l.do(&metapb.SealContainer{NodeId: int32(node.NodeID), NodeEpoch: node.NodeEpoch, Segment: 1})
	job := l.do(&metapb.LeaseJob{Worker: "w", LeaseMillis: 1000}).JobID
	l.do(&metapb.FinishJob{JobId: uint64(job), Objects: []*metapb.SegmentObject{{JobId: uint64(job), SizeBytes: 100, Parts: []*metapb.Part{
		{TopicId: id[:], BaseOffset: 0, NextOffset: 2, Length: 50, Records: 2, MaxTimestamp: l.now},
	}}}})
	l.do(&metapb.SetNodeLive{NodeId: int32(node.NodeID), NodeEpoch: node.NodeEpoch})
	states := []*State{l.s, l.s.reread(t)}
	both := func(c *metapb.Command) {
		e := &metapb.Entry{Format: EntryFormat, LogId: testLogID[:], LeaderEpoch: l.epoch, TimeMillis: l.now, Commands: []*metapb.Command{c}}
		for _, s := range states {
			if err := s.Apply(s.Seq()+1, e, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	both(command(&metapb.ForgetNode{NodeId: int32(node.NodeID), NodeEpoch: node.NodeEpoch}))
	l.now += leftMillis + 1
	both(command(&metapb.Tick{}))
	both(command(&metapb.RegisterNode{DiskId: diskID("disk"), Incarnation: []byte("again"), KafkaHost: "h", KafkaPort: 1}))
	ids := [2]NodeID{states[0].NodeByDisk([16]byte(diskID("disk"))).ID, states[1].NodeByDisk([16]byte(diskID("disk"))).ID}
	both(command(commitOf(ids[0], states[0].Node(ids[0]).Epoch, 0, 1, 2, 0, chunk.Batch{Topic: id, Records: 5, ProducerID: -1, MaxTimestamp: l.now})))
	t.Logf("the node's number is %d and %d; high watermarks %d and %d", ids[0], ids[1], states[0].Topic(id).Partition(0).next, states[1].Topic(id).Partition(0).next)
	if states[0].Topic(id).Partition(0).next != states[1].Topic(id).Partition(0).next {
		t.Error("a record that one replica acknowledges is not there for the other")
	}
}
