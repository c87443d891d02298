package group

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
)

// Log is the metadata log as a coordinator needs it.
type Log interface {
	// Propose puts the command in the log and returns its verdict once it is applied here.
	Propose(ctx context.Context, c *metapb.Command) (meta.Verdict, error)
	// ProposeWhile is Propose for a command that is submitted, also again, only while valid says so.
	ProposeWhile(ctx context.Context, c *metapb.Command, valid func() bool) (meta.Verdict, error)
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

	topics  atomic.Pointer[catalog]
	tasks   sync.WaitGroup // stores of groups into the log, and the sweep
	closing context.Context
	close   context.CancelFunc

	mu struct {
		sync.Mutex
		groups map[string]*guarded
		closed bool
	}
}

// guarded is a group with its lock and timer. It is a classic, a consumer, a streams or a share group: one of the four is set.
type guarded struct {
	mu       sync.Mutex
	name     string
	group    *Group
	consumer *ConsumerGroup
	streams  *StreamsGroup
	share    *ShareGroup
	timer    *time.Timer
	fires    time.Time // when the timer does, zero for never
	// stores hands commands to the one goroutine that puts them into the log in order; isStoring while it runs.
	stores    []storeRequest
	isStoring bool
	dead      bool
	// forgotten: at the last sweep the state had not, or no more, what nobody has asked for since.
	forgotten bool
}

// storeRequest is a command for the log; done is called under the group's lock with its outcome. One without a command only waits for its turn.
type storeRequest struct {
	command *metapb.Command
	done    func(now time.Time, ok bool)
}

// New returns a coordinator over the groups in the state; nobody has to rejoin.
func New(limits Limits, log Log, logger *slog.Logger) *Coordinator {
	c := &Coordinator{limits: limits, log: log, logger: logger}
	c.closing, c.close = context.WithCancel(context.Background())
	c.mu.groups = map[string]*guarded{}
	now := time.Now()
	log.View(func(s *meta.State) {
		c.topics.Store(newCatalog(s))
		for _, stored := range s.Groups() {
			if stored.Stored == nil && stored.Consumer == nil && stored.Streams == nil && stored.Share == nil {
				continue
			}
			g := &guarded{name: stored.Name}
			c.restore(now, g, s)
			c.mu.groups[stored.Name] = g
		}
	})
	c.tasks.Go(c.sweepUntilClosed)
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
		g.end()
		g.mu.Unlock()
	}
	c.tasks.Wait()
}

// end answers everybody who waits, and stops the timer.
func (g *guarded) end() {
	g.dead = true
	if g.group != nil {
		g.group.closeAll()
	}
	if m := g.managed(); m != nil {
		m.Abandon()
	}
	if g.timer != nil {
		g.timer.Stop()
	}
}

// classic makes g a classic group without members.
func (c *Coordinator) classic(g *guarded) {
	group := newGroup(g.name, c.limits, newMemberID, nil)
	group.store = func(s *metapb.StoreGroup, done func(time.Time, bool)) {
		c.enqueue(g, storeRequest{&metapb.Command{Kind: &metapb.Command_StoreGroup{StoreGroup: s}}, func(now time.Time, ok bool) {
			group.Stored(now, s, ok)
			if done != nil {
				done(now, ok)
			}
		}})
	}
	g.group, g.consumer, g.streams, g.share = group, nil, nil, nil
}

// restore makes g what the state has of it.
func (c *Coordinator) restore(now time.Time, g *guarded, s *meta.State) {
	stored := s.Group(g.name)
	if stored != nil && stored.Consumer != nil {
		g.group, g.streams, g.share = nil, nil, nil
		g.consumer = restoreConsumerGroup(now, g.name, stored.Consumer, cluster{c.topics.Load(), s.GroupConfig(g.name)})
		return
	}
	if stored != nil && stored.Streams != nil {
		g.group, g.consumer, g.share = nil, nil, nil
		g.streams = restoreStreamsGroup(now, g.name, stored.Streams, streamsCluster{c.topics.Load(), s.StreamsConfig(g.name)})
		return
	}
	if stored != nil && stored.Share != nil {
		session := time.Duration(s.ShareConfig(g.name).SessionMillis) * time.Millisecond
		g.group, g.consumer, g.streams = nil, nil, nil
		g.share = restoreShareGroup(now, g.name, stored.Share, session)
		return
	}
	c.classic(g)
	if stored != nil && stored.Stored != nil {
		g.group.restore(now, stored.Stored)
	}
}

// newMemberID is the client's id and something that nobody can guess, in Kafka's form.
func newMemberID(clientID string) string { return clientID + "-" + uuid.NewString() }

// with runs do on the group under its lock, making a classic one where create says so; found is false where there is none.
func (c *Coordinator) with(name string, create bool, do func(now time.Time, g *guarded)) (found bool) {
	c.mu.Lock()
	g := c.mu.groups[name]
	made := g == nil
	if made {
		if !create || c.mu.closed {
			c.mu.Unlock()
			return false
		}
		g = &guarded{name: name}
		c.classic(g)
		c.mu.groups[name] = g
	}
	c.mu.Unlock()
	found, idle := c.within(g, do)
	if made && idle {
		c.drop(name)
	}
	return found
}

func (c *Coordinator) within(g *guarded, do func(now time.Time, g *guarded)) (found, idle bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.dead {
		return false, false
	}
	now := time.Now()
	g.forgotten = false
	do(now, g)
	c.settle(now, g)
	return true, g.isIdle()
}

// settle is done after everything that may have changed a group: a consumer group with classic members alone becomes a classic one,
// what has changed goes into the log, and the timer is set.
func (c *Coordinator) settle(now time.Time, g *guarded) {
	if g.consumer != nil {
		c.downgrade(now, g)
	}
	if m := g.managed(); m != nil && m.IsDirty() {
		c.startStoring(g)
	}
	c.arm(g)
}

func (g *guarded) nextDeadline() time.Time {
	if m := g.managed(); m != nil {
		return m.NextDeadline()
	}
	return g.group.NextDeadline()
}

// arm sets the group's timer to its next deadline. A timer that fires early finds nothing to do and is armed again, so that a
// heartbeat, which only moves deadlines back, touches no timer.
func (c *Coordinator) arm(g *guarded) {
	next := g.nextDeadline()
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
	now := time.Now()
	if m := g.managed(); m != nil {
		m.Advance(now)
	} else {
		g.group.Advance(now)
	}
	c.settle(now, g)
}
