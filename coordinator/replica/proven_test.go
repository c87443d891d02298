package replica

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metalog/mem"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/infra/objstore"
	"github.com/varvelog/varve/infra/objstore/faulty"
	memstore "github.com/varvelog/varve/infra/objstore/mem"
)

// keeper is a leader's replica with its log and its bucket.
type keeper struct {
	t       *testing.T
	backing *mem.Backing
	store   *faulty.Store
	logged  bytes.Buffer
	*writer
	*Replica
}

func newKeeper(t *testing.T) *keeper {
	k := &keeper{t: t, backing: mem.New(), store: faulty.New(memstore.New("snapshots"), faulty.Config{})}
	k.writer = newWriter(t, k.backing.Open())
	k.open()
	return k
}

// open opens the replica as a process that starts.
func (k *keeper) open() {
	k.t.Helper()
	logger := slog.New(slog.NewTextHandler(&k.logged, nil))
	k.Replica = openReplica(k.t, Config{Log: k.backing.Open(), Store: k.store, Logger: logger})
}

// save writes a snapshot of a state that is one topic further. Topics stand in snapshots in the order of their names here: what is behind a new one moves
// to other parts.
func (k *keeper) save(topic string) Saved {
	k.t.Helper()
	k.append(createTopic(topic))
	return k.saveAgain()
}

func (k *keeper) saveAgain() Saved {
	k.t.Helper()
	if err := k.CatchUp(k.t.Context()); err != nil {
		k.t.Fatal(err)
	}
	saved, err := k.SaveSnapshot(k.t.Context())
	if err != nil {
		k.t.Fatal(err)
	}
	return saved
}

func (k *keeper) prune() (before uint64) {
	k.t.Helper()
	before, _, err := k.PruneSnapshots(k.t.Context())
	if err != nil {
		k.t.Fatal(err)
	}
	return before
}

// manifests fails the test unless these are the snapshots that there are.
func (k *keeper) manifests(want ...uint64) {
	k.t.Helper()
	if seqs, err := ListManifests(k.t.Context(), k.store); err != nil || !slices.Equal(seqs, want) {
		k.t.Fatalf("snapshots %v, %v; want %v", seqs, err, want)
	}
}

// isWhole says whether the snapshot after seq can be restored.
func (k *keeper) isWhole(seq uint64) bool {
	k.t.Helper()
	m, err := ReadManifest(k.t.Context(), k.store, seq)
	if err != nil {
		return false
	}
	_, err = meta.Restore(m, func(hash [32]byte) ([]byte, error) { return readWhole(k.t.Context(), k.store, PartKey(hash), hash) })
	return err == nil
}

// shared returns the parts that both snapshots name.
func (k *keeper) shared(one, other uint64) (keys []string) {
	k.t.Helper()
	others := partsOf(k.t, k.store, other)
	for _, key := range partsOf(k.t, k.store, one) {
		if slices.Contains(others, key) {
			keys = append(keys, key)
		}
	}
	return keys
}

// wide is a topic that fills parts of its own, which stay the same.
func (k *keeper) wide(name string, partitions int32) {
	k.t.Helper()
	c := createTopic(name)
	c.GetCreateTopic().Partitions = partitions
	k.append(c)
}

// The older snapshot was restored, and the leader then went on to name the damaged part in all that it wrote, since it was there already.
func TestAPartThatWasDamagedBeforeTheStartIsWrittenAgain(t *testing.T) {
	k := newKeeper(t)
	k.save("za")
	k.wide("wide", 512)
	k.saveAgain()
	former := partsOf(t, k.store, 2)
	fresh := slices.DeleteFunc(partsOf(t, k.store, 3), func(key string) bool { return slices.Contains(former, key) })
	if len(fresh) < 3 {
		t.Fatalf("%d parts are of the newest snapshot alone", len(fresh))
	}
	damagedKey := fresh[1] // behind the core
	flip(t, k.store, damagedKey)

	k.open()
	if k.SnapshotSeq() != 2 {
		t.Fatalf("restored from %d", k.SnapshotSeq())
	}
	k.takeOver()
	saved := k.saveAgain()
	if saved.Rewritten != 1 || !k.isWhole(saved.Seq) || !k.isWhole(3) {
		t.Errorf("%+v; the newest is whole: %v, the one before it: %v", saved, k.isWhole(saved.Seq), k.isWhole(3))
	}
	if log := k.logged.String(); !strings.Contains(log, "written again") || !strings.Contains(log, damagedKey) {
		t.Errorf("logged %q", log)
	}
	if before := k.prune(); before != 4 {
		t.Errorf("the log is needed from %d", before)
	}
	k.manifests(3, 4)
	live := hashOf(k.Replica)
	if k.open(); hashOf(k.Replica) != live || k.SnapshotSeq() != saved.Seq {
		t.Errorf("opened again from the snapshot of %d", k.SnapshotSeq())
	}
}

