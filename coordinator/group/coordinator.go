package group

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
)

// Log is the metadata log as a coordinator needs it.
type Log interface {
	// Propose puts the command in the log and returns its verdict once it is applied here.
	Propose(ctx context.Context, c *metapb.Command) (meta.Verdict, error)
	// View runs read on the state; nothing in it may block.
	View(read func(*meta.State))
}

// storeTimeout bounds how long a generation waits for its assignments to be in the log.
const storeTimeout = 10 * time.Second

// ErrClosed is why requests fail after Close.
var ErrClosed = errors.New("group coordinator closed")

// Coordinator runs all groups of a cluster. It is safe for concurrent use.
type Coordinator struct {
	limits Limits
	log    Log
	logger *slog.Logger

	stores  sync.WaitGroup // of groups into the log
	closing context.Context
	close   context.CancelFunc

	mu struct {
		sync.Mutex
		groups map[string]*guarded
		closed bool
	}
}

// guarded is a group with its lock and timer.
type guarded struct {
	mu    sync.Mutex
	group *Group
	timer *time.Timer
	fires time.Time // when the timer does, zero for never
	// stores hands StoreGroup commands to the one goroutine that puts them into the log in order; nil while none runs.
	storeQueue []*metapb.StoreGroup
	isStoring  bool
	dead       bool
}

// New returns a coordinator over the groups in the state; nobody has to rejoin.
func New(limits Limits, log Log, logger *slog.Logger) *Coordinator {
	c := &Coordinator{limits: limits.withDefaults(), log: log, logger: logger}
	c.closing, c.close = context.WithCancel(context.Background())
	c.mu.groups = map[string]*guarded{}
	now := time.Now()
	log.View(func(s *meta.State) {
		for _, stored := range s.Groups() {
			if stored.Stored == nil {
				continue
			}
			g := c.guard(stored.Name)
			g.group.restore(now, stored.Stored)
			c.mu.groups[stored.Name] = g
		}
	})
	for _, g := range c.mu.groups {
		g.mu.Lock()
		c.arm(g)
		g.mu.Unlock()
	}
	return c
}

// Close answers everybody who waits and stops the timers.
func (c *Coordinator) Close() {
	c.mu.Lock()
	c.mu.closed = true
	groups := c.mu.groups
	c.mu.groups = map[string]*guarded{}
	c.mu.Unlock()
	c.close()
	for _, g := range groups {
		g.mu.Lock()
		g.dead = true
		g.group.closeAll()
		if g.timer != nil {
			g.timer.Stop()
		}
		g.mu.Unlock()
	}
	c.stores.Wait()
}

func (c *Coordinator) guard(name string) *guarded {
	g := &guarded{}
	g.group = newGroup(name, c.limits, newMemberID, func(s *metapb.StoreGroup) { c.enqueueStore(g, s) })
	return g
}

// newMemberID is the client's id and something that nobody can guess.
func newMemberID(clientID string) string {
	var random [16]byte
	rand.Read(random[:])
	return clientID + "-" + hex.EncodeToString(random[:])
}

// with runs do on the group under its lock, making the group where create says so; found is false where there is none.
func (c *Coordinator) with(name string, create bool, do func(now time.Time, g *Group)) (found bool) {
	c.mu.Lock()
	g := c.mu.groups[name]
	if g == nil {
		if !create || c.mu.closed {
			c.mu.Unlock()
			return false
		}
		g = c.guard(name)
		c.mu.groups[name] = g
	}
	c.mu.Unlock()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.dead {
		return false
	}
	do(time.Now(), g.group)
	c.arm(g)
	return true
}

// arm sets the group's timer to its next deadline. A timer that fires early finds nothing to do and is armed again, so that a
// heartbeat, which only moves deadlines back, touches no timer.
func (c *Coordinator) arm(g *guarded) {
	next := g.group.NextDeadline()
	if next.IsZero() || (!g.fires.IsZero() && !next.Before(g.fires)) {
		return
	}
	g.fires = next
	if g.timer == nil {
		g.timer = time.AfterFunc(time.Until(next), func() { c.advance(g) })
		return
	}
	g.timer.Reset(time.Until(next))
}

func (c *Coordinator) advance(g *guarded) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.dead {
		return
	}
	g.fires = time.Time{}
	g.group.Advance(time.Now())
	c.arm(g)
}

// enqueueStore is called with the group's lock held. Stores of one group are put into the log one after the other.
func (c *Coordinator) enqueueStore(g *guarded, s *metapb.StoreGroup) {
	g.storeQueue = append(g.storeQueue, s)
	if g.isStoring {
		return
	}
	g.isStoring = true
	c.stores.Add(1)
	go func() {
		defer c.stores.Done()
		c.storeAll(g)
	}()
}

func (c *Coordinator) storeAll(g *guarded) {
	for {
		g.mu.Lock()
		if len(g.storeQueue) == 0 {
			g.isStoring = false
			g.mu.Unlock()
			return
		}
		s := g.storeQueue[0]
		g.storeQueue = g.storeQueue[1:]
		g.mu.Unlock()

		ctx, cancel := context.WithTimeout(c.closing, storeTimeout)
		verdict, err := c.log.Propose(ctx, &metapb.Command{Kind: &metapb.Command_StoreGroup{StoreGroup: s}})
		cancel()
		ok := err == nil && verdict.Code == meta.OK
		if !ok && c.closing.Err() == nil {
			c.logger.Warn("store group failed", "group", s.Group, "generation", s.Generation, "error", err, "verdict", verdict.Code.String())
		}
		g.mu.Lock()
		if !g.dead {
			g.group.Stored(time.Now(), s, ok)
			c.arm(g)
		}
		g.mu.Unlock()
	}
}
