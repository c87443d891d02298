package recovery

import (
	"context"
	"errors"
	"testing"

	"github.com/varvelog/varve/coordinator/identity"
	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metalog"
	"github.com/varvelog/varve/coordinator/metalog/bucket"
	"github.com/varvelog/varve/coordinator/metapb"
)

func (w *world) loseIdentity() {
	w.t.Helper()
	if err := w.store.Delete(w.ctx, identity.Key); err != nil {
		w.t.Fatal(err)
	}
}

// The coordinator that led last is asked whether it is alive, also where nothing says any more whose it is.
func TestACoordinatorIsAskedWithoutIdentity(t *testing.T) {
	for _, lost := range []bool{false, true} {
		s := newSmall(t, "varve.durability", "object")
		s.logAs(2, &metapb.Command{Kind: &metapb.Command_LeaderStart{LeaderStart: &metapb.LeaderStart{Epoch: 2, InternalAddress: "there:1", FeatureLevel: meta.FeatureLevel}}})
		s.archive()
		if lost {
			s.loseIdentity()
		}
		asked := func(_ context.Context, cluster *identity.Cluster, address string) bool {
			return address == "there:1" && (cluster == nil) == lost
		}
		if _, err := Prepare(t.Context(), Config{Store: s.store, Alive: asked}); !errors.Is(err, ErrAlive) {
			t.Errorf("identity lost %v: %v, want ErrAlive", lost, err)
		}
	}
}

// A log that was kept in the bucket is told from one that was kept elsewhere by its entries, also where a snapshot stands for all of them, and they are
// damaged.
func TestTheBackendOfALogWithoutIdentity(t *testing.T) {
	for _, damaged := range []bool{false, true} {
		s := newSmall(t, "varve.durability", "object")
		log, err := bucket.Open(t.Context(), s.store)
		if err != nil {
			t.Fatal(err)
		}
		for i, e := range s.pending {
			if err := log.Append(t.Context(), s.first+uint64(i), e, metalog.Ordinary); err != nil {
				t.Fatal(err)
			}
		}
		s.first, s.pending = s.first+uint64(len(s.pending)), nil
		s.snapshot()
		if damaged {
			for _, key := range s.keys("meta/log/") {
				s.overwrite(key, s.body(key)[:40])
			}
		}
		s.loseIdentity()
		if report := mustRecover(t, s.store); report.Metalog != identity.MetalogBucket {
			t.Errorf("damaged %v: the log was in the bucket, and the report says %s", damaged, report.Metalog)
		}
	}
}
