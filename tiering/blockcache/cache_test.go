package blockcache_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/varvelog/varve/infra/objstore"
	"github.com/varvelog/varve/infra/objstore/faulty"
	"github.com/varvelog/varve/infra/objstore/mem"
	"github.com/varvelog/varve/tiering/blockcache"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	kib = 1 << 10
	mib = 1 << 20
)

// fixture is a cache over a store that can be made to fail, with objects of known content.
type fixture struct {
	*blockcache.Cache
	store *faulty.Store
}

func newFixture(t *testing.T, config blockcache.Config, rules ...faulty.Rule) *fixture {
	t.Helper()
	store := faulty.New(mem.New(t.Name()), faulty.Config{Seed: 1, Rules: rules})
	cache, err := blockcache.New(store, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(cache.Close(), store.Close()); err != nil {
			t.Error(err)
		}
	})
	return &fixture{cache, store}
}

// object stores an object of random bytes.
func (f *fixture) object(t *testing.T, key string, sizeBytes int) []byte {
	t.Helper()
	body := make([]byte, sizeBytes)
	if _, err := rand.NewChaCha8([32]byte{byte(len(key))}).Read(body); err != nil {
		t.Fatal(err)
	}
	if _, err := f.store.Put(context.Background(), key, body); err != nil {
		t.Fatal(err)
	}
	return body
}

func (f *fixture) gets() int { return f.store.Calls(faulty.Get) }

// wantRange reads a range both ways and compares.
func (f *fixture) wantRange(t *testing.T, key string, body []byte, off, length int) {
	t.Helper()
	want := body[min(off, len(body)):min(off+length, len(body))]
	wantEOF := len(want) < length
	check := func(how string, got []byte, err error) {
		t.Helper()
		if !bytes.Equal(got, want) {
			t.Fatalf("%s(%d, %d) returned %d bytes that differ from the object's %d", how, off, length, len(got), len(want))
		}
		if (wantEOF && !errors.Is(err, io.EOF)) || (!wantEOF && err != nil) {
			t.Fatalf("%s(%d, %d): %v, want io.EOF %v", how, off, length, err, wantEOF)
		}
	}
	buf := make([]byte, length)
	n, err := f.ReadAt(t.Context(), key, 0, int64(off), buf)
	check("ReadAt", buf[:n], err)
	slices, err := f.View(t.Context(), key, int64(len(body)), int64(off), int64(length), nil)
	check("View", bytes.Join(slices, nil), err)
}

func TestReadsAreTheObjects(t *testing.T) {
	f := newFixture(t, blockcache.Config{BlockBytes: 4 * kib, CapacityBytes: 128 * kib})
	for _, sizeBytes := range []int{0, 1, 4*kib - 1, 4 * kib, 4*kib + 1, 100*kib + 17} {
		key := fmt.Sprintf("object/%d", sizeBytes)
		body := f.object(t, key, sizeBytes)
		for _, off := range []int{0, 1, 4*kib - 1, 4 * kib, 4*kib + 1, 50 * kib, 100 * kib, 200 * kib} {
			for _, length := range []int{0, 1, 4 * kib, 10 * kib, 300 * kib} {
				f.wantRange(t, key, body, off, length)
			}
		}
		random := rand.New(rand.NewPCG(1, uint64(sizeBytes)))
		for range 200 {
			f.wantRange(t, key, body, random.IntN(sizeBytes+10), random.IntN(40*kib))
		}
	}
}

func TestHitsCostNoGetAndNoAllocation(t *testing.T) {
	f := newFixture(t, blockcache.Config{})
	f.object(t, "key", 2*mib)
	buf := make([]byte, mib)
	read := func() {
		if _, err := f.ReadAt(t.Context(), "key", 2*mib, 100, buf); err != nil {
			t.Fatal(err)
		}
	}
	read()
	gets := f.gets()
	if allocs := testing.AllocsPerRun(100, read); allocs > 0 {
		t.Errorf("a hit allocates %v times", allocs)
	}
	if f.gets() != gets {
		t.Errorf("%d GETs, then %d", gets, f.gets())
	}
}

func TestAdjacentMissesAreOneGet(t *testing.T) {
	f := newFixture(t, blockcache.Config{ReadAheadBlocks: -1})
	body := f.object(t, "key", 3*mib)
	f.wantRange(t, "key", body, 512*kib, mib)
	if f.gets() != 1 {
		t.Errorf("%d GETs for 4 adjacent blocks", f.gets())
	}
}

