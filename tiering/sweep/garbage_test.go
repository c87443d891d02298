package sweep

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/infra/objstore"
	"github.com/varvelog/varve/infra/objstore/faulty"
)

// More garbage than is looked at in one round cannot be deleted, and is older than all other: what is behind it must be deleted all the same, and it
// itself when it can be.
func TestGarbageBehindALotThatCannotBeDeletedIsDeleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leader := &steadyLeader{}
		var locked atomic.Bool
		s, _ := newLockedSweeper(t, leader, &locked)
		const stuck, behind = garbageKeys + 500, 700
		for i := range stuck {
			leader.garbage = append(leader.garbage, meta.SegmentKey(meta.JobID(i+1), 0))
		}
		for i := range uint64(behind) {
			leader.garbage = append(leader.garbage, meta.ChunkKey(1, 1, 1, i+1))
		}
		if rounds(t, s, 6); len(leader.garbage) != stuck || len(leader.forgotten) != behind {
			t.Errorf("%d are left, want %d; %d are deleted", len(leader.garbage), stuck, len(leader.forgotten))
		}
		// What comes later does not wait for another round over all that is stuck.
		leader.garbage = append(leader.garbage, meta.ChunkKey(1, 1, 1, behind+1))
		if rounds(t, s, 2); len(leader.garbage) != stuck {
			t.Errorf("%d are left, want %d", len(leader.garbage), stuck)
		}
		if err := s.RetryPassed(t.Context()); !errors.Is(err, objstore.ErrAccess) || len(leader.garbage) != stuck {
			t.Errorf("%d are left after another try: %v", len(leader.garbage), err)
		}
		locked.Store(false)
		if err := s.RetryPassed(t.Context()); err != nil {
			t.Error(err)
		}
		if rounds(t, s, 2); len(leader.garbage) != 0 {
			t.Errorf("%d are left that can be deleted now", len(leader.garbage))
		}
	})
}

// Another worker has deleted what this one has passed over; what takes its place in the list is young.
func TestWhatWasPassedOverKeepsTheDelayOfOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leader := &steadyLeader{}
		var locked atomic.Bool
		s, inner := newLockedSweeper(t, leader, &locked)
		other, _, _ := newSweeper(t, Config{DeleteDelay: time.Minute}, leader)
		other.store = inner
		for i := range garbageKeys {
			leader.garbage = append(leader.garbage, meta.SegmentKey(meta.JobID(i+1), 0))
		}
		rounds(t, s, 3)
		locked.Store(false)
		rounds(t, other, 3) // another worker, that passes over nothing
		if len(leader.garbage) != 0 {
			t.Fatalf("%d objects are left", len(leader.garbage))
		}
		for i := range 5000 {
			key := meta.SegmentKey(meta.JobID(1_000_000+i), 0)
			if _, err := inner.Put(t.Context(), key, []byte("x")); err != nil {
				t.Fatal(err)
			}
			leader.garbage = append(leader.garbage, key)
		}
		if err := s.RetryPassed(t.Context()); err != nil {
			t.Fatal(err)
		}
		if len(leader.garbage) != 5000 {
			t.Errorf("of 5000 objects that became garbage this moment %d were deleted, with a delay of a minute", 5000-len(leader.garbage))
		}
	})
}

// What was deleted beside something that could not be, in the same round or later, by this worker or another, was remembered for as long as anything was passed over:
// for years, where one object is under a retention lock.
func TestNoMoreIsRememberedThanIsPassedOver(t *testing.T) {
	for name, others := range map[string]bool{"alone": false, "beside another worker": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				leader := &steadyLeader{}
				s, inner, _ := newSweeper(t, Config{}, leader)
				other, _, _ := newSweeper(t, Config{}, leader)
				var failures atomic.Int64 // so many deletions of chunks still fail
				s.store = faulty.New(inner, faulty.Config{Rules: []faulty.Rule{{
					Ops: faulty.Delete, Key: func(key string) bool { return strings.HasPrefix(key, "segment/") || failures.Add(-1) >= 0 }, Fail: true, Err: objstore.ErrAccess,
				}}})
				leader.garbage = []string{meta.SegmentKey(1, 0)} // locked
				next := uint64(0)
				for hour := range 2 {
					for range 2 {
						for len(leader.garbage) < garbageKeys+500 {
							next++
							leader.garbage = append(leader.garbage, meta.ChunkKey(1, 1, 1, next))
						}
						failures.Store(20)
						if err := s.Garbage(t.Context()); !errors.Is(err, objstore.ErrAccess) {
							t.Fatal(err)
						}
						if len(s.old) > s.passed {
							t.Errorf("%d objects are passed over, %d are remembered", s.passed, len(s.old))
						}
						time.Sleep(5 * time.Second) // virtual
					}
					if s.passed != 2*20+1 {
						t.Errorf("%d objects are passed over", s.passed)
					}
					if failures.Store(0); others {
						locked := leader.garbage[0]
						other.store = faulty.New(inner, faulty.Config{Rules: []faulty.Rule{{
							Ops: faulty.Delete, Key: func(key string) bool { return key == locked }, Fail: true, Err: objstore.ErrAccess,
						}}})
						if err := other.Garbage(t.Context()); !errors.Is(err, objstore.ErrAccess) { // all but one
							t.Fatal(err)
						}
					}
					if err := s.RetryPassed(t.Context()); !errors.Is(err, objstore.ErrAccess) || s.passed != 1 || len(s.old) != 1 {
						t.Errorf("hour %d: %d objects are passed over, %d are remembered: %v", hour, s.passed, len(s.old), err)
					}
				}
			})
		})
	}
}
