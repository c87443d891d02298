package lane_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/infra/objstore"
	"github.com/varvelog/varve/infra/objstore/faulty"
	"github.com/varvelog/varve/ingest/lane"
)

// unlimited lets every chunk leave as soon as no PUT is in flight.
var unlimited = lane.Config{PutsPerSecond: 1e6, PutBurst: 1000, HedgeShare: -1}

func TestObjectChunksStandUnderTheirKeys(t *testing.T) {
	w := newWorld(t, unlimited)
	topic := w.cluster.CreateTopic(t, "o", "object", 2)
	w.mustCommit([]int64{0, 0, 1}, w.object(topic, 1, "a"), w.object(topic, 0, "b"), w.object(topic, 1, "c"))
	w.mustCommit([]int64{2}, w.object(topic, 1, "d"))
	if got := w.values(topic, 1); !slices.Equal(got, []string{"a", "c", "d"}) {
		t.Errorf("%q", got)
	}
	registration, _ := w.set.Registration()
	for seq := range uint64(2) {
		if _, err := w.bucket.Head(t.Context(), meta.ChunkKey(registration.Node, registration.Epoch, 1, seq+1)); err != nil {
			t.Error(err)
		}
	}
}

func TestSlowPutDoesNotOvertakeInCommits(t *testing.T) {
	config := unlimited
	config.ChunkBytes = 100
	w := newWorld(t, config)
	topic := w.cluster.CreateTopic(t, "o", "object", 1)
	hold := make(chan struct{})
	first := func(key string) bool { return strings.HasSuffix(key, "-1-1") } // lane 1, seq 1
	w.bucket.SetRules(faulty.Rule{Ops: faulty.PutIfAbsent, Key: first, Hold: hold})
	var pendings []*lane.Pending
	for i := range 4 {
		pendings = append(pendings, w.append(w.object(topic, 0, fmt.Sprint(i)+strings.Repeat("x", 100))))
	}
	w.await("later uploads", func() bool { return w.bucket.Calls(faulty.PutIfAbsent) == 4 && w.events.flushed.Load() == 3 })
	if next := w.nextOffset(topic, 0); next != 0 {
		t.Errorf("%d records were committed before the first chunk", next)
	}
	close(hold)
	for i, p := range pendings {
		w.expect(p, int64(i))
	}
}

func TestAmbiguousPutIsSettledByReadingBack(t *testing.T) {
	w := newWorld(t, unlimited)
	topic := w.cluster.CreateTopic(t, "o", "object", 1)
	w.bucket.SetRules(
		faulty.Rule{Ops: faulty.PutIfAbsent, FailAfter: true, Times: 1},
		faulty.Rule{Ops: faulty.Get, Fail: true, Times: 1, Err: objstore.ErrThrottled},
	)
	w.mustCommit([]int64{0}, w.object(topic, 0, "x"))
	if w.events.epochs.Load() != 1 {
		t.Errorf("%d epochs", w.events.epochs.Load())
	}
}

func TestThrottledStoreIsTriedAgain(t *testing.T) {
	w := newWorld(t, unlimited)
	topic := w.cluster.CreateTopic(t, "o", "object", 1)
	w.bucket.SetRules(faulty.Rule{Ops: faulty.PutIfAbsent, Fail: true, Times: 5, Err: objstore.ErrThrottled})
	w.mustCommit([]int64{0}, w.object(topic, 0, "x"))
}

func TestPutThatFailsForGoodEndsTheEpoch(t *testing.T) {
	for name, failure := range map[string]error{"access": objstore.ErrAccess, "for too long": errors.New("unreachable")} {
		t.Run(name, func(t *testing.T) {
			config := unlimited
			config.ChunkBytes, config.UploadTimeout = 100, 20*time.Millisecond
			w := newWorld(t, config)
			topic := w.cluster.CreateTopic(t, "o", "object", 1)
			w.mustCommit([]int64{0}, w.object(topic, 0, "before"))
			registration, _ := w.set.Registration()
			failing := meta.ChunkKey(registration.Node, registration.Epoch, 1, 2)
			w.bucket.SetRules(faulty.Rule{Ops: faulty.PutIfAbsent, Key: func(key string) bool { return key == failing }, Fail: true, Err: failure})
			w.expectFailure(w.append(w.object(topic, 0, "lost"), w.object(topic, 0, "behind")), lane.StorageFailed)
			w.await("the next epoch", func() bool { return w.events.epochs.Load() == 2 })
			w.mustCommit([]int64{1}, w.object(topic, 0, "after"))
			if got := w.values(topic, 0); !slices.Equal(got, []string{"before", "after"}) {
				t.Errorf("%q", got)
			}
		})
	}
}

