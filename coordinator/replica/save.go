package replica

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

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

// errPartLost: a part that was proven is not in the bucket any more.
var errPartLost = errors.New("a part of a kept snapshot has vanished")

// errSpareAlone: a part of a kept snapshot is whole in its spare alone, and the store does not take it anew.
var errSpareAlone = errors.New("a part of a kept snapshot has its spare alone")

// errPartTooLarge: nobody would read the part. Without a snapshot nothing is cut, and the log still tells what the part has.
var errPartTooLarge = errors.New("above the bound for parts of snapshots")

// Saved describes a snapshot that was written.
type Saved struct {
	Seq uint64
	// Parts and NewParts count the snapshot's parts and those that were not stored already; Bytes is their size in all.
	Parts, NewParts int
	Bytes           int64
	// NewSpares counts the second copies that were stored, of parts that stay the same.
	NewSpares int
	// Read counts the objects that were there and were compared, Rewritten those among them that were damaged and are whole again.
	Read, Rewritten int
	// Held is how long the state could not change while it was encoded.
	Held time.Duration
}

// SaveSnapshot writes the present state to the bucket. Entries wait only while it is encoded in memory. What the bucket has already is compared
// once in a leader's epoch, and some of it with each snapshot, and is written again where it is damaged. After an error Saved counts what was done.
func (r *Replica) SaveSnapshot(ctx context.Context) (Saved, error) {
	parts, manifest, held, err := r.encodeState()
	if err != nil {
		return Saved{}, err
	}
	object, err := meta.EncodeManifest(manifest)
	if err != nil {
		return Saved{}, err
	}
	saving := saving{replica: r, saved: Saved{Seq: manifest.Seq, Parts: len(parts), Held: held}}
	r.proven.begin(manifest.LeaderEpoch)
	err = saving.parts(ctx, manifest, parts)
	if err == nil {
		// A snapshot of the same sequence is the same snapshot, and is compared whenever it is written.
		r.proven.forget(SnapshotKey(manifest.Seq))
		_, err = saving.object(ctx, SnapshotKey(manifest.Seq), object)
	}
	if err != nil {
		return saving.saved, fmt.Errorf("write snapshot of %d: %w", manifest.Seq, err)
	}
	r.saved.Store(manifest.Seq)
	return saving.saved, nil
}

// saving is one snapshot being written.
type saving struct {
	replica *Replica
	mu      sync.Mutex
	saved   Saved
}

func (s *saving) parts(ctx context.Context, m *metapb.Manifest, parts [][]byte) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallelParts)
	for i, part := range parts {
		s.saved.Bytes += int64(len(part))
		group.Go(func() error { return s.part(ctx, [32]byte(m.Parts[i]), part) })
	}
	return group.Wait()
}

// part stores a part, or a spare of one that was there: the snapshot before this one may name it too.
func (s *saving) part(ctx context.Context, hash [32]byte, part []byte) error {
	written, err := s.object(ctx, PartKey(hash), part)
	if err != nil {
		return err
	}
	if written {
		s.count(func(saved *Saved) { saved.NewParts++ })
		return nil
	}
	if written, err = s.object(ctx, SpareKey(hash), part); written {
		s.count(func(saved *Saved) { saved.NewSpares++ })
	}
	return err
}

// object sees to it that the bucket holds body under key. What is proven is looked at when it is due.
func (s *saving) object(ctx context.Context, key string, body []byte) (written bool, err error) {
	r := s.replica
	proven := r.proven.holds(key)
	if proven && !r.proven.due(key) {
		return false, nil
	}
	if !proven {
		_, err := r.cfg.Store.PutIfAbsent(ctx, key, body)
		if err == nil {
			r.proven.add(key)
		}
		if err == nil || !errors.Is(err, objstore.ErrExists) {
			return err == nil, err
		}
	}
	rewritten, err := r.prove(ctx, key, body)
	if err != nil {
		return false, err
	}
	r.proven.add(key)
	s.count(func(saved *Saved) {
		saved.Read++
		if rewritten {
			saved.Rewritten++
		}
	})
	return false, nil
}

func (s *saving) count(add func(*Saved)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	add(&s.saved)
}

func (r *Replica) encodeState() (parts [][]byte, m *metapb.Manifest, held time.Duration, err error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	began := time.Now()
	hash := r.mu.lastHash
	m, err = r.mu.state.Snapshot(hash[:], func(_ [32]byte, part []byte) error {
		if int64(len(part)) > maxPartBytes {
			return fmt.Errorf("a part of %d bytes: %w", len(part), errPartTooLarge)
		}
		parts = append(parts, part)
		return nil
	})
	return parts, m, time.Since(began), err
}

