package ingestd

import (
	"context"
	"path/filepath"
	"time"

	"github.com/varvelog/varve/coordinator/leader"
	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/replica"
	"github.com/varvelog/varve/services/process"
)

const (
	// pressureInterval is how often the node looks at how full its hot log is.
	pressureInterval = 100 * time.Millisecond
	// fullDisk is how full a hot log counts at most that is bounded by its disk alone: only a write that finds no space is refused, since some
	// of the space is the log's already.
	fullDisk = 0.99
)

// watchPressure tells the lanes how full is what keeps their chunks until they are shipped, until ctx ends.
func (n *Node) watchPressure(ctx context.Context, p *process.Process, r *replica.Replica) {
	disk := diskSpace(filepath.Join(p.Config.DataDir, "hotlog")) // which may be a disk of its own
	look := func() {
		hotLog := hotLogFill(n.hotLog.SizeBytes(), int64(p.Config.HotLogBytes), disk)
		runs := 0
		r.View(func(s *meta.State) { runs = s.UnshippedRuns() })
		n.metrics.hotLogFill.Set(hotLog)
		n.metrics.unshippedRuns.Set(float64(runs))
		n.lanes.SetFill(hotLog, float64(runs)/leader.DefaultMaxUnshippedRuns)
	}
	look()
	n.running.Go(func() {
		ticker := time.NewTicker(pressureInterval)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				look()
			case <-ctx.Done():
				return
			}
		}
	})
}

// hotLogFill is how full a hot log is within its bound, and on its disk; 1 is full.
func hotLogFill(sizeBytes, boundBytes int64, disk func() (totalBytes, usableBytes int64)) (fill float64) {
	if boundBytes > 0 {
		fill = float64(sizeBytes) / float64(boundBytes)
	}
	if total, usable := disk(); total > 0 && sizeBytes+usable > 0 {
		fill = max(fill, min(fullDisk, float64(sizeBytes)/float64(sizeBytes+usable)))
	}
	return fill
}
