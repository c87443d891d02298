package replica

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metalog"
	"github.com/varvelog/varve/coordinator/metalog/mem"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/infra/objstore"
	memstore "github.com/varvelog/varve/infra/objstore/mem"
)

func TestSnapshotsAreContentAddressedAndPruned(t *testing.T) {
	ctx, backing, store := timeout(t), mem.New(), memstore.New("snapshots")
	w := newWriter(t, backing.Open())
	r := openReplica(t, Config{Log: backing.Open(), Store: store})
	for i := range 4 {
		w.append(createTopic(fmt.Sprintf("topic-%d", i)))
		if err := r.CatchUp(ctx); err != nil {
			t.Fatal(err)
		}
		if _, err := r.SaveSnapshot(ctx); err != nil {
			t.Fatal(err)
		}
	}
	saved, err := r.SaveSnapshot(ctx)
	if err != nil || saved.NewParts != 0 || saved.Parts == 0 {
		t.Fatalf("a snapshot of the same state: %+v, %v", saved, err)
	}
	before, _, err := r.PruneSnapshots(ctx)
	if err != nil || before != 5 {
		t.Fatalf("prune: log needed from %d, %v; want 5", before, err)
	}
	if seqs, err := ListManifests(ctx, store); err != nil || len(seqs) != 2 || seqs[1] != 5 {
		t.Fatalf("snapshots %v, %v", seqs, err)
	}
	again := openReplica(t, Config{Log: backing.Open(), Store: store})
	if again.SnapshotSeq() != 5 || hashOf(again) != hashOf(r) {
		t.Fatalf("restored from %d", again.SnapshotSeq())
	}
}

