package bucket

import (
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varvelog/varve/coordinator/metalog"
	"github.com/varvelog/varve/infra/objstore"
	"github.com/varvelog/varve/infra/objstore/mem"
)

// farStore answers late, fails GETs of some keys, and counts.
type farStore struct {
	objstore.Store
	latency time.Duration
	mu      sync.Mutex
	fails   map[string]error
	calls   map[string]int
}

func (s *farStore) call(op, key string) error {
	time.Sleep(s.latency)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.calls == nil {
		s.calls = map[string]int{}
	}
	s.calls[op]++
	return s.fails[key]
}

func (s *farStore) Get(ctx context.Context, key string, offset, length int64) (io.ReadCloser, objstore.Info, error) {
	if err := s.call("get", key); err != nil {
		return nil, objstore.Info{}, err
	}
	return s.Store.Get(ctx, key, offset, length)
}

func (s *farStore) Head(ctx context.Context, key string) (objstore.Info, error) {
	if err := s.call("head", key); err != nil {
		return objstore.Info{}, err
	}
	return s.Store.Head(ctx, key)
}

func (s *farStore) List(ctx context.Context, prefix, after string) func(yield func(objstore.Info, error) bool) {
	err := s.call("list", prefix)
	return func(yield func(objstore.Info, error) bool) {
		if err != nil {
			yield(objstore.Info{}, err)
			return
		}
		s.Store.List(ctx, prefix, after)(yield)
	}
}

func appendAll(t *testing.T, log *Log, from, to uint64) {
	t.Helper()
	for seq := from; seq <= to; seq++ {
		if err := log.Append(context.Background(), seq, []byte("x"), metalog.Ordinary); err != nil {
			t.Fatal(err)
		}
	}
}

// A process that started read behind the log's growing end for minutes where its store was slow: it looked for the end one question after the
// other, read what had come meanwhile, and looked again.
func TestAReadEndsWhileTheLogGrows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		backing := mem.New("metalog")
		writer := open(t, backing)
		appendAll(t, writer, 1, 300)
		reader := open(t, &farStore{Store: backing, latency: 200 * time.Millisecond})
		appendAll(t, writer, 301, 400)
		ctx, cancel := context.WithCancel(t.Context())
		var grown uint64
		var writing sync.WaitGroup
		writing.Go(func() {
			for grown = 400; ; {
				select {
				case <-ctx.Done():
					return
				case <-time.After(40 * time.Millisecond):
					grown++
					appendAll(t, writer, grown, grown)
				}
			}
		})
		began, last := time.Now(), uint64(0)
		for record, err := range reader.Read(t.Context(), 1) {
			if err != nil || record.Seq != last+1 {
				t.Fatalf("read %d behind %d: %v", record.Seq, last, err)
			}
			last = record.Seq
		}
		took := time.Since(began)
		cancel()
		writing.Wait()
		if took > 10*time.Second || last < 400 {
			t.Errorf("it read %d of %d entries in %v", last, grown, took)
		}
	})
}

func TestWhatIsKnownToBeThereIsReadWithoutOtherQuestions(t *testing.T) {
	store := &farStore{Store: mem.New("metalog")}
	writer, reader := open(t, store), open(t, store)
	appendAll(t, writer, 1, 50)
	store.calls = nil
	last := uint64(9)
	for record, err := range reader.ReadRange(t.Context(), 10, 60) { // [51, 60) is not there
		if err != nil || record.Seq != last+1 {
			t.Fatalf("read %d behind %d: %v", record.Seq, last, err)
		}
		last = record.Seq
	}
	if last != 50 || store.calls["head"] > 0 || store.calls["list"] > 0 || store.calls["get"] > 60 {
		t.Errorf("read to %d with %v", last, store.calls)
	}
	for range reader.ReadRange(t.Context(), 60, 60) {
		t.Error("an entry of an empty range")
	}
}

func TestAReadThatFailsGivesWhatCameBefore(t *testing.T) {
	lost := errors.New("lost")
	store := &farStore{Store: mem.New("metalog")}
	writer, reader := open(t, store), open(t, store)
	appendAll(t, writer, 1, 50)
	store.fails = map[string]error{Key(7): lost}
	for name, read := range map[string]func(func(metalog.Record, error) bool){
		"read": reader.Read(t.Context(), 1), "range": reader.ReadRange(t.Context(), 1, 51),
	} {
		last, failed := uint64(0), error(nil)
		for record, err := range read {
			if err != nil {
				failed = err
				continue
			}
			last = record.Seq
		}
		if last != 6 || !errors.Is(failed, lost) {
			t.Errorf("%s: to %d, then %v", name, last, failed)
		}
	}
}
