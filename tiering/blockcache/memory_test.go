package blockcache_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/varvelog/varve/infra/objstore/faulty"
	"github.com/varvelog/varve/infra/objstore/mem"
	"github.com/varvelog/varve/tiering/blockcache"
)

// small has 64 blocks of 4 KiB.
var small = blockcache.Config{BlockBytes: 4 * kib, CapacityBytes: 256 * kib, ReadAheadBlocks: 8}

func TestMemoryIsBounded(t *testing.T) {
	f := newFixture(t, small, faulty.Rule{Ops: faulty.Get, Chance: 0.05, Truncate: 5 * kib})
	const objects, sizeBytes = 8, 200 * kib
	bodies := make([][]byte, objects)
	for i := range bodies {
		bodies[i] = f.object(t, fmt.Sprint(strings.Repeat("k", i+1)), sizeBytes)
	}
	stop := make(chan struct{})
	var watcher, readers sync.WaitGroup
	watcher.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if stats := f.Stats(); stats.CachedBytes+stats.PendingBytes > small.CapacityBytes || stats.PendingBytes > small.CapacityBytes/2 {
				t.Errorf("holds %d bytes and reserves %d, of %d", stats.CachedBytes, stats.PendingBytes, small.CapacityBytes)
				return
			}
		}
	})
	for reader := range 8 {
		readers.Go(func() {
			random := rand.New(rand.NewPCG(7, uint64(reader)))
			buf := make([]byte, 60*kib)
			for range 150 {
				i := random.IntN(objects)
				off, length := random.IntN(sizeBytes-len(buf)), 1+random.IntN(len(buf)-1)
				if _, err := f.ReadAt(t.Context(), strings.Repeat("k", i+1), 0, int64(off), buf[:length]); err != nil {
					t.Error(err)
					return
				}
				if !bytes.Equal(buf[:length], bodies[i][off:off+length]) {
					t.Errorf("object %d [%d,+%d) differs", i, off, length)
					return
				}
			}
		})
	}
	readers.Wait()
	close(stop)
	watcher.Wait()
	if stats := f.Stats(); stats.Evicted == 0 {
		t.Errorf("nothing was evicted: %+v", stats)
	}
}

// TestReadersWaitForRoom: where everything is on its way, readers wait, and give up with their contexts.
func TestReadersWaitForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		config := small
		config.MaxGets = 100
		f := newFixture(t, config, faulty.Rule{Ops: faulty.Get, Hold: release})
		body := f.object(t, "key", mib)
		var readers sync.WaitGroup
		for i := range 12 {
			readers.Go(func() {
				buf := make([]byte, 16*kib)
				if _, err := f.ReadAt(t.Context(), "key", 0, int64(i)*64*kib, buf); err != nil || !bytes.Equal(buf, body[i*64*kib:][:len(buf)]) {
					t.Errorf("reader %d: %v", i, err)
				}
			})
		}
		synctest.Wait()
		if stats := f.Stats(); stats.PendingBytes != small.CapacityBytes/2 {
			t.Errorf("reserves %d, want half of %d", stats.PendingBytes, small.CapacityBytes)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := f.ReadAt(ctx, "key", 0, 900*kib, make([]byte, 10)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a reader without room: %v, want DeadlineExceeded", err)
		}
		close(release)
		readers.Wait()
	})
}

func TestSequentialReadIsReadAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const latency = 100 * time.Millisecond
		f := newFixture(t, blockcache.Config{}, faulty.Rule{Ops: faulty.Get, Latency: faulty.Latency{Median: latency}})
		const sizeBytes = 40*mib + 5
		body := f.object(t, "key", sizeBytes)
		buf := make([]byte, 100*kib)
		started := time.Now()
		for off := 0; off < sizeBytes; off += len(buf) {
			n, err := f.ReadAt(t.Context(), "key", sizeBytes, int64(off), buf[:min(len(buf), sizeBytes-off)])
			if err != nil || !bytes.Equal(buf[:n], body[off:off+n]) {
				t.Fatalf("at %d: %v", off, err)
			}
		}
		// 161 blocks: a handful of growing fetches, then half a read-ahead each.
		if gets := f.gets(); gets > 28 {
			t.Errorf("%d GETs for 40 MiB", gets)
		}
		if got := int64(f.Stats().FetchedBytes); got != sizeBytes {
			t.Errorf("fetched %d bytes of %d", got, sizeBytes)
		}
		// Every other GET is overlapped with reading; here reading takes no time, so each is waited for once at most.
		if took := time.Since(started); took > 28*latency {
			t.Errorf("took %v", took)
		}
	})
}

