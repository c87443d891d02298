package bucket

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varvelog/varve/coordinator/metalog"
	"github.com/varvelog/varve/infra/objstore/faulty"
	"github.com/varvelog/varve/infra/objstore/mem"
)

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
		late := faulty.Rule{Latency: faulty.Latency{Median: 200 * time.Millisecond}}
		reader := open(t, faulty.New(backing, faulty.Config{Rules: []faulty.Rule{late}}))
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
	store := faulty.New(mem.New("metalog"), faulty.Config{})
	writer, reader := open(t, store), open(t, store)
	appendAll(t, writer, 1, 50)
	others, gets := store.Calls(faulty.Any&^faulty.Get), store.Calls(faulty.Get)
	last := uint64(9)
	for record, err := range reader.ReadRange(t.Context(), 10, 60) { // [51, 60) is not there
		if err != nil || record.Seq != last+1 {
			t.Fatalf("read %d behind %d: %v", record.Seq, last, err)
		}
		last = record.Seq
	}
	others, gets = store.Calls(faulty.Any&^faulty.Get)-others, store.Calls(faulty.Get)-gets
	if last != 50 || others > 0 || gets > 60 {
		t.Errorf("read to %d with %d GETs and %d other questions", last, gets, others)
	}
	for range reader.ReadRange(t.Context(), 60, 60) {
		t.Error("an entry of an empty range")
	}
}

func TestAReadThatFailsGivesWhatCameBefore(t *testing.T) {
	store := faulty.New(mem.New("metalog"), faulty.Config{})
	writer, reader := open(t, store), open(t, store)
	appendAll(t, writer, 1, 50)
	store.AddRule(faulty.Rule{Ops: faulty.Get, Key: func(key string) bool { return key == Key(7) }, Fail: true})
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
		if last != 6 || !errors.Is(failed, faulty.ErrInjected) {
			t.Errorf("%s: to %d, then %v", name, last, failed)
		}
	}
}

// Whoever looked for the end of a log that grew meanwhile listed all of it.
func TestWhatIsAppendedWhileTheEndIsSoughtIsNoTruncation(t *testing.T) {
	backing := mem.New("metalog")
	writer := open(t, backing)
	appendAll(t, writer, 1, 50)
	next := uint64(51)
	store := faulty.New(backing, faulty.Config{Sleep: func(context.Context, time.Duration) error {
		appendAll(t, writer, next, next+2)
		next += 3
		return nil
	}})
	reader := open(t, store)
	store.AddRule(faulty.Rule{Ops: faulty.List, Latency: faulty.Latency{Median: 1}})
	lists := store.Calls(faulty.List)
	if first, end, err := reader.Bounds(t.Context()); err != nil || first != 1 || end != 54 {
		t.Errorf("bounds = [%d, %d), %v; want [1, 54)", first, end, err)
	}
	last := uint64(0)
	for record, err := range reader.Read(t.Context(), 51) {
		if err != nil {
			t.Fatal(err)
		}
		last = record.Seq
	}
	if lists = store.Calls(faulty.List) - lists; last != 56 || lists != 2 {
		t.Errorf("read to %d with %d listings", last, lists)
	}
}
