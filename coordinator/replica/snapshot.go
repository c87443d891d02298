package replica

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/varvelog/varve/coordinator/archive"
	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metalog"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/infra/objstore"
)

const (
	snapshotPrefix = "meta/snapshot/"
	partPrefix     = snapshotPrefix + "part/"
	spareSuffix    = "-spare"
	// restoreAttempts is how often snapshots are listed anew before what one names is held to be missing.
	restoreAttempts = 3
)

// maxPartBytes bounds a part, and a manifest: larger ones are neither written nor read. Protobuf encodes no more. It is a variable for the tests.
var maxPartBytes int64 = 1<<31 - 1

// SnapshotKey is the key of the manifest of the state after seq.
func SnapshotKey(seq uint64) string { return fmt.Sprintf("%s%020d", snapshotPrefix, seq) }

// PartKey is the key of the snapshot part with this SHA-256.
func PartKey(hash [32]byte) string { return fmt.Sprintf("%s%x", partPrefix, hash) }

// SpareKey is the key of that part's second copy, which there is where the bucket had the part before the last snapshot: both of those that are kept
// may name it, and one object for both would be all that is left.
func SpareKey(hash [32]byte) string { return PartKey(hash) + spareSuffix }

// ListManifests returns the sequences of the snapshots in the bucket, ascending.
func ListManifests(ctx context.Context, store objstore.Store) ([]uint64, error) {
	var seqs []uint64
	for info, err := range store.List(ctx, snapshotPrefix, "") {
		if err != nil {
			return nil, fmt.Errorf("list snapshots in %s: %w", store, err)
		}
		if strings.HasPrefix(info.Key, partPrefix) {
			break // they sort behind
		}
		seq, err := strconv.ParseUint(strings.TrimPrefix(info.Key, snapshotPrefix), 10, 64)
		if err == nil && SnapshotKey(seq) == info.Key { // else it is somebody else's
			seqs = append(seqs, seq)
		}
	}
	return seqs, nil
}

// ReadManifest reads the manifest of the state after seq. The error wraps meta.ErrCorrupt or meta.ErrFormat where it is not one.
func ReadManifest(ctx context.Context, store objstore.Store, seq uint64) (*metapb.Manifest, error) {
	object, err := readObject(ctx, store, SnapshotKey(seq))
	if err != nil {
		return nil, err
	}
	m, err := meta.DecodeManifest(object)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", SnapshotKey(seq), err)
	}
	if m.Seq != seq || len(m.EntryHash) != sha256.Size {
		return nil, fmt.Errorf("%s holds the snapshot of %d: %w", SnapshotKey(seq), m.Seq, meta.ErrCorrupt)
	}
	return m, nil
}

// ReadPart reads a snapshot's part: from its spare where the part itself is damaged or cannot be read, which damage tells then. The error wraps meta.ErrCorrupt or
// objstore.ErrNotFound where neither is whole.
func ReadPart(ctx context.Context, store objstore.Store, hash [32]byte) (part []byte, damage, err error) {
	part, err = readWhole(ctx, store, PartKey(hash), hash)
	if err == nil || ctx.Err() != nil {
		return part, nil, err
	}
	spare, spareErr := readWhole(ctx, store, SpareKey(hash), hash)
	switch {
	case spareErr == nil:
		return spare, err, nil
	case damaged(err) && !damaged(spareErr):
		return nil, nil, spareErr // which says nothing of what it holds
	case damaged(err) && errors.Is(spareErr, objstore.ErrNotFound):
		// A leader may have written the part again from its spare meanwhile, and deleted that.
		if part, err := readWhole(ctx, store, PartKey(hash), hash); err == nil {
			return part, nil, nil
		}
	}
	return nil, nil, err
}

// CheckSpare reads a part's spare. The error wraps meta.ErrCorrupt where it is damaged, and objstore.ErrNotFound where there is none.
func CheckSpare(ctx context.Context, store objstore.Store, hash [32]byte) error {
	_, err := readWhole(ctx, store, SpareKey(hash), hash)
	return err
}

