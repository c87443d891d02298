package recovery

import (
	"testing"

	"github.com/varvelog/varve/infra/objstore"
)

// What a recovery rescues may be garbage of the state that it began with: it must not be deleted any more.
func TestRescuedObjectsAreGarbage(t *testing.T) {
	for _, policy := range []string{"compact", "delete"} {
		s := newSmall(t, "varve.durability", "object", "cleanup.policy", policy)
		for range 4 {
			s.send(true, write{0, 1, nil})
			s.shipAll()
		}
		s.loseStoredAnew()
		state, report := s.recovered()
		if report.Rescued.Objects == 0 {
			t.Errorf("%s: nothing was rescued", policy)
		}
		for _, g := range state.Garbage() { // the recovered cluster's sweeper does its work
			if err := s.store.Delete(s.ctx, g.Key); err != nil {
				t.Fatal(err)
			}
		}
		for l := range partsOf(state, state.Partition(s.place(0))) {
			if _, _, err := objstore.ReadAll(s.ctx, s.store, l.Key(), 1<<30); err != nil {
				t.Errorf("%s: [%d, %d): %v", policy, l.BaseOffset, l.NextOffset, err)
			}
		}
	}
}
