package lane

import (
	"context"
	"errors"
	"time"

	"github.com/varvelog/varve/ingest/hotlog"
)

// ReleasedSegments is the state's list of hot segments to which nothing refers any more.
type ReleasedSegments interface {
	// Released returns the node's released segments, in a slice of the caller's.
	Released() []uint64
	// Forget proposes that the node has removed segments (LocalReleased).
	Forget(ctx context.Context, segments []uint64) error
}

// SegmentRemover deletes hot segments; *hotlog.Log is one.
type SegmentRemover interface {
	Remove(segment uint64) error
}

// Janitor removes a node's released hot segments from its disk and lets state forget them.
type Janitor struct {
	Released ReleasedSegments
	Log      SegmentRemover
	// Interval is how often it looks without being asked. Default 5 s.
	Interval time.Duration
	// Trouble hears of failures, which are tried again; nil means nobody does.
	Trouble func(operation string, err error)
}

const defaultJanitorInterval = 5 * time.Second

// Run works until ctx ends. A value on wake makes it look at once; wake may be nil.
func (j *Janitor) Run(ctx context.Context, wake <-chan struct{}) {
	interval := j.Interval
	if interval <= 0 {
		interval = defaultJanitorInterval
	}
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		if err := j.Sweep(ctx); err != nil && j.Trouble != nil && ctx.Err() == nil {
			j.Trouble("remove released hot segments", err)
		}
		select {
		case <-wake:
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// Sweep removes what is released now. Segments that could not be removed stay on the list.
func (j *Janitor) Sweep(ctx context.Context) error {
	var removed []uint64
	var failures []error
	for _, segment := range j.Released.Released() {
		if err := j.Log.Remove(segment); err != nil && !errors.Is(err, hotlog.ErrSegmentGone) {
			failures = append(failures, err)
			continue
		}
		removed = append(removed, segment)
	}
	if len(removed) > 0 {
		if err := j.Released.Forget(ctx, removed); err != nil {
			failures = append(failures, err)
		}
	}
	return errors.Join(failures...)
}
