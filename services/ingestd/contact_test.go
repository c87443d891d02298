package ingestd

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestContactIsAsFreshAsTheLastPing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c contact
		begun := time.Now()
		time.Sleep(100 * time.Millisecond) // virtual
		c.note(begun, false)
		if away, checked, err := c.Await(t.Context()); err != nil || !away.IsZero() || !checked.Equal(time.Now()) {
			t.Errorf("after a ping: away %v, checked %v, %v", away, checked, err)
		}
		time.Sleep(contactFresh - 101*time.Millisecond) // virtual
		if _, checked, err := c.Await(t.Context()); err != nil || !checked.Equal(time.Now()) {
			t.Errorf("just before it is too old: %v", err)
		}
		time.Sleep(time.Millisecond) // virtual
		bounded, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, _, err := c.Await(bounded); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("when it is too old: %v", err)
		}
		// The answer that comes then says that the node was away.
		type result struct {
			away, checked time.Time
			err           error
		}
		results := make(chan result, 2)
		for range cap(results) {
			go func() {
				away, checked, err := c.Await(t.Context())
				results <- result{away, checked, err}
			}()
		}
		synctest.Wait()
		c.note(time.Now(), true)
		for range cap(results) {
			if r := <-results; r.err != nil || !r.away.Equal(time.Now()) {
				t.Errorf("away %v, %v", r.away, r.err)
			}
		}
		returned := time.Now()
		time.Sleep(time.Second) // virtual
		c.note(time.Now(), false)
		if away, _, err := c.Await(t.Context()); err != nil || !away.Equal(returned) {
			t.Errorf("back again: away %v, %v", away, err)
		}
	})
}
