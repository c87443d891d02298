package storetest

import (
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"

	"github.com/varvelog/varve/infra/objstore"
)

func (s *suite) testPutIfAbsent(t *testing.T, store objstore.Store) {
	version := mustPut(t, store, "key", []byte("first"))
	if _, err := store.PutIfAbsent(testContext(t), "key", []byte("second")); !errors.Is(err, objstore.ErrExists) {
		t.Errorf("second PutIfAbsent: %v, want ErrExists", err)
	}
	// The content does not matter, only the key.
	if _, err := store.PutIfAbsent(testContext(t), "key", []byte("first")); !errors.Is(err, objstore.ErrExists) {
		t.Errorf("PutIfAbsent of the same bytes: %v, want ErrExists", err)
	}
	wantBody(t, store, "key", []byte("first"))
	if info, err := store.Head(testContext(t), "key"); err != nil || info.Version != version {
		t.Errorf("Head: %+v, %v, want version %s", info, err, version)
	}
}

func (s *suite) testPutIfMatch(t *testing.T, store objstore.Store) {
	ctx := testContext(t)
	first := mustPut(t, store, "key", []byte("first"))
	second, err := store.PutIfMatch(ctx, "key", []byte("second"), first)
	if err != nil {
		t.Fatal(err)
	}
	if second == first || second == "" {
		t.Fatalf("versions %q and %q", first, second)
	}
	if _, err := store.PutIfMatch(ctx, "key", []byte("third"), first); !errors.Is(err, objstore.ErrConditionFailed) {
		t.Errorf("PutIfMatch of a stale version: %v, want ErrConditionFailed", err)
	}
	wantBody(t, store, "key", []byte("second"))
	if info, err := store.Head(ctx, "key"); err != nil || info.Version != second {
		t.Errorf("Head: %+v, %v, want version %s", info, err, second)
	}

	if _, err := store.PutIfMatch(ctx, "absent", []byte("x"), first); !errors.Is(err, objstore.ErrConditionFailed) {
		t.Errorf("PutIfMatch of an absent key: %v, want ErrConditionFailed", err)
	}
	if err := store.Delete(ctx, "key"); err != nil {
		t.Fatal(err)
	}
	if _, err := store.PutIfMatch(ctx, "key", []byte("x"), second); !errors.Is(err, objstore.ErrConditionFailed) {
		t.Errorf("PutIfMatch of a deleted key: %v, want ErrConditionFailed", err)
	}
	wantKeys(t, store, "", "")
}

// testRacingPutIfAbsent: of many writers of one key exactly one wins, and its bytes are the object.
func (s *suite) testRacingPutIfAbsent(t *testing.T, store objstore.Store) {
	for round := range 3 {
		key := fmt.Sprintf("race/%d", round)
		winners := s.race(t, func(racer int) error {
			_, err := store.PutIfAbsent(testContext(t), key, []byte(strconv.Itoa(racer)))
			return err
		}, objstore.ErrExists)
		if len(winners) != 1 {
			t.Fatalf("round %d: %d winners", round, len(winners))
		}
		wantBody(t, store, key, []byte(strconv.Itoa(winners[0])))
	}
}

// testRacingPutIfMatch: of many writers that replace one version exactly one wins.
func (s *suite) testRacingPutIfMatch(t *testing.T, store objstore.Store) {
	version := mustPut(t, store, "race", []byte("start"))
	for round := range 3 {
		winners := s.race(t, func(racer int) error {
			_, err := store.PutIfMatch(testContext(t), "race", fmt.Appendf(nil, "%d of round %d", racer, round), version)
			return err
		}, objstore.ErrConditionFailed)
		if len(winners) != 1 {
			t.Fatalf("round %d: %d winners", round, len(winners))
		}
		wantBody(t, store, "race", fmt.Appendf(nil, "%d of round %d", winners[0], round))
		info, err := store.Head(testContext(t), "race")
		if err != nil {
			t.Fatal(err)
		}
		version = info.Version
	}
}

// race starts all racers at once and returns those that succeeded; the others must fail with lost.
func (s *suite) race(t *testing.T, run func(racer int) error, lost error) []int {
	t.Helper()
	start := make(chan struct{})
	results := make([]error, s.racers)
	var racers sync.WaitGroup
	for racer := range s.racers {
		racers.Go(func() {
			<-start
			results[racer] = run(racer)
		})
	}
	close(start)
	racers.Wait()
	var winners []int
	for racer, err := range results {
		switch {
		case err == nil:
			winners = append(winners, racer)
		case !errors.Is(err, lost):
			t.Errorf("racer %d: %v, want %v", racer, err, lost)
		}
	}
	return winners
}
