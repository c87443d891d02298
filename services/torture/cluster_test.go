package torture

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/varvelog/varve/coordinator/leader"
	"github.com/varvelog/varve/coordinator/metalog"
	metalogmem "github.com/varvelog/varve/coordinator/metalog/mem"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/coordinator/replica"
	"github.com/varvelog/varve/infra/objstore"
	"github.com/varvelog/varve/infra/objstore/faulty"
	storemem "github.com/varvelog/varve/infra/objstore/mem"
	"github.com/varvelog/varve/infra/vfs"
	"github.com/varvelog/varve/ingest/fetch"
	"github.com/varvelog/varve/ingest/hotlog"
	"github.com/varvelog/varve/ingest/lane"
	"github.com/varvelog/varve/services/ingestd"
	"github.com/varvelog/varve/tiering/blockcache"
	"github.com/varvelog/varve/tiering/partindex"
)

var logID = [16]byte{'t', 'o', 'r', 't', 'u', 'r', 'e'}

// dice is a source of randomness for goroutines that race.
type dice struct {
	mu  sync.Mutex
	rng *rand.Rand
}

func newDice(seed uint64) *dice { return &dice{rng: rand.New(rand.NewPCG(seed, 0))} }

func (d *dice) intN(n int) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.rng.IntN(n)
}

func (d *dice) oneIn(n int) bool { return d.intN(n) == 0 }

// cluster is everything.
type cluster struct {
	t      *testing.T
	dice   *dice
	calm   atomic.Bool // nothing fails
	log    *metalogmem.Backing
	bucket objstore.Store // without faults
	store  *faulty.Store
	logger *slog.Logger

	leading   atomic.Pointer[coordinator]
	starting  sync.Mutex
	addresses atomic.Int64
	nodes     [2]*node
	events    struct {
		sync.Mutex
		list []string
	}
}

