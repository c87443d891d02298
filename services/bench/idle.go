package bench

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"
)

func measureIdle(ctx context.Context, e *env) ([]Result, error) {
	s, err := e.start(ctx)
	if err != nil {
		return nil, err
	}
	started, err := s.usage(ctx)
	if err != nil {
		return nil, err
	}
	// What starting leaves to do is done within the first seconds, and is not idling.
	settle := pick(e, 5*time.Second, 2*time.Second)
	if err := wait(ctx, settle); err != nil {
		return nil, err
	}
	objectsBefore, err := countFiles(s.bucketDir())
	if err != nil {
		return nil, err
	}
	before, err := s.usage(ctx)
	if err != nil {
		return nil, err
	}
	if err := wait(ctx, pick(e, 55*time.Second, 8*time.Second)); err != nil {
		return nil, err
	}
	cpuAfter, err := s.cpu() // before the scrape, which is not idling either
	if err != nil {
		return nil, err
	}
	idle := time.Since(before.at)
	m, err := s.memory()
	if err != nil {
		return nil, err
	}
	after, err := s.usage(ctx)
	if err != nil {
		return nil, err
	}
	objectsAfter, err := countFiles(s.bucketDir())
	if err != nil {
		return nil, err
	}
	return []Result{
		required("RSS", float64(m.resident)/(1<<20), "MiB", atMost, 60, fmt.Sprintf("%.0f s after start; peak %d MiB", after.at.Sub(started.at).Seconds(), m.peak>>20)),
		required("CPU", millis(cpuAfter-before.cpu)/idle.Seconds(), "ms/s", atMost, 5, fmt.Sprintf("over %.0f s", idle.Seconds())),
		required("object growth", float64(objectsAfter-objectsBefore), "objects", atMost, 0, fmt.Sprintf("%d objects", objectsAfter)),
		info("object requests", after.metrics[metricObjectRequests]-before.metrics[metricObjectRequests], "", fmt.Sprintf("over %.0f s", idle.Seconds())),
	}, nil
}

// wait blocks for d or until ctx ends.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// countFiles counts the regular files under dir, which need not exist.
func countFiles(dir string) (int, error) {
	count := 0
	err := filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // gone since its directory was listed
		}
		if err == nil && entry.Type().IsRegular() {
			count++
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("count objects: %w", err)
	}
	return count, nil
}
