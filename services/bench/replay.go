package bench

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
)

// moved is what a phase moved over the wire, and how long it took.
type moved struct {
	requests int64
	bytes    int64 // of Produce frames as sent, or of Fetch answers as received
	took     time.Duration
}

func (m moved) bytesPerSecond() float64 { return ratio(float64(m.bytes), m.took.Seconds()) }

func (m *moved) add(other moved) {
	m.requests, m.bytes, m.took = m.requests+other.requests, m.bytes+other.bytes, m.took+other.took
}

// load is prebuilt Produce frames, by connection, that are replayed round and round with up to window of them unanswered on each.
type load struct {
	perConnection [][]frame
	window        int
}

// run sends until at least wantBytes were sent in all, and waits for every answer.
func (l load) run(ctx context.Context, addr string, wantBytes int64) (moved, error) {
	return l.replay(ctx, addr, wantBytes, nil)
}

// runUntil sends until stop is closed, and waits for every answer.
func (l load) runUntil(ctx context.Context, addr string, stop <-chan struct{}) (moved, error) {
	return l.replay(ctx, addr, maxBytes, stop)
}

func (l load) replay(ctx context.Context, addr string, wantBytes int64, stop <-chan struct{}) (moved, error) {
	results := make([]moved, len(l.perConnection))
	begun := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	for i, frames := range l.perConnection {
		group.Go(func() error {
			c, err := dial(ctx, addr)
			if err != nil {
				return err
			}
			defer c.close()
			results[i], err = c.replay(ctx, frames, l.window, wantBytes/int64(len(l.perConnection)), stop)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return moved{}, fmt.Errorf("replay: %w", err)
	}
	var total moved
	for _, r := range results {
		total.add(r)
	}
	total.took = time.Since(begun)
	return total, nil
}

// replay sends frames on one connection until wantBytes were sent or stop is closed.
func (c *conn) replay(ctx context.Context, frames []frame, window int, wantBytes int64, stop <-chan struct{}) (moved, error) {
	unanswered := make(chan int32, window-1) // one more waits to be put in
	var m moved
	group, ctx := errgroup.WithContext(ctx)
	defer c.guard(ctx)()
	group.Go(func() error {
		defer close(unanswered)
		for i := 0; m.bytes < wantBytes; i++ {
			f := frames[i%len(frames)]
			id, err := c.send(f)
			if err != nil {
				return err
			}
			m.requests, m.bytes = m.requests+1, m.bytes+int64(len(f))
			select {
			case unanswered <- id:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
			if closed(stop) {
				return nil
			}
		}
		return nil
	})
	group.Go(func() error {
		for id := range unanswered {
			answer, err := c.receive()
			if err != nil {
				return err
			}
			if err := checkProduced(answer, id); err != nil {
				return err
			}
		}
		return nil
	})
	err := group.Wait()
	return m, err
}

func closed(stop <-chan struct{}) bool {
	select {
	case <-stop:
		return true
	default:
		return false
	}
}
