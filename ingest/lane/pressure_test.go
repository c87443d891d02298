package lane_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/infra/objstore/faulty"
	"github.com/varvelog/varve/ingest/lane"
)

func TestFullHotLogSlowsProducersDownAndThenRefusesThem(t *testing.T) {
	w := newWorld(t, unlimited)
	local := w.cluster.CreateTopic(t, "l", "local", 1)
	object := w.cluster.CreateTopic(t, "o", "object", 1)
	batch := []lane.Batch{w.local(local, 0, "x")}
	var delays []time.Duration
	for _, fill := range []float64{0, 0.8, 0.9, 1} {
		w.set.SetFill(fill, 0)
		delays = append(delays, w.set.Delay(batch).Round(time.Millisecond))
		if got := w.set.Delay([]lane.Batch{w.object(object, 0, "x")}); got != 0 {
			t.Errorf("a full hot log delays what goes to the bucket by %v", got)
		}
	}
	if !slices.Equal(delays, []time.Duration{0, 0, 500 * time.Millisecond, 2 * time.Second}) {
		t.Errorf("delays %v", delays)
	}
	w.expectFailure(w.append(batch...), lane.Overloaded)
	w.mustCommit([]int64{0}, w.object(object, 0, "goes on"))
	w.set.SetFill(0.99, 0)
	w.mustCommit([]int64{0}, w.local(local, 0, "there is space again"))
	w.set.SetFill(0, 0.9)
	if got := w.set.Delay([]lane.Batch{w.object(object, 0, "x")}); got.Round(time.Millisecond) != 500*time.Millisecond {
		t.Errorf("the budget of runs delays by %v", got)
	}
}

func TestHalfOfTheBudgetOfRunsSealsSegmentsEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, lane.Config{SealAge: time.Hour})
		topic := w.cluster.CreateTopic(t, "l", "local", 1)
		w.mustCommit([]int64{0}, w.local(topic, 0, "x"))
		sealed := func() (n int) {
			for _, c := range w.cluster.Commands() {
				if c.GetSealContainer() != nil {
					n++
				}
			}
			return n
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if n := sealed(); n != 0 {
			t.Fatalf("%d segments sealed", n)
		}
		w.set.SetFill(0, 0.5)
		time.Sleep(time.Second)
		synctest.Wait()
		if n := sealed(); n != 1 {
			t.Errorf("%d segments sealed at half of the budget", n)
		}
	})
}

// TestStoreThatStallsSlowsProducersDownThatComeSeldom: clients that were refused wait longer and longer before they come again.
func TestStoreThatStallsSlowsProducersDownThatComeSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, lane.Config{PutsPerSecond: 1000, BudgetBytes: 100_000, ChunkBytes: 10_000})
		topic := w.cluster.CreateTopic(t, "o", "object", 1)
		recovers := make(chan struct{})
		w.bucket.SetRules(faulty.Rule{Ops: faulty.PutIfAbsent, Hold: recovers})
		batch := w.object(topic, 0, strings.Repeat("x", 1000))
		var waiting []*lane.Pending
		for range 40 {
			waiting = append(waiting, w.append(batch))
		}
		if delay := w.set.Delay([]lane.Batch{batch}); delay != 0 {
			t.Errorf("delayed by %v at once", delay)
		}
		time.Sleep(3 * time.Second)
		if delay := w.set.Delay([]lane.Batch{batch}); delay == 0 {
			t.Error("the lane has waited for three seconds, and nobody is told to")
		}
		close(recovers)
		for _, p := range waiting {
			w.results(p)
		}
		time.Sleep(3 * time.Second)
		if delay := w.set.Delay([]lane.Batch{batch}); delay != 0 {
			t.Errorf("delayed by %v when nothing waits", delay)
		}
	})
}

