package lane_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/infra/objstore/mem"
	"github.com/varvelog/varve/infra/vfs"
	"github.com/varvelog/varve/ingest/hotlog"
	"github.com/varvelog/varve/ingest/lane"
	"github.com/varvelog/varve/ingest/lane/lanetest"
)

func TestFencedEpochFailsWhatHasNoVerdict(t *testing.T) {
	w := newWorld(t, lane.Config{})
	topic := w.cluster.CreateTopic(t, "a", "local", 1)
	w.mustCommit([]int64{0}, w.local(topic, 0, "before"))
	w.cluster.OnSubmit(func(attempt int, _ []*metapb.Command) (bool, error) {
		if attempt == 1 {
			// Another incarnation of the node registers while the chunk is on its way.
			if _, err := w.cluster.Renew(t.Context()); err != nil {
				t.Error(err)
			}
		}
		return true, nil
	})
	w.expectFailure(w.append(w.local(topic, 0, "lost")), lane.Fenced)
	w.await("the next epoch", func() bool { return w.events.epochs.Load() == 2 })
	w.mustCommit([]int64{1}, w.local(topic, 0, "after"))
	if got := w.values(topic, 0); !slices.Equal(got, []string{"before", "after"}) {
		t.Errorf("%q", got)
	}
}

func TestFenceEndsAnEpochWithoutAVerdict(t *testing.T) {
	w := newWorld(t, lane.Config{})
	topic := w.cluster.CreateTopic(t, "a", "local", 1)
	w.cluster.OnSubmit(func(_ int, commands []*metapb.Command) (bool, error) {
		commit := commands[0].GetCommitChunk()
		if commit.NodeEpoch > 1 {
			return true, nil
		}
		w.set.Fence(lane.Registration{Node: meta.NodeID(commit.NodeId), Epoch: commit.NodeEpoch})
		return false, errors.New("the leader says: fenced")
	})
	w.expectFailure(w.append(w.local(topic, 0, "lost")), lane.Fenced)
	w.await("the next epoch", func() bool { return w.events.epochs.Load() == 2 })
	w.mustCommit([]int64{0}, w.local(topic, 0, "after"))
}

func TestFailedSyncPoisonsTheSegmentAndEndsTheEpoch(t *testing.T) {
	for _, op := range []vfs.Op{vfs.OpSyncData, vfs.OpWrite} {
		t.Run(string(op), func(t *testing.T) {
			w := newWorld(t, lane.Config{})
			topic := w.cluster.CreateTopic(t, "a", "local", 2)
			w.mustCommit([]int64{0}, w.local(topic, 0, "before"))
			w.disk.SetDecide(vfs.FailNth(1, func(c vfs.Call) bool { return c.Op == op }, syscall.EIO))
			w.expectFailure(w.append(w.local(topic, 0, "lost"), w.local(topic, 1, "lost")), lane.StorageFailed)
			w.await("the next epoch", func() bool { return w.events.epochs.Load() == 2 })
			w.mustCommit([]int64{1, 0}, w.local(topic, 0, "after"), w.local(topic, 1, "after"))
			if w.events.epochs.Load() != 2 {
				t.Errorf("%d epochs", w.events.epochs.Load())
			}
			if got := w.values(topic, 0); !slices.Equal(got, []string{"before", "after"}) {
				t.Errorf("%q", got)
			}
		})
	}
}

func TestChunksFlushedBeforeAFailedSyncAreStillCommitted(t *testing.T) {
	w := newWorld(t, lane.Config{})
	topic := w.cluster.CreateTopic(t, "a", "local", 1)
	submitting := newGate()
	w.cluster.OnSubmit(func(int, []*metapb.Command) (bool, error) {
		submitting.pass()
		return true, nil
	})
	first := w.append(w.local(topic, 0, "flushed"))
	<-submitting.entered
	w.disk.SetDecide(vfs.FailNth(1, func(c vfs.Call) bool { return c.Op == vfs.OpSyncData }, syscall.EIO))
	w.expectFailure(w.append(w.local(topic, 0, "lost")), lane.StorageFailed)
	submitting.release()
	w.expect(first, 0)
	w.await("the next epoch", func() bool { return w.events.epochs.Load() == 2 })
	w.mustCommit([]int64{1}, w.local(topic, 0, "after"))
}

