package recovery

import (
	"slices"
	"testing"
	"time"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/infra/objstore/faulty"
	"github.com/varvelog/varve/ingest/chunk"
	"github.com/varvelog/varve/ingest/recordbatch"
)

// tickAt lets a leader whose clock says a time carry out a Tick, behind whatever else.
func tickAt(t *testing.T, state *meta.State, at time.Time, before ...*metapb.Command) {
	t.Helper()
	epoch, id := state.LeaderEpoch()+1, state.LogID()
	commands := []*metapb.Command{{Kind: &metapb.Command_LeaderStart{LeaderStart: &metapb.LeaderStart{Epoch: epoch, FeatureLevel: meta.FeatureLevel}}}}
	commands = append(append(commands, before...), &metapb.Command{Kind: &metapb.Command_Tick{Tick: &metapb.Tick{}}})
	if err := state.Apply(state.Seq()+1, &metapb.Entry{
		Format: meta.EntryFormat, LogId: id[:], LeaderEpoch: epoch, TimeMillis: at.UnixMilli(), Commands: commands,
	}, nil); err != nil {
		t.Fatal(err)
	}
}

// The windows of producers that are made again from chunks outlive the first tick of the new leader, whose time is the bucket's: a producer that had no answer
// repeats its batch.
func TestAdoptedWindowsOutliveTheFirstTick(t *testing.T) {
	for _, test := range []struct {
		name   string
		known  bool // a state is left that is more than a day old
		silent bool // the store does not tell its time
	}{{"all metadata is lost", false, false}, {"an old state", true, false}, {"a store that does not tell its time", false, true}} {
		t.Run(test.name, func(t *testing.T) {
			s := newSmall(t, "varve.durability", "object")
			s.archive()
			s.sendBatches(s.oneRecord("first", recordbatch.Producer{ID: 77, BaseSequence: 0}, 0))
			if !test.known {
				loseMetadata(t, s.store)
			}
			if test.silent {
				s.store = faulty.New(s.store, faulty.Config{Rules: []faulty.Rule{{Ops: faulty.Now, Fail: true}}})
			}
			mustRecover(t, s.store)
			_, state := reopen(t, s.store)
			p := state.Partition(s.place(0))
			if len(p.Producers()) != 1 {
				t.Fatalf("producers %+v", p.Producers())
			}
			tickAt(t, state, time.Now().Add(time.Minute))
			if len(p.Producers()) != 1 {
				t.Error("the producer is forgotten")
			}
			tickAt(t, state, time.Now().Add(25*time.Hour))
			if len(p.Producers()) != 0 {
				t.Error("the producer is never forgotten")
			}
		})
	}
}

// A clock of a node that is wrong by years does not get into the new log.
func TestANodesClockIsNotTheRecoverys(t *testing.T) {
	s := newSmall(t, "varve.durability", "object")
	loseMetadata(t, s.store)
	var b chunk.Builder
	b.Add(s.oneRecord("first", recordbatch.Producer{ID: 77}, 0))
	sealed := b.Seal(chunk.Header{NodeID: 1, NodeEpoch: 1, Lane: 1, Seq: 1, CreatedMillis: time.Now().AddDate(9, 0, 0).UnixMilli()})
	s.put(meta.ChunkKey(1, 1, 1, 1), slices.Concat(append([][]byte{sealed.Head}, sealed.Body...)...))
	if report := mustRecover(t, s.store); report.Chunks.Offsets != 1 {
		t.Fatalf("%+v", report)
	}
	if now := time.UnixMilli(second(reopen(t, s.store)).TimeMillis()); time.Since(now).Abs() > time.Hour {
		t.Errorf("state time is %v", now)
	}
}

// Nodes that are away are known for as long after a recovery as after anything else, and garbage is as old as it is.
func TestWhatARecoveryFindsIsAsOldAsTheRecovery(t *testing.T) {
	s := newSmall(t, "varve.durability", "object")
	batch := s.oneRecord("first", recordbatch.Producer{ID: 77, BaseSequence: 0}, 0)
	s.archive()
	s.sendBatches(batch)
	s.sendBatches(batch) // refused: its chunk becomes garbage
	began := time.Now()
	state, report := s.recovered()
	if report.Chunks.Offsets != 1 || len(state.Garbage()) != 1 {
		t.Fatalf("%+v, garbage %+v", report, state.Garbage())
	}
	if since := time.UnixMilli(state.Garbage()[0].SinceMillis); began.Sub(since) > time.Minute {
		t.Errorf("garbage since %v", since)
	}
	nodes := len(state.Nodes())
	register := &metapb.Command{Kind: &metapb.Command_RegisterNode{RegisterNode: &metapb.RegisterNode{DiskId: make([]byte, 16), Incarnation: []byte{1}}}}
	for _, days := range []int{0, 29} {
		tickAt(t, state, began.AddDate(0, 0, days), register)
		if len(state.Nodes()) != nodes+1 {
			t.Errorf("after %d days %d nodes are known, want %d", days, len(state.Nodes()), nodes+1)
		}
	}
}
