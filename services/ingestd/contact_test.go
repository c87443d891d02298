package ingestd

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestContactIsAsFreshAsTheLastPing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // time stands still
		var c contact
		now := time.Now()
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if _, _, err := c.Await(ended); !errors.Is(err, context.Canceled) {
			t.Errorf("before the first ping: %v", err)
		}
		c.note(now.Add(1-contactFresh), false)
		if away, checked, err := c.Await(ended); err != nil || !away.IsZero() || !checked.Equal(now) {
			t.Errorf("just before the last ping is too old: away %v, checked %v, %v", away, checked, err)
		}
		c.note(now.Add(-contactFresh), false)
		if _, _, err := c.Await(ended); !errors.Is(err, context.Canceled) {
			t.Errorf("when it is too old: %v", err)
		}
		// The answer that comes then says that the node was away.
		type result struct {
			away time.Time
			err  error
		}
		results := make(chan result, 2)
		for range cap(results) {
			go func() {
				away, _, err := c.Await(t.Context())
				results <- result{away, err}
			}()
		}
		synctest.Wait()
		c.note(now, true)
		for range cap(results) {
			if r := <-results; r.err != nil || !r.away.Equal(now) {
				t.Errorf("away %v, %v", r.away, r.err)
			}
		}
		c.note(now, false)
		if away, _, err := c.Await(ended); err != nil || !away.Equal(now) {
			t.Errorf("back again: away %v, %v", away, err)
		}
	})
}
