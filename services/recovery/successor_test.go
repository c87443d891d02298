package recovery

import (
	"bytes"
	"testing"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
)

// verdictOf hears one command's verdict.
type verdictOf struct{ verdict meta.Verdict }

func (o *verdictOf) Wants(id []byte) bool                                 { return len(id) > 0 }
func (o *verdictOf) Verdict(_ []byte, v meta.Verdict)                     { o.verdict = v }
func (o *verdictOf) WantsChunks(meta.NodeID, uint64) bool                 { return false }
func (o *verdictOf) ChunkVerdict(*metapb.CommitChunk, *meta.ChunkVerdict) {}
func (o *verdictOf) Committed(meta.TopicPartition, int64)                 {}
func (o *verdictOf) Changed(meta.ChangeKind)                              {}

// apply lets a leader of the recovered cluster carry out a command.
func apply(t *testing.T, state *meta.State, c *metapb.Command) meta.Verdict {
	t.Helper()
	epoch, id := state.LeaderEpoch()+1, state.LogID()
	c.Id = []byte{1}
	observed := &verdictOf{}
	if err := state.Apply(state.Seq()+1, &metapb.Entry{
		Format: meta.EntryFormat, LogId: id[:], LeaderEpoch: epoch, TimeMillis: state.TimeMillis() + 10, Commands: []*metapb.Command{
			{Kind: &metapb.Command_LeaderStart{LeaderStart: &metapb.LeaderStart{Epoch: epoch, FeatureLevel: meta.FeatureLevel}}}, c,
		},
	}, observed); err != nil {
		t.Fatal(err)
	}
	return observed.verdict
}

func allocateProducerID(t *testing.T, state *meta.State) int64 {
	t.Helper()
	return apply(t, state, &metapb.Command{Kind: &metapb.Command_AllocateProducerId{AllocateProducerId: &metapb.AllocateProducerId{}}}).ProducerID
}

// All metadata is lost twice. Nothing in the bucket tells what the log between the two has given.
func TestNothingIsGivenAgainWhenAllMetadataIsLostTwice(t *testing.T) {
	s := newSmall(t, "varve.durability", "object")
	s.send(true, write{0, 1, nil})
	s.shipAll()
	loseMetadata(t, s.store)
	mustRecover(t, s.store)
	_, first := reopen(t, s.store)
	id, epoch := allocateProducerID(t, first), first.TopicByName("small").Partition(0).LeaderEpoch()
	register := &metapb.Command{Kind: &metapb.Command_RegisterNode{RegisterNode: &metapb.RegisterNode{DiskId: bytes.Repeat([]byte{77}, 16), Incarnation: []byte{1}}}}
	node := apply(t, first, register)
	loseMetadata(t, s.store)
	mustRecover(t, s.store)
	_, second := reopen(t, s.store)
	if again := allocateProducerID(t, second); again <= id {
		t.Errorf("producer id %d was given, and now %d", id, again)
	}
	if again := second.TopicByName("small").Partition(0).LeaderEpoch(); again <= epoch {
		t.Errorf("leader epoch %d was given, and now %d", epoch, again)
	}
	if again := apply(t, second, register); again.NodeID == node.NodeID && again.NodeEpoch <= node.NodeEpoch {
		t.Errorf("node %d had epoch %d, and now %d", node.NodeID, node.NodeEpoch, again.NodeEpoch)
	}
}

// A node is forgotten behind what is known, which raises leader epochs.
func TestLeaderEpochsBehindTheStateAreNotGivenAgain(t *testing.T) {
	s := newSmall(t, "varve.durability", "local")
	s.send(false, write{0, 1, nil})
	s.archive()
	for c := range s.state.Containers {
		s.log(&metapb.Command{Kind: &metapb.Command_SetNodeLive{SetNodeLive: &metapb.SetNodeLive{NodeId: int32(c.Node), NodeEpoch: 1}}})
		s.log(&metapb.Command{Kind: &metapb.Command_ForgetNode{ForgetNode: &metapb.ForgetNode{NodeId: int32(c.Node), NodeEpoch: 1}}})
	}
	before := s.state.Partition(s.place(0)).LeaderEpoch()
	if before == 0 {
		t.Fatal("nothing was forgotten")
	}
	clear(s.written)
	state, _ := s.recovered()
	if now := state.Partition(s.place(0)).LeaderEpoch(); now <= before {
		t.Errorf("leader epoch %d was told to clients, and is %d now", before, now)
	}
}