// TestReadAheadOverlapsReading: a reader that takes as long for a fetch's worth as the store takes to bring it waits
// only at the start.
func TestReadAheadOverlapsReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, blockcache.Config{}, faulty.Rule{Ops: faulty.Get, Latency: faulty.Latency{Median: 100 * time.Millisecond}})
		const sizeBytes = 40 * mib
		f.object(t, "key", sizeBytes)
		buf := make([]byte, mib)
		var waited time.Duration
		for off := int64(0); off < sizeBytes; off += mib {
			started := time.Now()
			if _, err := f.ReadAt(t.Context(), "key", sizeBytes, off, buf); err != nil {
				t.Fatal(err)
			}
			waited += time.Since(started)
			time.Sleep(60 * time.Millisecond)
		}
		if waited > 300*time.Millisecond {
			t.Errorf("waited %v for 40 MiB", waited)
		}
	})
}

func TestRandomReadsAreNotReadAhead(t *testing.T) {
	f := newFixture(t, blockcache.Config{})
	f.object(t, "key", 32*mib)
	for _, off := range []int64{20 * mib, 3 * mib, 28 * mib, 11 * mib, 7 * mib} {
		if _, err := f.ReadAt(t.Context(), "key", 32*mib, off, make([]byte, 10*kib)); err != nil {
			t.Fatal(err)
		}
	}
	if stats := f.Stats(); stats.ReadAheads != 0 || stats.Misses != 5 {
		t.Errorf("stats %+v, want 5 misses and no read-ahead", stats)
	}
}

// TestScanSparesWhatIsReadRepeatedly: footers that every open reads stay while a replay ten times the cache passes.
func TestScanSparesWhatIsReadRepeatedly(t *testing.T) {
	f := newFixture(t, small)
	f.object(t, "footer", 64*kib)
	readFooter := func() {
		for i := range int64(16) {
			if _, err := f.ReadAt(t.Context(), "footer", 64*kib, i*4*kib, make([]byte, 100)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for range 4 {
		readFooter()
	}
	const sizeBytes = 2560 * kib
	f.object(t, "scan", sizeBytes)
	buf := make([]byte, 3*kib)
	for off := int64(0); off+int64(len(buf)) <= sizeBytes; off += int64(len(buf)) {
		if _, err := f.ReadAt(t.Context(), "scan", sizeBytes, off, buf); err != nil {
			t.Fatal(err)
		}
	}
	before := f.Stats()
	readFooter()
	if after := f.Stats(); after.Misses != before.Misses {
		t.Errorf("%d of 16 hot blocks were displaced by a scan", after.Misses-before.Misses)
	}
	if before.EvictedUnread != 0 {
		t.Errorf("%d blocks were read ahead for nothing", before.EvictedUnread)
	}
}

// TestHotBlocksGiveWayInTheEnd: what was hot once does not keep half of the cache from scans that need it.
func TestHotBlocksGiveWayInTheEnd(t *testing.T) {
	f := newFixture(t, small)
	f.object(t, "hot", 128*kib)
	for range 5 {
		if _, err := f.ReadAt(t.Context(), "hot", 128*kib, 0, make([]byte, 128*kib)); err != nil {
			t.Fatal(err)
		}
	}
	// Four replays, each with its read-ahead, need more than the half that is not protected.
	const sizeBytes = 800 * kib
	for i := range 4 {
		f.object(t, strings.Repeat("s", i+1), sizeBytes)
	}
	buf := make([]byte, 4*kib)
	for off := int64(0); off < sizeBytes; off += int64(len(buf)) {
		for i := range 4 {
			if _, err := f.ReadAt(t.Context(), strings.Repeat("s", i+1), sizeBytes, off, buf); err != nil {
				t.Fatal(err)
			}
		}
	}
	if stats := f.Stats(); stats.FetchedBytes > 128*kib+4*sizeBytes*105/100 {
		t.Errorf("fetched %d bytes for %d: read-ahead was evicted before it was read (%+v)", stats.FetchedBytes, 128*kib+4*sizeBytes, stats)
	}
}

// TestHotBlocksTakeHalfAtMost: however much is read repeatedly, new blocks have somewhere to stay.
func TestHotBlocksTakeHalfAtMost(t *testing.T) {
	f := newFixture(t, small)
	const sizeBytes = 240 * kib
	body := f.object(t, "key", sizeBytes)
	for range 5 {
		f.wantRange(t, "key", body, 0, sizeBytes)
	}
	stats := f.Stats()
	if stats.ProtectedBytes == 0 || stats.ProtectedBytes > small.CapacityBytes/2 {
		t.Errorf("protects %d of %d bytes", stats.ProtectedBytes, small.CapacityBytes)
	}
	if stats.FetchedBytes != sizeBytes {
		t.Errorf("fetched %d bytes of %d", stats.FetchedBytes, sizeBytes)
	}
}

func TestPrefetchAndForget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, blockcache.Config{}, faulty.Rule{Ops: faulty.Get, Latency: faulty.Latency{Median: time.Second}})
		body := f.object(t, "key", mib+10)
		f.Prefetch("key", int64(len(body)), 0, int64(len(body)))
		time.Sleep(2 * time.Second)
		started := time.Now()
		f.wantRange(t, "key", body, 0, len(body))
		if took := time.Since(started); took != 0 || f.gets() != 1 {
			t.Errorf("waited %v after a prefetch, %d GETs", took, f.gets())
		}
		f.Forget("key", 0, int64(len(body)))
		if stats := f.Stats(); stats.CachedBytes != 0 {
			t.Errorf("%d bytes are cached of a forgotten object", stats.CachedBytes)
		}
	})
}

