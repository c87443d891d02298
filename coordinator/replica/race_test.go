package replica

import (
	"context"
	"testing"

	"github.com/varvelog/varve/coordinator/metalog"
	"github.com/varvelog/varve/coordinator/metalog/mem"
	"github.com/varvelog/varve/infra/objstore"
	memstore "github.com/varvelog/varve/infra/objstore/mem"
)

// busyLog is a log whose leader does something after each question for its bounds, as often as it has something to do.
type busyLog struct {
	metalog.Log
	leader []func()
}

func (l *busyLog) Bounds(ctx context.Context) (first, next uint64, err error) {
	first, next, err = l.Log.Bounds(ctx)
	if len(l.leader) > 0 {
		act := l.leader[0]
		l.leader = l.leader[1:]
		act()
	}
	return first, next, err
}

// lead returns what a leader does: it appends, writes a snapshot, prunes the older ones and cuts the log.
func lead(t *testing.T, backing *mem.Backing, store objstore.Store) (step func(), ahead *Replica) {
	w := newWriter(t, backing.Open())
	ahead = openReplica(t, Config{Log: backing.Open(), Store: store})
	return func() {
		t.Helper()
		ctx := timeout(t)
		w.append(allocate())
		if err := ahead.CatchUp(ctx); err != nil {
			t.Fatal(err)
		}
		if _, err := ahead.SaveSnapshot(ctx); err != nil {
			t.Fatal(err)
		}
		before, _, err := ahead.PruneSnapshots(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if err := backing.Open().Truncate(ctx, before); err != nil {
			t.Fatal(err)
		}
	}, ahead
}

// The log was asked for its end before the snapshots were listed: a snapshot written in between was taken for one of entries that
// the log had lost, and the process ended with the advice to recover the cluster.
func TestASnapshotWrittenMeanwhileIsNoLostLog(t *testing.T) {
	backing, store := mem.New(), memstore.New("snapshots")
	step, ahead := lead(t, backing, store)
	r := openReplica(t, Config{Log: &busyLog{backing.Open(), []func(){step}}, Store: store})
	if err := r.CatchUp(timeout(t)); err != nil || hashOf(r) != hashOf(ahead) {
		t.Fatalf("at %d, not %d: %v", r.Seq(), ahead.Seq(), err)
	}
}

// Two snapshots and two cuts while a replica opens, twice.
func TestALeaderThatCutsTheLogMeanwhileKeepsNobodyOut(t *testing.T) {
	backing, store := mem.New(), memstore.New("snapshots")
	step, ahead := lead(t, backing, store)
	step()
	thrice := func() { step(); step(); step() }
	r := openReplica(t, Config{Log: &busyLog{backing.Open(), []func(){thrice, thrice}}, Store: store})
	if err := r.CatchUp(timeout(t)); err != nil || hashOf(r) != hashOf(ahead) {
		t.Fatalf("at %d, not %d: %v", r.Seq(), ahead.Seq(), err)
	}
}
