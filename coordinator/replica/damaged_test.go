package replica

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/varvelog/varve/coordinator/archive"
	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metalog/mem"
	"github.com/varvelog/varve/infra/objstore"
	memstore "github.com/varvelog/varve/infra/objstore/mem"
)

// flip flips a bit in the middle of an object.
func flip(t *testing.T, store objstore.Store, key string) {
	t.Helper()
	object, _, err := objstore.ReadAll(context.Background(), store, key, maxPartBytes)
	if err != nil {
		t.Fatal(err)
	}
	object = slices.Clone(object)
	object[len(object)/2] ^= 4
	if _, err := store.Put(context.Background(), key, object); err != nil {
		t.Fatal(err)
	}
}

// partsOf returns the keys of the parts of the snapshot after seq.
func partsOf(t *testing.T, store objstore.Store, seq uint64) (keys []string) {
	t.Helper()
	m, err := ReadManifest(context.Background(), store, seq)
	if err != nil {
		t.Fatal(err)
	}
	for _, hash := range m.Parts {
		keys = append(keys, PartKey([32]byte(hash)))
	}
	return keys
}

// A cluster's first snapshot is of its first entry. A bit that flipped in it kept everybody from starting, though the log had everything.
func TestWhereNoSnapshotIsWholeTheLogIsApplied(t *testing.T) {
	damages := map[string]func(t *testing.T, store objstore.Store, seq uint64){
		"manifest": func(t *testing.T, store objstore.Store, seq uint64) { flip(t, store, SnapshotKey(seq)) },
		"part":     func(t *testing.T, store objstore.Store, seq uint64) { flip(t, store, partsOf(t, store, seq)[0]) },
		"lost part": func(t *testing.T, store objstore.Store, seq uint64) {
			if err := store.Delete(t.Context(), partsOf(t, store, seq)[0]); err != nil {
				t.Fatal(err)
			}
		},
	}
	for name, damage := range damages {
		for _, count := range []int{1, 2} {
			t.Run(name, func(t *testing.T) {
				ctx, backing, store := timeout(t), mem.New(), memstore.New("snapshots")
				w := newWriter(t, backing.Open())
				r := openReplica(t, Config{Log: backing.Open(), Store: store})
				for range count {
					if _, err := r.SaveSnapshot(ctx); err != nil {
						t.Fatal(err)
					}
					w.append(allocate())
					if err := r.CatchUp(ctx); err != nil {
						t.Fatal(err)
					}
				}
				seqs, err := ListManifests(ctx, store)
				if err != nil || len(seqs) != count {
					t.Fatalf("snapshots %v, %v", seqs, err)
				}
				for _, seq := range seqs {
					damage(t, store, seq)
				}
				var logged bytes.Buffer
				again := openReplica(t, Config{Log: backing.Open(), Store: store, Logger: slog.New(slog.NewTextHandler(&logged, nil))})
				if hashOf(again) != hashOf(r) || again.SnapshotSeq() != 0 {
					t.Errorf("at %d, by the snapshot of %d", again.Seq(), again.SnapshotSeq())
				}
				if !strings.Contains(logged.String(), "level=ERROR") || !strings.Contains(logged.String(), snapshotPrefix) && !strings.Contains(logged.String(), "snapshot at") {
					t.Errorf("logged %q", logged.String())
				}
				if err := backing.Open().Truncate(ctx, 2); err != nil {
					t.Fatal(err)
				}
				_, err = Open(ctx, Config{LogID: logID, Log: backing.Open(), Store: store})
				if !damaged(err) || strings.Contains(err.Error(), "\n") {
					t.Errorf("a log that was cut, and no snapshot: %v", err)
				}
			})
		}
	}
}

// The leader cuts the log first and the archive then.
func TestWhereNoSnapshotIsWholeAndTheLogWasCutTheArchiveIsApplied(t *testing.T) {
	for name, row := range map[string]struct {
		first uint64 // of the archive
		want  error
	}{"the archive has what was cut": {1, nil}, "the archive begins where the log does": {6, meta.ErrCorrupt}} {
		t.Run(name, func(t *testing.T) {
			ctx, backing, store := timeout(t), mem.New(), memstore.New("snapshots")
			w := newWriter(t, backing.Open())
			for range 9 {
				w.append(allocate())
			}
			archived := &archive.Batch{LogID: logID, First: row.first}
			for record, err := range w.log.Read(ctx, row.first) {
				if err != nil {
					t.Fatal(err)
				}
				archived.Entries = append(archived.Entries, record.Entry)
			}
			key := archive.Object{First: archived.First, Next: archived.Next()}.Key()
			if _, err := store.Put(ctx, key, archive.Encode(archived)); err != nil {
				t.Fatal(err)
			}
			r := openReplica(t, Config{Log: backing.Open(), Store: store})
			if _, err := r.SaveSnapshot(ctx); err != nil {
				t.Fatal(err)
			}
			flip(t, store, SnapshotKey(10))
			if err := backing.Open().Truncate(ctx, 6); err != nil {
				t.Fatal(err)
			}
			w.append(allocate())
			if err := r.CatchUp(ctx); err != nil {
				t.Fatal(err)
			}
			again, err := Open(ctx, Config{LogID: logID, Log: backing.Open(), Store: store})
			if !errors.Is(err, row.want) {
				t.Fatalf("open: %v, want %v", err, row.want)
			}
			if err == nil {
				defer again.Close()
				if hashOf(again) != hashOf(r) {
					t.Errorf("at %d, want the state at %d", again.Seq(), r.Seq())
				}
				return
			}
			if alone, err := OpenArchived(ctx, Config{LogID: logID, Store: store}); err == nil {
				alone.Close()
				t.Error("the archive alone was opened")
			}
		})
	}
}

func TestTheArchiveAloneIsAppliedWhereNoSnapshotIsWhole(t *testing.T) {
	ctx, backing, store := timeout(t), mem.New(), memstore.New("snapshots")
	w := newWriter(t, backing.Open())
	w.append(allocate())
	r := openReplica(t, Config{Log: backing.Open(), Store: store})
	archived := &archive.Batch{LogID: logID, First: 1}
	for record, err := range w.log.Read(ctx, 1) {
		if err != nil {
			t.Fatal(err)
		}
		archived.Entries = append(archived.Entries, record.Entry)
	}
	_, err := r.SaveSnapshot(ctx)
	if _, put := store.Put(ctx, archive.Object{First: 1, Next: 3}.Key(), archive.Encode(archived)); errors.Join(err, put) != nil {
		t.Fatal(err, put)
	}
	flip(t, store, SnapshotKey(2))
	again, err := OpenArchived(ctx, Config{LogID: logID, Store: store})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if hashOf(again) != hashOf(r) {
		t.Errorf("at %d, want the state at %d", again.Seq(), r.Seq())
	}
}