func newCluster(t *testing.T, seed uint64) *cluster {
	c := &cluster{t: t, dice: newDice(seed), log: metalogmem.New(), bucket: storemem.New("torture"), logger: slog.New(slog.DiscardHandler)}
	if os.Getenv("TORTURE_LOG") != "" {
		c.logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	c.store = faulty.New(c.bucket, faulty.Config{Seed: seed})
	c.log.SetFate(func(uint64, metalog.Kind) metalogmem.Fate {
		if c.calm.Load() {
			return metalogmem.Delivered
		}
		if c.dice.intN(30) > 0 {
			return metalogmem.Delivered
		}
		return [...]metalogmem.Fate{metalogmem.RequestLost, metalogmem.AnswerLost, metalogmem.Late}[c.dice.intN(3)]
	})
	c.lead()
	for i := range c.nodes {
		c.nodes[i] = newNode(c, i)
		c.nodes[i].start()
	}
	return c
}

// note remembers what was done, for the report of a failure.
func (c *cluster) note(format string, args ...any) {
	c.events.Lock()
	defer c.events.Unlock()
	c.events.list = append(c.events.list, time.Now().Format("05.000 ")+fmt.Sprintf(format, args...))
	if n := len(c.events.list); n > 60 {
		c.events.list = c.events.list[n-60:]
	}
}

func (c *cluster) fail(format string, args ...any) {
	c.t.Helper()
	c.t.Errorf(format, args...)
}

// storm and settle turn failures on and off.
func (c *cluster) storm() {
	c.calm.Store(false)
	c.store.SetRules(
		faulty.Rule{Ops: faulty.PutIfAbsent, Chance: 0.05, Fail: true},
		faulty.Rule{Ops: faulty.PutIfAbsent, Chance: 0.05, FailAfter: true},
		faulty.Rule{Ops: faulty.PutIfAbsent, Chance: 0.1, Latency: faulty.Latency{Median: 5 * time.Millisecond, P99: 40 * time.Millisecond}, Detach: true},
		faulty.Rule{Ops: faulty.Delete, Chance: 0.05, FailAfter: true},
		faulty.Rule{Ops: faulty.Get | faulty.Head | faulty.List, Chance: 0.03, Fail: true},
	)
}

func (c *cluster) settle() {
	c.calm.Store(true)
	c.store.SetRules()
	c.log.Deliver()
}

// coordinator is a leader with its replica.
type coordinator struct {
	replica *replica.Replica
	leader  *leader.Leader
	stop    context.CancelFunc
	done    chan error
}

// lead starts a leader, which takes over from the one there is; that one goes on until it notices.
func (c *cluster) lead() {
	c.starting.Lock()
	defer c.starting.Unlock()
	handle := c.log.Open()
	var r *replica.Replica
	for attempt := 0; ; attempt++ {
		var err error
		if r, err = replica.Open(context.Background(), replica.Config{LogID: logID, Log: handle, Store: c.store, Logger: c.logger}); err == nil {
			break
		}
		if attempt > 20 || replica.Final(err) {
			c.t.Fatalf("open replica: %v", err)
		}
	}
	l, err := leader.New(leader.Config{
		ClusterID: "torture", LogID: logID, Log: handle, Replica: r, InternalAddress: fmt.Sprintf("leader-%d:1", c.addresses.Add(1)), Name: "leader",
		UpkeepInterval: 5 * time.Millisecond, NodeTimeout: time.Hour, SnapshotEntries: 40, AppendTimeout: 200 * time.Millisecond, Logger: c.logger,
	})
	if err != nil {
		c.t.Fatal(err)
	}
	r.SetSubmitter(l)
	ctx, stop := context.WithCancel(context.Background())
	co := &coordinator{replica: r, leader: l, stop: stop, done: make(chan error, 1)}
	started := make(chan struct{})
	go func() {
		err := l.Run(ctx, func() { close(started) })
		if err != nil && !errors.Is(err, leader.ErrFenced) {
			c.fail("leader: %v", err)
		}
		co.done <- err
	}()
	select {
	case <-started:
	case err := <-co.done:
		c.t.Fatalf("leader did not start: %v", err)
	}
	old := c.leading.Swap(co)
	if old != nil {
		go func() {
			time.Sleep(time.Duration(c.dice.intN(30)) * time.Millisecond) // a zombie for a while
			old.close()
		}()
	}
}

func (co *coordinator) close() {
	co.stop()
	co.done <- <-co.done
	co.replica.Close()
}

// way is a follower's way to whoever leads.
type way struct{ c *cluster }

func (w way) Submit(ctx context.Context, commands []*metapb.Command) (uint64, error) {
	seq, err := w.c.leading.Load().leader.Submit(ctx, commands)
	if err == nil && !w.c.calm.Load() && w.c.dice.oneIn(40) {
		return 0, errors.New("the answer was lost")
	}
	return seq, err
}

func (w way) Barrier(ctx context.Context) (uint64, error) {
	return w.c.leading.Load().leader.Barrier(ctx)
}

func (w way) Ping(ctx context.Context, q *metapb.PingRequest) (*metapb.PingResponse, error) {
	return w.c.leading.Load().leader.Ping(ctx, q)
}

// node is an ingest node.
type node struct {
	c       *cluster
	name    string
	address string
	disk    *vfs.Mem
	fs      vfs.FS

	mu        sync.RWMutex // held while the node starts and stops
	replica   *replica.Replica
	log       *hotlog.Log
	lanes     *lane.Set
	registrar *ingestd.Registrar
	cache     *blockcache.Cache
	reader    *fetch.Reader
	stop      context.CancelFunc
	running   sync.WaitGroup
}

func newNode(c *cluster, i int) *node {
	n := &node{c: c, name: fmt.Sprintf("node-%d", i), address: fmt.Sprintf("node-%d:1", i), disk: vfs.NewMem()}
	n.fs = vfs.NewFaulty(n.disk, func(call vfs.Call) *vfs.Fault {
		if c.calm.Load() {
			return nil
		}
		if (call.Op == vfs.OpSyncData || call.Op == vfs.OpWrite) && c.dice.oneIn(400) {
			return &vfs.Fault{Err: errors.New("injected I/O error")}
		}
		return nil
	})
	return n
}

func (n *node) start() {
	c := n.c
	var err error
	for attempt := 0; ; attempt++ {
		n.log, _, err = hotlog.Open(n.fs, "/hotlog", hotlog.Config{SegmentBytes: 64 << 10, NoSpare: c.dice.oneIn(2)})
		var corrupt *hotlog.CorruptionError
		if err == nil {
			break
		}
		if errors.As(err, &corrupt) || attempt > 20 {
			c.t.Fatalf("%s: open hot log: %v", n.name, err)
		}
	}
	for attempt := 0; ; attempt++ {
		n.replica, err = replica.Open(context.Background(), replica.Config{LogID: logID, Log: c.log.Open(), Store: c.store, PollInterval: 5 * time.Millisecond, Logger: c.logger})
		if err == nil {
			break
		}
		if replica.Final(err) || attempt > 20 {
			c.t.Fatalf("%s: open replica: %v", n.name, err)
		}
	}
	n.replica.SetSubmitter(way{c})
	ctx, stop := context.WithCancel(context.Background())
	n.stop = stop
	r := n.replica
	n.running.Go(func() {
		if err := r.Follow(ctx, nil, nil); err != nil {
			c.fail("%s: follow: %v", n.name, err)
		}
	})
	disk := n.log.DiskUUID()
	n.registrar = &ingestd.Registrar{Log: slog.New(complaints{c.logger.Handler(), n}), Replica: r, HotLog: n.log, Template: &metapb.RegisterNode{
		DiskId: disk[:], KafkaHost: n.name, KafkaPort: 1, InternalAddress: n.address,
	}}
	n.lanes, err = lane.New(lane.Config{
		BudgetBytes: 4 << 20, ChunkBytes: 16 << 10, SealAge: 15 * time.Millisecond, PutsPerSecond: 400, PutBurst: 8, HedgeShare: 0.5, HedgeMin: time.Millisecond, UploadTimeout: 100 * time.Millisecond,
		SubmitTimeout: 100 * time.Millisecond, VerdictTimeout: 50 * time.Millisecond, DrainTimeout: 50 * time.Millisecond,
		RetryMin: time.Millisecond, RetryMax: 10 * time.Millisecond,
	}, lane.Dependencies{Log: n.log, Store: c.store, Replica: r, Epochs: epochs{n}})
	if err != nil {
		c.t.Fatal(err)
	}
	if n.cache, err = blockcache.New(c.store, blockcache.Config{CapacityBytes: 1 << 20, BlockBytes: 16 << 10, RetryWaitMin: time.Millisecond, RetryWaitMax: 5 * time.Millisecond}); err != nil {
		c.t.Fatal(err)
	}
	if n.reader, err = fetch.New(fetch.Config{RetryDelay: 2 * time.Millisecond}, fetch.Dependencies{
		Replica: r, Log: n.log, DiskID: n.log.DiskUUID(), Peer: peers{c, n}, Objects: n.cache, Index: partindex.New(n.cache, 64<<10),
	}); err != nil {
		c.t.Fatal(err)
	}
	janitor := &lane.Janitor{Released: n.registrar, Log: n.registrar, Interval: 5 * time.Millisecond}
	n.running.Go(func() { janitor.Run(ctx, nil) })
}

// end stops the node; with crash its disk loses what was not synced.
func (n *node) end(crash bool) {
	if crash {
		n.disk.Crash(uint64(n.c.dice.intN(1 << 30)))
	}
	now, cancel := context.WithCancel(context.Background())
	if crash || n.c.dice.oneIn(2) {
		cancel()
	} else {
		time.AfterFunc(20*time.Millisecond, cancel)
	}
	_ = n.lanes.Close(now)
	cancel()
	n.stop()
	n.running.Wait()
	_ = n.cache.Close()
	_ = n.log.Close()
	n.replica.Close()
}

func (n *node) restart(crash bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.end(crash)
	n.disk.Restart()
	n.start()
}

// epochs notes what the registrar does.
type epochs struct{ n *node }

func (e epochs) Renew(ctx context.Context) (lane.Registration, error) {
	r, err := e.n.registrar.Renew(ctx)
	e.n.c.note("%s: epoch %d, %v", e.n.name, r.Epoch, err)
	return r, err
}

// complaints fails the test where the registrar misses committed segments.
type complaints struct {
	slog.Handler
	n *node
}

func (complaints) Enabled(context.Context, slog.Level) bool { return true }

func (h complaints) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= slog.LevelError {
		h.n.c.fail("%s: %s", h.n.name, r.Message)
	}
	if !h.Handler.Enabled(ctx, r.Level) {
		return nil
	}
	return h.Handler.Handle(ctx, r)
}