// readWhole reads an object that must have the hash.
func readWhole(ctx context.Context, store objstore.Store, key string, hash [32]byte) ([]byte, error) {
	object, err := readObject(ctx, store, key)
	if err == nil && sha256.Sum256(object) != hash {
		return nil, fmt.Errorf("%s: %w: content is not that of its hash", key, meta.ErrCorrupt)
	}
	return object, err
}

func readObject(ctx context.Context, store objstore.Store, key string) ([]byte, error) {
	body, info, err := store.Get(ctx, key, 0, -1)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", key, err)
	}
	if info.SizeBytes > maxPartBytes {
		return nil, errors.Join(fmt.Errorf("%s has %d bytes: %w", key, info.SizeBytes, meta.ErrCorrupt), body.Close())
	}
	object := make([]byte, info.SizeBytes)
	_, err = io.ReadFull(body, object)
	if err := errors.Join(err, body.Close()); err != nil {
		return nil, fmt.Errorf("read %s: %w", key, err)
	}
	return object, nil
}

// restore replaces the state by the newest snapshot that is ahead of it and whole, and checks that the log fits it.
func (r *Replica) restore(ctx context.Context) error {
	var err error
	for attempt := range restoreAttempts {
		err = r.tryRestore(ctx, attempt == restoreAttempts-1)
		// A leader that goes on may have replaced what was listed by the time it is read.
		if !errors.Is(err, ErrNoSnapshot) && !errors.Is(err, objstore.ErrNotFound) {
			break
		}
	}
	return r.short.judge(err, r.cfg.ShortPatience)
}

// short remembers since when the log has seemed to be too short.
type short struct {
	mu          sync.Mutex
	since, last time.Time // zero where it does not
}

// shortMemory is after how long without one a short log is not the same any more: nobody has asked.
const shortMemory = 5 * time.Second

// judge makes of ErrLogShort what settles nothing, until it has been seen for as long as patience.
func (s *short) judge(err error, patience time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !errors.Is(err, ErrLogShort) {
		if err == nil {
			s.since = time.Time{}
		}
		return err
	}
	now := time.Now()
	if s.since.IsZero() || now.Sub(s.last) > shortMemory {
		s.since = now
	}
	if s.last = now; now.Sub(s.since) >= patience {
		return err
	}
	return fmt.Errorf("%w: %v", errSeemsShort, err) // not ErrLogShort, which is final
}

// tryRestore is restore on one listing. What is missing there may have been replaced meanwhile, and is damage where this is the last attempt.
func (r *Replica) tryRestore(ctx context.Context, last bool) error {
	// The log's end is asked for last: it only grows beyond what the bucket knew before.
	seqs, archived, err := r.inBucket(ctx)
	if err != nil {
		return err
	}
	first, next, err := r.cfg.Log.Bounds(ctx)
	if err != nil {
		return fmt.Errorf("find metalog's bounds: %w", err)
	}
	if n := len(seqs); n > 0 && seqs[n-1] >= next {
		return fmt.Errorf("the log ends at %d, its snapshot is of %d: %w", next, seqs[n-1], ErrLogShort)
	}
	if archived.Next > next {
		return fmt.Errorf("the log ends at %d, its archive at %d: %w", next, archived.Next, ErrLogShort)
	}
	restored, damage := r.restoreNewest(ctx, seqs, first)
	if restored || damage != nil && !damaged(damage) || !last && errors.Is(damage, objstore.ErrNotFound) {
		return damage
	}
	from := r.Seq() + 1
	cut := first > from
	archives := cut && archived.First <= from && archived.Next >= first // the log was cut, and the archive was not yet
	switch {
	case cut && !archives && damage != nil:
		return damage
	case cut && !archives:
		return fmt.Errorf("the log begins at %d: %w", first, ErrNoSnapshot)
	case damage != nil && r.cfg.Logger != nil:
		r.cfg.Logger.Error("no snapshot is whole; the entries that they stand for are there, and are applied", "from", from, "error", damage)
	}
	if !archives {
		return nil
	}
	return r.applyAll(archive.Read(ctx, r.cfg.Store, r.cfg.LogID, from))
}

// damaged says whether err tells that a snapshot cannot be used any more.
func damaged(err error) bool {
	return errors.Is(err, meta.ErrCorrupt) || errors.Is(err, objstore.ErrNotFound)
}

