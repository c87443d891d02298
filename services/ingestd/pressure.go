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
	// pressureInterval is how often the node looks at how full its hot log is while that changes or matters, and pressureRest while not.
	pressureInterval = 100 * time.Millisecond
	pressureRest     = time.Second
	// halfFull is from where on it matters: producers are slowed down from four fifths on, segments sealed early from half on.
	halfFull = 0.5
	// fullDisk is how full a hot log counts at most that is bounded by its disk alone: only a write that finds no space is refused, since some
	// of the space is the log's already.
	fullDisk = 0.99
)

// filling says that something may have become fuller: the hot log, or the cluster's budget of unshipped runs.
type filling struct {
	*metrics
	wake chan struct{} // with room for one
}

func newFilling(m *metrics) filling { return filling{m, make(chan struct{}, 1)} }

// GroupAppended implements hotlog.Observer.
func (f filling) GroupAppended(chunks int, payloadBytes int64, write, sync time.Duration) {
	f.metrics.GroupAppended(chunks, payloadBytes, write, sync)
	f.signal()
}

// Applied implements replica.Listener.
func (f filling) Applied(a *replica.Applied) {
	if len(a.Committed) > 0 {
		f.signal()
	}
}

func (f filling) signal() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// watchPressure tells the lanes how full is what keeps their chunks until they are shipped, until ctx ends.
func (n *Node) watchPressure(ctx context.Context, p *process.Process, r *replica.Replica) {
	disk := diskSpace(filepath.Join(p.Config.DataDir, "hotlog")) // which may be a disk of its own
	look := func() (fill float64) {
		if err := n.hotLog.Relieve(); err != nil {
			p.Log.Warn("cannot give back what the hot log keeps of its disk", "error", err)
		}
		hotLog := hotLogFill(n.hotLog.SizeBytes(), int64(p.Config.HotLogBytes), disk)
		runs := 0
		r.View(func(s *meta.State) { runs = s.UnshippedRuns() })
		n.metrics.hotLogFill.Set(hotLog)
		n.metrics.unshippedRuns.Set(float64(runs))
		budget := float64(runs) / leader.DefaultMaxUnshippedRuns
		n.lanes.SetFill(hotLog, budget)
		return max(hotLog, budget)
	}
	look()
	cancel := r.Listen(n.filling)
	n.running.Go(func() {
		defer cancel()
		watchFill(ctx, n.filling.wake, look)
	})
}

// watchFill calls look every pressureInterval while it returns half full or more or there are wakes, and every pressureRest otherwise.
func watchFill(ctx context.Context, wake <-chan struct{}, look func() (fill float64)) {
	timer := time.NewTimer(pressureInterval)
	defer timer.Stop()
	for {
		changes := wake
		if look() >= halfFull {
			changes = nil
			timer.Reset(pressureInterval)
		} else {
			timer.Reset(pressureRest)
		}
		for resting := true; resting; {
			select {
			case <-ctx.Done():
				return
			case <-timer.C:
				resting = false
			case <-changes:
				changes = nil
				timer.Reset(pressureInterval)
			}
		}
	}
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
