package sweep

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/infra/objstore"
	"github.com/varvelog/varve/infra/objstore/faulty"
	"github.com/varvelog/varve/infra/objstore/mem"
)

type fakeLeader struct {
	garbage    []string
	forgotten  []string
	referenced map[string]bool
}

func (f *fakeLeader) Garbage(context.Context, *metapb.GarbageRequest) (*metapb.GarbageResponse, error) {
	return &metapb.GarbageResponse{Keys: f.garbage}, nil
}

func (f *fakeLeader) ForgetGarbage(_ context.Context, r *metapb.GarbageForgetRequest) (*metapb.GarbageForgetResponse, error) {
	f.forgotten = append(f.forgotten, r.Keys...)
	return &metapb.GarbageForgetResponse{}, nil
}

func (f *fakeLeader) Referenced(_ context.Context, r *metapb.ReferencedRequest) (*metapb.ReferencedResponse, error) {
	answer := &metapb.ReferencedResponse{}
	for _, key := range r.Keys {
		answer.Referenced = append(answer.Referenced, f.referenced[key])
	}
	return answer, nil
}

type count struct{ garbage, orphans int }

func (c *count) Deleted(garbage, orphans int) { c.garbage += garbage; c.orphans += orphans }

func newSweeper(t *testing.T, config Config, leader Leader, keys ...string) (*Sweeper, objstore.Store, *count) {
	t.Helper()
	store := mem.New("sweep")
	for _, key := range keys {
		if _, err := store.Put(t.Context(), key, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	counted := &count{}
	s, err := New(config, leader, store, counted, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return s, store, counted
}

func exists(t *testing.T, store objstore.Store, key string) bool {
	t.Helper()
	_, err := store.Head(t.Context(), key)
	if err != nil && !errors.Is(err, objstore.ErrNotFound) {
		t.Fatal(err)
	}
	return err == nil
}

func TestGarbageIsDeletedAfterItsDelayAndForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leader := &fakeLeader{garbage: []string{"segment/00/1-0"}}
		s, store, counted := newSweeper(t, Config{DeleteDelay: time.Minute}, leader, "segment/00/1-0", "segment/00/2-0")
		if err := s.Garbage(t.Context()); err != nil {
			t.Fatal(err)
		}
		if !exists(t, store, "segment/00/1-0") {
			t.Fatal("deleted before the delay")
		}
		time.Sleep(time.Minute) // virtual
		if err := s.Garbage(t.Context()); err != nil {
			t.Fatal(err)
		}
		if exists(t, store, "segment/00/1-0") || !exists(t, store, "segment/00/2-0") {
			t.Error("deleted the wrong object")
		}
		if !slices.Equal(leader.forgotten, []string{"segment/00/1-0"}) || counted.garbage != 1 {
			t.Errorf("forgotten %v, counted %+v", leader.forgotten, counted)
		}
	})
}

// newLockedSweeper is newSweeper with a store in which segments cannot be deleted while locked holds.
func newLockedSweeper(t *testing.T, leader Leader, locked *atomic.Bool) (s *Sweeper, inner objstore.Store) {
	t.Helper()
	s, inner, _ = newSweeper(t, Config{DeleteDelay: time.Minute}, leader)
	locked.Store(true)
	s.store = faulty.New(inner, faulty.Config{Rules: []faulty.Rule{{
		Ops: faulty.Delete, Key: func(key string) bool { return locked.Load() && strings.HasPrefix(key, "segment/") }, Fail: true, Err: objstore.ErrAccess,
	}}})
	return s, inner
}

// rounds deletes garbage, and waits a minute of the virtual time, so many times. What cannot be deleted is no failure.
func rounds(t *testing.T, s *Sweeper, n int) {
	t.Helper()
	for range n {
		if err := s.Garbage(t.Context()); err != nil && !errors.Is(err, objstore.ErrAccess) {
			t.Fatal(err)
		}
		time.Sleep(time.Minute) // virtual
	}
}

// steadyLeader has garbage that comes steadily, oldest first, until it is forgotten.
type steadyLeader struct {
	fakeLeader
}

func (f *steadyLeader) Garbage(_ context.Context, r *metapb.GarbageRequest) (*metapb.GarbageResponse, error) {
	garbage := f.garbage[min(len(f.garbage), int(r.Skip)):]
	return &metapb.GarbageResponse{Keys: slices.Clone(garbage[:min(len(garbage), int(r.Max))])}, nil
}

func (f *steadyLeader) ForgetGarbage(ctx context.Context, r *metapb.GarbageForgetRequest) (*metapb.GarbageForgetResponse, error) {
	gone := make(map[string]bool, len(r.Keys))
	for _, key := range r.Keys {
		gone[key] = true
	}
	f.garbage = slices.DeleteFunc(f.garbage, func(key string) bool { return gone[key] })
	return f.fakeLeader.ForgetGarbage(ctx, r)
}

// Two nodes with the default budget of PUTs make 20 chunks a second, each of which becomes garbage. With the default delay 15 a second were deleted: a
// thousand were waited for at a time, a minute long, and the state's list of garbage grew for ever.
func TestGarbageIsDeletedAsFastAsItComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leader := &steadyLeader{}
		s, _, _ := newSweeper(t, Config{DeleteDelay: time.Minute}, leader)
		for round := range uint64(6 * 60 / 5) {
			for i := range uint64(40 * 5) {
				leader.garbage = append(leader.garbage, meta.ChunkKey(1, 1, 1, round*200+i+1))
			}
			if err := s.Garbage(t.Context()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(5 * time.Second) // virtual
		}
		if left := len(leader.garbage); left > 2*40*60 {
			t.Errorf("%d objects of 14,400 wait, of which 2,400 are younger than the delay", left)
		}
	})
}

