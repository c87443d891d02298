package bench

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sync/errgroup"

	"github.com/varvelog/varve/ingest/recordbatch"
)

const (
	// objectIdle is the pause between two requests of a producer that counts as idle before each.
	objectIdle = 50 * time.Millisecond
	// objectInFlight is what a producer of Kafka's leaves unanswered (max.in.flight.requests.per.connection).
	objectInFlight = 5
)

// measureObject has a store answer as S3 does and compares with that: every latency is a multiple of, or a distance from, a PUT's.
func measureObject(ctx context.Context, e *env) (results []Result, err error) {
	store, err := startSlowStore(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, e.killAll(), store.close()) }()
	for _, measure := range []func(context.Context, *env, *slowStore) ([]Result, error){measureObjectJetStream, measureObjectBucket} {
		more, err := measure(ctx, e, store)
		if err != nil {
			return results, err
		}
		results = append(results, more...)
	}
	return results, nil
}

func measureObjectJetStream(ctx context.Context, e *env, store *slowStore) ([]Result, error) {
	s, err := startObject(ctx, e, store, "jetstream")
	if err != nil {
		return nil, err
	}
	produced, received, err := sendIdle(ctx, s.kafkaAddr, pick(e, 28*time.Second, 8*time.Second))
	if err != nil {
		return nil, s.explain(err)
	}
	idle, end := summarise(produced), summarise(received)
	e.say("idle: produce p50 %.1f ms, p99 %.1f ms; receipt p50 %.1f ms, p99 %.1f ms; %d requests", millis(idle.p50), millis(idle.p99), millis(end.p50), millis(end.p99), idle.count)
	flying, err := sendInFlight(ctx, s.kafkaAddr, "flying", objectInFlight, pick(e, 14*time.Second, 6*time.Second))
	if err != nil {
		return nil, s.explain(err)
	}
	busy := summarise(flying)
	e.say("%d in flight: p50 %.1f ms, p99 %.1f ms; %d requests", objectInFlight, millis(busy.p50), millis(busy.p99), busy.count)
	perSecond, err := defaultProducer(ctx, s, pick(e, 6*time.Second, 4*time.Second))
	if err != nil {
		return nil, s.explain(err)
	}
	price, err := objectPrice(ctx, s)
	if err != nil {
		return nil, err
	}
	put := fmt.Sprintf("a PUT takes p50 %.0f ms, p99 %.0f ms", millis(putLatency.Median), millis(putLatency.P99))
	return append([]Result{
		required("idle: p50 - PUT's", millis(idle.p50-putLatency.Median), "ms", atMost, 15, fmt.Sprintf("p50 %.1f ms; %s", millis(idle.p50), put)),
		required("idle: p99 - PUT's", millis(idle.p99-putLatency.P99), "ms", atMost, 60, fmt.Sprintf("p99 %.1f ms of %d", millis(idle.p99), idle.count)),
		required("idle: receipt p50 - produce p50", millis(end.p50-idle.p50), "ms", atMost, 20, fmt.Sprintf("receipt p50 %.1f ms", millis(end.p50))),
		required("idle: receipt p99 - produce p99", millis(end.p99-idle.p99), "ms", atMost, 20, fmt.Sprintf("receipt p99 %.1f ms", millis(end.p99))),
		required("five in flight: p99 / PUT's", ratio(millis(busy.p99), millis(putLatency.P99)), "x", atMost, 1.5, fmt.Sprintf("p50 %.1f ms, p99 %.1f ms of %d", millis(busy.p50), millis(busy.p99), busy.count)),
		required("default producer: requests a second", perSecond, "", atLeast, 20, "one connection, five in flight, 16 KiB batches"),
	}, price...), nil
}

func measureObjectBucket(ctx context.Context, e *env, store *slowStore) ([]Result, error) {
	s, err := startObject(ctx, e, store, "bucket")
	if err != nil {
		return nil, err
	}
	produced, received, err := sendIdle(ctx, s.kafkaAddr, pick(e, 15*time.Second, 10*time.Second))
	if err != nil {
		return nil, s.explain(err)
	}
	idle, end := summarise(produced), summarise(received)
	e.say("metalog on the bucket, idle: produce p50 %.1f ms, p99 %.1f ms; receipt p50 %.1f ms", millis(idle.p50), millis(idle.p99), millis(end.p50))
	return []Result{
		required("metalog on the bucket: p50 / PUT's", ratio(millis(idle.p50), millis(putLatency.Median)), "x", atMost, 2.5,
			fmt.Sprintf("p50 %.1f ms, p99 %.1f ms of %d", millis(idle.p50), millis(idle.p99), idle.count)),
	}, nil
}

// startObject starts a server on the store, whose prefix is the metalog's name, and lets its lane learn what is slow for this store.
func startObject(ctx context.Context, e *env, store *slowStore, metalog string) (*server, error) {
	s, err := e.start(ctx, append(store.flags(metalog), "--metalog", metalog)...)
	if err != nil {
		return nil, err
	}
	_, err = sendInFlight(ctx, s.kafkaAddr, "warm", 1, 4*time.Second)
	return s, err
}

// objectFrames creates a topic of the object class and returns requests for it.
func objectFrames(ctx context.Context, addr, topic string) ([]frame, error) {
	if _, err := createTopic(ctx, addr, topic, 1, map[string]string{"varve.durability": "object"}); err != nil {
		return nil, err
	}
	return singleFrames(topic, recordbatch.None)
}

