package e2e

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varvelog/varve/infra/objstore"
	"github.com/varvelog/varve/infra/objstore/faulty"
	"github.com/varvelog/varve/infra/objstore/mem"
	"github.com/varvelog/varve/infra/objstore/s3server"
	"github.com/varvelog/varve/services/e2e/cluster"
)

// serveOnFaultyStore starts `varve serve` on a bucket in this process, whose faults are the test's.
func serveOnFaultyStore(t *testing.T, flags ...string) (*cluster.Node, *faulty.Store) {
	t.Helper()
	return serveOn(t, faulty.New(mem.New("bucket"), faulty.Config{Seed: 1}), flags...)
}

func serveOn(t *testing.T, store *faulty.Store, flags ...string) (*cluster.Node, *faulty.Store) {
	t.Helper()
	server := httptest.NewServer(s3server.Handler(store))
	t.Cleanup(server.Close)
	n := cluster.New(t, "serve", append(flags, "--bucket", "s3://bucket?region=us-east-1&endpoint="+server.URL)...)
	n.SetEnvironment("AWS_ACCESS_KEY_ID=e2e", "AWS_SECRET_ACCESS_KEY=e2e")
	n.Start()
	return n, store
}

// stream produces records of random bytes to a topic, one after the other in one batch each, until it is stopped. No record is given up.
type stream struct {
	client    *kgo.Client
	topic     string
	acked     atomic.Int64
	failed    atomic.Pointer[error]
	throttled atomic.Int64
	stop      context.CancelFunc
	done      chan struct{}
}

// OnBrokerThrottle implements kgo.HookBrokerThrottle.
func (s *stream) OnBrokerThrottle(kgo.BrokerMetadata, time.Duration, bool) { s.throttled.Add(1) }

// startStream sends a record of so many bytes every pause; with a pause of 0 as many as the client holds.
func startStream(t *testing.T, n *cluster.Node, topic string, valueBytes int, pause time.Duration) *stream {
	t.Helper()
	s := &stream{topic: topic, done: make(chan struct{})}
	s.client = dial(t, n, kgo.WithHooks(s), kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.MaxBufferedRecords(200), kgo.RecordRetries(1<<30))
	ctx, cancel := context.WithCancel(t.Context())
	s.stop = cancel
	t.Cleanup(cancel)
	go func() {
		defer close(s.done)
		var pending sync.WaitGroup
		ticker := time.NewTicker(max(pause, time.Nanosecond))
		defer ticker.Stop()
		for ctx.Err() == nil {
			if pause > 0 {
				<-ticker.C
			}
			value := make([]byte, valueBytes)
			_, _ = rand.Read(value) // never fails
			pending.Add(1)
			s.client.Produce(t.Context(), &kgo.Record{Topic: topic, Value: value}, func(_ *kgo.Record, err error) {
				defer pending.Done()
				if err != nil {
					s.failed.Store(&err)
					return
				}
				s.acked.Add(1)
			})
		}
		pending.Wait()
	}()
	return s
}

// end stops the stream, waits for all its acknowledgements, and compares their number with what can be read.
func (s *stream) end(t *testing.T, n *cluster.Node) {
	t.Helper()
	s.stop()
	select {
	case <-s.done:
	case <-time.After(patience):
		t.Fatalf("%s: some records have no acknowledgement", s.topic)
	}
	if err := s.failed.Load(); err != nil {
		t.Errorf("%s: a record was given up: %v", s.topic, *err)
	}
	if read := int64(len(flatten(readAll(t, n, s.topic)))); read != s.acked.Load() {
		t.Errorf("%s: %d records are there, %d were acknowledged", s.topic, read, s.acked.Load())
	}
}

// progress waits until the stream has more acknowledgements than now.
func (s *stream) progress(t *testing.T, what string) {
	t.Helper()
	before := s.acked.Load()
	cluster.Eventually(t, patience, s.topic+" goes on "+what, func() error {
		if s.acked.Load() <= before {
			return fmt.Errorf("%d acknowledged", before)
		}
		return nil
	})
}

