package bench

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/varvelog/varve/ingest/recordbatch"
)

const (
	smallPerSecond  = 1000
	smallValueBytes = 1 << 10
	smallFrames     = 64
)

// singleFrames are Produce requests of one record each to partition 0 of a topic.
func singleFrames(topic string, codec recordbatch.Codec) ([]frame, error) {
	content := newContent(2)
	var frames []frame
	for range smallFrames {
		batch, err := content.single(codec, smallValueBytes)
		if err != nil {
			return nil, err
		}
		frames = append(frames, produceFrame(topic, partitionBatch{0, batch}))
	}
	return frames, nil
}

// stamps are the moments at which requests were sent, by number, as time since origin. They are written by the sender and read by
// whoever sees a request's effect.
type stamps struct {
	origin time.Time
	sent   []atomic.Int64
}

func newStamps(count int) *stamps {
	return &stamps{origin: time.Now(), sent: make([]atomic.Int64, count)}
}

func (s *stamps) mark(i int) { s.sent[i].Store(int64(time.Since(s.origin))) }
func (s *stamps) since(i int) time.Duration {
	return time.Since(s.origin) - time.Duration(s.sent[i].Load())
}

// maxUnanswered bounds the requests that a paced producer leaves unanswered; a server that falls behind further slows it down.
const maxUnanswered = 4096

