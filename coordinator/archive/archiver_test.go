package archive

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/varvelog/varve/coordinator/metalog"
	"github.com/varvelog/varve/coordinator/metalog/mem"
	"github.com/varvelog/varve/infra/objstore"
	"github.com/varvelog/varve/infra/objstore/faulty"
	memstore "github.com/varvelog/varve/infra/objstore/mem"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a log, a store that can fail, and an archiver that runs.
type world struct {
	t       *testing.T
	backing *mem.Backing
	log     metalog.Log
	store   *faulty.Store
	*Archiver
	stop func()
	next uint64
}

func newWorld(t *testing.T) *world {
	backing := mem.New()
	w := &world{t: t, backing: backing, log: backing.Open(), store: faulty.New(memstore.New("bucket"), faulty.Config{}), next: 1}
	t.Cleanup(func() { w.stop() })
	w.start(nil)
	return w
}

func (w *world) start(many func()) {
	w.Archiver = New(Config{Store: w.store, Log: w.log, LogID: logID, Many: many})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); w.Run(ctx) }()
	w.stop = func() { cancel(); <-ended }
	synctest.Wait()
}

// append makes so many entries of so many bytes durable, and tells the archiver of them.
func (w *world) append(entries, size int) {
	w.t.Helper()
	for range entries {
		entry := fmt.Appendf(make([]byte, 0, size), "entry %d", w.next)
		entry = entry[:max(size, len(entry))]
		if err := w.log.Append(context.Background(), w.next, entry, metalog.Ordinary); err != nil {
			w.t.Fatal(err)
		}
		w.Appended(w.next, entry)
		w.next++
	}
}

// held is what stands in memory.
func (w *world) held() (bytes, entries int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.mu.bytes, len(w.mu.pending)
}

func (w *world) objects() []Object {
	w.t.Helper()
	objects, err := List(context.Background(), w.store)
	if err != nil {
		w.t.Fatal(err)
	}
	return objects
}

// archived fails the test unless the archive holds the log's entries from first to its end.
func (w *world) archived(first uint64) {
	w.t.Helper()
	seq := first
	for record, err := range Read(context.Background(), w.store, logID, first) {
		if err != nil {
			w.t.Fatalf("read archive at %d: %v", seq, err)
		}
		if want := fmt.Sprintf("entry %d", seq); record.Seq != seq || string(record.Entry[:len(want)]) != want {
			w.t.Fatalf("archive holds %q as %d, want %q", record.Entry, record.Seq, want)
		}
		seq++
	}
	if seq != w.next {
		w.t.Fatalf("archive ends at %d, the log at %d", seq, w.next)
	}
}

func TestEntriesGatherForASecondAndIdleCostsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.append(3, 0)
		time.Sleep(1100 * time.Millisecond)
		w.append(2, 0)
		time.Sleep(1100 * time.Millisecond)
		if got, want := w.objects(), []Object{{1, 4}, {4, 6}}; !reflect.DeepEqual(got, want) {
			t.Fatalf("objects %v, want %v", got, want)
		}
		before := w.store.Calls(faulty.Any)
		time.Sleep(time.Hour)
		if calls := w.store.Calls(faulty.Any) - before; calls != 0 {
			t.Errorf("an idle hour made %d calls to the store", calls)
		}
		w.archived(1)
	})
}

func TestMuchIsWrittenBeforeTheSecondIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.append(10, metalog.MaxEntryBytes/2)
		time.Sleep(time.Millisecond)
		if w.Lag() != 0 {
			t.Errorf("%d entries wait", w.Lag())
		}
		w.archived(1)
	})
}

func TestBehindAFailingStoreMemoryIsBoundedAndTheLogReadAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.store.AddRule(faulty.Rule{Ops: faulty.PutIfAbsent, Fail: true})
		w.append(40, metalog.MaxEntryBytes)
		time.Sleep(time.Minute)
		if bytes, _ := w.held(); bytes > pendingBytes || w.Lag() != 40 {
			t.Fatalf("%d bytes are held, %d entries wait; want at most %d, and 40", bytes, w.Lag(), pendingBytes)
		}
		w.store.SetRules()
		time.Sleep(2 * lastRetry)
		w.append(1, 0)
		time.Sleep(1100 * time.Millisecond)
		w.archived(1)
		if bytes, entries := w.held(); bytes != 0 || entries != 0 {
			t.Errorf("%d bytes and %d entries are held when all is archived", bytes, entries)
		}
	})
}

func TestWriteReportedAsFailedOverlaps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.store.AddRule(faulty.Rule{Ops: faulty.PutIfAbsent, FailAfter: true, Times: 1})
		w.append(3, 0)
		time.Sleep(1001 * time.Millisecond)
		w.append(2, 0)
		time.Sleep(3 * time.Second)
		if got, want := w.objects(), []Object{{1, 4}, {1, 6}}; !reflect.DeepEqual(got, want) {
			t.Fatalf("objects %v, want %v", got, want)
		}
		w.archived(1)
	})
}

