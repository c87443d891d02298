package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
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
	var recovered []float64
	rounds := pick(e, 3, 1)
	for range rounds {
		seconds, err := recoverGiB(ctx, e)
		if err != nil {
			return nil, err
		}
		recovered = append(recovered, seconds)
	}
	return []Result{
		required("ready, empty directory", median(empty), "ms", atMost, 300, fmt.Sprintf("median of %d", len(empty))),
		required("ready, 1 GiB of hot log", median(recovered), "s", atMost, 2, fmt.Sprintf("one unsealed segment, after SIGKILL, median of %d", rounds)),
	}, nil
}

// oneSegment are the flags with which 1 GiB fits into one segment of the hot log, and nearly fills it: without a footer all of it has
// to be read.
var oneSegment = []string{"--hot-segment-bytes=1152MiB", "--seal-age=2h"}

// recoverGiB writes 1 GiB, kills the server, starts it again and returns the seconds until it was ready.
func recoverGiB(ctx context.Context, e *env) (float64, error) {
	l, err := largeLoad(largeTopic)
	if err != nil {
		return 0, err
	}
	s, err := e.start(ctx, oneSegment...)
	if err != nil {
		return 0, err
	}
	if _, err := createTopic(ctx, s.kafkaAddr, largeTopic, largePartitions, nil); err != nil {
		return 0, err
	}
	written, err := l.run(ctx, s.kafkaAddr, 1<<30)
	if err != nil {
		return 0, s.explain(err)
	}
	if err := s.kill(); err != nil {
		return 0, err
	}
	if s, err = e.startOn(ctx, s.dataDir, oneSegment...); err != nil {
		return 0, err
	}
	e.say("%d MiB: ready after %.2f s", written.bytes>>20, s.readyAfter.Seconds())
	read, err := drain(ctx, s.kafkaAddr, largeTopic, largePartitions, fetchConnections)
	if err != nil {
		return 0, s.explain(fmt.Errorf("read what was recovered: %w", err))
	}
	if read.bytes < written.bytes*9/10 { // frames are a little larger than the batches in them
		return 0, fmt.Errorf("of %d bytes that were acknowledged, %d were recovered", written.bytes, read.bytes)
	}
	return s.readyAfter.Seconds(), errors.Join(s.kill(), os.RemoveAll(s.dataDir))
}
