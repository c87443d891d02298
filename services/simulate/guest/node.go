package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/varvelog/varve/coordinator/delivery"
	"github.com/varvelog/varve/coordinator/group"
	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/coordinator/replica"
	"github.com/varvelog/varve/infra/rpc"
	"github.com/varvelog/varve/ingest/chunk"
	"github.com/varvelog/varve/ingest/copies"
	"github.com/varvelog/varve/ingest/fetch"
	"github.com/varvelog/varve/ingest/hotlog"
	"github.com/varvelog/varve/ingest/kafka"
	"github.com/varvelog/varve/ingest/lane"
	"github.com/varvelog/varve/services/ingestd"
	"github.com/varvelog/varve/services/presence"
	"github.com/varvelog/varve/services/simulate/world"
	"github.com/varvelog/varve/tiering/blockcache"
	"github.com/varvelog/varve/tiering/partindex"
)

// pingInterval is that of services/ingestd: a leader takes a node that is silent for a few of them for dead.
const pingInterval = 200 * time.Millisecond

// hotLogDir is where a node's disk has its hot log.
const hotLogDir = "/hotlog"

// laneBudget is small enough for clients to meet it.
const laneBudget = 32 << 10

// node is a running ingest node, wired as services/ingestd wires one.
type node struct {
	c         *cluster
	p         *world.Process
	disk      *world.Disk
	log       *slog.Logger
	replica   *replica.Replica
	hotLog    *hotlog.Log
	lanes     *lane.Set
	registrar *ingestd.Registrar
	cache     *blockcache.Cache
	server    *kafka.Server
	groups    *group.Remote
	client    *rpc.Client
	running   sync.WaitGroup
}

func (c *cluster) startNode(s *seat, p *world.Process) (_ func(context.Context), err error) {
	n := &node{c: c, p: p, disk: s.disk}
	n.log = logger(c.w, p.Name, n.judge)
	ctx := p.Context()
	defer func() {
		if err != nil {
			p.Kill()
			abandon(n.stop)
		}
	}()
	client, internal, err := c.network(p)
	if err != nil {
		return nil, err
	}
	n.client = client
	if err := n.openHotLog(); err != nil {
		return nil, err
	}
	if n.replica, _, err = c.openReplica(ctx, p); err != nil {
		return nil, err
	}
	remote := replica.NewRemote(replica.RemoteConfig{Client: client, Bus: p.Bus(), Key: busKey, Replica: n.replica, Addresses: n.c.internalAddresses()})
	n.replica.SetSubmitter(remote)
	n.running.Go(func() {
		if err := n.replica.Follow(ctx, p.Bus(), busKey); err != nil && !p.Dead() {
			c.w.Fail("5 determinism", "%s: follow the log: %v", p.Name, err)
		}
	})
	n.groups = group.NewRemote(remote)
	if err := n.openLanes(s); err != nil {
		return nil, err
	}
	reader, err := n.openReader(client)
	if err != nil {
		return nil, err
	}
	n.takeCopies(s)
	registration, err := n.awaitRegistration(ctx)
	if err != nil {
		return nil, err
	}
	n.server, err = kafka.New(kafka.Config{ClusterID: clusterID, NodeID: registration.Node, InFlightBytes: 8 << 20, CompressionWorkers: 1, Logger: n.log}, kafka.Domain{
		Metadata: n.replica, Appender: kafka.LaneAppender{Set: n.lanes}, Fetcher: kafka.FetchReader{Reader: reader}, Offsets: reader,
		Groups: n.groups, Shares: delivery.NewRemote(remote),
	})
	if err != nil {
		return nil, err
	}
	internal.HandleGet("/hot/{disk}/{segment}", ingestd.HotHandler(n.hotLog))
	presence.Register(ctx, internal)
	p.Serve(internalAddress(s.name), internal)
	n.running.Go(func() { n.pingLeader(ctx) })
	n.startJanitor(ctx)
	listener := p.Listen(kafkaAddress(s.name))
	n.running.Go(func() { _ = n.server.Serve(listener) })
	c.w.Trace("%s serves as node %d in epoch %d", p.Name, registration.Node, registration.Epoch)
	return func(ctx context.Context) {
		if ctx.Err() == nil && !p.Dead() {
			n.drain(ctx, s)
		}
		n.stop(ctx)
	}, nil
}

