package bucket

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varvelog/varve/coordinator/metalog"
	"github.com/varvelog/varve/coordinator/metalog/metalogtest"
	"github.com/varvelog/varve/infra/objstore"
	"github.com/varvelog/varve/infra/objstore/faulty"
	"github.com/varvelog/varve/infra/objstore/hedge"
	"github.com/varvelog/varve/infra/objstore/mem"
)

// eager has every PUT begun again at once, as often as may be.
func eager(log *Log) *Log {
	log.hedging = hedge.New(0, 1)
	for range 100 {
		log.hedging.Took(0, 0)
	}
	return log
}

func TestAcceptanceWhereEveryPutIsBegunAgain(t *testing.T) {
	metalogtest.Run(t, func(t *testing.T) metalogtest.Open {
		store := mem.New("metalog")
		return func(t *testing.T) metalog.Log { return eager(open(t, store)) }
	})
}

func TestAcceptanceWhereEveryPutIsBegunAgainAndSomeAreSlow(t *testing.T) {
	metalogtest.Run(t, func(t *testing.T) metalogtest.Open {
		store := faulty.New(mem.New("metalog"), faulty.Config{Seed: 1, Rules: []faulty.Rule{
			{Ops: faulty.Put, Chance: 0.5, Latency: faulty.Latency{Median: 2 * time.Millisecond}, Detach: true},
		}})
		t.Cleanup(func() {
			if err := store.Close(); err != nil {
				t.Error(err)
			}
		})
		return func(t *testing.T) metalog.Log { return eager(open(t, store)) }
	})
}

// A store that takes five seconds for one PUT in 200 stops all commits for as long; begun again, hardly any is noticed.
func TestSlowPutsHardlySlowTheLogDown(t *testing.T) {
	const appends = 3000
	measure := func(share float64) (p99, p999 time.Duration, puts int64) {
		synctest.Test(t, func(t *testing.T) {
			store := faulty.New(mem.New("metalog"), faulty.Config{Seed: 7, Rules: []faulty.Rule{
				{Ops: faulty.Put, Latency: faulty.Latency{Median: 60 * time.Millisecond, P99: 200 * time.Millisecond}},
				{Ops: faulty.Put, Chance: 0.005, Latency: faulty.Latency{Median: 5 * time.Second}},
			}})
			log := open(t, store)
			log.hedging = hedge.New(hedgeMin, share)
			var took []time.Duration
			for seq := uint64(1); seq <= appends; seq++ {
				began := time.Now()
				if err := log.Append(t.Context(), seq, fmt.Append(nil, seq), metalog.Ordinary); err != nil {
					t.Fatal(err)
				}
				took = append(took, time.Since(began))
			}
			if err := errors.Join(log.Close(), store.Close()); err != nil {
				t.Fatal(err)
			}
			slices.Sort(took)
			p99, p999, puts = took[appends*99/100], took[appends*999/1000], int64(store.Calls(faulty.Put))
		})
		return p99, p999, puts
	}
	plain99, plain999, _ := measure(0)
	p99, p999, puts := measure(hedgeShare)
	t.Logf("p99 %v, p99.9 %v with %d PUTs for %d entries; without p99 %v, p99.9 %v", p99, p999, puts, appends, plain99, plain999)
	if p999 > 500*time.Millisecond || plain999 < 5*time.Second {
		t.Errorf("p99.9 %v, without %v", p999, plain999)
	}
	if puts > appends*(1+hedgeShare)+10 {
		t.Errorf("%d PUTs for %d entries", puts, appends)
	}
}

// mute stores the first object, and does not answer.
type mute struct {
	objstore.Store
	asked  atomic.Int64
	before func() // the first PUT takes effect
	keeps  bool   // the first PUT takes no effect until the caller has given up
}

func (m *mute) PutIfAbsent(ctx context.Context, key string, body []byte) (objstore.Version, error) {
	if m.asked.Add(1) > 1 {
		return m.Store.PutIfAbsent(ctx, key, body)
	}
	m.before()
	if !m.keeps {
		if _, err := m.Store.PutIfAbsent(ctx, key, body); err != nil {
			return "", err
		}
	}
	<-ctx.Done()
	if m.keeps {
		_, _ = m.Store.PutIfAbsent(context.WithoutCancel(ctx), key, body)
	}
	return "", ctx.Err()
}

func TestAnEntryThatIsThereWithoutAnAnswerIsRecognised(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &mute{Store: mem.New("metalog"), before: func() {}}
		log := open(t, store)
		began := time.Now()
		if err := log.Append(t.Context(), 1, []byte("mine"), metalog.Fence); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("it took %v", took)
		}
		if err := log.Append(t.Context(), 2, []byte("next"), metalog.Ordinary); err != nil {
			t.Fatal(err)
		}
		if err := log.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestAnothersEntryIsAConflictHoweverOftenOwnOnesAreOnTheirWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		backing := mem.New("metalog")
		store := &mute{Store: backing, keeps: true, before: func() {
			if err := open(t, backing).Append(t.Context(), 1, []byte("another's"), metalog.Fence); err != nil {
				t.Error(err)
			}
		}}
		log := open(t, store)
		if err := log.Append(t.Context(), 1, []byte("mine"), metalog.Ordinary); !errors.Is(err, metalog.ErrConflict) {
			t.Fatalf("%v, want ErrConflict", err)
		}
		if err := log.Close(); err != nil {
			t.Fatal(err)
		}
		if entry, _, err := metalog.ReadOne(t.Context(), open(t, backing), 1); err != nil || string(entry) != "another's" {
			t.Errorf("%q %v", entry, err)
		}
	})
}

// A PUT that was given up for its second beginning may arrive when the log was cut long since: it stands below it and is no part of it.
func TestAPutThatArrivesAfterTheLogWasCutChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		backing := mem.New("metalog")
		store := faulty.New(backing, faulty.Config{Rules: []faulty.Rule{
			{Ops: faulty.Put, Key: func(key string) bool { return key == Key(2) }, Times: 1, Latency: faulty.Latency{Median: time.Hour}, Detach: true},
		}})
		log := open(t, store)
		for seq := uint64(1); seq <= 6; seq++ {
			if err := log.Append(t.Context(), seq, fmt.Append(nil, seq), metalog.Ordinary); err != nil {
				t.Fatal(err)
			}
		}
		if err := log.Truncate(t.Context(), 5); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(log.Close(), store.Close()); err != nil { // which waits for what is late
			t.Fatal(err)
		}
		if _, err := backing.Head(t.Context(), Key(2)); err != nil {
			t.Fatalf("the late PUT has not arrived: %v", err)
		}
		again := open(t, backing)
		if first, next, err := again.Bounds(t.Context()); err != nil || first != 5 || next != 7 {
			t.Errorf("[%d, %d) %v, want [5, 7)", first, next, err)
		}
		if err := again.Append(t.Context(), 7, []byte("7"), metalog.Ordinary); err != nil {
			t.Error(err)
		}
	})
}
