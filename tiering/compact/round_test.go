package compact

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/infra/objstore"
	"github.com/varvelog/varve/ingest/recordbatch"
)

func row(key, value string, millis int64) sent {
	r := sent{key: []byte(key), value: []byte(value), millis: millis}
	if value == "" {
		r.value = nil
	}
	return r
}

// offsets are those of the records that are stored.
func (w *world) offsets() (all []int64) {
	for _, f := range w.read() {
		all = append(all, f.offset)
	}
	return all
}

func (w *world) expect(want ...int64) {
	w.t.Helper()
	if got := w.offsets(); !slices.Equal(got, want) {
		w.t.Fatalf("offsets %v, want %v", got, want)
	}
}

func TestTombstonesServeTheirTime(t *testing.T) {
	w := newWorld(t)
	w.produce(recordbatch.Zstd, false, row("a", "1", 1), row("b", "1", 2), row("a", "", 3), row("b", "2", 4))
	w.ship()
	if !w.compact(Config{}, -1) {
		t.Fatal("nothing is compacted")
	}
	w.expect(2, 3)
	w.now += deleteRetention - 1
	if w.compact(Config{}, -1) {
		t.Fatal("a round that has nothing to do")
	}
	w.now++
	if !w.compact(Config{}, -1) { // although nothing is new
		t.Fatal("the tombstone is not dropped")
	}
	w.expect(3)
	w.check()
	if w.compact(Config{}, -1) {
		t.Fatal("a round that has nothing to do")
	}
}

func TestMarkersServeTheirTime(t *testing.T) {
	w := newWorld(t)
	x, y := w.begin("x"), w.begin("y")
	in := func(producer int64, key, value string) {
		r := row(key, value, 1)
		r.producer = producer
		w.produce(recordbatch.None, false, r)
	}
	in(x, "a", "1") // 0
	in(y, "b", "1") // 1
	in(x, "b", "2") // 2
	w.end("x", x, false)
	in(y, "c", "1") // 4
	w.end("y", y, true)
	w.ship()
	w.compact(Config{}, -1)
	w.expect(1, 3, 4, 5) // what was aborted supersedes nothing
	if left := w.partition().AbortedTransactions(nil, 0, 6); len(left) > 0 {
		t.Fatalf("readers are told of %v", left)
	}
	w.produce(recordbatch.None, false, row("b", "3", 1), row("c", "2", 1)) // 6, 7
	w.ship()
	w.compact(Config{}, -1)
	w.expect(3, 5, 6, 7) // the marker of x has nothing left, and gets its horizon; that of y had in this round
	w.now += deleteRetention
	w.compact(Config{}, -1)
	w.expect(5, 6, 7)
	w.now += deleteRetention
	w.compact(Config{}, -1)
	w.expect(6, 7)
	w.check()
}

// What cannot be decoded is kept as it is: nobody knows its keys.
func TestUndecodableBatchesStay(t *testing.T) {
	w := newWorld(t)
	w.spoil = func(b []byte) {
		b[len(b)-1] ^= 0xff
		recordbatch.SetMaxTimestamp(b, 2) // and the checksum
	}
	w.produce(recordbatch.Zstd, false, row("a", fmt.Sprintf("%0200d", 1), 1), row("a", "2", 1))
	w.spoil = nil
	w.produce(recordbatch.Zstd, false, row("a", "3", 1))
	w.produce(recordbatch.Zstd, false, row("a", "4", 1))
	w.ship()
	w.compact(Config{}, -1)
	p := w.partition()
	l, ok := w.state.LocateStored(place, 0)
	if !ok || p.CleanedOffset() != 4 || l.Records != 3 || l.NextOffset != 4 {
		t.Fatalf("cleaned to %d, %+v", p.CleanedOffset(), l)
	}
}