func TestAManifestThatIsDamagedIsWrittenAgainByTheSameSnapshot(t *testing.T) {
	k := newKeeper(t)
	k.save("za")
	flip(t, k.store, SnapshotKey(2))
	if saved := k.saveAgain(); saved.Rewritten != 1 || !k.isWhole(2) {
		t.Errorf("%+v; it is whole: %v", saved, k.isWhole(2))
	}
}

func TestNothingIsDeletedOrCutBehindFewerThanTwoWholeSnapshots(t *testing.T) {
	for name, damage := range map[string]func(k *keeper){
		"manifest": func(k *keeper) { flip(k.t, k.store, SnapshotKey(3)) },
		"core":     func(k *keeper) { flip(k.t, k.store, partsOf(k.t, k.store, 3)[0]) },
		"lost": func(k *keeper) {
			if err := k.store.Delete(k.t.Context(), partsOf(k.t, k.store, 3)[0]); err != nil {
				k.t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			k := newKeeper(t)
			k.save("za")
			k.save("zb")
			k.takeOver() // what the leader before has written proves nothing
			if err := k.CatchUp(t.Context()); err != nil {
				t.Fatal(err)
			}
			damage(k)
			k.save("zc")
			if before := k.prune(); before != 3 { // behind the snapshot of 2
				t.Errorf("the log is needed from %d", before)
			}
			k.manifests(2, 3, 5)
			if log := k.logged.String(); !strings.Contains(log, "a snapshot in the bucket is damaged") {
				t.Errorf("logged %q", log)
			}
			k.save("zd")
			if before := k.prune(); before != 6 {
				t.Errorf("the log is needed from %d", before)
			}
			k.manifests(5, 6)
		})
	}
	t.Run("no other", func(t *testing.T) {
		k := newKeeper(t)
		k.save("za")
		k.takeOver()
		if err := k.CatchUp(t.Context()); err != nil {
			t.Fatal(err)
		}
		flip(t, k.store, partsOf(t, k.store, 2)[0])
		k.save("zb")
		if before := k.prune(); before != 0 {
			t.Errorf("the log is needed from %d", before)
		}
		k.manifests(2, 4)
	})
}

// A part that does not change is one object for all snapshots that name it.
func TestAPartThatRotsWhileTheLeaderGoesOnIsFound(t *testing.T) {
	k := newKeeper(t)
	k.wide("wide", 512)
	k.save("za")
	k.save("zb")
	shared := k.shared(3, 4)
	if len(shared) < 2 {
		t.Fatalf("%d parts are of both snapshots", len(shared))
	}
	flip(t, k.store, shared[0])
	if err := k.store.Delete(t.Context(), shared[1]); err != nil {
		t.Fatal(err)
	}
	rewritten := 0
	for i := range proofRounds {
		rewritten += k.save(fmt.Sprintf("z-%d", i)).Rewritten
	}
	if rewritten != 2 || !k.isWhole(4) || !k.isWhole(k.SnapshotSeq()) {
		t.Errorf("%d objects were written again", rewritten)
	}
}

