package bench

import (
	"context"
	"fmt"
	"time"
)

// cost is what a phase cost the server.
type cost struct {
	moved
	cpu     time.Duration // the server's
	loadCPU time.Duration // of this process, which made the load
	mallocs float64
	fsyncs  float64
	counted bool // fsyncs are
	// objectRequests are those to the object store.
	objectRequests float64
	// entries were appended to the metadata log, each with an fsync of its own.
	entries float64
}

// costOf measures what do costs the server.
func costOf(ctx context.Context, s *server, do func() (moved, error)) (cost, error) {
	before, err := s.usage(ctx)
	if err != nil {
		return cost{}, err
	}
	loadBefore, err := ownCPU()
	if err != nil {
		return cost{}, err
	}
	m, err := do()
	if err != nil {
		return cost{}, s.explain(err)
	}
	loadAfter, err := ownCPU()
	if err != nil {
		return cost{}, err
	}
	after, err := s.usage(ctx)
	if err != nil {
		return cost{}, err
	}
	c := cost{moved: m, cpu: after.cpu - before.cpu, loadCPU: loadAfter - loadBefore}
	c.mallocs = after.metrics[metricMallocs] - before.metrics[metricMallocs]
	c.objectRequests = after.metrics[metricObjectRequests] - before.metrics[metricObjectRequests]
	c.entries = after.metrics[metricMetadataSeq] - before.metrics[metricMetadataSeq]
	fsyncsBefore, _ := before.metrics.fsyncs()
	fsyncsAfter, counted := after.metrics.fsyncs()
	c.fsyncs, c.counted = fsyncsAfter-fsyncsBefore, counted
	return c, nil
}

func (c *cost) add(other cost) {
	c.moved.add(other.moved)
	c.cpu, c.loadCPU = c.cpu+other.cpu, c.loadCPU+other.loadCPU
	c.mallocs, c.fsyncs, c.objectRequests = c.mallocs+other.mallocs, c.fsyncs+other.fsyncs, c.objectRequests+other.objectRequests
	c.entries += other.entries
	c.counted = c.counted || other.counted
}

// perGB tells what each GB takes of the disk and of the object store.
func (c *cost) perGB() []Result {
	var results []Result
	if c.counted {
		results = append(results, info("fsyncs of the hot log", ratio(c.fsyncs*bytesPerGB, float64(c.bytes)), "per GB",
			fmt.Sprintf("and %.0f entries of the metadata log", ratio(c.entries*bytesPerGB, float64(c.bytes)))))
	}
	return append(results, info("object requests", ratio(c.objectRequests*bytesPerGB, float64(c.bytes)), "per GB", ""))
}