// What is damaged is not put into another object, as if it had been so: the store may only have read it wrongly.
func TestDamageEndsTheRound(t *testing.T) {
	for name, damage := range map[string]func(stored []byte){
		"record":      func(b []byte) { b[len(b)-1] ^= 1 },
		"base offset": func(b []byte) { b[7] ^= 2 },
	} {
		for _, policy := range []string{"compact", "delete"} {
			w := newWorld(t, "cleanup.policy", policy)
			w.merging = &metapb.Merging{Parts: 2, ManyParts: 2}
			for i := range 3 {
				w.produce(recordbatch.None, false, row("a", fmt.Sprint(i), 1))
				w.ship()
				w.sweep()
			}
			l, _ := w.state.LocateStored(place, 1)
			body, _, err := objstore.ReadAll(t.Context(), w.store, l.Key(), 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			sound := slices.Clone(body)
			damage(body[l.Position:][:l.Length])
			overwrite := func(b []byte) {
				if err := w.store.Delete(t.Context(), l.Key()); err != nil {
					t.Fatal(err)
				}
				if _, err := w.store.PutIfAbsent(t.Context(), l.Key(), b); err != nil {
					t.Fatal(err)
				}
			}
			overwrite(body)
			if _, err := w.worker(Config{}).Once(t.Context()); !errors.Is(err, recordbatch.ErrCorrupt) || !strings.Contains(err.Error(), l.Key()) {
				t.Fatalf("%s, %s: %v", policy, name, err)
			}
			if again, _ := w.state.LocateStored(place, 1); again != l {
				t.Fatalf("%s, %s: %+v took the place of %+v", policy, name, again, l)
			}
			overwrite(sound)
			w.now += 1_000_000 // past the back-off
			if !w.compact(Config{}, -1) {
				t.Fatalf("%s, %s: nothing is done once the store reads it as it was", policy, name)
			}
		}
	}
}

// Small parts become one, a large one in which nothing changes is not written again, and a range of which nothing is left is one empty batch.
func TestParts(t *testing.T) {
	w := newWorld(t)
	objects := func() (keys []string) {
		for offset := int64(0); offset < w.partition().NextOffset(); {
			l, _ := w.state.Locate(place, offset)
			keys = append(keys, fmt.Sprintf("[%d, %d) of %d in %s", l.BaseOffset, l.NextOffset, l.Records, l.Key()))
			offset = l.NextOffset
		}
		return keys
	}
	for i := range 4 {
		w.produce(recordbatch.None, false, row(fmt.Sprint("small ", i), "v", 1))
		w.ship()
	}
	w.compact(Config{}, -1)
	if got := objects(); len(got) != 1 {
		t.Fatalf("parts %v", got)
	}
	var large []sent
	for i := range 40 {
		large = append(large, row(fmt.Sprint("large ", i), fmt.Sprint("value ", i), 1))
	}
	w.produce(recordbatch.None, false, large...)
	w.ship()
	config := Config{ObjectBytes: 1000}
	before := objects()
	w.compact(config, -1)
	if got := objects(); !slices.Equal(got, before) {
		t.Fatalf("parts %v were %v", got, before)
	}
	w.produce(recordbatch.None, false, row("small 0", "w", 1), row("small 1", "w", 1), row("small 2", "w", 1), row("small 3", "w", 1))
	w.ship()
	w.compact(config, -1)
	got := objects()
	if len(got) != 3 || got[1] != before[1] {
		t.Fatalf("parts %v were %v", got, before)
	}
	if l, _ := w.state.Locate(place, 0); l.Records != 0 || l.Length != recordbatch.HeaderBytes || l.NextOffset != 4 {
		t.Fatalf("an empty range is %+v", l)
	}
	w.check()
	w.checkClean()
}

// Keys that do not fit in memory take several rounds, each of which comes further.
func TestKeysThatDoNotFitTakeRounds(t *testing.T) {
	w := newWorld(t)
	var records []sent
	for i := range 40 {
		records = append(records, row(fmt.Sprint("key ", i%20), fmt.Sprint(i), 1))
	}
	w.produce(recordbatch.Zstd, false, records...)
	w.ship()
	rounds := 0
	for w.compact(Config{MapBytes: slotBytes}, -1) {
		if rounds++; rounds > 100 {
			t.Fatal("no end")
		}
		w.check()
	}
	if got := w.offsets(); len(got) != 20 || got[0] != 20 || rounds < 10 {
		t.Fatalf("%d rounds leave %v", rounds, got)
	}
}

// uncompressing is a worker that can be in a bubble of synctest.
func uncompressing(t *testing.T, config Config, leader Leader, observe Observer, store objstore.Store) *Worker {
	t.Helper()
	worker, err := New(config, leader, store, observe, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	worker.codec = recordbatch.None
	return worker
}

// stubborn is a leader that cannot be asked for a while.
type stubborn struct {
	*world
	calls    int
	failures int
	accept   bool
}

func (s *stubborn) ReportCompaction(ctx context.Context, r *metapb.CompactionReportRequest) (*metapb.CompactionReportResponse, error) {
	if s.calls++; s.calls <= s.failures {
		return nil, errors.New("no leader")
	}
	if !s.accept {
		return &metapb.CompactionReportResponse{}, nil
	}
	return s.world.ReportCompaction(ctx, r)
}

func TestReportsAreToldAgainUntilTheLeaseEnds(t *testing.T) {
	for _, test := range []struct {
		failures        int
		accept, success bool
	}{{3, true, true}, {0, false, true}, {1 << 30, true, false}} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.produce(recordbatch.None, false, row("a", "1", 1), row("a", "2", 1))
			w.ship()
			s := &stubborn{world: w, failures: test.failures, accept: test.accept}
			worker := uncompressing(t, Config{Lease: time.Minute}, s, w, w.store)
			started := time.Now()
			compacted, err := worker.Once(t.Context())
			if compacted != test.success || (err == nil) != test.success {
				t.Fatalf("%+v: %v, %v", test, compacted, err)
			}
			if !test.success && time.Since(started) < time.Minute {
				t.Errorf("given up after %v", time.Since(started))
			}
			if held := len(w.state.Jobs()); held > 0 && test.accept {
				t.Errorf("%d jobs are held", held)
			}
		})
	}
}