func TestSuccessorGoesOnWhereTheArchiveEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.append(3, 0)
		w.stop() // archives what is left
		if end, err := End(context.Background(), w.store); err != nil || end != 4 {
			t.Fatalf("after a stop the archive ends at %d, %v; want 4", end, err)
		}
		w.append(4, 0) // by one who was killed before it could archive
		w.start(nil)
		time.Sleep(1100 * time.Millisecond)
		if got, want := w.objects(), []Object{{1, 4}, {4, 8}}; !reflect.DeepEqual(got, want) {
			t.Fatalf("objects %v, want %v", got, want)
		}
		w.archived(1)
	})
}

func TestStopBeforeTheBeginningArchivesToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.stop()
		w.Archiver = New(Config{Store: w.store, Log: w.log, LogID: logID})
		w.append(3, 0)
		stopped, cancel := context.WithCancel(context.Background())
		cancel()
		w.Run(stopped)
		w.archived(1)
	})
}

func TestWhatWasCutBeforeItWasArchivedIsSkipped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.append(2, 0)
		w.stop()
		w.append(8, 0)
		if err := w.log.Truncate(context.Background(), 6); err != nil {
			t.Fatal(err)
		}
		w.start(nil)
		time.Sleep(1100 * time.Millisecond)
		w.archived(6)
		for _, err := range Read(context.Background(), w.store, logID, 1) {
			if err != nil && !errors.Is(err, metalog.ErrTruncated) {
				t.Errorf("reading across the hole: %v, want ErrTruncated", err)
			}
		}
	})
}

func TestPruneDeletesWhatIsWhollyBelow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for range 3 {
			w.append(2, 0)
			time.Sleep(1100 * time.Millisecond)
		}
		if err := w.Prune(context.Background(), 4); err != nil {
			t.Fatal(err)
		}
		if got, want := w.objects(), []Object{{3, 5}, {5, 7}}; !reflect.DeepEqual(got, want) {
			t.Fatalf("objects %v, want %v", got, want)
		}
	})
}

func TestManyObjectsCallForASnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.stop()
		var called atomic.Int64
		w.start(func() { called.Add(1) })
		for range 2 * manyObjects {
			w.append(1, 0)
			time.Sleep(1100 * time.Millisecond)
		}
		if called.Load() != 2 {
			t.Errorf("called %d times for %d objects, want 2", called.Load(), 2*manyObjects)
		}
	})
}

func TestObjectOfAnotherLogIsRefused(t *testing.T) {
	store := memstore.New("bucket")
	b := sample()
	if _, err := store.PutIfAbsent(context.Background(), Object{First: 7, Next: 9}.Key(), Encode(b)); err != nil {
		t.Fatal(err)
	}
	read := func(store objstore.Store, id [16]byte, seq uint64) (last error) {
		for _, err := range Read(context.Background(), store, id, seq) {
			last = err
		}
		return last
	}
	if err := read(store, [16]byte{1}, 7); !errors.Is(err, metalog.ErrForeign) {
		t.Errorf("read another log's: %v, want ErrForeign", err)
	}
	if err := read(store, logID, 8); err != nil {
		t.Errorf("read one's own: %v", err)
	}
}

func TestSeedBeginsAnEmptyLogOnce(t *testing.T) {
	ctx, store, log := context.Background(), memstore.New("bucket"), mem.New().Open()
	if err := Seed(ctx, store, logID, log); err != nil {
		t.Fatal(err)
	}
	if _, next, err := log.Bounds(ctx); err != nil || next != 1 {
		t.Fatalf("a log without a recovery ends at %d, %v", next, err)
	}
	put := func(b *Batch) {
		t.Helper()
		if _, err := store.PutIfAbsent(ctx, (Object{b.First, b.Next()}).Key(), Encode(b)); err != nil {
			t.Fatal(err)
		}
	}
	put(&Batch{LogID: logID, First: 1, Entries: [][]byte{[]byte("first")}})
	for range 2 {
		if err := Seed(ctx, store, logID, log); err != nil {
			t.Fatal(err)
		}
		if entry, found, err := metalog.ReadOne(ctx, log, 1); err != nil || !found || string(entry) != "first" {
			t.Fatalf("the log begins with %q, %v, %v", entry, found, err)
		}
	}
	put(&Batch{LogID: logID, First: 2, Entries: [][]byte{[]byte("second")}})
	lost := mem.New().Open()
	if err := Seed(ctx, store, logID, lost); err != nil {
		t.Fatal(err)
	}
	if _, next, err := lost.Bounds(ctx); err != nil || next != 1 {
		t.Errorf("a log that has lost entries ends at %d, %v; want it left alone", next, err)
	}
}
