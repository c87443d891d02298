package replica

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/crc32"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/varvelog/varve/coordinator/meta"
)

const (
	// parallelParts is how many parts of a snapshot are on their way to the bucket or from it at once.
	parallelParts = 4
	// proofRounds is in how many snapshots each part that stays the same is read once.
	proofRounds = 8
)

// proven remembers of which parts and spares, by their keys, the bucket is known to hold the right bytes: those that this process has written or read back since the present
// leader's epoch began, and not deleted since. It says nothing of who led before, since he may have deleted them. Memory is bounded by the parts of two snapshots.
type proven struct {
	mu sync.Mutex
	// epoch is the leader's.
	epoch uint64
	round uint32
	// present are those that were looked at for the last snapshot that was begun, or since; former those of before that.
	present, former map[string]bool
}

// begin begins with the next snapshot.
func (p *proven) begin(leaderEpoch uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.former, p.present = p.present, map[string]bool{}
	if p.epoch != leaderEpoch {
		p.epoch, p.former = leaderEpoch, nil
	}
	p.round++
}

// holds says whether what is under key is proven, and remembers that for the next snapshot too.
func (p *proven) holds(key string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.former[key] {
		p.present[key] = true
	}
	return p.present[key]
}

// due says whether it is the object's turn to be read again: it may rot at any time, and can be mended while the state is in memory.
func (p *proven) due(key string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return (crc32.ChecksumIEEE([]byte(key))+p.round)%proofRounds == 0
}

func (p *proven) add(key string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.present == nil {
		p.present = map[string]bool{}
	}
	p.present[key] = true
}

func (p *proven) forget(key string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.present, key)
	delete(p.former, key)
}

// prove compares what the bucket holds under key with what it should, and writes it again where it is something else or cannot be read.
func (r *Replica) prove(ctx context.Context, key string, want []byte) (rewritten bool, err error) {
	stored, damage := readObject(ctx, r.cfg.Store, key)
	switch {
	case ctx.Err() != nil:
		return false, ctx.Err()
	case damage == nil && bytes.Equal(stored, want):
		return false, nil
	case damage == nil:
		damage = fmt.Errorf("%s: %w: its content is not what was written", key, meta.ErrCorrupt)
	}
	if err := r.writeAgain(ctx, key, want, damage); err != nil {
		return false, err
	}
	return true, nil
}

// writeAgain puts an object in the place of one that is damaged. Also where reading it failed: some stores find rot themselves, and give an error for it that any
// trouble might have.
func (r *Replica) writeAgain(ctx context.Context, key string, object []byte, damage error) error {
	if _, err := r.cfg.Store.Put(ctx, key, object); err != nil {
		return fmt.Errorf("write %s again: %w", key, err)
	}
	if r.cfg.Logger != nil {
		r.cfg.Logger.Error("an object of the snapshots was damaged in the bucket, or could not be read; it was written again", "key", key, "error", damage)
	}
	return nil
}

// whole returns the hashes of the parts of the snapshot after seq, each of which is whole: those that only their spares had were written again, which rewritten
// counts. The error wraps errSpareAlone where one could not be, else meta.ErrCorrupt or objstore.ErrNotFound where the snapshot is damaged.
func (r *Replica) whole(ctx context.Context, seq uint64, rewritten *atomic.Int64) (parts map[[32]byte]bool, err error) {
	m, err := ReadManifest(ctx, r.cfg.Store, seq)
	if err != nil {
		return nil, err
	}
	parts = map[[32]byte]bool{}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallelParts)
	for _, name := range m.Parts {
		if len(name) != sha256.Size {
			return nil, errors.Join(fmt.Errorf("%s names a part by %d bytes: %w", SnapshotKey(seq), len(name), meta.ErrCorrupt), group.Wait())
		}
		hash := [32]byte(name)
		parts[hash] = true
		if r.proven.holds(PartKey(hash)) {
			continue
		}
		group.Go(func() error { return r.mend(ctx, hash, rewritten) })
	}
	if err := group.Wait(); err != nil {
		return nil, fmt.Errorf("snapshot of %d: %w", seq, err)
	}
	return parts, nil
}

// mend proves a part, and writes it again where only its spare has it: the spare goes as soon as one of the kept snapshots does not name it. Whoever else leads
// writes the same bytes, and what is written too late is a part that nobody names, like any other.
func (r *Replica) mend(ctx context.Context, hash [32]byte, rewritten *atomic.Int64) error {
	part, damage, err := ReadPart(ctx, r.cfg.Store, hash)
	if err != nil {
		return err
	}
	if damage != nil {
		if err := r.writeAgain(ctx, PartKey(hash), part, damage); err != nil {
			return fmt.Errorf("%w: %w", errSpareAlone, err)
		}
		rewritten.Add(1)
	}
	r.proven.add(PartKey(hash))
	return nil
}
