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
		s, inner, _ := newSweeper(t, Config{DeleteDelay: time.Minute}, leader)
		var locked atomic.Bool
		locked.Store(true)
		s.store = faulty.New(inner, faulty.Config{Rules: []faulty.Rule{{
			Ops: faulty.Delete, Key: func(key string) bool { return locked.Load() && strings.HasPrefix(key, "segment/") }, Fail: true, Err: objstore.ErrAccess,
		}}})
		const stuck, behind = garbageKeys + 500, 700
		for i := range stuck {
			leader.garbage = append(leader.garbage, meta.SegmentKey(meta.JobID(i+1), 0))
		}
		for i := range uint64(behind) {
			leader.garbage = append(leader.garbage, meta.ChunkKey(1, 1, 1, i+1))
		}
		rounds := func(n int) {
			for range n {
				if err := s.Garbage(t.Context()); err != nil && !errors.Is(err, objstore.ErrAccess) {
					t.Fatal(err)
				}
				time.Sleep(time.Minute) // virtual
			}
		}
		if rounds(6); len(leader.garbage) != stuck || len(leader.forgotten) != behind {
			t.Errorf("%d are left, want %d; %d are deleted", len(leader.garbage), stuck, len(leader.forgotten))
		}
		// What comes later does not wait for another round over all that is stuck.
		leader.garbage = append(leader.garbage, meta.ChunkKey(1, 1, 1, behind+1))
		if rounds(2); len(leader.garbage) != stuck {
			t.Errorf("%d are left, want %d", len(leader.garbage), stuck)
		}
		if err := s.RetryPassed(t.Context()); !errors.Is(err, objstore.ErrAccess) || len(leader.garbage) != stuck {
			t.Errorf("%d are left after another try: %v", len(leader.garbage), err)
		}
		locked.Store(false)
		if err := s.RetryPassed(t.Context()); err != nil {
			t.Error(err)
		}
		if rounds(2); len(leader.garbage) != 0 {
			t.Errorf("%d are left that can be deleted now", len(leader.garbage))
		}
	})
}
