package lane_test

import (
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

// s3 are the latencies of PUTs that S3 has.
var s3 = faulty.Latency{Median: 60 * time.Millisecond, P99: 200 * time.Millisecond}

func firstKey(key string) bool { return !strings.Contains(key, "-h") }
func hedgeKey(key string) bool { return strings.Contains(key, "-h") }

// chunks are both keys that a chunk of the present epoch's object lane may have.
func (w *world) chunkKeys(seq uint64) (first, hedge string) {
	registration, _ := w.set.Registration()
	id := meta.ChunkID{Node: registration.Node, Epoch: registration.Epoch, Lane: uint32(lane.Object), Seq: seq}
	first = id.Key()
	id.Hedge = 1
	return first, id.Key()
}

// garbage are the keys that nothing refers to, as state knows; none of them may be referred to again.
func (w *world) garbage() (keys []string) {
	w.cluster.View(func(s *meta.State) {
		for _, g := range s.Garbage() {
			keys = append(keys, g.Key)
			if s.Referenced(g.Key) {
				w.t.Errorf("garbage %s is referred to", g.Key)
			}
		}
	})
	return keys
}

func TestSlowPutIsHedgedUnderASecondKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, lane.Config{})
		topic := w.cluster.CreateTopic(t, "o", "object", 1)
		w.bucket.SetRules(faulty.Rule{Ops: faulty.PutIfAbsent, Key: firstKey, Latency: faulty.Latency{Median: 10 * time.Second}, Detach: true})
		began := time.Now()
		w.mustCommit([]int64{0}, w.object(topic, 0, "x"))
		if took := time.Since(began); took > 300*time.Millisecond {
			t.Errorf("took %v", took)
		}
		first, hedge := w.chunkKeys(1)
		if got := w.values(topic, 0); !slices.Equal(got, []string{"x"}) {
			t.Errorf("read %q", got)
		}
		if got := w.garbage(); !slices.Equal(got, []string{first}) {
			t.Errorf("garbage %q, want the first key alone", got)
		}
		w.cluster.View(func(s *meta.State) {
			if !s.Referenced(hedge) {
				t.Error("the hedge's key is not referred to")
			}
		})
		// The PUT that lost lands after all: nothing comes to refer to it.
		time.Sleep(11 * time.Second)
		if _, err := w.bucket.Head(t.Context(), first); err != nil {
			t.Errorf("the slow PUT has not landed: %v", err)
		}
		if got := w.values(topic, 0); !slices.Equal(got, []string{"x"}) {
			t.Errorf("read %q after the slow PUT", got)
		}
	})
}

func TestFirstPutWinsOverItsHedge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, lane.Config{})
		topic := w.cluster.CreateTopic(t, "o", "object", 1)
		w.bucket.SetRules(
			faulty.Rule{Ops: faulty.PutIfAbsent, Key: firstKey, Latency: faulty.Latency{Median: 300 * time.Millisecond}},
			faulty.Rule{Ops: faulty.PutIfAbsent, Key: hedgeKey, Latency: faulty.Latency{Median: time.Second}},
		)
		began := time.Now()
		w.mustCommit([]int64{0}, w.object(topic, 0, "x"))
		if took := time.Since(began); took != 300*time.Millisecond {
			t.Errorf("took %v", took)
		}
		first, hedge := w.chunkKeys(1)
		if got := w.garbage(); !slices.Equal(got, []string{hedge}) {
			t.Errorf("garbage %q, want the hedge's key alone", got)
		}
		if _, err := w.bucket.Head(t.Context(), first); err != nil {
			t.Error(err)
		}
	})
}

// TestHedgingShortensTheTail has every number of PUT be as slow as S3's, and looks at the slowest and at the price.
func TestHedgingShortensTheTail(t *testing.T) {
	const count = 2000
	measure := func(t *testing.T, share float64) (p50, p99 time.Duration, extra float64) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, lane.Config{HedgeShare: share, PutsPerSecond: 100})
			topic := w.cluster.CreateTopic(t, "o", "object", 1)
			w.bucket.SetRules(faulty.Rule{Ops: faulty.PutIfAbsent, Latency: s3})
			took := make([]time.Duration, 0, count)
			for i := range count {
				began := time.Now()
				w.mustCommit([]int64{int64(i)}, w.object(topic, 0, "x"))
				took = append(took, time.Since(began))
			}
			slices.Sort(took)
			p50, p99 = took[count/2], took[count*99/100]
			extra = float64(w.bucket.Calls(faulty.PutIfAbsent)-count) / count
		})
		return p50, p99, extra
	}
	_, plain, none := measure(t, -1)
	p50, p99, extra := measure(t, 0)
	t.Logf("p99 %v without hedges; with %.1f %% of them p50 %v, p99 %v", plain, 100*extra, p50, p99)
	if none != 0 || extra == 0 || extra > 0.1 {
		t.Errorf("%.1f %% more PUTs, without hedging %.1f %%", 100*extra, 100*none)
	}
	if p99 > 195*time.Millisecond || p99 >= plain {
		t.Errorf("p99 %v with hedging, %v without", p99, plain)
	}
}

