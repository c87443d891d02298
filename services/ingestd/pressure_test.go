package ingestd

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestHowFullTheHotLogIsIsLookedAtSeldomWhereNothingHappens(t *testing.T) {
	for name, c := range map[string]struct {
		fill     float64
		interval time.Duration // between wakes; 0 for none
		min, max int           // looks in 10 s
	}{
		"idle":          {0.1, 0, 9, 12},
		"filling":       {0.1, time.Millisecond, 90, 102},
		"seldom a wake": {0.1, 2500 * time.Millisecond, 12, 20},
		"half full":     {0.5, 0, 90, 102},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				wake, looks := newFilling(nil), 0
				if c.interval > 0 {
					go func() {
						ticker := time.NewTicker(c.interval)
						defer ticker.Stop()
						for {
							select {
							case <-ctx.Done():
								return
							case <-ticker.C:
								wake.signal()
							}
						}
					}()
				}
				watchFill(ctx, wake.wake, func() float64 { looks++; return c.fill })
				if looks < c.min || looks > c.max {
					t.Errorf("%d looks, want %d to %d", looks, c.min, c.max)
				}
			})
		})
	}
}

func TestAWakeIsFollowedByALookSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		wake, looked := newFilling(nil), make(chan time.Time)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			watchFill(ctx, wake.wake, func() float64 { looked <- time.Now(); return 0 })
		}()
		<-looked
		for range 5 {
			began := time.Now()
			wake.signal()
			if took := (<-looked).Sub(began); took > pressureInterval {
				t.Errorf("looked %v after something was appended", took)
			}
		}
		cancel()
		<-ended
	})
}