// sendIdle produces one record at a time, with a pause before each, while a consumer long-polls the partition, and returns how long answers and
// receipts took.
func sendIdle(ctx context.Context, addr string, duration time.Duration) (produced, received []time.Duration, err error) {
	const topic = "idle"
	frames, err := objectFrames(ctx, addr, topic)
	if err != nil {
		return nil, nil, err
	}
	c, err := newCursor(ctx, addr, topic, map[int32]int64{0: 0})
	if err != nil {
		return nil, nil, err
	}
	defer c.close()
	s := newStamps(int(duration / objectIdle))
	done := make(chan int, 1)
	group, ctx := errgroup.WithContext(ctx)
	defer c.conn.guard(ctx)()
	group.Go(func() error {
		defer func() { done <- len(produced) }()
		return closedLoop(ctx, addr, frames, 1, duration, func(i int, sent bool, took time.Duration) bool {
			if sent {
				s.mark(i)
				return true
			}
			produced = append(produced, took)
			time.Sleep(objectIdle)
			return i+1 < len(s.sent)
		})
	})
	group.Go(func() error {
		count := len(s.sent)
		for int(c.offset()) < count {
			first := c.offset()
			if _, _, err := c.poll(); err != nil {
				return err
			}
			for i := first; i < c.offset(); i++ {
				received = append(received, s.since(int(i)))
			}
			select {
			case count = <-done:
			default:
			}
		}
		return nil
	})
	err = group.Wait()
	return produced, received, err
}

// sendInFlight keeps so many requests of one connection unanswered for the duration, and returns how long each answer took.
func sendInFlight(ctx context.Context, addr, topic string, inFlight int, duration time.Duration) (samples []time.Duration, err error) {
	frames, err := objectFrames(ctx, addr, topic)
	if err != nil {
		return nil, err
	}
	err = closedLoop(ctx, addr, frames, inFlight, duration, func(_ int, sent bool, took time.Duration) bool {
		if !sent {
			samples = append(samples, took)
		}
		return true
	})
	return samples, err
}

// closedLoop sends on one connection, never more than inFlight requests before the oldest is answered. Each request is told of as it is sent
// and as it is answered; false from the latter ends the loop early.
func closedLoop(ctx context.Context, addr string, frames []frame, inFlight int, duration time.Duration, tell func(i int, sent bool, took time.Duration) bool) error {
	c, err := dial(ctx, addr)
	if err != nil {
		return err
	}
	defer c.close()
	defer c.guard(ctx)()
	type request struct {
		id   int32
		sent time.Time
	}
	var unanswered []request
	begun := time.Now()
	sent, answered := 0, 0
	for more := true; more || len(unanswered) > 0; {
		for more && len(unanswered) < inFlight {
			if more = time.Since(begun) < duration; !more {
				break
			}
			tell(sent, true, 0)
			at := time.Now()
			id, err := c.send(frames[sent%len(frames)])
			if err != nil {
				return err
			}
			unanswered = append(unanswered, request{id, at})
			sent++
		}
		if len(unanswered) == 0 {
			break
		}
		answer, err := c.receive()
		if err != nil {
			return err
		}
		if err := checkProduced(answer, unanswered[0].id); err != nil {
			return err
		}
		more = tell(answered, false, time.Since(unanswered[0].sent)) && more
		unanswered = unanswered[1:]
		answered++
	}
	return nil
}

// produceCounter counts the Produce requests that a client has the answers of.
type produceCounter struct{ answered atomic.Int64 }

// OnBrokerE2E implements kgo.HookBrokerE2E.
func (c *produceCounter) OnBrokerE2E(_ kgo.BrokerMetadata, key int16, e2e kgo.BrokerE2E) {
	if key == int16(kmsg.Produce) && e2e.Err() == nil {
		c.answered.Add(1)
	}
}

// defaultProducer is a client with the settings that Java's has by default, whose program never waits, and returns its requests a second.
func defaultProducer(ctx context.Context, s *server, duration time.Duration) (perSecond float64, err error) {
	const topic = "default-producer"
	if _, err := objectFrames(ctx, s.kafkaAddr, topic); err != nil {
		return 0, err
	}
	var counter produceCounter
	client, err := kgo.NewClient(
		kgo.SeedBrokers(s.kafkaAddr), kgo.DefaultProduceTopic(topic), kgo.ProducerLinger(5*time.Millisecond), kgo.ProducerBatchMaxBytes(16<<10),
		kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.MaxBufferedBytes(32<<20),
		kgo.WithHooks(&counter),
	)
	if err != nil {
		return 0, fmt.Errorf("make client: %w", err)
	}
	defer client.Close()
	value := make([]byte, 1<<10)
	ctx, cancel := context.WithTimeout(ctx, duration)
	defer cancel()
	begun := time.Now()
	for ctx.Err() == nil {
		client.Produce(ctx, &kgo.Record{Value: value}, nil) // waits where 32 MiB are in the client
	}
	return ratio(float64(counter.answered.Load()), time.Since(begun).Seconds()), nil
}

// objectPrice is what the server's PUTs cost so far.
func objectPrice(ctx context.Context, s *server) ([]Result, error) {
	m, err := s.scrape(ctx)
	if err != nil {
		return nil, err
	}
	first, hedges := m.sum(`varve_object_puts_total{kind="first"`), m.sum(`varve_object_puts_total{kind="hedge"`)
	won := m.sum(`varve_object_puts_total{kind="hedge",outcome="stored"`)
	return []Result{
		required("hedges / PUTs", ratio(hedges, first), "x", atMost, 0.11, fmt.Sprintf("%.0f of %.0f, %.0f of them first to be stored", hedges, first, won)),
	}, nil
}
