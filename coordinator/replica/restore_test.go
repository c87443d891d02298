package replica

import (
	"context"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metalog/mem"
	"github.com/varvelog/varve/infra/objstore"
	memstore "github.com/varvelog/varve/infra/objstore/mem"
)

// hookedStore calls before each Get, each Put and each List.
type hookedStore struct {
	objstore.Store
	mu     sync.Mutex
	before func(op, key string)
}

func (h *hookedStore) hook(before func(op, key string)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.before = before
}

func (h *hookedStore) call(op, key string) {
	h.mu.Lock()
	before := h.before
	h.mu.Unlock()
	if before != nil {
		before(op, key)
	}
}

func (h *hookedStore) Get(ctx context.Context, key string, offset, length int64) (io.ReadCloser, objstore.Info, error) {
	h.call("get", key)
	return h.Store.Get(ctx, key, offset, length)
}

func (h *hookedStore) Put(ctx context.Context, key string, body []byte) (objstore.Version, error) {
	h.call("put", key)
	return h.Store.Put(ctx, key, body)
}

func (h *hookedStore) List(ctx context.Context, prefix, after string) func(yield func(objstore.Info, error) bool) {
	h.call("list", prefix)
	return h.Store.List(ctx, prefix, after)
}

// A process that was asleep finds the entries it has missed both in hints, which wait in its socket, and, as the log was cut meanwhile, in a
// snapshot. The snapshot took it back behind what the hints had brought, and clients saw high watermarks go back.
func TestASnapshotDoesNotTakeBackWhatHintsHaveBrought(t *testing.T) {
	ctx, backing, store := timeout(t), mem.New(), &hookedStore{Store: memstore.New("snapshots")}
	w := newWriter(t, backing.Open())
	sleeper := openReplica(t, Config{Log: backing.Open(), Store: store, PollInterval: time.Hour})
	var hints [][]byte
	for range 10 {
		hints = append(hints, w.append(allocate()))
	}
	ahead := openReplica(t, Config{Log: backing.Open(), Store: store})
	if _, err := ahead.SaveSnapshot(ctx); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		hints = append(hints, w.append(allocate()))
	}
	if err := backing.Open().Truncate(ctx, 12); err != nil {
		t.Fatal(err)
	}
	var seen []uint64
	sleeper.Listen(listenFunc(func(a *Applied) { seen = append(seen, a.Seq) }))
	store.hook(func(op, key string) {
		if op != "get" || key != SnapshotKey(11) {
			return
		}
		for i, hint := range hints { // while the snapshot is being read
			if err := sleeper.ApplyEncoded(uint64(i+2), hint); err != nil {
				t.Error(err)
			}
		}
	})
	if err := sleeper.CatchUpOrRestore(ctx); err != nil {
		t.Fatal(err)
	}
	for i := 1; i < len(seen); i++ {
		if seen[i] <= seen[i-1] {
			t.Fatalf("applied %v", seen)
		}
	}
	if sleeper.Seq() != w.seq {
		t.Errorf("at %d, the log is at %d", sleeper.Seq(), w.seq)
	}
}

// What somebody else has put beside the snapshots, a folder's marker say, hid all of them.
func TestStrangeObjectsAmongSnapshotsAreLeftAlone(t *testing.T) {
	ctx, log, store := timeout(t), mem.New().Open(), memstore.New("snapshots")
	w := newWriter(t, log)
	for _, name := range []string{".keep", "0", "00000000000000000001.bak", "parts", "zzz"} {
		if _, err := store.Put(ctx, snapshotPrefix+name, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	r := openReplica(t, Config{Log: log, Store: store})
	for range 3 {
		w.append(allocate())
		if err := r.CatchUp(ctx); err != nil {
			t.Fatal(err)
		}
		if _, err := r.SaveSnapshot(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if seqs, err := ListManifests(ctx, store); err != nil || fmt.Sprint(seqs) != "[2 3 4]" {
		t.Errorf("snapshots %v, %v", seqs, err)
	}
	if before, _, err := r.PruneSnapshots(ctx); err != nil || before != 4 {
		t.Errorf("the log is needed from %d, %v", before, err)
	}
}

// agedStore says that an hour and more has passed since everything was written.
type agedStore struct{ *hookedStore }

func (s agedStore) Now(ctx context.Context) (time.Time, error) {
	now, err := s.hookedStore.Now(ctx)
	return now.Add(2 * partGrace), err
}

// A leader that falls asleep while it prunes is succeeded, and its successor writes and prunes snapshots of its own. When the sleeper wakes up after more
// than the grace period, it must not take their parts for ones that nobody names.
func TestASleeperThatPrunesLeavesItsSuccessorsSnapshots(t *testing.T) {
	for _, at := range []string{snapshotPrefix, partPrefix} { // where it falls asleep: before it lists these
		ctx, backing, backingStore := timeout(t), mem.New(), memstore.New("snapshots")
		store := &hookedStore{Store: backingStore}
		w := newWriter(t, backing.Open())
		sleeper := openReplica(t, Config{Log: backing.Open(), Store: agedStore{store}})
		successor := openReplica(t, Config{Log: backing.Open(), Store: backingStore})
		save := func(r *Replica, topic string) {
			w.append(createTopic(topic))
			if err := r.CatchUp(ctx); err != nil {
				t.Fatal(err)
			}
			if _, err := r.SaveSnapshot(ctx); err != nil {
				t.Fatal(err)
			}
		}
		save(sleeper, "a")
		save(sleeper, "b")
		asleep := false
		store.hook(func(op, key string) {
			if op != "list" || key != at || asleep {
				return
			}
			asleep = true
			for _, topic := range []string{"c", "d", "e"} {
				save(successor, topic)
			}
			if _, _, err := successor.PruneSnapshots(ctx); err != nil {
				t.Fatal(err)
			}
		})
		if _, _, err := sleeper.PruneSnapshots(ctx); err != nil {
			t.Log(err) // it may find that it was succeeded
		}
		store.hook(nil)
		seqs, err := ListManifests(ctx, backingStore)
		if err != nil || len(seqs) != 2 {
			t.Fatalf("snapshots %v, %v", seqs, err)
		}
		for _, seq := range seqs {
			m, err := ReadManifest(ctx, backingStore, seq)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := meta.Restore(m, func(hash [32]byte) ([]byte, error) { return readWhole(ctx, backingStore, PartKey(hash), hash) }); err != nil {
				t.Errorf("asleep before listing %s: the snapshot of %d is lost: %v", at, seq, err)
			}
		}
	}
}