// producePaced sends frames perSecond times a second on one connection, whether or not the ones before have been answered, and
// returns how long each answer took.
func producePaced(ctx context.Context, addr string, frames []frame, perSecond int, s *stamps) ([]time.Duration, error) {
	c, err := dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	defer c.close()
	group, ctx := errgroup.WithContext(ctx)
	defer c.guard(ctx)()
	unanswered := make(chan int32, maxUnanswered)
	samples := make([]time.Duration, 0, len(s.sent))
	group.Go(func() error {
		defer close(unanswered)
		duration := time.Duration(len(s.sent)) * (time.Second / time.Duration(perSecond))
		return paced(ctx, perSecond, duration, func(i int) error {
			s.mark(i)
			id, err := c.send(frames[i%len(frames)])
			if err != nil {
				return err
			}
			select {
			case unanswered <- id:
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		})
	})
	group.Go(func() error {
		for id := range unanswered {
			answer, err := c.receive()
			if err != nil {
				return err
			}
			samples = append(samples, s.since(len(samples)))
			if err := checkProduced(answer, id); err != nil {
				return err
			}
		}
		return nil
	})
	err = group.Wait()
	return samples, err
}

// warmUp produces for a moment, so that what is set up once is set up.
func warmUp(ctx context.Context, addr string, frames []frame) error {
	_, err := producePaced(ctx, addr, frames, smallPerSecond, newStamps(smallPerSecond/2))
	return err
}

func measureProduceSmall(ctx context.Context, e *env) ([]Result, error) {
	const topic = "small"
	frames, err := singleFrames(topic, recordbatch.None)
	if err != nil {
		return nil, err
	}
	s, err := e.start(ctx, noShipping...)
	if err != nil {
		return nil, err
	}
	if _, err := createTopic(ctx, s.kafkaAddr, topic, 1, nil); err != nil {
		return nil, err
	}
	if err := warmUp(ctx, s.kafkaAddr, frames); err != nil {
		return nil, s.explain(err)
	}
	const pairs = 5
	slice := pick(e, 4*time.Second, 1500*time.Millisecond)
	profile := e.profile(ctx, s)
	var total cost
	var p50, p99, ownP50, ownP99 []float64
	for i := range pairs {
		samples, err := bareAppend(ctx, e.dir, smallPerSecond, slice/2)
		if err != nil {
			return nil, fmt.Errorf("bare append: %w", err)
		}
		bare := summarise(samples)
		c, err := costOf(ctx, s, func() (moved, error) {
			samples, err = producePaced(ctx, s.kafkaAddr, frames, smallPerSecond, newStamps(int(slice.Seconds()*smallPerSecond)))
			return moved{requests: int64(len(samples)), bytes: int64(len(samples)) * int64(len(frames[0])), took: slice}, err
		})
		if err != nil {
			return nil, err
		}
		own := summarise(samples)
		total.add(c)
		p50 = append(p50, ratio(millis(own.p50), millis(bare.p50)))
		p99 = append(p99, ratio(millis(own.p99), millis(bare.p99)))
		ownP50, ownP99 = append(ownP50, millis(own.p50)), append(ownP99, millis(own.p99))
		e.say("pair %d: p50 %.3f ms, p99 %.3f ms; bare p50 %.3f ms, p99 %.3f ms", i+1, millis(own.p50), millis(own.p99), millis(bare.p50), millis(bare.p99))
	}
	results := []Result{
		required("p50 / bare", median(p50), "x", atMost, 10, fmt.Sprintf("p50 %.3f ms, median of %d", median(ownP50), pairs)),
		required("p99 / bare", median(p99), "x", atMost, 10, fmt.Sprintf("p99 %.3f ms, median of %d", median(ownP99), pairs)),
		info("server CPU per request", ratio(float64(total.cpu.Microseconds()), float64(total.requests)), "us", ""),
		info("allocations per request", ratio(total.mallocs, float64(total.requests)), "", ""),
	}
	if total.counted {
		results = append(results, info("fsyncs per request", ratio(total.fsyncs, float64(total.requests)), "", ""))
	}
	return results, profile.finish()
}

func measureEndToEnd(ctx context.Context, e *env) ([]Result, error) {
	s, err := e.start(ctx, noShipping...)
	if err != nil {
		return nil, err
	}
	const rounds = 5
	slice := pick(e, 3*time.Second, 1500*time.Millisecond)
	profile := e.profile(ctx, s)
	var differences, ends, produces, endMedians []float64
	for i := range rounds {
		topic := fmt.Sprintf("end-to-end-%d", i)
		frames, err := singleFrames(topic, recordbatch.None)
		if err != nil {
			return nil, err
		}
		if _, err := createTopic(ctx, s.kafkaAddr, topic, 1, nil); err != nil {
			return nil, err
		}
		produced, received, err := sendAndReceive(ctx, s.kafkaAddr, topic, frames, newStamps(int(slice.Seconds()*smallPerSecond)))
		if err != nil {
			return nil, s.explain(err)
		}
		p, r := summarise(produced), summarise(received)
		differences = append(differences, millis(r.p99-p.p99))
		ends, produces, endMedians = append(ends, millis(r.p99)), append(produces, millis(p.p99)), append(endMedians, millis(r.p50))
		e.say("round %d: receipt p50 %.3f ms, p99 %.3f ms; produce p50 %.3f ms, p99 %.3f ms", i+1, millis(r.p50), millis(r.p99), millis(p.p50), millis(p.p99))
	}
	return []Result{
		required("p99 - produce p99", median(differences), "ms", atMost, 5, fmt.Sprintf("receipt p99 %.3f ms, produce p99 %.3f ms, median of %d", median(ends), median(produces), rounds)),
		info("p50", median(endMedians), "ms", ""),
	}, profile.finish()
}

// sendAndReceive produces paced while a consumer long-polls the partition, and returns how long answers and receipts took.
func sendAndReceive(ctx context.Context, addr, topic string, frames []frame, s *stamps) (produced, received []time.Duration, err error) {
	c, err := newCursor(ctx, addr, topic, map[int32]int64{0: 0})
	if err != nil {
		return nil, nil, err
	}
	defer c.close()
	group, ctx := errgroup.WithContext(ctx)
	defer c.conn.guard(ctx)()
	group.Go(func() (err error) {
		produced, err = producePaced(ctx, addr, frames, smallPerSecond, s)
		return err
	})
	group.Go(func() error {
		for int(c.offset()) < len(s.sent) {
			from := c.offset()
			if _, _, err := c.poll(); err != nil {
				return err
			}
			// One connection produces one record a request to a new partition: the offset is the request's number.
			for i := from; i < c.offset(); i++ {
				received = append(received, s.since(int(i)))
			}
		}
		return nil
	})
	err = group.Wait()
	return produced, received, err
}
