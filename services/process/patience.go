package process

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/varvelog/varve/coordinator/identity"
	"github.com/varvelog/varve/coordinator/metalog"
	"github.com/varvelog/varve/coordinator/replica"
	"github.com/varvelog/varve/infra/objstore"
)

const (
	// startPatience is how long a step of the start is tried: stores throttle most when everything comes back at once.
	startPatience = time.Minute
	// leastAttempts are made however long each takes.
	leastAttempts = 4
	firstRetry    = 100 * time.Millisecond
	lastRetry     = 3 * time.Second
)

// Patiently repeats a step of the start, which what names, until it succeeds, fails for good, or a minute or ctx is over. That
// it has to is said once. A step that can hang has a timeout of its own.
func (p *Process) Patiently(ctx context.Context, what string, step func(context.Context) error) error {
	return patiently(ctx, p.Log, what, step)
}

// Persistently is Patiently without the minute: for what waits for other processes, or for space on a disk. That it still waits is said every minute.
func (p *Process) Persistently(ctx context.Context, what string, step func(context.Context) error) error {
	for {
		began := time.Now()
		err := patiently(ctx, p.Log, what, step)
		if err == nil || final(err) || ctx.Err() != nil || time.Since(began) < startPatience/2 {
			return err
		}
	}
}

func patiently(ctx context.Context, log *slog.Logger, what string, step func(context.Context) error) error {
	began := time.Now()
	wait := firstRetry
	for attempts := 1; ; attempts++ {
		err := step(ctx)
		if err == nil || final(err) || ctx.Err() != nil {
			return err
		}
		if attempts >= leastAttempts && time.Since(began)+wait > startPatience {
			return fmt.Errorf("after trying for %s: %w", time.Since(began).Round(time.Second), err)
		}
		if attempts == 1 {
			log.Warn("cannot "+what+", trying again", "for", startPatience, "error", err)
		}
		timer := time.NewTimer(wait/2 + rand.N(wait/2))
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
		wait = min(2*wait, lastRetry)
	}
}

// final says whether err is one that no repetition mends.
func final(err error) bool {
	return errors.Is(err, identity.ErrRefused) || errors.Is(err, objstore.ErrConditionsIgnored) || errors.Is(err, metalog.ErrFewCopies) || replica.Final(err) || !objstore.Ambiguous(err)
}