// slow is a store that takes its time.
type slow struct {
	objstore.Store
	takes time.Duration
}

func (s slow) PutIfAbsent(ctx context.Context, key string, body []byte) (objstore.Version, error) {
	time.Sleep(s.takes)
	return s.Store.PutIfAbsent(ctx, key, body)
}

// A round may take many times its lease, as long as it comes on.
func TestReportsExtendTheLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for i := range 20 {
			w.produce(recordbatch.None, false, row("a", fmt.Sprint(i), 1), row(fmt.Sprint("key ", i), "v", 1))
			w.ship()
		}
		worker := uncompressing(t, Config{Lease: time.Minute, ObjectBytes: 250}, w, w, slow{w.store, 40 * time.Second})
		started := time.Now()
		if compacted, err := worker.Once(t.Context()); err != nil || !compacted || w.completed != 1 {
			t.Fatal(compacted, err)
		}
		if took := time.Since(started); took < 3*time.Minute {
			t.Errorf("took %v: nothing is shown", took)
		}
		w.check()
	})
}

// absent is a leader that cannot be reached at first.
type absent struct {
	*world
	asked, failures int
}

func (a *absent) LeaseCompaction(ctx context.Context, r *metapb.CompactionLeaseRequest) (*metapb.CompactionLeaseResponse, error) {
	if a.asked++; a.asked <= a.failures {
		return nil, errors.New("no leader")
	}
	return a.world.LeaseCompaction(ctx, r)
}

func TestRunCarriesOnUntilItIsStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.produce(recordbatch.None, false, row("a", "1", 1), row("a", "2", 1))
		w.ship()
		a := &absent{world: w, failures: 3}
		worker := uncompressing(t, Config{}, a, w, w.store)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		ended := make(chan struct{})
		go func() { worker.Run(ctx); close(ended) }()
		<-ended
		w.expect(1)
		if polls := int(time.Hour/(15*time.Second)) + a.failures + 2; a.asked > polls || a.asked < polls/2 {
			t.Errorf("asked %d times in an hour", a.asked)
		}
	})
}

func TestConfigsThatCannotBe(t *testing.T) {
	for _, c := range []Config{{MapBytes: -1}, {ObjectBytes: -1}, {ObjectBytes: 2 << 30}, {BatchBytes: 1 << 30}, {ZstdLevel: 23}, {Lease: -1}, {Poll: -1}} {
		if _, err := New(c, nil, nil, nil, nil); err == nil {
			t.Errorf("%+v is taken", c)
		}
	}
}

// A delete.retention.ms without end is one: the horizon does not wrap round.
func TestTombstonesForEver(t *testing.T) {
	w := newWorld(t)
	w.do(&metapb.AlterConfig{Name: "t", Entries: []*metapb.ConfigEntry{{Name: "delete.retention.ms", Value: "9223372036854775807"}}})
	w.produce(recordbatch.None, false, row("a", "1", 1), row("a", "", 2))
	w.ship()
	w.compact(Config{}, -1)
	w.now += 1 << 40
	if w.compact(Config{}, -1) {
		t.Error("another round")
	}
	w.expect(1)
}

func BenchmarkRound(b *testing.B) {
	for _, keys := range []int{10_000, 500_000} {
		b.Run(fmt.Sprintf("keys=%d", keys), func(b *testing.B) {
			var bytes int64
			for b.Loop() {
				b.StopTimer()
				w := newWorld(b)
				value := make([]byte, 100)
				for i := range 500 {
					records := make([]sent, 2000)
					for j := range records {
						n := i*2000 + j
						copy(value, fmt.Sprintf("value %d of the record with the number %d", n%7, n*7919%1_000_003))
						records[j] = sent{key: fmt.Appendf(nil, "user-%08d", n*7919%keys), value: slices.Clone(value), millis: int64(n)}
					}
					w.produce(recordbatch.Zstd, false, records...)
				}
				w.ship()
				l, _ := w.state.Locate(place, 0)
				bytes += int64(l.Length)
				b.StartTimer()
				if !w.compact(Config{}, -1) {
					b.Fatal("nothing is compacted")
				}
			}
			b.ReportMetric(float64(b.N)*1e6/b.Elapsed().Seconds(), "records/s")
			b.ReportMetric(float64(bytes)/b.Elapsed().Seconds()/1e6, "MB/s")
		})
	}
}
