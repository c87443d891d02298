package delivery

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/coordinator/share"
)

// Log is the metadata log as a coordinator needs it; *replica.Replica is one.
type Log interface {
	// Propose puts the command in the log and returns its verdict once it is applied here.
	Propose(ctx context.Context, c *metapb.Command) (meta.Verdict, error)
	// View runs read on the state; nothing in it may block.
	View(read func(*meta.State))
	// Watch sends to ch, without waiting, when a high watermark of one of the partitions moves or topics change, until cancel is called.
	Watch(partitions []meta.TopicPartition, ch chan<- struct{}) (cancel func())
}

// Coordinator gives out the records of all share groups of a cluster. It is safe for concurrent use.
type Coordinator struct {
	log    Log
	logger *slog.Logger

	tasks   sync.WaitGroup // stores into the log, and the sweep
	closing context.Context
	close   context.CancelFunc

	mu struct {
		sync.Mutex
		groups map[string]*shares
		closed bool
	}
}

// shares is what is in memory of one group's share partitions, with its lock and timer.
type shares struct {
	name string

	mu           sync.Mutex
	partitions   map[meta.TopicPartition]*held
	wake         chan struct{} // closed when something may have become available; then there is another
	timer        *time.Timer
	fires        time.Time // when the timer does, zero for never
	users        int       // requests that are under way
	reservations uint64    // given out, ever
	dead         bool

	isStoring bool
	waiting   []*waiter // for what is to be taken into a command
}

// held is one share partition in memory.
type held struct {
	*share.Partition
	incarnation, version uint64 // that the state has once what is on its way is in it
	isFlying             bool
	begins               bool // where it begins is not known to be in the log yet

	reservation    uint64 // 0 for none
	reservedBefore time.Time
}

// waiter is told which of the partitions it waits for failed.
type waiter struct {
	partitions []meta.TopicPartition
	failed     failures
	done       chan<- failures // buffered
}

type failures map[meta.TopicPartition]metapb.DeliveryCode

// fail notes that a partition failed, if it is one that is waited for.
func (w *waiter) fail(tp meta.TopicPartition, code metapb.DeliveryCode) {
	if slices.Contains(w.partitions, tp) {
		w.failed[tp] = code
	}
}

// New returns a coordinator. What is durable is read when it is asked for.
func New(log Log, logger *slog.Logger) *Coordinator {
	c := &Coordinator{log: log, logger: logger}
	c.closing, c.close = context.WithCancel(context.Background())
	c.mu.groups = map[string]*shares{}
	c.tasks.Go(c.sweepUntilClosed)
	return c
}

// Close answers everybody who waits and stops the timers.
func (c *Coordinator) Close() {
	c.mu.Lock()
	c.mu.closed = true
	groups := c.mu.groups
	c.mu.groups = map[string]*shares{}
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
func (g *shares) end() {
	g.dead = true
	if g.timer != nil {
		g.timer.Stop()
	}
	for tp := range g.partitions {
		g.drop(tp, metapb.DeliveryCode_DELIVERY_UNAVAILABLE)
	}
	for _, w := range g.waiting {
		w.done <- w.failed
	}
	g.waiting = nil
	g.wakeAll()
}

// drop forgets a partition, and what has changed of it and is not on its way into the log.
func (g *shares) drop(tp meta.TopicPartition, code metapb.DeliveryCode) {
	delete(g.partitions, tp)
	for _, w := range g.waiting {
		w.fail(tp, code)
	}
}

func (g *shares) wakeAll() {
	close(g.wake)
	g.wake = make(chan struct{})
}

// use returns a group's shares, which stay until the request is done with them. Where there are none, code says why.
func (c *Coordinator) use(name string) (g *shares, code metapb.DeliveryCode) {
	known := false
	c.log.View(func(s *meta.State) { known = s.Group(name) != nil && s.Group(name).Share != nil })
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.closed {
		return nil, metapb.DeliveryCode_DELIVERY_UNAVAILABLE
	}
	if g = c.mu.groups[name]; g == nil {
		if !known {
			return nil, metapb.DeliveryCode_DELIVERY_NO_STATE
		}
		g = &shares{name: name, partitions: map[meta.TopicPartition]*held{}, wake: make(chan struct{})}
		c.mu.groups[name] = g
	}
	g.mu.Lock()
	g.users++
	g.mu.Unlock()
	return g, metapb.DeliveryCode_DELIVERY_OK
}

func (g *shares) done() {
	g.mu.Lock()
	g.users--
	g.mu.Unlock()
}

// view is what the state says of a share partition, and of the partition itself.
type view struct {
	topic         bool // there is such a partition
	stored        *meta.SharePartition
	logStart      int64
	highWatermark int64
	lastStable    int64
}

func viewOf(s *meta.State, group string, tp meta.TopicPartition) (v view) {
	if p := s.Partition(tp); p != nil {
		v.topic, v.logStart, v.highWatermark, v.lastStable = true, p.LogStartOffset(), p.HighWatermark(), p.LastStableOffset()
	}
	if g := s.Group(group); g != nil && g.Share != nil {
		v.stored = g.Share.Partition(tp)
	}
	return v
}

// limits are the bounds of a group's partitions.
func limits(config meta.ShareConfig) share.Limits {
	return share.Limits{
		MaxDeliveries: config.MaxDeliveries, MaxInFlight: config.MaxInFlight, Lock: time.Duration(config.LockMillis) * time.Millisecond,
	}
}

// settle is done after everything that may have changed something: what has changed goes into the log, and the timer is set.
func (c *Coordinator) settle(g *shares) {
	if len(g.waiting) > 0 || g.isDirty() {
		c.startStoring(g)
	}
	c.arm(g)
}

func (g *shares) isDirty() bool {
	for _, h := range g.partitions {
		if h.IsDirty() && !h.isFlying {
			return true
		}
	}
	return false
}

// arm sets the group's timer to the next end of a lock.
func (c *Coordinator) arm(g *shares) {
	var next time.Time
	for _, h := range g.partitions {
		if t := h.NextDeadline(); !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	if g.dead || next.IsZero() || (!g.fires.IsZero() && !next.Before(g.fires)) {
		return
	}
	g.fires = next
	if g.timer == nil {
		g.timer = time.AfterFunc(time.Until(next), func() { c.advance(g) })
		return
	}
	g.timer.Reset(time.Until(next))
}

// advance ends locks that are due.
func (c *Coordinator) advance(g *shares) {
	var config meta.ShareConfig
	c.log.View(func(s *meta.State) { config = s.ShareConfig(g.name) })
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.dead {
		return
	}
	g.fires = time.Time{}
	now, ended := time.Now(), false
	for _, h := range g.partitions {
		ended = h.Expire(now, limits(config)) || ended
	}
	if ended {
		g.wakeAll()
	}
	c.settle(g)
}

// sweepInterval is how often share partitions that nobody uses are let go of.
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

// sweep lets go of groups of which nobody has anything: what is to be known of them is in the state.
func (c *Coordinator) sweep() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, g := range c.mu.groups {
		g.mu.Lock()
		if g.isIdle() {
			g.end()
			delete(c.mu.groups, name)
		}
		g.mu.Unlock()
	}
}

func (g *shares) isIdle() bool {
	if g.users > 0 || g.isStoring || len(g.waiting) > 0 {
		return false
	}
	for _, h := range g.partitions {
		if h.HasAcquired() || h.IsDirty() {
			return false
		}
	}
	return true
}
