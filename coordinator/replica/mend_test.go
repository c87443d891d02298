package replica

import (
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/varvelog/varve/infra/objstore"
	"github.com/varvelog/varve/infra/objstore/faulty"
)

// rotten is the first snapshot of a leader. One of the snapshot before, which has no part in common with it, has rotted, and is whole in its spare alone. Both
// are older than the grace period.
func rotten(t *testing.T) (k *keeper, store *hookedStore, part string) {
	t.Helper()
	k = newKeeper(t)
	k.wide("wide", 512)
	k.save("za")
	k.save("zb")
	part = k.shared(3, 4)[0]
	flip(t, k.store, part)
	k.takeOver()
	k.append(createTopic("a")) // before the others, whose parts all change
	k.saveAgain()
	k.manifests(3, 4, 6)
	if !k.there(part+spareSuffix) || slices.Contains(k.shared(4, 6), part) {
		t.Fatalf("%s has no spare, or is of the newest snapshot, too", part)
	}
	store = &hookedStore{Store: k.store}
	k.cfg.Store = agedStore{store}
	return k, store, part
}

// there says whether the bucket has an object under key.
func (k *keeper) there(key string) bool {
	k.t.Helper()
	_, err := k.store.Head(k.t.Context(), key)
	if err != nil && !errors.Is(err, objstore.ErrNotFound) {
		k.t.Fatal(err)
	}
	return err == nil
}

// The older snapshot counted as whole by its spare, which pruning deleted, since the newest does not name it; and the log was cut behind a snapshot that nobody
// could restore any more.
func TestAPartThatIsWholeInItsSpareAloneIsWrittenAgainBeforeTheSpareGoes(t *testing.T) {
	for name, damage := range map[string]func(k *keeper, part string){
		"damaged": func(*keeper, string) {},
		"gone": func(k *keeper, part string) {
			if err := k.store.Delete(k.t.Context(), part); err != nil {
				k.t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			k, _, part := rotten(t)
			damage(k, part)
			before, rewritten, err := k.PruneSnapshots(t.Context())
			if err != nil || before != 5 || rewritten != 1 {
				t.Errorf("the log is needed from %d, %d parts were written again, %v", before, rewritten, err)
			}
			if k.manifests(4, 6); !k.isWhole(4) || !k.isWhole(6) || k.there(part+spareSuffix) {
				t.Errorf("those that are kept are whole: %v, %v; the spare is there: %v", k.isWhole(4), k.isWhole(6), k.there(part+spareSuffix))
			}
			if log := k.logged.String(); !strings.Contains(log, "written again") || !strings.Contains(log, part) {
				t.Errorf("logged %q", log)
			}
		})
	}
}

// Some stores say of what they do not take that there is no such key.
func TestWhereAPartCannotBeWrittenAgainNothingIsDeletedOrCut(t *testing.T) {
	for _, refusal := range []error{objstore.ErrAccess, objstore.ErrNotFound} {
		t.Run(refusal.Error(), func(t *testing.T) {
			k, _, part := rotten(t)
			k.store.AddRule(faulty.Rule{Ops: faulty.PutAlways, Key: func(key string) bool { return key == part }, Fail: true, Err: refusal})
			before, rewritten, err := k.PruneSnapshots(t.Context())
			if !errors.Is(err, errSpareAlone) || !errors.Is(err, refusal) || before != 0 || rewritten != 0 {
				t.Errorf("the log is needed from %d, %d parts were written again, %v", before, rewritten, err)
			}
			if k.manifests(3, 4, 6); !k.there(part + spareSuffix) {
				t.Error("the spare was deleted")
			}
			// The next snapshot takes the place of the one that cannot be mended.
			k.save("zc")
			if before := k.prune(); before != 7 {
				t.Errorf("the log is needed from %d", before)
			}
			if k.manifests(6, 7); k.there(part) || k.there(part+spareSuffix) {
				t.Error("what nobody names is left")
			}
		})
	}
}

// Two prune who both lead as far as they know: one mends the part and deletes the spare when the other has found the part damaged, or is about to write it again.
func TestTwoLeadersMendAPartAtOnce(t *testing.T) {
	for name, row := range map[string]struct {
		op, suffix string // where one of them waits for the other
		succeeded  bool   // the other has written a snapshot of its own, which names nothing of that
	}{
		"one reads the spare":                       {"get", spareSuffix, false},
		"one writes the part":                       {"put", "", false},
		"one reads the spare, and was succeeded":    {"get", spareSuffix, true},
		"one writes the part, and was succeeded":    {"put", "", true},
		"one is about to list, and was succeeded":   {"list", "", true},
		"one is about to list what the other lists": {"list", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			k, store, part := rotten(t)
			other := openReplica(t, Config{Log: k.backing.Open(), Store: agedStore{&hookedStore{Store: k.store}}})
			key := part + row.suffix
			if row.op == "list" {
				key = partPrefix
			}
			var waited atomic.Bool
			store.hook(func(op, asked string) {
				if op != row.op || asked != key || waited.Swap(true) {
					return
				}
				if row.succeeded {
					k.takeOver()
					if err := other.CatchUp(t.Context()); err != nil {
						t.Error(err)
					}
					if _, err := other.SaveSnapshot(t.Context()); err != nil {
						t.Error(err)
					}
				}
				if before, _, err := other.PruneSnapshots(t.Context()); err != nil || before == 0 {
					t.Errorf("the other needs the log from %d, %v", before, err)
				}
			})
			before, _, err := k.PruneSnapshots(t.Context())
			store.hook(nil)
			if row.succeeded {
				if before != 0 || err != nil && !errors.Is(err, errPruneLate) && !errors.Is(err, errPartLost) {
					t.Errorf("who was succeeded needs the log from %d, %v", before, err)
				}
				k.manifests(6, 7)
			} else {
				if err != nil || before != 5 {
					t.Errorf("the log is needed from %d, %v", before, err)
				}
				k.manifests(4, 6)
			}
			seqs, err := ListManifests(t.Context(), k.store)
			if err != nil || !waited.Load() || !k.isWhole(seqs[0]) || !k.isWhole(seqs[1]) {
				t.Errorf("they met: %v; the snapshots of %d are whole: %v, %v, %v", waited.Load(), seqs, k.isWhole(seqs[0]), k.isWhole(seqs[1]), err)
			}
			if log := k.logged.String(); !row.succeeded && strings.Contains(log, "a snapshot in the bucket is damaged") {
				t.Errorf("logged %q", log)
			}
			// What came too late, and nobody names, goes when it is older.
			if _, _, err := other.PruneSnapshots(t.Context()); err != nil {
				t.Error(err)
			}
			if k.there(part) == row.succeeded {
				t.Errorf("the part is there: %v", !row.succeeded)
			}
		})
	}
}