// TestStoreThatStallsForTwentySecondsAndRecovers has a store answer nothing for a while: what is on disks goes on, memory stays bounded, and afterwards
// all goes on by itself.
func TestStoreThatStallsForTwentySecondsAndRecovers(t *testing.T) {
	t.Parallel()
	// What may come on top of a busy server: its memory for requests, and as much again before it is collected.
	const stall, mayGrow = 20 * time.Second, 2 * 64 << 20
	n, store := serveOnFaultyStore(t, "--request-memory=32MiB", "--fetch-memory=16MiB", "--cache-bytes=16MiB", "--seal-age=1s", "--hot-segment-bytes=16MiB")
	createTopic(t, n, "stalled-object", 2, "varve.durability", "object")
	createTopic(t, n, "stalled-local", 2, "varve.durability", "local")
	var objects []*stream
	for range 4 {
		objects = append(objects, startStream(t, n, "stalled-object", 100<<10, 0))
	}
	local := startStream(t, n, "stalled-local", 10<<10, 10*time.Millisecond)
	for _, s := range append(objects, local) {
		s.progress(t, "before")
	}

	before := n.RSS()
	recovers := make(chan struct{})
	store.SetRules(faulty.Rule{Hold: recovers})
	var highest int64
	for began := time.Now(); time.Since(began) < stall; time.Sleep(100 * time.Millisecond) {
		if highest = max(highest, n.RSS()); highest > before+mayGrow {
			t.Fatalf("%d MiB of memory, before the stall %d", highest>>20, before>>20)
		}
		if time.Since(began) > stall/2 {
			local.progress(t, "while the store stalls")
		}
	}
	store.SetRules()
	close(recovers)
	for _, s := range append(objects, local) {
		s.progress(t, "after the store has recovered")
	}
	throttled := int64(0)
	for _, s := range objects {
		throttled += s.throttled.Load()
	}
	t.Logf("%d MiB of memory before, at most %d MiB, %d answers told producers to wait", before>>20, highest>>20, throttled)
	if throttled == 0 {
		t.Error("no producer was told to wait")
	}
	for _, s := range objects {
		s.stop()
		<-s.done
	}
	acked := int64(0)
	for _, s := range objects {
		acked += s.acked.Load()
	}
	if read := int64(len(flatten(readAll(t, n, "stalled-object")))); read != acked {
		t.Errorf("%d records are there, %d were acknowledged", read, acked)
	}
	local.end(t, n)
}

// TestHotLogThatFillsSlowsProducersDown has the store refuse what is shipped: the hot log fills to its bound and no further, and producers go on when it
// is shipped at last.
func TestHotLogThatFillsSlowsProducersDown(t *testing.T) {
	t.Parallel()
	const bound = 128 << 20
	n, store := serveOnFaultyStore(t, "--hot-log-bytes=128MiB", "--hot-segment-bytes=16MiB", "--seal-age=1s", "--request-memory=32MiB")
	createTopic(t, n, "filling", 1, "varve.durability", "local")
	recovers := make(chan struct{})
	store.SetRules(faulty.Rule{Ops: faulty.Put, Hold: recovers})
	s := startStream(t, n, "filling", 50<<10, 0)
	cluster.Eventually(t, patience, "the hot log is nearly full and producers are slowed down", func() error {
		fill, err := n.Metric("varve_hotlog_fill_ratio")
		if err == nil && (fill < 0.9 || s.throttled.Load() == 0) {
			err = fmt.Errorf("fill %.2f, %d answers told the producer to wait", fill, s.throttled.Load())
		}
		return err
	})
	for range 30 {
		size, err := n.Metric("varve_hotlog_size_bytes")
		if err != nil {
			t.Fatal(err)
		}
		if size > bound*1.1 {
			t.Fatalf("the hot log has %.0f MiB, its bound is %d", size/(1<<20), bound>>20)
		}
		time.Sleep(100 * time.Millisecond)
	}
	store.SetRules()
	close(recovers)
	cluster.Eventually(t, patience, "the hot log has been shipped", func() error {
		fill, err := n.Metric("varve_hotlog_fill_ratio")
		if err == nil && fill > 0.8 {
			err = fmt.Errorf("fill %.2f", fill)
		}
		return err
	})
	s.progress(t, "after the hot log has been shipped")
	s.end(t, n)
}

// TestStoreThatThrottlesEndsNoProcess answers a fifth of all requests with 503 SlowDown, from before the start on.
func TestStoreThatThrottlesEndsNoProcess(t *testing.T) {
	t.Parallel()
	for _, log := range []string{"jetstream", "bucket"} {
		t.Run(log, func(t *testing.T) {
			t.Parallel()
			throttled := faulty.Rule{Chance: 0.2, Fail: true, Err: objstore.ErrThrottled}
			store := faulty.New(mem.New("bucket"), faulty.Config{Seed: 1, Rules: []faulty.Rule{throttled}})
			n, _ := serveOn(t, store, "--metalog", log, "--seal-age=500ms", "--hot-segment-bytes=16MiB")
			createTopic(t, n, "slow-object", 1, "varve.durability", "object")
			createTopic(t, n, "slow-local", 1, "varve.durability", "local")
			object, local := startStream(t, n, "slow-object", 1<<10, 10*time.Millisecond), startStream(t, n, "slow-local", 1<<10, 10*time.Millisecond)
			for range 5 {
				object.progress(t, "while the store throttles")
				local.progress(t, "while the store throttles")
			}
			cluster.Eventually(t, patience, "something is shipped", func() error {
				for info, err := range store.List(t.Context(), "segment/", "") {
					if err == nil && info.SizeBytes > 0 {
						return nil
					}
				}
				return errors.New("no segment object")
			})
			if !n.Running() {
				t.Fatal("the process has ended")
			}
			store.SetRules()
			object.end(t, n)
			local.end(t, n)
		})
	}
}