// TestReadsAcrossTheEndAreHits: a reader that asks for more than there is must not ask the store each time.
func TestReadsAcrossTheEndAreHits(t *testing.T) {
	f := newFixture(t, blockcache.Config{})
	for key, sizeBytes := range map[string]int{"part": 100 * kib, "whole": 256 * kib, "wholes": 512 * kib} {
		body := f.object(t, key, sizeBytes)
		before := f.gets()
		for range 3 {
			f.wantRange(t, key, body, 10, mib)
			f.wantRange(t, key, body, sizeBytes, 10)
		}
		if gets := f.gets() - before; gets != 1 {
			t.Errorf("%d GETs for an object of %d bytes", gets, sizeBytes)
		}
	}
}

func TestConcurrentReadersMakeOneGet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, blockcache.Config{}, faulty.Rule{Ops: faulty.Get, Latency: faulty.Latency{Median: 100 * time.Millisecond}})
		body := f.object(t, "key", 3*mib)
		var readers sync.WaitGroup
		for range 50 {
			readers.Go(func() {
				buf := make([]byte, 10*kib)
				if _, err := f.ReadAt(t.Context(), "key", 0, mib, buf); err != nil || !bytes.Equal(buf, body[mib:mib+10*kib]) {
					t.Errorf("ReadAt: %v", err)
				}
			})
		}
		readers.Wait()
		if f.gets() != 1 {
			t.Errorf("%d GETs for one block", f.gets())
		}
	})
}

// TestClientTimeoutShorterThanLatencyConverges is tiered-storage-for-apache-kafka #404: a fetch wait below the store's
// latency must not fetch the same range for ever.
func TestClientTimeoutShorterThanLatencyConverges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, blockcache.Config{}, faulty.Rule{Ops: faulty.Get, Latency: faulty.Latency{Median: 1900 * time.Millisecond}})
		body := f.object(t, "key", mib)
		buf := make([]byte, 100*kib)
		tries := 0
		for {
			tries++
			ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
			_, err := f.ReadAt(ctx, "key", mib, 0, buf)
			cancel()
			if err == nil {
				break
			}
			if !errors.Is(err, context.DeadlineExceeded) || tries > 10 {
				t.Fatalf("try %d: %v", tries, err)
			}
		}
		if !bytes.Equal(buf, body[:len(buf)]) {
			t.Error("wrong bytes")
		}
		if f.gets() != 1 || tries != 4 {
			t.Errorf("%d GETs in %d tries, want 1 in 4", f.gets(), tries)
		}
	})
}

func TestErrorsAreNotCached(t *testing.T) {
	f := newFixture(t, blockcache.Config{}, faulty.Rule{Ops: faulty.Get, Fail: true, Times: 1, Err: objstore.ErrAccess})
	body := f.object(t, "key", mib)
	if _, err := f.ReadAt(t.Context(), "key", 0, 0, make([]byte, 10)); !errors.Is(err, objstore.ErrAccess) {
		t.Fatalf("first: %v, want ErrAccess", err)
	}
	f.wantRange(t, "key", body, 0, 10)

	if _, err := f.ReadAt(t.Context(), "later", 0, 0, make([]byte, 10)); !errors.Is(err, objstore.ErrNotFound) {
		t.Fatalf("an absent object: %v, want ErrNotFound", err)
	}
	body = f.object(t, "later", 100)
	f.wantRange(t, "later", body, 0, 100)
	if stats := f.Stats(); stats.Failures != 2 || stats.Retries != 0 {
		t.Errorf("stats %+v, want 2 failures and no retries", stats)
	}
}

func TestTransientErrorsAreRetriedInside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, blockcache.Config{},
			faulty.Rule{Ops: faulty.Get, Fail: true, Times: 2, Err: objstore.ErrThrottled},
			faulty.Rule{Ops: faulty.Get, Truncate: 600 * kib, Skip: 2, Times: 1, Err: io.EOF},
			faulty.Rule{Ops: faulty.Get, Truncate: 10, Skip: 3, Times: 1, Err: errors.New("connection reset")},
		)
		body := f.object(t, "key", 3*mib)
		buf := make([]byte, 2*mib)
		if _, err := f.ReadAt(t.Context(), "key", 0, 5, buf); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(buf, body[5:5+len(buf)]) {
			t.Error("wrong bytes after resuming")
		}
		if stats := f.Stats(); f.gets() != 5 || stats.Retries != 4 || stats.Failures != 0 {
			t.Errorf("%d GETs, stats %+v, want 5 with 4 retries", f.gets(), stats)
		}
	})
}

func TestRetriesEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, blockcache.Config{MaxAttempts: 3}, faulty.Rule{Ops: faulty.Get, Fail: true})
		f.object(t, "key", mib)
		if _, err := f.ReadAt(t.Context(), "key", 0, 0, make([]byte, 10)); !errors.Is(err, faulty.ErrInjected) {
			t.Errorf("ReadAt: %v", err)
		}
		if f.gets() != 3 {
			t.Errorf("%d GETs, want 3", f.gets())
		}
	})
}

func TestFetchTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, blockcache.Config{FetchTimeout: 30 * time.Second}, faulty.Rule{Ops: faulty.Get, Latency: faulty.Latency{Median: time.Hour}, Times: 10})
		f.object(t, "key", mib)
		started := time.Now()
		_, err := f.ReadAt(t.Context(), "key", 0, 0, make([]byte, 10))
		if !errors.Is(err, blockcache.ErrTimeout) || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("ReadAt: %v, want ErrTimeout and no context's error", err)
		}
		if took := time.Since(started); took != 30*time.Second {
			t.Errorf("took %v", took)
		}
		// The store hung; attempts that stall are given up one by one.
		if f.gets() < 2 {
			t.Errorf("%d GETs: a stalled one was not given up", f.gets())
		}
	})
}

func TestChangedObjectIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, blockcache.Config{},
			faulty.Rule{Ops: faulty.Get, Truncate: 300 * kib, Times: 1},
			faulty.Rule{Ops: faulty.Get, Skip: 1, Latency: faulty.Latency{Median: 5 * time.Second}})
		f.object(t, "key", mib)
		done := make(chan error)
		go func() {
			_, err := f.ReadAt(t.Context(), "key", 0, 0, make([]byte, mib))
			done <- err
		}()
		// The second GET has begun, and not been answered.
		time.Sleep(2 * time.Second)
		f.object(t, "key", mib)
		if err := <-done; err == nil || !strings.Contains(err.Error(), "changed") {
			t.Errorf("ReadAt: %v, want that the object changed", err)
		}
	})
}

func TestCloseEndsFetches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, blockcache.Config{MaxGets: 1}, faulty.Rule{Ops: faulty.Get, Latency: faulty.Latency{Median: time.Hour}})
		f.object(t, "key", 20*mib)
		results := make(chan error, 3)
		for i := range 3 {
			go func() {
				_, err := f.ReadAt(t.Context(), "key", 0, int64(i)*5*mib, make([]byte, 10))
				results <- err
			}()
		}
		synctest.Wait()
		started := time.Now()
		if err := f.Close(); err != nil {
			t.Error(err)
		}
		for range 3 {
			if err := <-results; !errors.Is(err, blockcache.ErrClosed) {
				t.Errorf("ReadAt: %v, want ErrClosed", err)
			}
		}
		if _, err := f.ReadAt(t.Context(), "key", 0, 0, make([]byte, 10)); !errors.Is(err, blockcache.ErrClosed) {
			t.Errorf("ReadAt after Close: %v, want ErrClosed", err)
		}
		if took := time.Since(started); took != 0 {
			t.Errorf("Close took %v", took)
		}
	})
}

func TestGetsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		f := newFixture(t, blockcache.Config{MaxGets: 3, ReadAheadBlocks: -1}, faulty.Rule{Ops: faulty.Get, Hold: release})
		f.object(t, "key", 20*mib)
		var readers sync.WaitGroup
		for i := range 20 {
			readers.Go(func() {
				if _, err := f.ReadAt(t.Context(), "key", 0, int64(i)*mib, make([]byte, 10)); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		if f.gets() != 3 {
			t.Errorf("%d GETs in progress, want 3", f.gets())
		}
		close(release)
		readers.Wait()
		synctest.Wait()
		if stats := f.Stats(); stats.InFlight != 0 || stats.PendingBytes != 0 {
			t.Errorf("left %+v", stats)
		}
	})
}

func TestConfigValidate(t *testing.T) {
	if err := (blockcache.Config{}).Validate(); err != nil {
		t.Errorf("the zero value: %v", err)
	}
	for field, config := range map[string]blockcache.Config{
		"CapacityBytes": {CapacityBytes: mib}, "BlockBytes": {BlockBytes: 1}, "MaxGets": {MaxGets: -1},
		"RetryWaitMax": {RetryWaitMin: time.Second, RetryWaitMax: time.Millisecond}, "StallTimeout": {StallTimeout: -1},
	} {
		if _, err := blockcache.New(nil, config); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%+v: %v, want one that names %s", config, err, field)
		}
	}
}
