package meta

import (
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/varvelog/varve/coordinator/metapb"
)

// TestReplay: the same entries give the same hash, and a snapshot taken anywhere and continued gives it too.
func TestReplay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := runMachine(t, false)
		entries := m.log.entries
		cut := rapid.IntRange(0, len(entries)).Draw(t, "cut")
		again := New(testLogID)
		for i, e := range entries {
			if i == cut {
				again = again.reread(t)
			}
			b, err := EncodeEntry(e)
			if err != nil {
				t.Fatal(err)
			}
			decoded, err := DecodeEntry(b)
			if err != nil || !proto.Equal(decoded, e) {
				t.Fatal("an entry is not what it was", err)
			}
			if err := again.Apply(uint64(i+1), decoded, nil); err != nil {
				t.Fatal(err)
			}
		}
		if again.Hash() != m.log.s.Hash() {
			t.Fatal("another hash after a replay")
		}
	})
}

// TestReplayWhereNodesAreForgotten: the same where days pass between the entries, and nodes are given up.
func TestReplayWhereNodesAreForgotten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		entries := runMachine(t, false).log.entries
		cut := rapid.IntRange(0, len(entries)).Draw(t, "cut")
		whole, again := New(testLogID), New(testLogID)
		later := int64(0)
		apply := func(e *metapb.Entry) {
			for _, s := range []*State{whole, again} {
				if err := s.Apply(s.Seq()+1, e, nil); err != nil {
					t.Fatal(err)
				}
			}
			if whole.Hash() != again.Hash() {
				t.Fatalf("the states differ behind %v", e)
			}
		}
		for i, e := range entries {
			if i == cut {
				again = again.reread(t)
			}
			e = proto.CloneOf(e)
			e.TimeMillis += later
			apply(e)
			nodes := whole.Nodes()
			if i < cut || len(nodes) == 0 || rapid.IntRange(0, 3).Draw(t, "forget") > 0 {
				continue
			}
			n := rapid.SampledFrom(nodes).Draw(t, "node")
			passes := rapid.SampledFrom([]int64{1, leftMillis + 1}).Draw(t, "passes")
			entry := func(later int64, commands ...*metapb.Command) *metapb.Entry {
				return &metapb.Entry{Format: EntryFormat, LogId: e.LogId, LeaderEpoch: e.LeaderEpoch, TimeMillis: e.TimeMillis + later, Commands: commands}
			}
			apply(entry(0, command(&metapb.SetNodeLive{NodeId: int32(n.ID), NodeEpoch: n.Epoch}), command(&metapb.ForgetNode{NodeId: int32(n.ID), NodeEpoch: n.Epoch})))
			apply(entry(passes, command(&metapb.Tick{Retention: true})))
			later += passes
		}
	})
}