func TestFullDiskRefusesProducersUntilThereIsSpace(t *testing.T) {
	w := newWorld(t, lane.Config{})
	topic := w.cluster.CreateTopic(t, "a", "local", 1)
	w.mustCommit([]int64{0}, w.local(topic, 0, "before"))
	w.disk.SetDecide(func(c vfs.Call) *vfs.Fault {
		if c.Op == vfs.OpWrite || c.Op == vfs.OpPreallocate {
			return &vfs.Fault{Err: syscall.ENOSPC}
		}
		return nil
	})
	for range 3 {
		w.expectFailure(w.append(w.local(topic, 0, "refused")), lane.StorageFailed)
	}
	if got := w.values(topic, 0); !slices.Equal(got, []string{"before"}) {
		t.Errorf("while the disk is full: %q", got)
	}
	w.disk.SetDecide(nil)
	w.await("space is noticed", func() bool {
		return w.results(w.append(w.local(topic, 0, "after")))[0].Failure == lane.NoFailure
	})
	if got := w.values(topic, 0); !slices.Equal(got, []string{"before", "after"}) {
		t.Errorf("%q", got)
	}
	if w.events.epochs.Load() != 1 {
		t.Errorf("%d epochs: a full disk needs no new one", w.events.epochs.Load())
	}
}

func TestWhileTheDiskIsFullItIsLeftAlone(t *testing.T) {
	w := newWorld(t, lane.Config{RetryMin: time.Hour, RetryMax: time.Hour})
	topic := w.cluster.CreateTopic(t, "a", "local", 1)
	w.mustCommit([]int64{0}, w.local(topic, 0, "before"))
	w.disk.SetDecide(func(c vfs.Call) *vfs.Fault {
		if c.Op == vfs.OpWrite {
			return &vfs.Fault{Err: syscall.ENOSPC}
		}
		return nil
	})
	w.expectFailure(w.append(w.local(topic, 0, "refused")), lane.StorageFailed)
	writes := w.disk.Calls(vfs.OpWrite)
	for range 10 {
		w.expectFailure(w.append(w.local(topic, 0, "refused")), lane.StorageFailed)
	}
	if again := w.disk.Calls(vfs.OpWrite) - writes; again != 0 {
		t.Errorf("%d writes were tried during the delay", again)
	}
	w.disk.SetDecide(nil)
}

func TestAChunkThatTheLogHasLostEndsTheEpoch(t *testing.T) {
	w := newWorld(t, lane.Config{})
	topic := w.cluster.CreateTopic(t, "a", "local", 1)
	w.mustCommit([]int64{0}, w.local(topic, 0, "answered"))
	w.cluster.OnSubmit(func(_ int, commands []*metapb.Command) (bool, error) {
		w.cluster.OnSubmit(nil)
		w.set.ChunkVerdict(commands[0].GetCommitChunk(), &meta.ChunkVerdict{Code: meta.WrongSeq, Expected: 1}) // of a state that has gone back
		return false, nil
	})
	w.expectFailure(w.append(w.local(topic, 0, "behind it")), lane.Fenced)
	w.mustCommit([]int64{1}, w.local(topic, 0, "in the next epoch"))
	if got := w.events.epochs.Load(); got != 2 {
		t.Errorf("%d epochs", got)
	}
}

func TestOldSegmentIsSealedBehindItsLastChunk(t *testing.T) {
	w := newWorld(t, lane.Config{SealAge: 5 * time.Millisecond})
	topic := w.cluster.CreateTopic(t, "a", "local", 1)
	w.mustCommit([]int64{0}, w.local(topic, 0, "x"))
	sealed := func() (n int) {
		w.cluster.View(func(st *meta.State) {
			st.Containers(func(c meta.Container) bool {
				if c.Sealed {
					n++
				}
				return true
			})
		})
		return n
	}
	w.await("seal by age", func() bool { return sealed() == 1 })
	w.mustCommit([]int64{1}, w.local(topic, 0, "y"))
	w.await("seal of the next", func() bool { return sealed() == 2 })
}

// lingeringLog takes its time between making a chunk durable and saying so.
type lingeringLog struct {
	*hotlog.Log
	linger time.Duration
}

func (l lingeringLog) Append(places []hotlog.Place, chunks ...hotlog.Chunk) ([]hotlog.Place, error) {
	places, err := l.Log.Append(places, chunks...)
	time.Sleep(l.linger)
	return places, err
}

func TestASegmentIsNotSealedBeforeAChunkThatIsDurableInIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster, told := lanetest.NewCluster(), &events{}
		log, _, err := hotlog.Open(vfs.NewMem(), "hot", hotlog.Config{SegmentBytes: 1 << 20, NoSpare: true})
		if err != nil {
			t.Fatal(err)
		}
		set, err := lane.New(lane.Config{SealAge: 3 * time.Second}, lane.Dependencies{
			Log: lingeringLog{log, 2 * time.Second}, Store: mem.New("test"), Replica: cluster, Epochs: cluster, Observer: told,
		})
		if err != nil {
			t.Fatal(err)
		}
		w := &world{t: t, cluster: cluster, log: log, set: set, events: told}
		topic := cluster.CreateTopic(t, "a", "local", 1)
		w.mustCommit([]int64{0}, w.local(topic, 0, "first in its segment"))
		time.Sleep(2 * time.Second)
		w.mustCommit([]int64{1}, w.local(topic, 0, "durable when the segment comes of age"))
		if err := errors.Join(set.Close(t.Context()), log.Close()); err != nil {
			t.Error(err)
		}
		if epochs := told.epochs.Load(); epochs != 1 {
			t.Errorf("%d epochs", epochs)
		}
	})
}