// It refused the start: one object for two snapshots was one bit for both.
func TestAnyFlippedBitOfAnObjectOfTwoSnapshotsIsSurvived(t *testing.T) {
	k := newKeeper(t)
	k.wide("wide", 512)
	k.save("za")
	k.save("zb")
	k.prune()
	if err := k.backing.Open().Truncate(t.Context(), 4); err != nil {
		t.Fatal(err)
	}
	live, shared := hashOf(k.Replica), k.shared(3, 4)
	restored := func(what string) {
		t.Helper()
		if k.open(); hashOf(k.Replica) != live || k.SnapshotSeq() != 4 {
			t.Fatalf("%s: opened from the snapshot of %d", what, k.SnapshotSeq())
		}
	}
	put := func(key string, object []byte) {
		t.Helper()
		if _, err := k.store.Put(t.Context(), key, object); err != nil {
			t.Fatal(err)
		}
	}
	for _, part := range shared {
		for _, key := range []string{part, part + spareSuffix} {
			whole, _, err := objstore.ReadAll(t.Context(), k.store, key, maxPartBytes)
			if err != nil {
				t.Fatal(err)
			}
			whole = slices.Clone(whole)
			for range 20 {
				bad := slices.Clone(whole)
				bad[rand.IntN(len(bad))] ^= 1 << rand.IntN(8)
				put(key, bad)
				restored("a bit flipped in " + key)
			}
			if err := k.store.Delete(t.Context(), key); err != nil {
				t.Fatal(err)
			}
			restored("without " + key)
			put(key, whole)
		}
	}
	if log := k.logged.String(); len(shared) < 2 || !strings.Contains(log, "its spare was used") {
		t.Errorf("%d parts are of both snapshots; logged %q", len(shared), log)
	}
	flip(t, k.store, shared[0])
	flip(t, k.store, shared[1]+spareSuffix)
	k.takeOver()
	if saved := k.saveAgain(); saved.Rewritten != 2 {
		t.Errorf("%+v", saved)
	}
}

// What only one of the kept snapshots names needs none.
func TestSparesGoWithTheFirstSnapshotThatIsNotKept(t *testing.T) {
	k := newKeeper(t)
	k.wide("wide", 512)
	k.save("za")
	k.save("zb")
	spare := k.shared(3, 4)[0] + spareSuffix
	c := createTopic("a") // before the others, whose parts all change
	k.append(c)
	k.saveAgain()
	k.aged(func() { k.prune() })
	if k.there(spare) {
		t.Errorf("%s is there", spare)
	}
	if !k.isWhole(4) || !k.isWhole(5) {
		t.Error("a snapshot that is kept is not whole")
	}
}

// deleteTopic deletes a topic by its name.
func (k *keeper) deleteTopic(name string) {
	var id []byte
	k.View(func(s *meta.State) { topic := s.TopicByName(name).ID; id = topic[:] })
	k.append(&metapb.Command{Kind: &metapb.Command_DeleteTopic{DeleteTopic: &metapb.DeleteTopic{TopicId: id}}})
}

// aged runs step when all that was written is older than the grace period.
func (k *keeper) aged(step func()) {
	young := k.cfg.Store
	k.cfg.Store = agedStore{&hookedStore{Store: k.store}}
	step()
	k.cfg.Store = young
}

// The spare went, since only one snapshot named the part, and the next that did took it for stored: both kept snapshots shared one object.
func TestASpareThatPruningDeletedIsWrittenAgain(t *testing.T) {
	k := newKeeper(t)
	k.wide("wide", 512)
	k.save("za")
	k.save("zb")
	k.append(createTopic("a"))
	k.saveAgain() // 5: other parts
	k.prune()
	k.deleteTopic("a")
	k.saveAgain() // 6: those of 3 and 4
	back := k.shared(4, 6)
	k.aged(func() { k.prune() })
	if len(back) < 2 || k.there(back[1]+spareSuffix) {
		t.Fatalf("%d parts came back; the spare of one is there: %v", len(back), k.there(back[1]+spareSuffix))
	}
	k.save("zc") // 7
	both := k.shared(6, 7)
	for _, key := range both {
		if !k.there(key + spareSuffix) {
			t.Errorf("both kept snapshots name %s, which has no spare", key)
		}
	}
	if len(both) < 2 {
		t.Errorf("%d parts are of both", len(both))
	}
}

// What pruning has read of a damaged snapshot, and deleted since no other named it, was taken for stored by the next that did.
func TestAPartThatPruningDeletedIsWrittenAgain(t *testing.T) {
	k := newKeeper(t)
	k.save("za")
	k.wide("wide", 1024)
	k.saveAgain() // 3
	k.takeOver()
	k.append(createTopic("a"))
	k.saveAgain() // 5: other parts
	alone := slices.DeleteFunc(partsOf(t, k.store, 3), func(key string) bool {
		return slices.Contains(k.shared(2, 3), key) || slices.Contains(k.shared(3, 5), key)
	})
	if len(alone) <= parallelParts {
		t.Fatalf("%d parts are of one snapshot alone, and all are read at once", len(alone))
	}
	flip(t, k.store, alone[len(alone)-1])
	k.aged(func() {
		if before := k.prune(); before != 3 {
			t.Errorf("the log is needed from %d", before)
		}
	})
	k.manifests(2, 3, 5)
	k.deleteTopic("a")
	k.saveAgain() // 6: those of 3
	if back := k.shared(3, 6); len(back) < 2 || !k.isWhole(6) {
		t.Errorf("%d parts came back; the newest snapshot is whole: %v", len(back), k.isWhole(6))
	}
}

