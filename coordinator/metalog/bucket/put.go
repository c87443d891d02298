package bucket

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/varvelog/varve/coordinator/metalog"
	"github.com/varvelog/varve/infra/objstore"
)

const (
	// hedgeMin is the shortest time after which a PUT is slow, hedgeShare how many of all may be begun again.
	hedgeMin   = 20 * time.Millisecond
	hedgeShare = 0.1
)

// put stores the object of seq unless there is one. While it waits nothing is committed, so a PUT that is slow is begun again: the same bytes under
// the same key, of which the store takes one. nil: they are there. ErrConflict: others are. Anything else leaves open what will be there, as with
// a single PUT: one that is given up may still arrive, which changes nothing once the slot is taken.
func (l *Log) put(ctx context.Context, seq uint64, object []byte) error {
	ctx, giveUp := context.WithCancel(ctx)
	defer giveUp() // what is still running when the outcome is known
	outcomes := make(chan error, maxPuts)
	start := func() {
		l.puts.Go(func() {
			_, err := l.store.PutIfAbsent(ctx, Key(seq), object)
			if errors.Is(err, objstore.ErrThrottled) {
				l.hedging.Throttled()
			}
			outcomes <- err
		})
	}
	delay := l.hedging.Begin(len(object))
	began := time.Now()
	start()
	slow := time.NewTimer(delay)
	defer slow.Stop()
	var failed error
	for begun, running := 1, 1; running > 0; {
		select {
		case <-slow.C:
			if begun < maxPuts && l.hedging.Take() {
				start()
				begun++
				running++
				slow.Reset(delay)
			}
		case err := <-outcomes:
			running--
			if errors.Is(err, objstore.ErrExists) && begun > 1 {
				err = l.whose(ctx, seq, object)
			}
			switch {
			case err == nil:
				l.hedging.Took(len(object), time.Since(began))
				return nil
			case errors.Is(err, objstore.ErrExists):
				return metalog.ErrConflict
			case errors.Is(err, metalog.ErrConflict):
				return err
			}
			failed = errors.Join(failed, err)
		}
	}
	return failed
}

// maxPuts is how often an entry is PUT at once at most.
const maxPuts = 3

// whose looks what stands at seq, where a PUT has found something and another of the same bytes is on its way or has ended without an answer:
// nil where it is the object, ErrConflict where it is another.
func (l *Log) whose(ctx context.Context, seq uint64, object []byte) error {
	there, _, err := objstore.ReadAll(ctx, l.store, Key(seq), headerBytes+metalog.MaxEntryBytes)
	switch {
	case err != nil:
		return fmt.Errorf("look whose entry %d is: %w", seq, err)
	case bytes.Equal(there, object):
		return nil
	}
	return metalog.ErrConflict
}
