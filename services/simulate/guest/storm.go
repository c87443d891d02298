package main

import (
	"context"
	"math"
	"sync"
	"time"

	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/coordinator/replica"
	"github.com/varvelog/varve/services/simulate/world"
)

// storm makes things happen to processes, until stop.
func (c *cluster) storm() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	s := &c.w.Swarm
	c.w.Begin()
	every := func(mean time.Duration, name string, do func(ctx context.Context)) {
		if mean == 0 {
			return
		}
		running.Go(func() {
			for {
				wait := time.Duration(-math.Log(1-float64(c.w.IntN(1000))/1000) * float64(mean))
				if world.Sleep(ctx, wait) != nil {
					return
				}
				c.w.Count(name)
				do(ctx)
			}
		})
	}
	every(s.Crash, "crash", func(context.Context) { c.crash(c.pick(c.nodes), false) })
	every(s.PowerLoss, "power loss", func(context.Context) { c.crash(c.pick(c.nodes), true) })
	every(s.CoordinatorCrash, "coordinator crash", func(context.Context) { c.crash(c.pick(c.coordinators), false) })
	every(s.WorkerCrash, "worker crash", func(context.Context) { c.crash(c.pick(c.workers), false) })
	every(s.Restart, "restart", func(context.Context) { c.pick(c.seats()).end() })
	every(s.Pause, "pause", c.pause)
	every(s.Cut, "cut", c.cut)
	every(s.Rot, "rot", c.rot)
	if s.DiskLost {
		running.Go(func() {
			if world.Sleep(ctx, c.w.Between(0, 6*time.Second)) == nil {
				c.loseDisk(c.pick(c.nodes))
			}
		})
	}
	if s.DiskFull {
		every(3*time.Second, "disk full", c.fillDisk)
	}
	return func() {
		cancel()
		running.Wait()
	}
}

func (c *cluster) pick(seats []*seat) *seat { return seats[c.w.IntN(len(seats))] }

func (c *cluster) crash(s *seat, power bool) {
	c.w.Trace("crash %s, power loss %v", s.name, power)
	s.kill(power)
}

// pause makes a zombie.
func (c *cluster) pause(ctx context.Context) {
	seat := c.pick(c.seats())
	p, _ := seat.current()
	if p == nil {
		return
	}
	long := c.w.Between(0, c.w.Swarm.PauseFor)
	c.w.Trace("pause %s for %v", p.Name, long)
	p.Pause()
	replaced := c.w.OneIn(3)
	if replaced {
		// Its place is taken while it sleeps; it wakes up, finds its disk in other hands, and is ended some time later.
		c.w.Trace("%s is replaced meanwhile", p.Name)
		go seat.life()
	}
	_ = world.Sleep(ctx, long)
	p.Resume()
	if replaced {
		_ = world.Sleep(ctx, c.w.Between(0, 3*time.Second))
		p.Kill()
	}
}

// cut parts two hosts, in one direction or both; what they cannot reach may be the log's server or the store's.
func (c *cluster) cut(ctx context.Context) {
	seats := c.seats()
	from := c.pick(seats).name
	others := []string{"metalog", "store", "client-1", "client-2", "client-3"}
	for _, s := range seats {
		others = append(others, s.name)
	}
	to := others[c.w.IntN(len(others))]
	how := c.w.IntN(3)
	c.w.Trace("cut %s and %s, %s", from, to, [...]string{"there", "back", "both ways"}[how])
	if how != 1 {
		c.w.Cut(from, to)
		defer c.w.Mend(from, to)
	}
	if how != 0 {
		c.w.Cut(to, from)
		defer c.w.Mend(to, from)
	}
	_ = world.Sleep(ctx, c.w.Between(0, c.w.Swarm.CutFor))
}

// fillDisk leaves a node's disk no room for a while.
func (c *cluster) fillDisk(ctx context.Context) {
	s := c.pick(c.nodes)
	c.w.Trace("the disk of %s is full", s.name)
	s.disk.Limit(int64(c.w.IntN(100 << 10)))
	_ = world.Sleep(ctx, c.w.Between(0, 3*time.Second))
	s.disk.Limit(1 << 40)
}

// loseDisk kills a node and takes its disk; whoever starts in its place has an empty one. Once the leader has noticed, the node is forgotten.
func (c *cluster) loseDisk(s *seat) {
	lost := s.disk
	c.w.Trace("%s loses its disk", s.name)
	c.w.Count("disk lost")
	s.replaceDisk(lost)
	s.kill(false)
	id, known := c.oracle.nodeOf(lost)
	if !known {
		return // it has never been registered
	}
	p := c.w.NewProcess("operator", "client-1")
	defer p.Kill()
	client, _, err := c.network(p)
	if err != nil {
		panic(err)
	}
	defer client.Close()
	remote := replica.NewRemote(replica.RemoteConfig{Client: client, Bus: p.Bus(), Key: busKey, Addresses: c.internalAddresses()})
	forget := func() bool {
		ctx, cancel := context.WithTimeout(p.Context(), 3*time.Second)
		defer cancel()
		answer := &metapb.NodeForgetResponse{}
		err := remote.Call(ctx, replica.MethodNodeForget, &metapb.NodeForgetRequest{NodeId: int32(id)}, answer)
		c.w.Trace("forget node %d: %v %v", id, answer, err)
		if len(answer.Lost) > 0 {
			c.w.Fail("2 bytes before metadata", "with the disk of node %d these are lost: %v", id, answer.Lost)
		}
		return err == nil && answer.Refused == ""
	}
	c.await(2*time.Minute, "a leader that forgets a node without a disk", forget)
}