// judge fails the seed where the registrar misses committed segments.
func (n *node) judge(r slog.Record) {
	if r.Level >= slog.LevelError && !n.p.Dead() && n.disk.Owns(n.p) {
		n.c.w.Fail("2 bytes before metadata", "%s: %s", n.p.Name, r.Message)
	}
}

func (n *node) openHotLog() error {
	files := n.disk.Mount(n.p)
	// Lanes leave room in a segment for the largest table: where it does not have that, each batch is a chunk by itself, and a few of them fill it.
	segmentBytes := int64(32+n.c.w.IntN(64)) << 10
	if n.c.w.OneIn(2) {
		segmentBytes += chunk.MaxTableBytes
	}
	return n.c.patiently(n.p.Context(), n.p, func() error {
		log, _, err := hotlog.Open(files, hotLogDir, hotlog.Config{SegmentBytes: segmentBytes, NoSpare: n.c.w.OneIn(2)})
		var corrupt *hotlog.CorruptionError
		if errors.As(err, &corrupt) {
			n.c.w.Fail("2 bytes before metadata", "%s: bytes that were synced are not there: %v", n.p.Name, err)
			n.p.Kill()
		}
		if err == nil {
			n.hotLog = log
			n.c.oracle.knowDisk(log.DiskUUID(), n.disk)
		}
		return err
	})
}

func (n *node) openLanes(s *seat) (err error) {
	disk := n.hotLog.DiskUUID()
	n.registrar = &ingestd.Registrar{Log: n.log, Replica: n.replica, HotLog: n.hotLog, Template: &metapb.RegisterNode{
		DiskId: disk[:], Zone: s.zone, KafkaHost: s.name, KafkaPort: 9092, InternalAddress: internalAddress(s.name),
	}}
	n.lanes, err = lane.New(lane.Config{
		BudgetBytes: laneBudget, ChunkBytes: 8 << 10, SealAge: 2 * time.Second, PutsPerSecond: 20, UploadTimeout: 10 * time.Second,
	}, lane.Dependencies{Log: n.hotLog, Store: n.c.bucket.Open(n.p), Replica: n.replica, Epochs: n.registrar, Peers: ingestd.Peers{
		Open: func(ctx context.Context, address string) (net.Conn, error) {
			return n.p.Dial(ctx, "", copiesAddress(address))
		},
		Replica: n.replica,
	}})
	return err
}

func (n *node) openReader(client *rpc.Client) (*fetch.Reader, error) {
	cache, err := blockcache.New(n.c.bucket.Open(n.p), blockcache.Config{CapacityBytes: 1 << 20, BlockBytes: 16 << 10})
	if err != nil {
		return nil, err
	}
	n.cache = cache
	return fetch.New(fetch.Config{BudgetBytes: 8 << 20}, fetch.Dependencies{
		Replica: n.replica, Log: n.hotLog, DiskID: n.hotLog.DiskUUID(), Peer: peer{client}, Objects: cache, Index: partindex.New(cache, 64<<10),
	})
}

// takeCopies makes the node take copies of other nodes' chunks.
func (n *node) takeCopies(s *seat) {
	receiver := copies.NewReceiver(copies.ReceiverConfig{MaxChunkBytes: n.hotLog.MaxChunkBytes()}, n.lanes)
	listener := n.p.Listen(copiesAddress(internalAddress(s.name)))
	n.running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			n.running.Go(func() { receiver.Serve(conn) })
		}
	})
}

// peer reads other nodes' hot logs.
type peer struct{ client *rpc.Client }