// TestForgetWhileFetching: room comes back also for blocks that nobody can find any more.
func TestForgetWhileFetching(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, blockcache.Config{}, faulty.Rule{Ops: faulty.Get, Latency: faulty.Latency{Median: time.Second}})
		f.object(t, "key", mib)
		f.Prefetch("key", mib, 0, mib)
		f.Forget("key", 0, mib)
		time.Sleep(2 * time.Second)
		if stats := f.Stats(); stats.CachedBytes != 0 || stats.PendingBytes != 0 {
			t.Errorf("left %+v", stats)
		}
	})
}

func TestMetrics(t *testing.T) {
	f := newFixture(t, blockcache.Config{})
	f.object(t, "key", 100*kib)
	for range 2 {
		if _, err := f.ReadAt(t.Context(), "key", 0, 0, make([]byte, 10)); err != nil {
			t.Fatal(err)
		}
	}
	registry := prometheus.NewPedanticRegistry()
	if err := registry.Register(f); err != nil {
		t.Fatal(err)
	}
	page := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(page, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for _, line := range []string{"varve_blockcache_hits_total 1", "varve_blockcache_misses_total 1", "varve_blockcache_cached_bytes 102400"} {
		if !strings.Contains(page.Body.String(), line+"\n") {
			t.Errorf("the metrics lack %q:\n%s", line, page.Body)
		}
	}
}

func BenchmarkHit(b *testing.B) {
	store := faulty.New(mem.New("bench"), faulty.Config{})
	cache, err := blockcache.New(store, blockcache.Config{})
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := cache.Close(); err != nil {
			b.Error(err)
		}
	}()
	if _, err := store.Put(b.Context(), "segment/3f/0123456789abcdef", make([]byte, 8*mib)); err != nil {
		b.Fatal(err)
	}
	b.Run("ReadAt", func(b *testing.B) {
		buf := make([]byte, mib)
		b.SetBytes(mib)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := cache.ReadAt(b.Context(), "segment/3f/0123456789abcdef", 8*mib, 100*kib, buf); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("View", func(b *testing.B) {
		slices := make([][]byte, 0, 8)
		b.SetBytes(mib)
		b.ReportAllocs()
		for b.Loop() {
			if slices, err = cache.View(b.Context(), "segment/3f/0123456789abcdef", 8*mib, 100*kib, mib, slices[:0]); err != nil {
				b.Fatal(err)
			}
		}
	})
}
