package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/varvelog/varve/ingest/recordbatch"
)

// largeConnections, largeWindow: several producers, each with as many requests in flight as idempotent producers have.
const (
	largeConnections = 4
	largeWindow      = 5
	largePartitions  = 12
	largeBatchBytes  = 128 << 10
	largeFrames      = 12 // per connection
	largeTopic       = "large"
	followedTopic    = "followed"
)

// largeLoad is Produce requests of one zstd batch of 128 KiB and more each.
func largeLoad(topic string) (load, error) {
	content := newContent(1)
	l := load{window: largeWindow}
	for connection := range largeConnections {
		var frames []frame
		for i := range largeFrames {
			batch, err := content.batchAbove(recordbatch.Zstd, largeBatchBytes)
			if err != nil {
				return load{}, err
			}
			partition := int32((connection + i*largeConnections) % largePartitions)
			frames = append(frames, produceFrame(topic, partitionBatch{partition, batch}))
		}
		l.perConnection = append(l.perConnection, frames)
	}
	return l, nil
}

// startLarge starts a server with the topic of the large load.
func startLarge(ctx context.Context, e *env) (*server, load, error) {
	l, err := largeLoad(largeTopic)
	if err != nil {
		return nil, load{}, err
	}
	s, err := e.start(ctx, noShipping...)
	if err != nil {
		return nil, load{}, err
	}
	_, err = createTopic(ctx, s.kafkaAddr, largeTopic, largePartitions, nil)
	return s, l, err
}

func measureProduceLarge(ctx context.Context, e *env) ([]Result, error) {
	first, err := produceIntoNewFiles(ctx, e)
	if err != nil {
		return nil, err
	}
	steady, err := produceIntoUsedFiles(ctx, e)
	return append(steady, first...), err
}

// produceIntoNewFiles compares a server with the bare loop; both write blocks that have never been written.
func produceIntoNewFiles(ctx context.Context, e *env) ([]Result, error) {
	s, l, err := startLarge(ctx, e)
	if err != nil {
		return nil, err
	}
	if _, err := l.run(ctx, s.kafkaAddr, 32<<20); err != nil { // warms up
		return nil, s.explain(err)
	}
	var frames []frame // of all connections, for the bare loop's one
	for _, some := range l.perConnection {
		frames = append(frames, some...)
	}
	sliceBytes, pairs := pick(e, int64(320<<20), 160<<20), pick(e, 5, 3)
	var total cost
	var bareTotal moved
	var bareCPU time.Duration
	var ratios []float64
	for i := range pairs {
		bare, cpu, err := bareReceive(ctx, e.dir, frames, sliceBytes)
		if err != nil {
			return nil, fmt.Errorf("bare loop: %w", err)
		}
		c, err := costOf(ctx, s, func() (moved, error) { return l.run(ctx, s.kafkaAddr, sliceBytes) })
		if err != nil {
			return nil, err
		}
		bareTotal.add(bare)
		bareCPU += cpu
		total.add(c)
		ratios = append(ratios, ratio(secondsPerGB(cpu, bare.bytes), secondsPerGB(c.cpu, c.bytes)))
		e.say("pair %d: server %.2f CPU s/GB, %.0f MB/s; bare %.2f CPU s/GB, %.0f MB/s", i+1,
			secondsPerGB(c.cpu, c.bytes), c.bytesPerSecond()/1e6, secondsPerGB(cpu, bare.bytes), bare.bytesPerSecond()/1e6)
	}
	return []Result{
		required("bytes per CPU second / bare", median(ratios), "x", atLeast, 0.5,
			fmt.Sprintf("both into new files, %.2f and %.2f s/GB, median of %d", secondsPerGB(total.cpu, total.bytes), secondsPerGB(bareCPU, bareTotal.bytes), pairs)),
		info("throughput into new files", total.bytesPerSecond()/1e6, "MB/s", fmt.Sprintf("bare %.0f MB/s", bareTotal.bytesPerSecond()/1e6)),
	}, s.kill()
}

const (
	steadySegmentBytes = 512 << 20
	// steadyBytes fit into one segment, so that none is shipped while the cost of producing is measured.
	steadyBytes = 480 << 20
	steadyPoll  = 100 * time.Millisecond
	// firstMeasured is the segment that overwrites the first.
	firstMeasured = 2
)

// produceIntoUsedFiles measures a server in the state in which it spends its life: the segment it writes to overwrites the file of one that
// has been shipped.
func produceIntoUsedFiles(ctx context.Context, e *env) ([]Result, error) {
	l, err := largeLoad(largeTopic)
	if err != nil {
		return nil, err
	}
	s, err := e.start(ctx, fmt.Sprintf("--hot-segment-bytes=%d", steadySegmentBytes), "--seal-age=2h")
	if err != nil {
		return nil, err
	}
	if _, err := createTopic(ctx, s.kafkaAddr, largeTopic, largePartitions, nil); err != nil {
		return nil, err
	}
	begun := time.Now()
	for segment := range firstMeasured {
		if err := fillSegment(ctx, s, l, segment); err != nil {
			return nil, err
		}
	}
	e.say("two segments were filled and shipped in %.0f s", time.Since(begun).Seconds())
	var total cost
	var each []float64
	for segment := range pick(e, 3, 1) {
		if segment > 0 {
			if err := fillSegment(ctx, s, l, firstMeasured+segment-1); err != nil {
				return nil, err
			}
		}
		profile := e.profile(ctx, s)
		c, err := costOf(ctx, s, func() (moved, error) { return l.run(ctx, s.kafkaAddr, steadyBytes) })
		if err := errors.Join(err, profile.finish()); err != nil {
			return nil, err
		}
		each = append(each, secondsPerGB(c.cpu, c.bytes))
		e.say("over used blocks: server %.2f CPU s/GB, %.0f MB/s", each[len(each)-1], c.bytesPerSecond()/1e6)
		total.add(c)
	}
	scraped, err := s.scrape(ctx)
	if err != nil {
		return nil, err
	}
	into := "over the files of segments that were shipped"
	if scraped[metricOverwrites] < float64(len(each)) {
		into = "into new files: none were kept, as on a disk that is rather full"
	}
	results := []Result{
		required("server CPU", median(each), "s/GB", atMost, 1.0, fmt.Sprintf("median of %d, %.2f to %.2f, of %.2f GB each, %s",
			len(each), slices.Min(each), slices.Max(each), float64(steadyBytes)/bytesPerGB, into)),
		info("throughput", total.bytesPerSecond()/1e6, "MB/s", ""),
		info("allocations per request", ratio(total.mallocs, float64(total.requests)), "", ""),
	}
	return append(results, total.perGB()...), nil
}

// fillSegment produces until the server has sealed its nth segment, and waits until that is shipped and removed.
func fillSegment(ctx context.Context, s *server, l load, n int) error {
	for {
		scraped, err := s.scrape(ctx)
		if err != nil {
			return err
		}
		missing := float64((n+1)*steadySegmentBytes) - scraped[metricHotLogBytes]
		if missing < 0 && scraped[metricHotLogSize] < steadySegmentBytes/2 {
			return nil
		}
		if missing < 0 {
			if err := wait(ctx, steadyPoll); err != nil {
				return s.explain(fmt.Errorf("wait until segment %d is shipped: %w", n+1, err))
			}
			continue
		}
		if _, err := l.run(ctx, s.kafkaAddr, max(8<<20, int64(missing)/2)); err != nil {
			return s.explain(err)
		}
	}
}
