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

// Another worker has deleted what this one has passed over; what takes its place in the list is young.
func TestWhatWasPassedOverKeepsTheDelayOfOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leader := &steadyLeader{}
		s, inner, _ := newSweeper(t, Config{DeleteDelay: time.Minute}, leader)
		other, _, _ := newSweeper(t, Config{DeleteDelay: time.Minute}, leader)
		other.store = inner
		var locked atomic.Bool
		locked.Store(true)
		s.store = faulty.New(inner, faulty.Config{Rules: []faulty.Rule{{
			Ops: faulty.Delete, Key: func(key string) bool { return locked.Load() && strings.HasPrefix(key, "segment/") }, Fail: true, Err: objstore.ErrAccess,
		}}})
		for i := range garbageKeys {
			leader.garbage = append(leader.garbage, meta.SegmentKey(meta.JobID(i+1), 0))
		}
		for range 3 {
			if err := s.Garbage(t.Context()); err != nil && !errors.Is(err, objstore.ErrAccess) {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
		}
		locked.Store(false)
		for range 3 { // another worker, that passes over nothing
			if err := other.Garbage(t.Context()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
		}
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
