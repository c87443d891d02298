package bench

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
)

func measureStart(ctx context.Context, e *env) ([]Result, error) {
	var empty []float64
	for i := range pick(e, 5, 3) {
		s, err := e.startOn(ctx, filepath.Join(e.dir, "empty-"+strconv.Itoa(i)))
		if err != nil {
			return nil, err
		}
		empty = append(empty, millis(s.readyAfter))
		e.say("empty: ready after %.0f ms", millis(s.readyAfter))
		if err := s.kill(); err != nil {
			return nil, err
		}
	}
	s, l, err := startLarge(ctx, e)
	if err != nil {
		return nil, err
	}
	written, err := l.run(ctx, s.kafkaAddr, 1<<30)
	if err != nil {
		return nil, s.explain(err)
	}
	var recovered []float64
	for range pick(e, 3, 2) {
		if err := s.kill(); err != nil {
			return nil, err
		}
		if s, err = e.startOn(ctx, s.dataDir, noShipping...); err != nil {
			return nil, err
		}
		recovered = append(recovered, s.readyAfter.Seconds())
		e.say("%d MiB: ready after %.2f s", written.bytes>>20, s.readyAfter.Seconds())
	}
	read, err := drain(ctx, s.kafkaAddr, largeTopic, largePartitions, fetchConnections)
	if err != nil {
		return nil, s.explain(fmt.Errorf("read what was recovered: %w", err))
	}
	if read.bytes < written.bytes*9/10 { // frames are a little larger than the batches in them
		return nil, fmt.Errorf("of %d bytes that were acknowledged, %d were recovered", written.bytes, read.bytes)
	}
	detail := fmt.Sprintf("%d MiB in one unsealed segment, after SIGKILL, median of %d", written.bytes>>20, len(recovered))
	return []Result{
		required("ready, empty directory", median(empty), "ms", atMost, 300, fmt.Sprintf("median of %d", len(empty))),
		required("ready, 1 GiB of hot log", median(recovered), "s", atMost, 2, detail),
	}, nil
}
