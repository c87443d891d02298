package leader

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
)

const (
	snapshotTimeout = 10 * time.Minute
	// heldShare keeps entries from waiting for snapshots more than one part in so many of the time: a large state under heavy
	// load is written less often.
	heldShare = 200
)

// snapshots counts what the log has grown since the last one.
type snapshots struct {
	entries atomic.Uint64
	bytes   atomic.Int64
	due     chan struct{} // with room for one
}

// grown notes an entry and calls for a snapshot when there is enough behind it.
func (s *snapshots) grown(cfg *Config, bytes int) {
	if s.entries.Add(1) < cfg.SnapshotEntries && s.bytes.Add(int64(bytes)) < cfg.SnapshotBytes {
		return
	}
	s.call()
}

// call has a snapshot written soon.
func (s *snapshots) call() {
	select {
	case s.due <- struct{}{}:
	default:
	}
}

// runSnapshots writes a snapshot when one is due, and at once where there is none or the log behind the last is long: the
// first makes a lost log noticed.
func (l *Leader) runSnapshots(ctx context.Context) {
	if !l.cfg.Replica.HasStore() {
		return
	}
	behind := l.cfg.Replica.Seq() - l.cfg.Replica.SnapshotSeq()
	l.snapshots.entries.Add(behind)
	if l.cfg.Replica.SnapshotSeq() == 0 || behind >= l.cfg.SnapshotEntries {
		l.snapshot(ctx)
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.snapshots.due:
		}
		l.snapshot(ctx)
	}
}

// snapshot writes one and deletes what it makes superfluous, and returns when the next may be written.
func (l *Leader) snapshot(ctx context.Context) {
	write, cancel := context.WithTimeout(ctx, snapshotTimeout)
	defer cancel()
	// Also after a failure: the next attempt comes when the log has grown as much again.
	l.snapshots.entries.Store(0)
	l.snapshots.bytes.Store(0)
	select {
	case <-l.snapshots.due: // called for by what this one covers
	default:
	}
	held, err := l.writeSnapshot(write)
	failure := "snapshot was not written, the log grows on"
	if err == nil {
		failure, err = l.cutBehind(write)
	}
	if err != nil && ctx.Err() == nil {
		l.cfg.Logger.Warn(failure, "error", err)
	}
	rest := time.NewTimer(heldShare * held)
	defer rest.Stop()
	select {
	case <-ctx.Done():
	case <-rest.C:
	}
}

func (l *Leader) writeSnapshot(ctx context.Context) (held time.Duration, err error) {
	began := time.Now()
	saved, err := l.cfg.Replica.SaveSnapshot(ctx)
	if l.cfg.Observer != nil && saved.Rewritten > 0 {
		l.cfg.Observer.Rewrote(saved.Rewritten)
	}
	if err != nil {
		return 0, err
	}
	l.cfg.Logger.Debug("snapshot written", "seq", saved.Seq, "parts", saved.Parts, "new", saved.NewParts, "read", saved.Read, "bytes", saved.Bytes,
		"took", time.Since(began), "held", saved.Held)
	if l.cfg.Observer != nil {
		l.cfg.Observer.Snapshotted(saved.Bytes, saved.Held)
	}
	return saved.Held, nil
}

// cutBehind deletes what the snapshot that was written makes superfluous: older ones, the log before those that are kept, and the log's archive. Where it
// fails, failure says at what.
func (l *Leader) cutBehind(ctx context.Context) (failure string, err error) {
	before, rewritten, err := l.cfg.Replica.PruneSnapshots(ctx)
	if l.cfg.Observer != nil && rewritten > 0 {
		l.cfg.Observer.Rewrote(rewritten)
	}
	if err != nil {
		return "snapshot was written, but not all that it makes superfluous was deleted, and the log was not cut", err
	}
	if before == 0 {
		return "", nil
	}
	if err := l.cfg.Log.Truncate(ctx, before); err != nil {
		return "snapshot was written, but the log was not cut, or not all of it", fmt.Errorf("cut the metalog before %d: %w", before, err)
	}
	if l.archiver == nil {
		return "", nil
	}
	return "snapshot was written and the log cut, but not all of its archive", l.archiver.Prune(ctx, before)
}