func (n *node) registration() *metapb.Command {
	disk := n.log.DiskUUID()
	incarnation := make([]byte, 16)
	for i := range incarnation {
		incarnation[i] = byte(n.c.dice.intN(256))
	}
	r := &metapb.RegisterNode{DiskId: disk[:], Incarnation: incarnation, KafkaHost: n.name, KafkaPort: 1, InternalAddress: n.address}
	for _, s := range n.log.Segments() {
		r.Segments = append(r.Segments, s.ID)
	}
	return &metapb.Command{Kind: &metapb.Command_RegisterNode{RegisterNode: r}}
}

// peers reads the other node's hot log.
type peers struct {
	c    *cluster
	self *node
}

var errDown = errors.New("node is down")

// ReadHot implements fetch.Peer.
func (p peers) ReadHot(_ context.Context, address string, disk [16]byte, segment uint64, position uint32, buf []byte) (int, error) {
	for _, n := range p.c.nodes {
		if n == nil || n == p.self || n.address != address {
			continue
		}
		if !n.mu.TryRLock() {
			return 0, errDown
		}
		defer n.mu.RUnlock()
		if n.log.DiskUUID() != disk {
			return 0, errors.New("another disk")
		}
		if err := n.log.ReadAt(segment, position, buf); err != nil {
			return 0, err
		}
		return len(buf), nil
	}
	return 0, errDown
}
