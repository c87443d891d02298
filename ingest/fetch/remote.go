package fetch

import (
	"context"
	"time"

	"github.com/varvelog/varve/coordinator/meta"
)

// readRemote reads all extents of the plan that are not local, concurrently, and takes over what comes in time. The
// sources go on with what they have begun when the time is over; the next request finds it.
func (f *reading) readRemote(ctx context.Context) {
	running := 0
	for i := range f.cursors {
		if f.cursors[i].remote() {
			running += len(f.cursors[i].extents)
		}
	}
	if running == 0 {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	finished, turn := make(chan *extent, running), f.turn()
	running = 0
	for i := range f.cursors {
		c := &f.cursors[i]
		if !c.remote() {
			continue
		}
		for k := range c.extents {
			if e := &c.extents[k]; !e.made() {
				running++
				go func() { f.reader.readRemoteExtent(ctx, e); finished <- e }()
			}
		}
	}
	inTime := f.awaitRemote(ctx, finished, &running, turn)
	cancel()
	for ; running > 0; running-- {
		f.settleRemote(<-finished)
	}
	for i := range f.cursors {
		if c := &f.cursors[i]; c.remote() {
			f.take(c)
			c.silent = !inTime && c.awaitsNode()
		}
	}
}

// awaitsNode: the next the partition needs was asked of another node, which has not answered.
func (c *cursor) awaitsNode() bool {
	for k := range c.extents {
		if e := &c.extents[k]; !e.made() && !e.done {
			return e.loc.Tier == meta.TierHot
		}
	}
	return false
}

// remote: the partition's extents of this round come from elsewhere.
func (c *cursor) remote() bool {
	first := c.firstRead()
	return first != nil && !first.local
}

// awaitRemote waits until all have finished, or there is enough to answer with and a grace has passed, which is
// longer until turn has come, or time is over, of which it returns false.
func (f *reading) awaitRemote(ctx context.Context, finished <-chan *extent, running *int, turn *extent) (inTime bool) {
	wait := max(time.Until(f.deadline), f.reader.config.RemoteWait)
	hasEnough := f.bytes >= f.wanted()
	grace := f.reader.config.RemoteGrace
	if turn != nil {
		grace = f.reader.config.RemoteWait
	}
	if hasEnough {
		wait = grace
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for *running > 0 {
		select {
		case e := <-finished:
			*running--
			f.settleRemote(e)
			e.settled = true
			if e == turn {
				grace = f.reader.config.RemoteGrace
			}
			if enough := f.bytes+f.arrived() >= f.wanted(); enough && (!hasEnough || e == turn) {
				hasEnough = true
				timer.Reset(grace)
			}
		case <-timer.C:
			return hasEnough
		case <-ctx.Done():
			return true
		}
	}
	return true
}

// turn is what another node was asked for first of the partition whose turn it is, nil where that needs nothing from one now. It gets time, whatever else has come: what
// another node does not answer in time is in no cache afterwards, and beside partitions that always have something it would never come.
func (f *reading) turn() *extent {
	if len(f.cursors) == 0 {
		return nil
	}
	e := f.cursors[f.request.Rotation%uint32(len(f.cursors))].firstRead()
	if e == nil || e.local || e.loc.Tier != meta.TierHot {
		return nil
	}
	return e
}

// arrived is how many bytes of remote extents can be taken as it is: those behind one that has not come are of no use yet.
func (f *reading) arrived() (bytes int) {
	for i := range f.cursors {
		c := &f.cursors[i]
		if !c.remote() {
			continue
		}
		for k := range c.extents {
			e := &c.extents[k]
			if !e.made() && (!e.settled || !e.done || e.err != nil) {
				break
			}
			bytes += len(e.records)
		}
	}
	return bytes
}

// settleRemote takes over an extent from its goroutine.
func (f *reading) settleRemote(e *extent) { f.own(e) }

// readRemoteExtent reads one extent. One that ctx ended is not done: it has neither failed nor brought anything.
func (r *Reader) readRemoteExtent(ctx context.Context, e *extent) {
	if e.stored() { // what is on nodes is bounded for each of them
		if r.stored.Acquire(ctx, 1) != nil {
			return
		}
		defer r.stored.Release(1)
	}
	err := e.read(ctx, r)
	if err != nil && ctx.Err() != nil {
		return
	}
	e.err, e.done = err, true
}
