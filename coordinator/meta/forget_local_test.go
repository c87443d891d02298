package meta

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/ingest/chunk"
)

// localCopyOnly is a log with a node, one that no longer lives, whose segment has nothing but the local copy of a partition's records.
func localCopyOnly(t *testing.T) (l *testLog, topic TopicID, node Verdict) {
	l = newTestLog(t)
	l.lead(1)
	l.register("stays")
	l.register("other") // the last but one node is known for ever
	node = l.register("disk")
	l.topic("t", 1, &metapb.ConfigEntry{Name: "local.retention.ms", Value: "500000000"})
	topic = topicID("t")
	l.do(commitOf(node.NodeID, node.NodeEpoch, 0, 1, 1, 0, chunk.Batch{Topic: topic, Records: 2, ProducerID: -1, MaxTimestamp: l.now}))
	l.do(&metapb.SealContainer{NodeId: int32(node.NodeID), NodeEpoch: node.NodeEpoch, Segment: 1})
	job := uint64(l.do(&metapb.LeaseJob{Worker: "w", LeaseMillis: 1000}).JobID)
	l.do(&metapb.FinishJob{JobId: job, Objects: []*metapb.SegmentObject{{JobId: job, SizeBytes: 100, Parts: []*metapb.Part{
		{TopicId: topic[:], NextOffset: 2, Length: 50, Records: 2, MaxTimestamp: l.now},
	}}}})
	if p := l.s.Topic(topic).Partition(0); len(p.local) != 1 || len(p.runs) != 0 {
		t.Fatalf("%d local, %d runs", len(p.local), len(p.runs))
	}
	l.do(&metapb.SetNodeLive{NodeId: int32(node.NodeID), NodeEpoch: node.NodeEpoch})
	return l, topic, node
}

// replicas are a state that has applied the whole log, and one that was read from a snapshot.
type replicas struct {
	l      *testLog
	states [2]*State
}

func newReplicas(t *testing.T, l *testLog) replicas {
	return replicas{l, [2]*State{l.s, l.s.reread(t)}}
}

func (r replicas) do(m proto.Message) {
	r.l.t.Helper()
	e := &metapb.Entry{Format: EntryFormat, LogId: testLogID[:], LeaderEpoch: r.l.epoch, TimeMillis: r.l.now, Commands: []*metapb.Command{command(m)}}
	for _, s := range r.states {
		if err := s.Apply(s.Seq()+1, e, nil); err != nil {
			r.l.t.Fatal(err)
		}
	}
}

// TestAForgottenNodesLocalCopiesGoAfterARestartToo: who has the state from a snapshot and who has applied the whole log make the same of ForgetNode, also
// where a partition has nothing but local copies in a container.
func TestAForgottenNodesLocalCopiesGoAfterARestartToo(t *testing.T) {
	l, _, node := localCopyOnly(t)
	both := newReplicas(t, l)
	both.do(&metapb.ForgetNode{NodeId: int32(node.NodeID), NodeEpoch: node.NodeEpoch})
	if both.states[0].Hash() != both.states[1].Hash() {
		t.Error("two replicas at one sequence differ")
	}
}

// TestReplicasAgreeOnWhoReturnsAfterBeingForgotten: a container that one of two replicas still had would keep the node known to it alone, and what
// the node commits under its next number would be there for the other alone.
func TestReplicasAgreeOnWhoReturnsAfterBeingForgotten(t *testing.T) {
	l, topic, node := localCopyOnly(t)
	both := newReplicas(t, l)
	both.do(&metapb.ForgetNode{NodeId: int32(node.NodeID), NodeEpoch: node.NodeEpoch})
	l.now += leftMillis + 1
	both.do(&metapb.Tick{})
	both.do(&metapb.RegisterNode{DiskId: diskID("disk"), Incarnation: []byte("again"), KafkaHost: "h", KafkaPort: 1})
	back := both.states[0].NodeByDisk([16]byte(diskID("disk")))
	both.do(commitOf(back.ID, back.Epoch, 0, 1, 2, 0, chunk.Batch{Topic: topic, Records: 5, ProducerID: -1, MaxTimestamp: l.now}))
	for i, s := range both.states {
		if next := s.Topic(topic).Partition(0).next; next != 7 {
			t.Errorf("replica %d has %d of 7 records, and node %d", i, next, s.NodeByDisk([16]byte(diskID("disk"))).ID)
		}
	}
}
