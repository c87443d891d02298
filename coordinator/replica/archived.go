package replica

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/varvelog/varve/coordinator/archive"
	"github.com/varvelog/varve/coordinator/metalog"
)

// errNoLog: somebody wants to write to the log of a replica that was opened without one.
var errNoLog = errors.New("the archive of a metalog is read only")

// OpenArchived opens a replica of what the bucket alone knows: its newest snapshot, and the archived entries behind it. cfg.Log
// is not used. The replica stands still; the caller must Close it.
func OpenArchived(ctx context.Context, cfg Config) (*Replica, error) {
	r := newReplica(cfg)
	seqs, archived, err := r.inBucket(ctx)
	if err != nil {
		r.cancel()
		return nil, err
	}
	log := archivedLog{cfg: &r.cfg, first: 1, next: max(archived.Next, 1)}
	if n := len(seqs); n > 0 {
		// The archive may lag behind the snapshot, never the other way round: snapshots stand for what it skipped.
		log.first, log.next = seqs[0]+1, max(log.next, seqs[n-1]+1)
	}
	if archived.First > 0 {
		log.first = min(log.first, archived.First) // which counts where snapshots are damaged
	}
	r.cfg.Log = log
	if err := r.load(ctx); err != nil {
		r.cancel()
		return nil, err
	}
	return r, nil
}

// archivedLog reads the archive as the log it is of.
type archivedLog struct {
	cfg         *Config
	first, next uint64
}

var _ metalog.Log = archivedLog{}

func (l archivedLog) Read(ctx context.Context, seq uint64) iter.Seq2[metalog.Record, error] {
	if seq >= l.first {
		return archive.Read(ctx, l.cfg.Store, l.cfg.LogID, seq)
	}
	return func(yield func(metalog.Record, error) bool) {
		yield(metalog.Record{}, fmt.Errorf("read %d, first is %d: %w", seq, l.first, metalog.ErrTruncated))
	}
}

func (l archivedLog) Bounds(context.Context) (first, next uint64, err error) {
	return l.first, l.next, nil
}
func (l archivedLog) Verify(context.Context) error           { return nil }
func (l archivedLog) Close() error                           { return nil }
func (l archivedLog) Truncate(context.Context, uint64) error { return errNoLog }

func (l archivedLog) Append(context.Context, uint64, []byte, metalog.Kind) error { return errNoLog }