func TestAPartThatCannotBeReadIsWrittenAgain(t *testing.T) {
	k := newKeeper(t)
	k.wide("wide", 512)
	k.save("za")
	key := partsOf(t, k.store, 3)[1]
	k.takeOver()
	k.store.AddRule(faulty.Rule{Ops: faulty.Get, Key: func(asked string) bool { return asked == key }, Fail: true, Times: 1})
	if saved := k.saveAgain(); saved.Rewritten != 1 {
		t.Errorf("%+v", saved)
	}
}

// Whoever deletes what it should not is found by the listing, before anything else goes, and what it deleted comes with the next snapshot.
func TestAProvenPartThatVanishesStopsPruning(t *testing.T) {
	k := newKeeper(t)
	k.wide("wide", 512)
	k.save("za")
	k.save("zb")
	k.save("zc")
	if err := k.store.Delete(t.Context(), k.shared(4, 5)[0]); err != nil {
		t.Fatal(err)
	}
	if before, _, err := k.PruneSnapshots(t.Context()); !errors.Is(err, errPartLost) || before != 0 {
		t.Errorf("the log is needed from %d, %v", before, err)
	}
	k.manifests(3, 4, 5)
	if saved := k.save("zd"); saved.NewParts == 0 || !k.isWhole(5) || !k.isWhole(6) {
		t.Errorf("%+v; they are whole: %v, %v", saved, k.isWhole(5), k.isWhole(6))
	}
	if before := k.prune(); before != 6 {
		t.Errorf("the log is needed from %d", before)
	}
	k.manifests(5, 6)
}

// TestSnapshotsOfTenThousandPartitionsCostFewRequests: what did not change was offered to the store with each snapshot, a PUT each, and is now read once in
// a leader's epoch and once in eight snapshots, with its spare.
func TestSnapshotsOfTenThousandPartitionsCostFewRequests(t *testing.T) {
	k := newKeeper(t)
	for i := range 10 {
		k.wide(fmt.Sprintf("wide-%d", i), 1024)
	}
	cost := func(step func()) (puts, gets int) {
		puts, gets = k.store.Calls(faulty.Write), k.store.Calls(faulty.Get)
		step()
		return k.store.Calls(faulty.Write) - puts, k.store.Calls(faulty.Get) - gets
	}
	var first Saved
	puts, gets := cost(func() { first = k.saveAgain() })
	t.Logf("the first snapshot, of %d parts and %d bytes: %d PUTs, %d GETs", first.Parts, first.Bytes, puts, gets)
	if puts != first.Parts+1 || gets != 0 {
		t.Errorf("the first snapshot took %d PUTs and %d GETs for %d parts", puts, gets, first.Parts)
	}
	puts, gets = cost(func() {
		for i := range proofRounds {
			k.save(fmt.Sprintf("z-%d", i))
			k.prune()
		}
	})
	t.Logf("the next %d and their pruning: %d writes and deletions, %d GETs", proofRounds, puts, gets)
	if most := 2*first.Parts + 5*proofRounds; gets > most {
		t.Errorf("%d snapshots took %d GETs, want at most %d", proofRounds, gets, most)
	}
	if most := first.Parts + 6*proofRounds; puts > most { // spares; each core, last part of topics, manifest, and a manifest's deletion
		t.Errorf("%d snapshots took %d writes, want at most %d", proofRounds, puts, most)
	}
	k.takeOver()
	var next Saved
	puts, gets = cost(func() { next = k.saveAgain(); k.prune() })
	t.Logf("the first of another leader, of %d parts: %d writes and deletions, %d GETs", next.Parts, puts, gets)
	if next.Read < 2*(first.Parts-2) || gets > 2*next.Parts+5 {
		t.Errorf("the next leader's first read %d of %d parts with %d GETs", next.Read, next.Parts, gets)
	}
}