// ReadHot implements fetch.Peer.
func (p peer) ReadHot(ctx context.Context, address string, disk [16]byte, segment uint64, position uint32, buf []byte) (n int, err error) {
	return ingestd.ReadHot(ctx, p.client, address, disk, segment, uint64(position), buf)
}

func (n *node) awaitRegistration(ctx context.Context) (lane.Registration, error) {
	for {
		if registration, registered := n.lanes.Registration(); registered {
			return registration, nil
		}
		if err := n.p.Sleep(ctx, 10*time.Millisecond); err != nil {
			return lane.Registration{}, fmt.Errorf("register: %w", err)
		}
	}
}

// pingLeader tells the leader that the node lives, and learns when it has been fenced.
func (n *node) pingLeader(ctx context.Context) {
	for n.p.Sleep(ctx, pingInterval) == nil {
		registration, registered := n.lanes.Registration()
		if !registered {
			continue
		}
		bounded, cancel := context.WithTimeout(ctx, 3*pingInterval)
		answer, err := n.replica.Ping(bounded, &metapb.PingRequest{NodeId: int32(registration.Node), NodeEpoch: registration.Epoch})
		cancel()
		if err == nil && answer.Fenced {
			n.lanes.Fence(registration)
		}
		if stats := n.lanes.Stats(); stats.BudgetedBytes > laneBudget {
			n.c.w.Fail("11 everything is bounded", "%s: lanes hold %d bytes", n.p.Name, stats.BudgetedBytes)
		}
	}
}

func (n *node) startJanitor(ctx context.Context) {
	wake := make(chan struct{}, 1)
	cancel := n.replica.Listen(changes{wake})
	janitor := &lane.Janitor{Released: n.registrar, Log: n.registrar, Trouble: func(string, error) {}}
	n.running.Go(func() {
		defer cancel()
		janitor.Run(ctx, wake)
	})
}

// changes wakes the janitor.
type changes struct{ wake chan struct{} }

// Applied implements replica.Listener.
func (c changes) Applied(a *replica.Applied) {
	if a.Has(meta.ChangedContainers) {
		select {
		case c.wake <- struct{}{}:
		default:
		}
	}
}

// drain leaves the cluster as a node does that is told to end. Where it says that nothing is on its disk alone, the disk is taken away at times:
// whoever starts in its place has an empty one. Where another disk is lost as well, that is done only where it says that nothing on its disk is needed.
func (n *node) drain(ctx context.Context, s *seat) {
	l := ingestd.Leaving{Log: n.log, Registrar: n.registrar, Replica: n.replica, Server: n.server, Lanes: n.lanes, Gone: n.gone}
	rest, err := l.Drain(ctx)
	n.c.w.Trace("%s has left: %+v, %v", n.p.Name, rest, err)
	switch {
	case rest.None():
		n.c.w.Count("drained")
	case rest.Unsealed == nil && rest.Alone.Segments == 0:
		n.c.w.Count("drained, but for copies")
	default:
		n.c.w.Count("drained in part")
		return
	}
	n.p.Kill()
	if n.c.w.OneIn(2) && (rest.None() || !n.c.w.Swarm.DiskLost) && n.disk.Owns(n.p) {
		n.c.w.Count("disk taken away")
		s.replaceDisk(n.disk)
	}
}

// gone implements what drain asks for: nobody here is told of deaths.
func (n *node) gone(meta.NodeID, uint64) bool { return false }

// stop ends the node: what is in flight comes to its verdict as long as ctx allows.
func (n *node) stop(ctx context.Context) {
	if n.server != nil {
		_ = n.server.Shutdown(ctx)
	}
	if n.lanes != nil {
		_ = n.lanes.Close(ctx)
	}
	n.p.Kill()
	n.running.Wait()
	if n.groups != nil {
		n.groups.Close()
	}
	if n.cache != nil {
		_ = n.cache.Close()
	}
	if n.hotLog != nil {
		_ = n.hotLog.Close()
	}
	if n.replica != nil {
		n.replica.Close()
	}
}