func TestOnlyOldObjectsThatNothingRefersToAreOrphans(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		live, orphan := meta.SegmentKey(1, 0), meta.SegmentKey(2, 0)
		orphanChunk, youngChunk := meta.ChunkKey(1, 1, 1, 1), meta.ChunkKey(1, 1, 1, 2)
		leader := &fakeLeader{referenced: map[string]bool{live: true}}
		s, store, counted := newSweeper(t, Config{OrphanAge: time.Hour}, leader, live, orphan, orphanChunk, "cluster.json", "meta/log/1")
		if err := s.Orphans(t.Context()); err != nil {
			t.Fatal(err)
		}
		if counted.orphans != 0 {
			t.Fatal("young objects were swept")
		}
		time.Sleep(2 * time.Hour) // virtual
		if _, err := store.Put(t.Context(), youngChunk, []byte("young")); err != nil {
			t.Fatal(err)
		}
		if err := s.Orphans(t.Context()); err != nil {
			t.Fatal(err)
		}
		for key, want := range map[string]bool{live: true, orphan: false, orphanChunk: false, youngChunk: true, "cluster.json": true, "meta/log/1": true} {
			if exists(t, store, key) != want {
				t.Errorf("%s exists: %v, want %v", key, !want, want)
			}
		}
		if counted.orphans != 2 {
			t.Errorf("counted %+v", counted)
		}
	})
}

// What a process that died left of its probe of the store is nobody's, and the leader knows nothing of it.
func TestOldProbesAreSwept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		probe, strange := objstore.ProbePrefix+"ABCDEFGHIJKLMNOPQRSTUVWX27", objstore.ProbePrefix+"notes.txt"
		s, store, counted := newSweeper(t, Config{OrphanAge: time.Hour}, &fakeLeader{referenced: map[string]bool{probe: true}}, probe, strange)
		for _, age := range []time.Duration{0, 2 * time.Hour} {
			time.Sleep(age) // virtual
			if err := s.Orphans(t.Context()); err != nil {
				t.Fatal(err)
			}
			if young := age == 0; exists(t, store, probe) != young || !exists(t, store, strange) {
				t.Errorf("after %s: probe is there: %v, what is not Varve's: %v", age, exists(t, store, probe), exists(t, store, strange))
			}
		}
		if counted.orphans != 1 {
			t.Errorf("counted %+v", counted)
		}
	})
}

// An object that cannot be deleted (a retention lock, a missing permission) must not keep the others: garbage is told of oldest
// first, so they would wait behind it for ever.
func TestAnObjectThatCannotBeDeletedKeepsNoOther(t *testing.T) {
	keys := []string{"segment/00/1-0", "segment/00/2-0", "segment/00/3-0"}
	leader := &fakeLeader{garbage: keys}
	s, inner, counted := newSweeper(t, Config{Parallel: 1}, leader, keys...)
	s.store = faulty.New(inner, faulty.Config{Rules: []faulty.Rule{{
		Ops: faulty.Delete, Key: func(key string) bool { return key == keys[0] }, Fail: true, Err: objstore.ErrAccess,
	}}})
	if err := s.Garbage(t.Context()); !errors.Is(err, objstore.ErrAccess) {
		t.Errorf("got %v, want %v", err, objstore.ErrAccess)
	}
	if exists(t, inner, keys[1]) || exists(t, inner, keys[2]) {
		t.Error("one object that could not be deleted kept the others")
	}
	if slices.Sort(leader.forgotten); !slices.Equal(leader.forgotten, keys[1:]) || counted.garbage != 2 {
		t.Errorf("forgotten %v, counted %+v", leader.forgotten, counted)
	}
}

// hungLeader answers nothing, as one whose machine has been frozen.
type hungLeader struct{ Leader }

func (hungLeader) Garbage(ctx context.Context, _ *metapb.GarbageRequest) (*metapb.GarbageResponse, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestALeaderThatHangsIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _, _ := newSweeper(t, Config{}, hungLeader{})
		if err := s.Garbage(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want %v", err, context.DeadlineExceeded)
		}
	})
}

func TestNothingIsDeletedInABucketThatIsAnothersNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key := meta.SegmentKey(1, 0)
		leader := &fakeLeader{garbage: []string{key}}
		gone := errors.New("recovered without this process")
		guard := func(context.Context) error { return gone }
		s, store, counted := newSweeper(t, Config{OrphanAge: time.Minute, Guard: guard}, leader, key)
		time.Sleep(time.Hour) // virtual
		if err := s.Garbage(t.Context()); !errors.Is(err, gone) {
			t.Errorf("garbage: %v", err)
		}
		if err := s.Orphans(t.Context()); !errors.Is(err, gone) {
			t.Errorf("orphans: %v", err)
		}
		if !exists(t, store, key) || counted.garbage+counted.orphans != 0 || len(leader.forgotten) != 0 {
			t.Error("the object is gone")
		}
	})
}

func TestStrangeObjectsAreLeftAloneAndReportedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		strange := []string{"segment/notes.txt", "segment/00/1-0/x", "segment/zz/1-0", "chunk/00/1-1-1"}
		s, store, counted := newSweeper(t, Config{OrphanAge: time.Minute}, &fakeLeader{}, strange...)
		var logged strings.Builder
		s.log = slog.New(slog.NewTextHandler(&logged, nil))
		time.Sleep(time.Hour) // virtual
		for range 2 {
			if err := s.Orphans(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		for _, key := range strange {
			if !exists(t, store, key) {
				t.Errorf("%s was deleted", key)
			}
		}
		if n := strings.Count(logged.String(), "left alone"); n != 1 || counted.orphans != 0 {
			t.Errorf("%d reports, %d deleted: %s", n, counted.orphans, logged.String())
		}
	})
}
