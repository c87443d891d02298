package bench

import (
	"context"
	"fmt"

	"github.com/varvelog/varve/ingest/recordbatch"
)

const (
	manyPartitions      = 10_000
	fewPartitions       = 12
	batchesPerRequest   = 12
	partitionBatchBytes = 8 << 10
	partitionsTopic     = "partitions"
	spreadConnections   = 4
)

// spreadLoad is requests of twelve 8 KiB batches each, that go round a topic's partitions.
func spreadLoad(partitions int32) (load, error) {
	content := newContent(3)
	var batches [][]byte
	for range 48 {
		batch, err := content.batchAbove(recordbatch.Zstd, partitionBatchBytes)
		if err != nil {
			return load{}, err
		}
		batches = append(batches, batch)
	}
	requests := max((partitions+batchesPerRequest-1)/batchesPerRequest, spreadConnections)
	l := load{window: largeWindow, perConnection: make([][]frame, spreadConnections)}
	next := int32(0)
	for i := range requests {
		var parts []partitionBatch
		for range batchesPerRequest {
			parts = append(parts, partitionBatch{next % partitions, batches[int(next)%len(batches)]})
			next++
		}
		connection := i % spreadConnections
		l.perConnection[connection] = append(l.perConnection[connection], produceFrame(partitionsTopic, parts...))
	}
	return l, nil
}

// roundBytes is the size of all of a load's frames together.
func (l load) roundBytes() int64 {
	var size int64
	for _, frames := range l.perConnection {
		for _, f := range frames {
			size += int64(len(f))
		}
	}
	return size
}

func measurePartitions(ctx context.Context, e *env) ([]Result, error) {
	few, err := startSpread(ctx, e, fewPartitions)
	if err != nil {
		return nil, err
	}
	many, err := startSpread(ctx, e, manyPartitions)
	if err != nil {
		return nil, err
	}
	// Each slice goes twice round the many partitions, and moves as many bytes over the few.
	const slices = 5
	roundsPerSlice := pick(e, int64(4), 2)
	sliceBytes := many.load.roundBytes() * roundsPerSlice
	profile := e.profile(ctx, many.server)
	var ratios []float64
	var fewTotal, manyTotal cost
	resident := int64(0)
	for i := range slices {
		a, err := few.run(ctx, sliceBytes)
		if err != nil {
			return nil, err
		}
		b, err := many.run(ctx, sliceBytes)
		if err != nil {
			return nil, err
		}
		m, err := many.server.memory()
		if err != nil {
			return nil, err
		}
		resident = max(resident, m.resident)
		fewTotal.add(a)
		manyTotal.add(b)
		ratios = append(ratios, ratio(b.bytesPerSecond(), a.bytesPerSecond()))
		e.say("slice %d: %d partitions %.0f MB/s, %d partitions %.0f MB/s, RSS %d MiB", i+1, manyPartitions, b.bytesPerSecond()/1e6, fewPartitions, a.bytesPerSecond()/1e6, m.resident>>20)
	}
	m, err := many.server.memory()
	if err != nil {
		return nil, err
	}
	results := []Result{
		required("created in", many.created, "s", atMost, 10, ""),
		required("throughput / 12 partitions", median(ratios), "x", atLeast, 0.8, fmt.Sprintf("%.0f MB/s against %.0f MB/s, median of %d, %d batches a partition", manyTotal.bytesPerSecond()/1e6, fewTotal.bytesPerSecond()/1e6, slices, slices*roundsPerSlice)),
		required("RSS", float64(resident)/(1<<20), "MiB", atMost, 300, fmt.Sprintf("largest after a slice; peak %d MiB", m.peak>>20)),
		info("server CPU", secondsPerGB(manyTotal.cpu, manyTotal.bytes), "s/GB", fmt.Sprintf("12 partitions %.2f s/GB", secondsPerGB(fewTotal.cpu, fewTotal.bytes))),
		info("allocations per request", ratio(manyTotal.mallocs, float64(manyTotal.requests)), "", fmt.Sprintf("%d batches a request; 12 partitions %.0f", batchesPerRequest, ratio(fewTotal.mallocs, float64(fewTotal.requests)))),
	}
	return results, profile.finish()
}

// spread is a server with a topic of so many partitions, and its load.
type spread struct {
	server  *server
	load    load
	created float64 // seconds
}

func startSpread(ctx context.Context, e *env, partitions int32) (*spread, error) {
	l, err := spreadLoad(partitions)
	if err != nil {
		return nil, err
	}
	s, err := e.start(ctx, noShipping...)
	if err != nil {
		return nil, err
	}
	took, err := createTopic(ctx, s.kafkaAddr, partitionsTopic, partitions, nil)
	if err != nil {
		return nil, s.explain(err)
	}
	return &spread{server: s, load: l, created: took.Seconds()}, nil
}

func (s *spread) run(ctx context.Context, wantBytes int64) (cost, error) {
	return costOf(ctx, s.server, func() (moved, error) { return s.load.run(ctx, s.server.kafkaAddr, wantBytes) })
}
