package recovery

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/varvelog/varve/coordinator/archive"
	"github.com/varvelog/varve/coordinator/identity"
	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metalog"
	"github.com/varvelog/varve/coordinator/metalog/bucket"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/infra/objstore"
	"github.com/varvelog/varve/infra/objstore/faulty"
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

// lead does what the first leader of a recovered log does: it begins a leadership, and that is archived.
func lead(t *testing.T, store objstore.Store) {
	t.Helper()
	cluster, r := openArchived(t, store)
	defer r.Close()
	seq, hash := r.Position()
	e := &metapb.Entry{LogId: cluster.LogID[:], PreviousHash: hash[:]}
	r.View(func(s *meta.State) { e.LeaderEpoch, e.TimeMillis = s.LeaderEpoch()+1, s.TimeMillis()+10 })
	e.Commands = []*metapb.Command{{Kind: &metapb.Command_LeaderStart{LeaderStart: &metapb.LeaderStart{Epoch: e.LeaderEpoch, FeatureLevel: meta.FeatureLevel}}}}
	encoded, err := meta.EncodeEntry(e)
	if err != nil {
		t.Fatal(err)
	}
	b := &archive.Batch{LogID: cluster.LogID, First: seq + 1, Entries: [][]byte{encoded}}
	if _, err := cluster.Metadata(store).PutIfAbsent(t.Context(), (archive.Object{First: b.First, Next: b.Next()}).Key(), archive.Encode(b)); err != nil {
		t.Fatal(err)
	}
}

// The identity of a cluster is lost that had been recovered, perhaps more than once. What its groups have committed is in the metadata of the last log, which
// stays until the new one was used, so that the recovery can be repeated.
func TestARecoveredClusterLosesItsIdentity(t *testing.T) {
	for _, times := range []int{1, 2} {
		s := newSmall(t, "varve.durability", "object")
		s.send(true, write{0, 1, nil})
		s.log(&metapb.Command{Kind: &metapb.Command_CommitOffsets{CommitOffsets: &metapb.CommitOffsets{Group: "readers", Offsets: []*metapb.CommittedOffset{
			{TopicId: s.topic[:], Partition: 0, Offset: 1, LeaderEpoch: -1},
		}}}})
		s.archive()
		var used []*identity.Cluster
		for range times {
			mustRecover(t, s.store)
			lead(t, s.store)
			cluster, _ := reopen(t, s.store)
			used = append(used, cluster)
		}
		s.loseIdentity()
		for attempt := range 3 {
			report := mustRecover(t, s.store)
			next, state := reopen(t, s.store)
			if state.Group("readers") == nil {
				t.Fatalf("%d times, attempt %d: the group is lost: %+v, missing %v", times, attempt, report.Damaged, report.Missing)
			}
			if last := used[times-1]; report.Again != (attempt > 0) || !next.WasOf(last.LogID) || next.Formerly().MetadataPrefix() != last.MetadataPrefix() {
				t.Errorf("%d times, attempt %d: again %v, and %+v follows on %+v", times, attempt, report.Again, next, last)
			}
			for _, former := range used {
				if attempt == 0 && len(s.keys(former.MetadataPrefix())) == 0 {
					t.Errorf("%d times: the metadata under %s was deleted", times, former.MetadataPrefix())
				}
			}
		}
	}
}

// A recovery without identity dies before its last step. It is begun again with the disk that was forgotten: what it has left is not what to recover from.
func TestARecoveryWithoutIdentityDies(t *testing.T) {
	s := newSmall(t, "varve.durability", "local")
	s.send(false, write{0, 1, nil})
	s.archive()
	s.loseIdentity()
	died := errors.New("died")
	store := faulty.New(s.store, faulty.Config{Rules: []faulty.Rule{
		{Ops: faulty.PutIfAbsent, Key: func(key string) bool { return key == identity.Key }, Fail: true, Err: died},
	}})
	plan, err := Prepare(t.Context(), Config{Store: store})
	if err != nil {
		t.Fatal(err)
	}
	if plan.Report.LostOffsets != 1 {
		t.Fatalf("without the disk %d offsets are lost", plan.Report.LostOffsets)
	}
	if err := plan.Execute(t.Context()); !errors.Is(err, died) {
		t.Fatal(err)
	}
	if err := plan.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := Prepare(t.Context(), Config{Store: s.store, Disks: []string{"all"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(again.Execute(t.Context()), again.Close()); err != nil {
		t.Fatal(err)
	}
	_, state := reopen(t, s.store)
	if l, ok := state.Locate(s.place(0), 0); !ok || l.Tier != meta.TierHot {
		t.Errorf("the disk is there, and its record is %+v, lost %+v: recovered from log %s, not from %x", l, again.Report.Lost, again.Report.FormerLog, s.cluster.LogID)
	}
}

// An identity of a newer program is no damaged one, which a recovery would replace.
func TestANewerIdentityIsRefused(t *testing.T) {
	for _, newer := range [][2]string{{`"format": 1`, `"format": 3`}, {`"metalog": "jetstream"`, `"metalog": "paper"`}} {
		s := newSmall(t, "varve.durability", "object")
		s.send(true, write{0, 1, nil})
		s.archive()
		body := strings.Replace(string(s.body(identity.Key)), newer[0], newer[1], 1)
		if !strings.Contains(body, newer[1]) {
			t.Fatal(body)
		}
		s.overwrite(identity.Key, []byte(body))
		_, err := tryRecover(t, s.store)
		if !errors.Is(err, identity.ErrNewer) || !strings.Contains(err.Error(), identity.Key) {
			t.Errorf("with %s: %v", newer[1], err)
		}
		if string(s.body(identity.Key)) != body {
			t.Errorf("with %s: it was replaced", newer[1])
		}
	}
}