func TestStoreThatIsSlowEverywhereIsNotAskedTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, lane.Config{PutsPerSecond: 100})
		topic := w.cluster.CreateTopic(t, "o", "object", 1)
		offset := int64(0)
		produce := func(n int) {
			for range n {
				w.mustCommit([]int64{offset}, w.object(topic, 0, "x"))
				offset++
			}
		}
		w.bucket.SetRules(faulty.Rule{Ops: faulty.PutIfAbsent, Latency: s3})
		produce(200)
		before := w.bucket.Calls(faulty.PutIfAbsent)
		w.bucket.SetRules(faulty.Rule{Ops: faulty.PutIfAbsent, Latency: faulty.Latency{Median: 3 * time.Second, P99: 6 * time.Second}})
		produce(400)
		if hedges := w.bucket.Calls(faulty.PutIfAbsent) - before - 400; hedges > 45 {
			t.Errorf("%d hedges for 400 PUTs of a store that is slow everywhere", hedges)
		}
	})
}

func TestThrottlingStoreGetsNoHedges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, lane.Config{PutsPerSecond: 100})
		topic := w.cluster.CreateTopic(t, "o", "object", 1)
		w.bucket.SetRules(
			faulty.Rule{Ops: faulty.PutIfAbsent, Fail: true, Err: objstore.ErrThrottled, Times: 1},
			faulty.Rule{Ops: faulty.PutIfAbsent, Latency: faulty.Latency{Median: time.Second}, Skip: 1},
		)
		w.mustCommit([]int64{0}, w.object(topic, 0, "x"))
		if puts := w.bucket.Calls(faulty.PutIfAbsent); puts != 2 {
			t.Errorf("%d PUTs, want the refused one and its repeat", puts)
		}
	})
}

// TestForeignObjectUnderTheFirstKeyLetsNoHedgeWin: who else writes under a node's keys has its identity, so nothing of it is to be trusted.
func TestForeignObjectUnderTheFirstKeyLetsNoHedgeWin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, lane.Config{})
		topic := w.cluster.CreateTopic(t, "o", "object", 1)
		w.mustCommit([]int64{0}, w.object(topic, 0, "before"))
		first, _ := w.chunkKeys(2)
		if _, err := w.bucket.Put(t.Context(), first, []byte("foreign")); err != nil {
			t.Fatal(err)
		}
		w.bucket.SetRules(
			faulty.Rule{Ops: faulty.PutIfAbsent, Key: firstKey, Latency: faulty.Latency{Median: time.Second}, Times: 1},
			faulty.Rule{Ops: faulty.PutIfAbsent, Key: hedgeKey, Latency: faulty.Latency{Median: 2 * time.Second}, Times: 1},
		)
		w.expectFailure(w.append(w.object(topic, 0, "lost")), lane.StorageFailed)
		w.await("the next epoch", func() bool { return w.events.epochs.Load() == 2 })
		w.mustCommit([]int64{1}, w.object(topic, 0, "after"))
		if body, _, err := objstore.ReadAll(t.Context(), w.bucket, first, 100); err != nil || string(body) != "foreign" {
			t.Errorf("the foreign object: %q, %v", body, err)
		}
	})
}

// TestHedgedChunksCommitInOrder lets chunks overtake one another under both kinds of keys.
func TestHedgedChunksCommitInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, lane.Config{ChunkBytes: 100, PutsPerSecond: 1000, HedgeShare: 1, HedgeMin: time.Millisecond})
		topic := w.cluster.CreateTopic(t, "o", "object", 1)
		w.bucket.SetRules(faulty.Rule{Ops: faulty.PutIfAbsent, Latency: faulty.Latency{Median: 20 * time.Millisecond, P99: 900 * time.Millisecond}})
		var pendings []*lane.Pending
		var want []string
		for i := range 300 {
			value := fmt.Sprint(i) + strings.Repeat("x", 100)
			want = append(want, value)
			pendings = append(pendings, w.append(w.object(topic, 0, value)))
		}
		for i, p := range pendings {
			w.expect(p, int64(i))
		}
		if got := w.values(topic, 0); !slices.Equal(got, want) {
			t.Error("what is read is not what was appended")
		}
		if won := w.events.hedgesWon.Load(); won == 0 {
			t.Error("no hedge has won")
		}
		w.garbage()
	})
}

// TestFiveInFlight keeps five requests unanswered, as a producer of Kafka's does by default, on the default budget of PUTs.
func TestFiveInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const inFlight, count = 5, 4000
		w := newWorld(t, lane.Config{})
		topic := w.cluster.CreateTopic(t, "o", "object", 1)
		w.bucket.SetRules(faulty.Rule{Ops: faulty.PutIfAbsent, Latency: s3})
		type request struct {
			pending *lane.Pending
			began   time.Time
		}
		var unanswered []request
		var took []time.Duration
		began := time.Now()
		for i := range count {
			if len(unanswered) == inFlight {
				w.expect(unanswered[0].pending, int64(i-inFlight))
				took = append(took, time.Since(unanswered[0].began))
				unanswered = unanswered[1:]
			}
			unanswered = append(unanswered, request{w.append(w.object(topic, 0, "x")), time.Now()})
		}
		perSecond := float64(len(took)) / time.Since(began).Seconds()
		for i, r := range unanswered {
			w.expect(r.pending, int64(count-len(unanswered)+i))
		}
		slices.Sort(took)
		puts, p50, p99 := w.bucket.Calls(faulty.PutIfAbsent), took[len(took)/2], took[len(took)*99/100]
		t.Logf("p50 %v, p99 %v, %.0f requests a second, %d PUTs for %d requests", p50, p99, perSecond, puts, count)
		if p99 > s3.P99*3/2 || perSecond < 20 {
			t.Errorf("p99 %v, %.0f requests a second", p99, perSecond)
		}
	})
}