func TestDamagedSnapshotFallsBackToTheOneBefore(t *testing.T) {
	ctx, backing, store := timeout(t), mem.New(), memstore.New("snapshots")
	w := newWriter(t, backing.Open())
	r := openReplica(t, Config{Log: backing.Open(), Store: store})
	for range 2 {
		w.append(allocate())
		if err := r.CatchUp(ctx); err != nil {
			t.Fatal(err)
		}
		if _, err := r.SaveSnapshot(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := store.Put(ctx, SnapshotKey(3), []byte("rot")); err != nil {
		t.Fatal(err)
	}
	again := openReplica(t, Config{Log: backing.Open(), Store: store})
	if again.SnapshotSeq() != 2 || hashOf(again) != hashOf(r) {
		t.Fatalf("restored from %d", again.SnapshotSeq())
	}
}

func TestAnyFlippedBitOfASnapshotFallsBackToTheOneBefore(t *testing.T) {
	ctx, backing, store := timeout(t), mem.New(), memstore.New("snapshots")
	w := newWriter(t, backing.Open())
	r := openReplica(t, Config{Log: backing.Open(), Store: store})
	former := map[string]bool{}
	for i := range 2 {
		for info, err := range store.List(ctx, "", "") {
			if err != nil {
				t.Fatal(err)
			}
			former[info.Key] = true
		}
		w.append(createTopic(fmt.Sprintf("topic-%d", i)))
		if err := r.CatchUp(ctx); err != nil {
			t.Fatal(err)
		}
		if _, err := r.SaveSnapshot(ctx); err != nil {
			t.Fatal(err)
		}
	}
	flipped := 0
	for info, err := range store.List(ctx, "", "") {
		if err != nil {
			t.Fatal(err)
		}
		if former[info.Key] {
			continue // the one before needs it too
		}
		whole, _, err := objstore.ReadAll(ctx, store, info.Key, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		for range 40 {
			bad := slices.Clone(whole)
			bad[rand.IntN(len(bad))] ^= 1 << rand.IntN(8)
			if _, err := store.Put(ctx, info.Key, bad); err != nil {
				t.Fatal(err)
			}
			again := openReplica(t, Config{Log: backing.Open(), Store: store})
			if again.SnapshotSeq() != 2 || hashOf(again) != hashOf(r) {
				t.Fatalf("%s is damaged: restored from %d", info.Key, again.SnapshotSeq())
			}
			again.Close()
		}
		if _, err := store.Put(ctx, info.Key, whole); err != nil {
			t.Fatal(err)
		}
		flipped++
	}
	if flipped < 2 {
		t.Errorf("%d objects of the newest snapshot, want its manifest and a part at least", flipped)
	}
}

func TestWhatDoesNotFitIsRefusedInOneLine(t *testing.T) {
	ctx := context.Background()
	for _, row := range []struct {
		name   string
		wants  error
		damage func(t *testing.T, backing *mem.Backing, store objstore.Store, w *writer)
	}{
		{"a log shorter than its snapshot", ErrLogShort, func(_ *testing.T, backing *mem.Backing, _ objstore.Store, _ *writer) {
			backing.Cut(3)
		}},
		{"a truncated log without a snapshot", ErrNoSnapshot, func(t *testing.T, backing *mem.Backing, store objstore.Store, w *writer) {
			if err := errors.Join(store.Delete(ctx, SnapshotKey(w.seq)), backing.Open().Truncate(ctx, 3)); err != nil {
				t.Fatal(err)
			}
		}},
		{"another cluster's log", meta.ErrForeignLog, func(_ *testing.T, _ *mem.Backing, _ objstore.Store, w *writer) {
			w.id = [16]byte{1}
			w.append(allocate())
		}},
		{"an entry that does not follow", ErrForked, func(_ *testing.T, _ *mem.Backing, _ objstore.Store, w *writer) {
			w.hash = meta.HashEntry([]byte("another history"))
			w.append(allocate())
		}},
		{"another history of the same length", ErrForked, func(_ *testing.T, backing *mem.Backing, _ objstore.Store, w *writer) {
			backing.Cut(w.seq)
			w.seq--
			w.append(allocate(), allocate())
		}},
		{"rot", meta.ErrCorrupt, func(t *testing.T, backing *mem.Backing, _ objstore.Store, w *writer) {
			if err := backing.Open().Append(ctx, w.seq+1, []byte("rot"), metalog.Ordinary); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			backing, store := mem.New(), memstore.New("bucket-x")
			w := newWriter(t, backing.Open())
			w.append(allocate())
			w.append(allocate())
			w.append(allocate())
			r := openReplica(t, Config{Log: backing.Open(), Store: store})
			if _, err := r.SaveSnapshot(ctx); err != nil {
				t.Fatal(err)
			}
			row.damage(t, backing, store, w)
			again, err := Open(ctx, Config{LogID: logID, Log: backing.Open(), Store: store})
			if err == nil {
				again.Close()
				t.Fatal("it was opened")
			}
			if !errors.Is(err, row.wants) {
				t.Fatalf("error %v, want %v", err, row.wants)
			}
			for _, part := range []string{store.String(), "varve recover"} {
				if !strings.Contains(err.Error(), part) || strings.Contains(err.Error(), "\n") {
					t.Errorf("%q does not name %q in one line", err, part)
				}
			}
		})
	}
}

// BenchmarkEncodeSnapshotOfTenThousandPartitions is how long entries wait for a snapshot.
func BenchmarkEncodeSnapshotOfTenThousandPartitions(b *testing.B) {
	r := &Replica{}
	r.mu.state = meta.New(logID)
	for i := range 100 {
		c := createTopic(fmt.Sprintf("topic-%d", i))
		c.GetCreateTopic().Partitions = 100
		entry := &metapb.Entry{Format: meta.EntryFormat, LogId: logID[:], TimeMillis: 1, Commands: []*metapb.Command{c}}
		if err := r.mu.state.Apply(uint64(i+1), entry, nil); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, _, _, err := r.encodeState(); err != nil {
			b.Fatal(err)
		}
	}
}
