package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metalog"
	"github.com/varvelog/varve/coordinator/metalog/bucket"
	"github.com/varvelog/varve/infra/bus"
	"github.com/varvelog/varve/infra/rpc"
	"github.com/varvelog/varve/services/simulate/world"
)

const clusterID = "simulation"

var (
	logID  = [16]byte{'s', 'i', 'm'}
	secret = []byte("simulated secret")
	busKey = bus.NewKey(secret, clusterID)
)

// cluster is all processes of a seed, and what they share.
type cluster struct {
	w      *world.World
	log    *world.Metalog
	bucket *world.Bucket
	oracle *oracle

	coordinators []*seat
	nodes        []*seat
	workers      []*seat
}

// seat is a place for a process, which is started again when it has died.
type seat struct {
	c     *cluster
	name  string
	start func(p *world.Process) (stop func(context.Context), err error)
	disk  *world.Disk
	zone  string // "" for none

	mu struct {
		sync.Mutex
		process *world.Process
		stop    func(context.Context)
		starts  int
		up      bool
	}
}

func newCluster(w *world.World) *cluster {
	c := &cluster{w: w, bucket: w.NewBucket()}
	c.log = w.NewMetalog()
	c.oracle = newOracle(c)
	count, start := 2, c.startCoordinator
	if w.Swarm.Group {
		count, start = 3, c.startMember
	}
	for i := range count {
		c.coordinators = append(c.coordinators, c.seat(fmt.Sprintf("coordinator-%d", i+1), start))
	}
	for i := range 2 + w.IntN(2) {
		s := c.seat(fmt.Sprintf("node-%d", i+1), c.startNode)
		s.disk = w.NewDisk()
		if w.Swarm.Zones {
			s.zone = fmt.Sprintf("zone-%d", i%2+1)
		}
		c.nodes = append(c.nodes, s)
	}
	for i := range 1 + w.IntN(2) {
		c.workers = append(c.workers, c.seat(fmt.Sprintf("worker-%d", i+1), c.startWorker))
	}
	return c
}

func (c *cluster) seat(name string, start func(s *seat, p *world.Process) (func(context.Context), error)) *seat {
	s := &seat{c: c, name: name}
	s.start = func(p *world.Process) (func(context.Context), error) { return start(s, p) }
	return s
}

func (c *cluster) seats() []*seat {
	return append(append(append([]*seat(nil), c.coordinators...), c.nodes...), c.workers...)
}

func (c *cluster) start() {
	for _, s := range c.seats() {
		go s.live()
	}
}

// live keeps a process running.
func (s *seat) live() {
	for {
		if p, _ := s.current(); p != nil && !p.Dead() {
			<-p.Context().Done()
		} else {
			s.life()
		}
		time.Sleep(s.c.w.Between(50*time.Millisecond, 2*time.Second))
	}
}

// life is one incarnation from its start to its death.
func (s *seat) life() {
	w := s.c.w
	s.mu.Lock()
	s.mu.starts++
	p := w.NewProcess(fmt.Sprintf("%s.%d", s.name, s.mu.starts), s.name)
	if w.Swarm.ClockSkew > 0 {
		p.SetClock(w.Between(-w.Swarm.ClockSkew, w.Swarm.ClockSkew), 1+w.Swarm.ClockDrift*(float64(w.IntN(200))-100)/100)
	}
	s.mu.process, s.mu.stop, s.mu.up = p, nil, false
	s.mu.Unlock()
	w.Trace("%s starts", p.Name)
	stop, err := s.start(p)
	if err != nil {
		w.Trace("%s does not start: %v", p.Name, err)
		p.Kill()
	} else {
		s.mu.Lock()
		if s.mu.process == p {
			s.mu.stop, s.mu.up = stop, !p.Dead()
		}
		s.mu.Unlock()
		<-p.Context().Done()
		go abandon(stop)
	}
	s.mu.Lock()
	if s.mu.process == p {
		s.mu.up = false
	}
	s.mu.Unlock()
	w.Trace("%s is dead", p.Name)
}

// abandon lets what is left of a dead process find out.
func abandon(stop func(context.Context)) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	stop(ctx)
}

// current is the incarnation there is; up says that it has started.
func (s *seat) current() (p *world.Process, up bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.process, s.mu.up
}

// kill ends the process as SIGKILL does, and with power the disk's unsynced contents with it.
func (s *seat) kill(power bool) {
	p, _ := s.current()
	if p == nil {
		return
	}
	p.Kill()
	if power && s.disk != nil {
		s.disk.LosePower()
	}
}

// replaceDisk puts an empty disk in the place of one.
func (s *seat) replaceDisk(old *world.Disk) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.disk == old {
		s.disk = s.c.w.NewDisk()
	}
}

// end stops the process as SIGTERM does.
func (s *seat) end() {
	s.mu.Lock()
	p, stop := s.mu.process, s.mu.stop
	s.mu.Unlock()
	if stop == nil || p.Dead() {
		return
	}
	ctx, cancel := context.WithTimeout(p.Context(), 10*time.Second)
	defer cancel()
	stop(ctx)
	p.Kill()
}

func (c *cluster) up() bool {
	for _, s := range c.nodes {
		if _, up := s.current(); !up {
			return false
		}
	}
	for _, s := range c.coordinators {
		if p, up := s.current(); up && !p.Dead() {
			return true
		}
	}
	return false
}

// await waits for a condition, and fails the seed where it does not come.
func (c *cluster) await(patience time.Duration, what string, condition func() bool) bool {
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			c.w.Fail(world.Progress, "%v after faults are over there is not yet: %s", patience, what)
			return false
		}
	}
	return true
}

// openLog opens the metadata log, wherever this seed keeps it.
func (c *cluster) openLog(ctx context.Context, p *world.Process) (log metalog.Log, err error) {
	if !c.w.Swarm.MetalogOnBucket {
		return c.log.Open(p), nil
	}
	err = c.patiently(ctx, p, func() error {
		log, err = bucket.Open(ctx, c.bucket.Open(p))
		return err
	})
	return log, err
}

// patiently tries until it succeeds or the process dies.
func (c *cluster) patiently(ctx context.Context, p *world.Process, try func() error) error {
	for {
		err := try()
		if err == nil || final(err) || p.Dead() || ctx.Err() != nil {
			return err
		}
		if err := p.Sleep(ctx, c.w.Between(50*time.Millisecond, 500*time.Millisecond)); err != nil {
			return err
		}
	}
}

// network is how a process calls others and is called.
func (c *cluster) network(p *world.Process) (client *rpc.Client, server *rpc.Server, err error) {
	client = rpc.NewClient(rpc.ClientConfig{Secret: secret, ClusterID: clusterID, Transport: p.Transport()})
	server, err = rpc.NewServer(rpc.ServerConfig{Secret: secret, ClusterID: clusterID})
	return client, server, err
}

// durable reads the oracle's state.
func (c *cluster) durable(read func(s *meta.State)) { c.oracle.view(read) }

func internalAddress(host string) string { return host + ":9644" }

// copiesAddress is where the node of an internal address takes copies. Between real nodes it is the same listener.
func copiesAddress(internal string) string { return internal + "/copies" }

func kafkaAddress(host string) string { return host + ":9092" }

// internalAddresses are where coordinators are.
func (c *cluster) internalAddresses() (addresses []string) {
	for _, s := range c.coordinators {
		addresses = append(addresses, internalAddress(s.name))
	}
	return addresses
}
