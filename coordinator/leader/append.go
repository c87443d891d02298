package leader

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metalog"
)

const firstRetry = 5 * time.Millisecond

// errTaken: the sequence holds an entry of an older epoch, which has to be applied before this leader's.
var errTaken = errors.New("an older leader's entry came first")

// appendSettled returns when it is certain what stands at seq: nil for this entry, errTaken or ErrFenced for another's.
// Until then the same bytes are appended again, for an answer may be lost, and a request may arrive late.
func (l *Leader) appendSettled(ctx context.Context, seq uint64, encoded []byte, kind metalog.Kind) error {
	wait := firstRetry
	for patience := l.cfg.FirstAppendTimeout; ; patience = min(2*patience, l.cfg.AppendTimeout) {
		err := l.appendOnce(ctx, patience, seq, encoded, kind)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, metalog.ErrConflict):
			if settled, err := l.settle(ctx, seq, encoded); settled {
				return err
			}
		case errors.Is(err, metalog.ErrGap):
			return fmt.Errorf("%w: %w", ErrLogLost, err)
		case errors.Is(err, metalog.ErrTooLarge):
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		l.complain("append to the metalog is not answered, repeating it", err)
		if err := l.pause(ctx, &wait); err != nil {
			return err
		}
	}
}

// pause waits with jitter, longer each time.
func (l *Leader) pause(ctx context.Context, wait *time.Duration) error {
	timer := time.NewTimer(*wait/2 + rand.N(*wait))
	defer timer.Stop()
	*wait = min(2**wait, l.cfg.MaxRetryInterval)
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l *Leader) appendOnce(ctx context.Context, patience time.Duration, seq uint64, encoded []byte, kind metalog.Kind) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return l.cfg.Log.Append(ctx, seq, encoded, kind)
}

// settle reads whose entry stands at seq. Where it cannot be read it is not settled.
func (l *Leader) settle(ctx context.Context, seq uint64, encoded []byte) (settled bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, l.cfg.AppendTimeout)
	defer cancel()
	there, found, err := metalog.ReadOne(ctx, l.cfg.Log, seq)
	switch {
	case errors.Is(err, metalog.ErrTruncated):
		// Only a successor truncates what this leader has not applied. Whose entry it was nobody can tell any more.
		return true, fmt.Errorf("entry %d: %w: %w", seq, ErrFenced, err)
	case err != nil || !found:
		return false, err
	case bytes.Equal(there, encoded):
		return true, nil
	}
	other, err := meta.DecodeEntry(there)
	switch {
	case err != nil:
		return true, fmt.Errorf("entry %d: %w", seq, err)
	case string(other.LogId) != string(l.cfg.LogID[:]):
		return true, fmt.Errorf("entry %d: %w", seq, metalog.ErrForeign)
	case other.LeaderEpoch < l.epoch.Load():
		return true, errTaken
	}
	return true, fmt.Errorf("entry %d is of epoch %d, this coordinator's is %d: %w", seq, other.LeaderEpoch, l.epoch.Load(), ErrFenced)
}
