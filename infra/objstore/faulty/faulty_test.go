package faulty_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varvelog/varve/infra/objstore"
	"github.com/varvelog/varve/infra/objstore/faulty"
	"github.com/varvelog/varve/infra/objstore/mem"
	"github.com/varvelog/varve/infra/objstore/storetest"
)

func TestAcceptanceWithoutFaults(t *testing.T) {
	storetest.Run(t, func(t *testing.T) objstore.Store { return faulty.New(mem.New(t.Name()), faulty.Config{}) })
}

func newStore(rules ...faulty.Rule) *faulty.Store {
	return faulty.New(mem.New("inner"), faulty.Config{Seed: 1, Rules: rules})
}

func TestFailingBeforeTheDeed(t *testing.T) {
	store := newStore(faulty.Rule{Ops: faulty.Put, Key: func(key string) bool { return strings.HasPrefix(key, "bad/") }, Fail: true})
	_, err := store.PutIfAbsent(t.Context(), "bad/key", nil)
	if !errors.Is(err, faulty.ErrInjected) || !objstore.Ambiguous(err) {
		t.Errorf("PutIfAbsent: %v, want an ambiguous ErrInjected", err)
	}
	if _, err := store.Head(t.Context(), "bad/key"); !errors.Is(err, objstore.ErrNotFound) {
		t.Errorf("Head: %v, want ErrNotFound", err)
	}
	if _, err := store.PutIfAbsent(t.Context(), "good/key", nil); err != nil {
		t.Errorf("PutIfAbsent of another key: %v", err)
	}
	if calls, faults := store.Calls(faulty.Put), store.Faults(); calls != 2 || faults != 1 {
		t.Errorf("%d calls and %d faults, want 2 and 1", calls, faults)
	}
}

func TestSuccessReportedAsFailure(t *testing.T) {
	store := newStore(faulty.Rule{Ops: faulty.PutIfAbsent, FailAfter: true, Times: 1})
	if _, err := store.PutIfAbsent(t.Context(), "key", []byte("mine")); !errors.Is(err, faulty.ErrInjected) {
		t.Fatalf("first: %v, want ErrInjected", err)
	}
	if _, err := store.PutIfAbsent(t.Context(), "key", []byte("mine")); !errors.Is(err, objstore.ErrExists) {
		t.Errorf("second: %v, want ErrExists, of the own write", err)
	}
}

func TestScript(t *testing.T) {
	store := newStore(faulty.Rule{Ops: faulty.Head, Skip: 2, Times: 3, Fail: true, Err: objstore.ErrThrottled})
	var throttled []bool
	for range 7 {
		_, err := store.Head(t.Context(), "key")
		throttled = append(throttled, errors.Is(err, objstore.ErrThrottled))
	}
	if want := []bool{false, false, true, true, true, false, false}; !slices.Equal(throttled, want) {
		t.Errorf("throttled %v, want %v", throttled, want)
	}
}

func TestChanceRepeatsWithTheSeed(t *testing.T) {
	run := func() (failed []bool) {
		store := newStore(faulty.Rule{Ops: faulty.Head, Chance: 0.3, Fail: true})
		for range 200 {
			_, err := store.Head(t.Context(), "key")
			failed = append(failed, errors.Is(err, faulty.ErrInjected))
		}
		return failed
	}
	first, second := run(), run()
	if !slices.Equal(first, second) {
		t.Error("two runs of one seed differ")
	}
	count := 0
	for _, failed := range first {
		if failed {
			count++
		}
	}
	if count < 30 || count > 90 {
		t.Errorf("%d of 200 failed with a chance of 0.3", count)
	}
}

func TestLatencyDistribution(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newStore(faulty.Rule{Ops: faulty.Head, Latency: faulty.Latency{Median: 100 * time.Millisecond, P99: 400 * time.Millisecond}})
		var took []time.Duration
		for range 2000 {
			started := time.Now()
			if _, err := store.Head(t.Context(), "key"); !errors.Is(err, objstore.ErrNotFound) {
				t.Fatal(err)
			}
			took = append(took, time.Since(started))
		}
		slices.Sort(took)
		median, p99 := took[len(took)/2], took[len(took)*99/100]
		if median < 90*time.Millisecond || median > 110*time.Millisecond || p99 < 300*time.Millisecond || p99 > 550*time.Millisecond {
			t.Errorf("median %v and p99 %v, want about 100ms and 400ms", median, p99)
		}
	})
}

// TestWriteTakesEffectAfterItsCallerGaveUp is the fault that fencing exists for.
func TestWriteTakesEffectAfterItsCallerGaveUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newStore(faulty.Rule{Ops: faulty.Put, Latency: faulty.Latency{Median: 10 * time.Second}, Detach: true})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		body := []byte("late")
		if _, err := store.PutIfAbsent(ctx, "key", body); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("PutIfAbsent: %v, want DeadlineExceeded", err)
		}
		copy(body, "XXXX")
		if _, err := store.Head(t.Context(), "key"); !errors.Is(err, objstore.ErrNotFound) {
			t.Fatalf("Head before: %v, want ErrNotFound", err)
		}
		if err := store.Close(); err != nil {
			t.Fatal(err)
		}
		got, _, err := objstore.ReadAll(t.Context(), store, "key", 100)
		if err != nil || string(got) != "late" {
			t.Errorf("afterwards: %q, %v", got, err)
		}
	})
}

func TestAnswerPastTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newStore(faulty.Rule{Ops: faulty.Put, Latency: faulty.Latency{Median: 10 * time.Second}, IgnoreContext: true})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		started := time.Now()
		if _, err := store.Put(ctx, "key", nil); err != nil {
			t.Errorf("Put: %v", err)
		}
		if took := time.Since(started); took != 10*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

func TestLatencyEndsWithTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newStore(faulty.Rule{Latency: faulty.Latency{Median: time.Hour}})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := store.Put(ctx, "key", nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Put: %v", err)
		}
		store.SetRules()
		if _, err := store.Head(t.Context(), "key"); !errors.Is(err, objstore.ErrNotFound) {
			t.Errorf("the write happened: %v", err)
		}
	})
}

func TestHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		store := newStore(faulty.Rule{Hold: release})
		done := make(chan error)
		go func() {
			_, err := store.Put(t.Context(), "key", nil)
			done <- err
		}()
		synctest.Wait()
		select {
		case err := <-done:
			t.Fatalf("Put returned %v", err)
		default:
		}
		close(release)
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestBodyBreaksOff(t *testing.T) {
	store := newStore(faulty.Rule{Ops: faulty.Get, Truncate: 4, Err: io.ErrUnexpectedEOF})
	if _, err := store.Put(t.Context(), "key", []byte("0123456789")); err != nil {
		t.Fatal(err)
	}
	body, _, err := store.Get(t.Context(), "key", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(body)
	if string(got) != "0123" || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("read %q, %v", got, err)
	}
	if err := body.Close(); err != nil {
		t.Error(err)
	}
}

func TestListingFails(t *testing.T) {
	store := newStore(faulty.Rule{Ops: faulty.List, FailAfter: true})
	if _, err := store.Put(t.Context(), "key", nil); err != nil {
		t.Fatal(err)
	}
	var keys []string
	var failure error
	for info, err := range store.List(t.Context(), "", "") {
		if failure = err; err == nil {
			keys = append(keys, info.Key)
		}
	}
	if !slices.Equal(keys, []string{"key"}) || !errors.Is(failure, faulty.ErrInjected) {
		t.Errorf("listed %q, %v", keys, failure)
	}
}