// restoreNewest restores the newest snapshot that is whole, ahead of the state, and continued by a log that begins at first. Where restored is
// false, damage says what is wrong with those that might have been, and is nil where there are none.
func (r *Replica) restoreNewest(ctx context.Context, seqs []uint64, first uint64) (restored bool, damage error) {
	for i := len(seqs) - 1; i >= 0 && seqs[i] > r.Seq() && seqs[i]+1 >= first; i-- {
		err := r.restoreFrom(ctx, seqs[i])
		if err == nil {
			return true, nil
		}
		if !damaged(err) {
			return false, err
		}
		if r.cfg.Logger != nil && i > 0 {
			r.cfg.Logger.Error("snapshot is damaged, trying the one before it", "error", err)
		}
		damage = err
	}
	return false, damage
}

// inBucket lists what the bucket has of the log: snapshots, ascending, and the archive from its first entry to its last; zero where there is none.
func (r *Replica) inBucket(ctx context.Context) (seqs []uint64, archived archive.Object, err error) {
	if r.cfg.Store == nil {
		return nil, archived, nil
	}
	if seqs, err = ListManifests(ctx, r.cfg.Store); err != nil {
		return nil, archived, err
	}
	archived, err = archive.Extent(ctx, r.cfg.Store)
	return seqs, archived, err
}

func (r *Replica) restoreFrom(ctx context.Context, seq uint64) error {
	m, err := ReadManifest(ctx, r.cfg.Store, seq)
	if err != nil {
		return err
	}
	if string(m.LogId) != string(r.cfg.LogID[:]) {
		return fmt.Errorf("%s is of log %x, not of %x: %w", SnapshotKey(seq), m.LogId, r.cfg.LogID, meta.ErrForeignLog)
	}
	if m.FeatureLevel > meta.FeatureLevel {
		return fmt.Errorf("%s: %w: %d, this build knows %d", SnapshotKey(seq), meta.ErrFeatureLevel, m.FeatureLevel, meta.FeatureLevel)
	}
	entry, found, err := metalog.ReadOne(ctx, r.cfg.Log, seq)
	if err == nil && found && sha256.Sum256(entry) != [32]byte(m.EntryHash) {
		if _, err = meta.DecodeEntry(entry); err == nil {
			err = fmt.Errorf("it is not the one that %s stands for: %w", SnapshotKey(seq), ErrForked)
		}
	}
	switch {
	case errors.Is(err, metalog.ErrTruncated):
	case errors.Is(err, metalog.ErrCorrupt), errors.Is(err, meta.ErrCorrupt):
		// The snapshot stands for it, and whether it fits the log is told by the next entry, which names its hash.
		if r.cfg.Logger != nil {
			r.cfg.Logger.Error("an entry of the metadata log is damaged; a snapshot stands for it", "seq", seq, "error", err)
		}
	case err != nil:
		return fmt.Errorf("read entry %d: %w", seq, err)
	}
	state, err := meta.Restore(m, func(hash [32]byte) ([]byte, error) {
		part, damage, err := ReadPart(ctx, r.cfg.Store, hash)
		if damage != nil && r.cfg.Logger != nil {
			r.cfg.Logger.Error("a part of a snapshot is damaged, its spare was used", "error", damage)
		}
		return part, err
	})
	if err != nil {
		return err
	}
	r.replace(state, [32]byte(m.EntryHash))
	r.saved.Store(seq)
	return nil
}

// replace puts a restored state in place of the present one, and wakes whoever waits. Where hints have brought as much while the snapshot was read,
// the present one stays: it must not go back.
func (r *Replica) replace(state *meta.State, hash [32]byte) {
	r.applying.Lock()
	defer r.applying.Unlock()
	seq := state.Seq()
	if seq <= r.Seq() {
		return
	}
	r.mu.Lock()
	r.mu.state, r.mu.lastHash = state, hash
	r.applied.Store(seq)
	r.mu.Unlock()
	r.Hear(seq)
	r.sequences.reached(seq)
	r.leads.gaps.Add(1)
	r.leads.began(state.LeaderEpoch())
	r.watchers.wakeAll()
	r.listeners.tell(&Applied{Seq: seq, Changes: ^uint32(0)})
}