func TestForeignObjectUnderTheKeyIsNoSuccess(t *testing.T) {
	w := newWorld(t, unlimited)
	topic := w.cluster.CreateTopic(t, "o", "object", 1)
	w.mustCommit([]int64{0}, w.object(topic, 0, "before"))
	registration, _ := w.set.Registration()
	if _, err := w.bucket.Put(t.Context(), meta.ChunkKey(registration.Node, registration.Epoch, 1, 2), []byte("foreign")); err != nil {
		t.Fatal(err)
	}
	w.expectFailure(w.append(w.object(topic, 0, "lost")), lane.StorageFailed)
	w.await("the next epoch", func() bool { return w.events.epochs.Load() == 2 })
	w.mustCommit([]int64{1}, w.object(topic, 0, "after"))
}

func TestSeveralPutsAreInFlightWhileTokensLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, lane.Config{PutsPerSecond: 0.25, PutBurst: 3, HedgeShare: -1})
		topic := w.cluster.CreateTopic(t, "o", "object", 1)
		w.bucket.SetRules(faulty.Rule{Ops: faulty.PutIfAbsent, Latency: faulty.Latency{Median: 100 * time.Millisecond}})
		began := time.Now()
		var pendings []*lane.Pending
		for i := range 3 {
			pendings = append(pendings, w.append(w.object(topic, 0, "at once")))
			<-time.After(2 * time.Millisecond) // for more to come, where tokens are scarce
			synctest.Wait()
			if puts := w.bucket.Calls(faulty.PutIfAbsent); puts != i+1 {
				t.Fatalf("%d PUTs after %d requests", puts, i+1)
			}
		}
		for range 20 {
			pendings = append(pendings, w.append(w.object(topic, 0, "gathered")))
		}
		for i, p := range pendings {
			w.expect(p, int64(i))
			if waited := time.Since(began); i == 2 && waited > 106*time.Millisecond {
				t.Errorf("three requests took %v", waited)
			}
		}
		if puts := w.bucket.Calls(faulty.PutIfAbsent); puts != 4 {
			t.Errorf("%d PUTs, want 4", puts)
		}
	})
}

func TestTokensHoldBackChunksThatAreNotFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, lane.Config{PutsPerSecond: 0.25, PutBurst: 1, ChunkBytes: 1000})
		topic := w.cluster.CreateTopic(t, "o", "object", 1)
		began := time.Now()
		w.mustCommit([]int64{0}, w.object(topic, 0, "leaves at once"))
		if waited := time.Since(began); waited != 0 {
			t.Errorf("the first write after an idle spell took %v", waited)
		}
		first, second := w.append(w.object(topic, 0, "waits")), w.append(w.object(topic, 0, "too"))
		synctest.Wait()
		if puts := w.bucket.Calls(faulty.PutIfAbsent); puts != 1 {
			t.Errorf("%d PUTs without a token", puts)
		}
		w.expect(first, 1)
		w.expect(second, 2)
		if waited := time.Since(began); waited < 4*time.Second || waited > 5*time.Second || w.bucket.Calls(faulty.PutIfAbsent) != 2 {
			t.Errorf("%d PUTs after %v", w.bucket.Calls(faulty.PutIfAbsent), waited)
		}
		began = time.Now()
		w.mustCommit([]int64{3}, w.object(topic, 0, strings.Repeat("x", 1000)))
		if waited := time.Since(began); waited != 0 {
			t.Errorf("a full chunk waited %v", waited)
		}
	})
}