func TestSegmentsRolledBySizeAreSealedInOrder(t *testing.T) {
	w := newWorld(t, lane.Config{})
	topic := w.cluster.CreateTopic(t, "a", "local", 1)
	large := string(make([]byte, 300<<10))
	for i := range 8 {
		w.mustCommit([]int64{int64(i)}, w.local(topic, 0, large))
	}
	seals := func() (n int) {
		for _, c := range w.cluster.Commands() {
			if c.GetSealContainer() != nil {
				n++
			}
		}
		return n
	}
	w.await("all segments but the last to be sealed", func() bool { return seals() == 2 })
	sealed, last := uint64(0), uint64(0)
	for _, c := range w.cluster.Commands() {
		if commit := c.GetCommitChunk(); commit != nil {
			if last = commit.Segment; last <= sealed {
				t.Errorf("chunk %d stands in segment %d, and %d is sealed", commit.Seq, commit.Segment, sealed)
			}
		}
		if seal := c.GetSealContainer(); seal != nil {
			if seal.Segment != sealed+1 {
				t.Errorf("segment %d is sealed after %d", seal.Segment, sealed)
			}
			sealed = seal.Segment
		}
	}
	if last != sealed+1 {
		t.Errorf("the last chunk is in segment %d, sealed up to %d", last, sealed)
	}
}

func TestClassChangeWaitsForThePartitionToDrain(t *testing.T) {
	w := newWorld(t, lane.Config{})
	topic := w.cluster.CreateTopic(t, "a", "local", 2)
	w.mustCommit([]int64{0}, w.local(topic, 0, "local"))
	submitting := newGate()
	w.cluster.OnSubmit(func(int, []*metapb.Command) (bool, error) {
		submitting.pass()
		return true, nil
	})
	local := w.append(w.local(topic, 0, "local"))
	<-submitting.entered
	stays := w.append(w.object(topic, 0, "unanswered batches before it"))
	moves := w.append(w.object(topic, 1, "nothing before it"))
	w.await("flushes", func() bool { return w.events.flushed.Load() == 4 })
	submitting.release()
	w.expect(local, 1)
	w.expect(stays, 2)
	w.expect(moves, 0)
	w.mustCommit([]int64{3}, w.object(topic, 0, "drained"))
	lanes := []uint32{}
	for _, c := range w.cluster.Commands() {
		if commit := c.GetCommitChunk(); commit != nil {
			lanes = append(lanes, commit.Lane)
		}
	}
	slices.Sort(lanes)
	if fmt.Sprint(lanes) != "[0 0 0 1 1]" {
		t.Errorf("lanes of the chunks: %v", lanes)
	}
}

type releases struct {
	segments  []uint64
	forgotten []uint64
}

func (r *releases) Released() []uint64 { return r.segments }

func (r *releases) Forget(_ context.Context, segments []uint64) error {
	r.forgotten = append(r.forgotten, segments...)
	return nil
}

func TestJanitorRemovesReleasedSegments(t *testing.T) {
	w := newWorld(t, lane.Config{})
	topic := w.cluster.CreateTopic(t, "a", "local", 1)
	w.mustCommit([]int64{0}, w.local(topic, 0, "x"))
	first := w.log.Segments()[0].ID
	released := &releases{segments: []uint64{first, 999}}
	janitor := lane.Janitor{Released: released, Log: w.log}
	if err := janitor.Sweep(t.Context()); err == nil {
		t.Error("the active segment was removed")
	}
	if !slices.Equal(released.forgotten, []uint64{999}) {
		t.Errorf("forgotten: %v, want the one that is gone", released.forgotten)
	}
	if err := w.log.Roll(); err != nil {
		t.Fatal(err)
	}
	if err := janitor.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(released.forgotten, first) {
		t.Errorf("forgotten: %v", released.forgotten)
	}
}

func TestABatchThatNoSegmentCanHoldIsRefusedAlone(t *testing.T) {
	w := newWorld(t, lane.Config{})
	topic := w.cluster.CreateTopic(t, "events", "local", 2)
	large := w.local(topic, 0, strings.Repeat("x", 2<<20))
	p := w.append(large, w.local(topic, 1, "behind it"))
	results := w.results(p)
	if results[0].Failure != lane.TooLarge {
		t.Errorf("the large one: %+v", results[0])
	}
	if r := results[1]; r.Failure != lane.NoFailure || r.Code != meta.OK {
		t.Errorf("what came behind it: %+v", r)
	}
	w.mustCommit([]int64{0}, w.local(topic, 0, "smaller"))
}
