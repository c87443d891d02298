package replica

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/infra/objstore"
)

const (
	// keptSnapshots is how many manifests stay: the newest, and one to fall back to.
	keptSnapshots = 2
	// partGrace keeps young parts that no manifest names: another writer may be about to name them.
	partGrace = time.Hour
)

// errPruneLate: what a snapshot's names are held against is not the newest any more.
var errPruneLate = errors.New("pruning comes too late")

// Saved describes a snapshot that was written.
type Saved struct {
	Seq uint64
	// Parts and NewParts count the snapshot's parts and those that were not stored already; Bytes is their size in all.
	Parts, NewParts int
	Bytes           int64
	// Held is how long the state could not change while it was encoded.
	Held time.Duration
}

// SaveSnapshot writes the present state to the bucket. Entries wait only while it is encoded in memory.
func (r *Replica) SaveSnapshot(ctx context.Context) (Saved, error) {
	store := r.cfg.Store
	parts, manifest, held, err := r.encodeState()
	if err != nil {
		return Saved{}, err
	}
	saved := Saved{Seq: manifest.Seq, Parts: len(parts), Held: held}
	for i, part := range parts {
		saved.Bytes += int64(len(part))
		_, err := store.PutIfAbsent(ctx, PartKey([32]byte(manifest.Parts[i])), part)
		switch {
		case err == nil:
			saved.NewParts++
		case !errors.Is(err, objstore.ErrExists):
			return Saved{}, fmt.Errorf("write snapshot of %d: %w", manifest.Seq, err)
		}
	}
	object, err := meta.EncodeManifest(manifest)
	if err != nil {
		return Saved{}, err
	}
	// A snapshot of the same sequence is the same snapshot.
	if _, err := store.PutIfAbsent(ctx, SnapshotKey(manifest.Seq), object); err != nil && !errors.Is(err, objstore.ErrExists) {
		return Saved{}, fmt.Errorf("write snapshot of %d: %w", manifest.Seq, err)
	}
	r.saved.Store(saved.Seq)
	return saved, nil
}

func (r *Replica) encodeState() (parts [][]byte, m *metapb.Manifest, held time.Duration, err error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	began := time.Now()
	hash := r.mu.lastHash
	m, err = r.mu.state.Snapshot(hash[:], func(_ [32]byte, part []byte) error {
		parts = append(parts, part)
		return nil
	})
	return parts, m, time.Since(began), err
}

// PruneSnapshots deletes all manifests but the newest two, and the parts that only they named. It returns the sequence below
// which the log is not needed any more: that behind the older of the manifests kept, 0 where there are not two.
func (r *Replica) PruneSnapshots(ctx context.Context) (truncate uint64, err error) {
	store := r.cfg.Store
	seqs, err := ListManifests(ctx, store)
	if err != nil || len(seqs) < keptSnapshots {
		return 0, err
	}
	kept := seqs[len(seqs)-keptSnapshots:]
	named := map[string]bool{}
	for _, seq := range kept {
		m, err := ReadManifest(ctx, store, seq)
		if err != nil {
			return 0, fmt.Errorf("prune snapshots: %w", err)
		}
		for _, hash := range m.Parts {
			named[PartKey([32]byte(hash))] = true
		}
	}
	for _, seq := range seqs[:len(seqs)-keptSnapshots] {
		if err := store.Delete(ctx, SnapshotKey(seq)); err != nil {
			return 0, fmt.Errorf("delete %s: %w", SnapshotKey(seq), err)
		}
	}
	if err := r.pruneParts(ctx, named, kept[len(kept)-1]); err != nil {
		return 0, err
	}
	return kept[0] + 1, nil
}

// pruneParts deletes old parts that are not named by the snapshots up to newest, the last one.
func (r *Replica) pruneParts(ctx context.Context, named map[string]bool, newest uint64) error {
	store := r.cfg.Store
	var unnamed []string
	now, err := store.Now(ctx)
	if err != nil {
		return fmt.Errorf("ask %s for its time: %w", store, err)
	}
	for info, err := range store.List(ctx, partPrefix, "") {
		if err != nil {
			return fmt.Errorf("list snapshot parts: %w", err)
		}
		if named[info.Key] || !strings.HasPrefix(info.Key, partPrefix) || now.Sub(info.Modified) < partGrace {
			continue
		}
		unnamed = append(unnamed, info.Key)
	}
	// Whoever has slept meanwhile may have been succeeded: what was young when it looked for names is old now, and named.
	if seqs, err := ListManifests(ctx, store); err != nil {
		return err
	} else if n := len(seqs); n == 0 || seqs[n-1] != newest {
		return fmt.Errorf("another has written snapshots since that of %d: %w", newest, errPruneLate)
	}
	for _, key := range unnamed {
		if err := store.Delete(ctx, key); err != nil {
			return fmt.Errorf("delete %s: %w", key, err)
		}
	}
	return nil
}