// TestStoreThatStallsTakesNoMemoryFromTheLocalLane fills the object lane while its store answers nothing.
func TestStoreThatStallsTakesNoMemoryFromTheLocalLane(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, lane.Config{PutsPerSecond: 1000, BudgetBytes: 100_000, ChunkBytes: 10_000})
		local := w.cluster.CreateTopic(t, "l", "local", 1)
		object := w.cluster.CreateTopic(t, "o", "object", 1)
		recovers := make(chan struct{})
		w.bucket.SetRules(faulty.Rule{Ops: faulty.PutIfAbsent, Hold: recovers})
		value := strings.Repeat("x", 1000)
		var waiting []*lane.Pending
		refused, delayed := 0, time.Duration(0)
		for range 400 { // 20 s, four times the bound
			batch := w.object(object, 0, value)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			delayed = max(delayed, w.set.Delay([]lane.Batch{batch}))
			p, err := w.set.Append(ctx, lane.Request{Batches: []lane.Batch{batch}})
			cancel()
			if err != nil {
				t.Fatalf("a producer waits for memory: %v", err)
			}
			time.Sleep(50 * time.Millisecond)
			if len(p.Done()) > 0 {
				w.expectFailure(p, lane.Overloaded)
				refused++
				continue
			}
			waiting = append(waiting, p)
		}
		if held := w.set.Stats().HeldBytes[lane.Object]; held > 51_100 || refused < 300 {
			t.Errorf("%d bytes held and %d requests refused", held, refused)
		}
		if delayed != 2*time.Second {
			t.Errorf("producers were delayed by %v at most", delayed)
		}
		began := time.Now()
		w.mustCommit([]int64{0}, w.local(local, 0, "goes on"))
		if took := time.Since(began); took != 0 {
			t.Errorf("the local lane took %v", took)
		}

		close(recovers)
		for i, p := range waiting {
			w.expect(p, int64(i))
		}
		time.Sleep(2 * time.Second)
		batch := w.object(object, 0, "after")
		if delay := w.set.Delay([]lane.Batch{batch}); delay != 0 {
			t.Errorf("delayed by %v after the store has recovered", delay)
		}
		w.mustCommit([]int64{int64(len(waiting))}, batch)
	})
}

// TestSlowCommitsSlowProducersDown has the log take 3 s for an entry: the local lane's memory fills, and clients are told to wait before it is full.
func TestSlowCommitsSlowProducersDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, lane.Config{BudgetBytes: 100_000})
		topic := w.cluster.CreateTopic(t, "l", "local", 1)
		w.cluster.OnSubmit(func(int, []*metapb.Command) (bool, error) {
			time.Sleep(3 * time.Second)
			return true, nil
		})
		value := strings.Repeat("x", 1000)
		var pendings []*lane.Pending
		delayed := time.Duration(0)
		for range 60 {
			batch := w.local(topic, 0, value)
			delayed = max(delayed, w.set.Delay([]lane.Batch{batch}))
			pendings = append(pendings, w.append(batch))
			time.Sleep(50 * time.Millisecond)
		}
		if delayed < 100*time.Millisecond || delayed > 2*time.Second {
			t.Errorf("producers were delayed by %v", delayed)
		}
		for i, p := range pendings {
			w.expect(p, int64(i))
		}
	})
}

// TestFastLaneDelaysNobody keeps the lane's memory full, and what is in it moving.
func TestFastLaneDelaysNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, lane.Config{BudgetBytes: 100_000})
		topic := w.cluster.CreateTopic(t, "l", "local", 1)
		w.cluster.OnSubmit(func(int, []*metapb.Command) (bool, error) {
			time.Sleep(100 * time.Millisecond)
			return true, nil
		})
		value := strings.Repeat("x", 1000)
		for range 1000 {
			batch := w.local(topic, 0, value)
			if delay := w.set.Delay([]lane.Batch{batch}); delay != 0 {
				t.Fatalf("delayed by %v", delay)
			}
			w.append(batch).Free() // waits while the memory is full
		}
	})
}
