package meta

import (
	"errors"
	"testing"

	"github.com/varvelog/varve/coordinator/metapb"
)

// A request that was sent before the node's latest registration, and arrives after it, must not take the node's epoch away, nor lead clients
// to where it was.
func TestALateRepeatOfAnOldRegistrationIsVoid(t *testing.T) {
	a := applier{State: New([16]byte{1})}
	register := func(incarnation byte, port int32) Verdict {
		return a.registerNode(&metapb.RegisterNode{DiskId: make([]byte, 16), Incarnation: []byte{incarnation}, KafkaPort: port})
	}
	if v := register(1, 1); v.Code != OK || v.NodeEpoch != 1 {
		t.Fatalf("%+v", v)
	}
	if v := register(2, 2); v.Code != OK || v.NodeEpoch != 2 {
		t.Fatalf("%+v", v)
	}
	restored := a.State.reread(t)
	for _, s := range []*State{a.State, restored} {
		a := applier{State: s}
		if v := a.registerNode(&metapb.RegisterNode{DiskId: make([]byte, 16), Incarnation: []byte{1}, KafkaPort: 1}); v.Code != Fenced {
			t.Errorf("the first registration again: %+v", v)
		}
		if n := s.Node(1); n.Epoch != 2 || n.KafkaPort != 2 {
			t.Errorf("the node is %+v", n)
		}
	}
	if v := register(2, 2); v.Code != OK || v.NodeEpoch != 2 {
		t.Errorf("the present one again: %+v", v)
	}
}

func TestEpochsEndWhereTheNextOnesBegin(t *testing.T) {
	p := &Partition{next: 100}
	p.raiseLeaderEpoch() // 1, from 100
	p.next = 150
	p.raiseLeaderEpoch() // 2, from 150
	p.next = 170
	for _, row := range []struct {
		epoch, found int32
		end          int64
		ok           bool
	}{{-1, -1, -1, false}, {0, 0, 100, true}, {1, 1, 150, true}, {2, 2, 170, true}, {3, -1, -1, false}} {
		found, end, ok := p.EpochEnd(row.epoch)
		if found != row.found || end != row.end || ok != row.ok {
			t.Errorf("epoch %d: %d ended at %d, %v; want %d at %d, %v", row.epoch, found, end, ok, row.found, row.end, row.ok)
		}
	}
}

func TestARecoveredLogWithoutItsSnapshotIsRefused(t *testing.T) {
	id := [16]byte{1}
	s := New(id)
	err := s.Apply(1, &metapb.Entry{Format: EntryFormat, LogId: id[:], Commands: []*metapb.Command{{Kind: &metapb.Command_Recovered{Recovered: &metapb.Recovered{}}}}}, nil)
	if !errors.Is(err, ErrRecovered) || s.Seq() != 0 {
		t.Errorf("error %v at %d, want ErrRecovered", err, s.Seq())
	}
}
