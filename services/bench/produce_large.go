package bench

import (
	"context"
	"fmt"
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
	profile := e.profile(ctx, s)
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
	results := []Result{
		required("server CPU", secondsPerGB(total.cpu, total.bytes), "s/GB", atMost, 1.0, fmt.Sprintf("%.2f GB in %d requests", float64(total.bytes)/bytesPerGB, total.requests)),
		required("bytes per CPU second / bare", median(ratios), "x", atLeast, 0.5, fmt.Sprintf("bare %.2f s/GB, median of %d", secondsPerGB(bareCPU, bareTotal.bytes), pairs)),
		info("throughput", total.bytesPerSecond()/1e6, "MB/s", fmt.Sprintf("bare %.0f MB/s", bareTotal.bytesPerSecond()/1e6)),
		info("allocations per request", ratio(total.mallocs, float64(total.requests)), "", ""),
	}
	return append(results, total.perGB()...), profile.finish()
}
