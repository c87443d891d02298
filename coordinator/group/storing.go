package group

import (
	"context"
	"time"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
)

// enqueue is called with the group's lock held. Commands of one group are put into the log one after the other.
func (c *Coordinator) enqueue(g *guarded, r storeRequest) {
	g.stores = append(g.stores, r)
	c.startStoring(g)
}

// awaitStored returns when all that a group has for the log has been put there, or could not be.
func (c *Coordinator) awaitStored(ctx context.Context, name string) error {
	stored := make(chan struct{})
	if !c.with(name, false, func(_ time.Time, g *guarded) {
		if m := g.managed(); m != nil && m.IsDirty() {
			c.flush(g)
		}
		if !g.isStoring && len(g.stores) == 0 {
			close(stored)
			return
		}
		c.enqueue(g, storeRequest{done: func(time.Time, bool) { close(stored) }})
	}) {
		return nil
	}
	select {
	case <-stored:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-c.closing.Done():
		return ErrClosed
	}
}

// startStoring makes sure that the group's goroutine runs; the group's lock is held.
func (c *Coordinator) startStoring(g *guarded) {
	if g.isStoring || g.dead {
		return
	}
	g.isStoring = true
	c.tasks.Go(func() { c.storeAll(g) })
}

// take is the next command for the log. What has changed of a managed group is gathered until its turn comes.
func (c *Coordinator) take(g *guarded) (storeRequest, bool) {
	if m := g.managed(); len(g.stores) == 0 && m != nil && m.IsDirty() {
		c.flush(g)
	}
	if len(g.stores) == 0 {
		return storeRequest{}, false
	}
	next := g.stores[0]
	g.stores = g.stores[1:]
	return next, true
}

// flush queues what has changed of a managed group.
func (c *Coordinator) flush(g *guarded) {
	group := g.managed()
	g.stores = append(g.stores, storeRequest{group.Take(time.Now()), func(now time.Time, ok bool) {
		group.Stored(ok)
		if !ok && g.managed() == group {
			// The group is ahead of the log, and nobody was told of it. What comes late of the command is refused by its version, or
			// the next one is.
			group.Abandon()
			c.log.View(func(s *meta.State) { c.restore(now, g, s) })
		}
	}})
}

func (c *Coordinator) storeAll(g *guarded) {
	for {
		g.mu.Lock()
		next, ok := c.take(g)
		if !ok {
			g.isStoring = false
			g.mu.Unlock()
			return
		}
		g.mu.Unlock()
		stored := next.command == nil || c.storeOne(g, next.command)
		g.mu.Lock()
		if next.command == nil {
			next.done(time.Now(), stored) // who waits for that is told even where the group is no more
		} else if !g.dead {
			now := time.Now()
			next.done(now, stored)
			c.settle(now, g)
		}
		g.mu.Unlock()
	}
}

func (c *Coordinator) storeOne(g *guarded, command *metapb.Command) bool {
	ctx, cancel := context.WithTimeout(c.closing, storeTimeout)
	defer cancel()
	verdict, err := c.log.Propose(ctx, command)
	ok := err == nil && verdict.Code == meta.OK
	if !ok && c.closing.Err() == nil {
		c.logger.Warn("store group failed", "group", g.name, "error", err, "verdict", verdict.Code.String(), "message", verdict.Message)
	}
	return ok
}

// sweepInterval is how often groups that nobody needs are looked for.
const sweepInterval = time.Minute

func (c *Coordinator) sweepUntilClosed() {
	ticker := time.NewTicker(sweepInterval)
	defer ticker.Stop()
	for {
		select {
		case <-c.closing.Done():
			return
		case <-ticker.C:
			c.sweep()
		}
	}
}

// sweep drops groups without members that the state has not, or no more: joins that came to nothing, and groups that have expired. They are there for a minute at least:
// who has just deleted the last offset of one may delete the group.
func (c *Coordinator) sweep() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, g := range c.mu.groups {
		c.dropIfIdle(g, false)
	}
}

// dropIfIdle is called with the coordinator's lock held.
func (c *Coordinator) dropIfIdle(g *guarded, atOnce bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.isIdle() {
		return
	}
	known := true
	c.log.View(func(s *meta.State) { known = s.Group(g.name) != nil })
	switch {
	case known:
		g.forgotten = false
	case atOnce || g.forgotten:
		g.end()
		delete(c.mu.groups, g.name)
	default:
		g.forgotten = true
	}
}

// drop drops a group that a request has made and left idle, since it was refused.
func (c *Coordinator) drop(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if g := c.mu.groups[name]; g != nil {
		c.dropIfIdle(g, true)
	}
}

// isIdle says that the group has no members, and nothing on its way.
func (g *guarded) isIdle() bool {
	if g.isStoring || len(g.stores) > 0 {
		return false
	}
	return g.size() == 0
}