// PruneSnapshots deletes all manifests before the newest two whose snapshots are whole, and the parts that none but they and damaged ones named. It
// returns the sequence below which the log is not needed any more: that behind the older of the two, 0 where there are not two. rewritten counts the
// parts that only their spares had, and that are whole again, after an error as well.
func (r *Replica) PruneSnapshots(ctx context.Context) (truncate uint64, rewritten int, err error) {
	var mended atomic.Int64
	truncate, err = r.pruneSnapshots(ctx, &mended)
	return truncate, int(mended.Load()), err
}

func (r *Replica) pruneSnapshots(ctx context.Context, rewritten *atomic.Int64) (truncate uint64, err error) {
	store := r.cfg.Store
	seqs, err := ListManifests(ctx, store)
	if err != nil || len(seqs) < keptSnapshots {
		return 0, err
	}
	oldest, kept, err := r.newestWhole(ctx, seqs, rewritten)
	if err != nil || oldest == 0 {
		return 0, err
	}
	unnamed, err := r.unnamedParts(ctx, kept)
	if err != nil {
		return 0, err
	}
	// Whoever has slept meanwhile may have been succeeded: what was young when it looked for names is old now, and named.
	newest := seqs[len(seqs)-1]
	if seqs, err := ListManifests(ctx, store); err != nil {
		return 0, err
	} else if n := len(seqs); n == 0 || seqs[n-1] != newest {
		return 0, fmt.Errorf("another has written snapshots since that of %d: %w", newest, errPruneLate)
	}
	var gone []string
	for _, seq := range seqs {
		if seq < oldest {
			gone = append(gone, SnapshotKey(seq))
		}
	}
	for _, key := range append(gone, unnamed...) {
		r.proven.forget(key) // first: where deleting it fails, it may be gone as well
		if err := store.Delete(ctx, key); err != nil {
			return 0, fmt.Errorf("delete %s: %w", key, err)
		}
	}
	return oldest + 1, nil
}

// newestWhole looks for the newest snapshots that are whole, as many as are kept, and returns the oldest of them, 0 where there are too few, and
// the parts that each names.
func (r *Replica) newestWhole(ctx context.Context, seqs []uint64, rewritten *atomic.Int64) (oldest uint64, kept []map[[32]byte]bool, err error) {
	for i := len(seqs) - 1; i >= 0; i-- {
		parts, err := r.whole(ctx, seqs[i], rewritten)
		if err != nil {
			if !damaged(err) || errors.Is(err, errSpareAlone) || ctx.Err() != nil {
				return 0, nil, fmt.Errorf("prune snapshots: %w", err)
			}
			if r.cfg.Logger != nil {
				r.cfg.Logger.Error("a snapshot in the bucket is damaged; what is before it is kept until there are two that are whole", "seq", seqs[i], "error", err)
			}
			continue
		}
		if kept = append(kept, parts); len(kept) == keptSnapshots {
			return seqs[i], kept, nil
		}
	}
	return 0, nil, nil
}

// unnamedParts lists the old parts that none of the kept snapshots names, and the spares of those that not all of them name. What is named must be
// there.
func (r *Replica) unnamedParts(ctx context.Context, kept []map[[32]byte]bool) (unnamed []string, err error) {
	store := r.cfg.Store
	names := map[string]int{} // how many name it
	for _, parts := range kept {
		for hash := range parts {
			names[PartKey(hash)]++
			names[SpareKey(hash)]++
		}
	}
	now, err := store.Now(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask %s for its time: %w", store, err)
	}
	there := map[string]bool{}
	for info, err := range store.List(ctx, partPrefix, "") {
		if err != nil {
			return nil, fmt.Errorf("list snapshot parts: %w", err)
		}
		there[info.Key] = true
		needed := 1
		if strings.HasSuffix(info.Key, spareSuffix) {
			needed = len(kept)
		}
		if names[info.Key] < needed && strings.HasPrefix(info.Key, partPrefix) && now.Sub(info.Modified) >= partGrace {
			unnamed = append(unnamed, info.Key)
		}
	}
	for _, parts := range kept {
		for hash := range parts {
			if err := r.missed(ctx, hash, there); err != nil {
				return nil, err
			}
		}
	}
	return unnamed, nil
}

// missed looks for the part and its spare where a listing has not shown them. The next snapshot writes again what has vanished, if it still has it;
// until then a part that has must not be relied on.
func (r *Replica) missed(ctx context.Context, hash [32]byte, there map[string]bool) error {
	if key := SpareKey(hash); !there[key] {
		r.proven.forget(key)
	}
	key := PartKey(hash)
	if there[key] {
		return nil
	}
	_, err := r.cfg.Store.Head(ctx, key) // a folder's listing may miss a file while others are created
	if errors.Is(err, objstore.ErrNotFound) {
		r.proven.forget(key)
		err = errPartLost
	}
	if err != nil {
		return fmt.Errorf("look for %s: %w", key, err)
	}
	return nil
}
