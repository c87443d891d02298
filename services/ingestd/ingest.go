package ingestd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path"
	"path/filepath"
	"sync"
	"time"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/replica"
	"github.com/varvelog/varve/infra/vfs"
	"github.com/varvelog/varve/ingest/copies"
	"github.com/varvelog/varve/ingest/fetch"
	"github.com/varvelog/varve/ingest/hotlog"
	"github.com/varvelog/varve/ingest/kafka"
	"github.com/varvelog/varve/ingest/lane"
	"github.com/varvelog/varve/services/presence"
	"github.com/varvelog/varve/services/process"
	"github.com/varvelog/varve/tiering/blockcache"
	"github.com/varvelog/varve/tiering/partindex"
)

// Node is a running ingest node.
type Node struct {
	log       *slog.Logger
	replica   *replica.Replica
	hotLog    *hotlog.Log
	registrar *Registrar
	lanes     *lane.Set
	cache     *blockcache.Cache
	server    *kafka.Server
	listeners []zoneListener
	watcher   *presence.Watcher
	contact   contact
	metrics   *metrics
	filling   filling

	stop    context.CancelFunc // of the background work
	running sync.WaitGroup
	failed  chan error // of the listeners, at most one each, and of the registrar
}

// indexCacheBytes bounds the indexes of stored segments kept parsed.
const indexCacheBytes = 16 << 20

// Start opens the hot log, registers the node and serves Kafka. On an error, what was opened is closed.
func Start(ctx context.Context, p *process.Process, r *replica.Replica, groups kafka.Groups, shares kafka.Shares) (_ *Node, err error) {
	n := &Node{log: p.Log, replica: r}
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	n.stop = stop
	defer func() {
		if err != nil {
			err = errors.Join(err, n.Close(context.WithoutCancel(ctx)))
		}
	}()
	n.metrics = newMetrics(p.Registry, p.Log)
	n.filling = newFilling(n.metrics)
	if err := n.listen(p.Config); err != nil {
		return nil, err
	}
	if err := n.openHotLog(p); err != nil {
		return nil, err
	}
	if err := n.openCache(p); err != nil {
		return nil, err
	}
	if err := n.openLanes(ctx, p); err != nil {
		return nil, err
	}
	reader, err := n.openReader(p)
	if err != nil {
		return nil, err
	}
	p.Internal.HandleGet("/hot/{disk}/{segment}", HotHandler(n.hotLog))
	presence.Register(background, p.Internal)
	n.watcher = presence.New(presence.Config{Client: p.Client, Replica: r, Self: p.Config.AdvertisedInternalAddr})
	receiver := copies.NewReceiver(copies.ReceiverConfig{MaxChunkBytes: n.hotLog.MaxChunkBytes(), Trouble: n.metrics.Trouble}, n.lanes)
	p.Internal.HandleStream(copiesPath, receiver.Serve)
	registration, err := n.awaitRegistration(ctx)
	if err != nil {
		return nil, err
	}
	n.server, err = kafka.New(kafka.Config{
		ClusterID: p.Cluster.ClusterID, NodeID: registration.Node, InFlightBytes: int64(p.Config.RequestMemory),
		MaxConnections: p.Config.MaxConnections, Logger: p.Log, LogLevel: p.LogLevel, Metrics: n.metrics,
		LogDir: absolute(p.Config.DataDir), DiskSpace: diskSpace(p.Config.DataDir), Static: staticConfigs(p), ClientMetrics: newClientMetrics(p.Registry),
		CheckNodes: n.watcher.Check, NodeGone: n.watcher.Gone,
	}, kafka.Domain{
		Metadata: r, Appender: kafka.LaneAppender{Set: n.lanes}, Fetcher: kafka.FetchReader{Reader: reader}, Offsets: reader, Groups: groups, Shares: shares, Contact: &n.contact,
	})
	if err != nil {
		return nil, fmt.Errorf("configure Kafka listener: %w", err)
	}
	n.running.Go(func() { n.pingLeader(background) })
	n.running.Go(func() { n.watcher.Run(background) })
	n.startJanitor(background, r)
	n.watchPressure(background, p, r)
	n.followSettings(background, p, r, registration.Node)
	for _, l := range n.listeners {
		n.running.Go(func() {
			if err := n.server.ServeZone(l.Listener, l.zone); err != nil {
				n.failed <- fmt.Errorf("serve Kafka clients: %w", err)
			}
		})
	}
	p.Readiness.Add("ingest", n.ready)
	p.Log.Info("ingest node serves Kafka clients", "address", n.Addr(), "advertised", n.listeners[0].advertised, "node", int32(registration.Node), "epoch", registration.Epoch)
	return n, nil
}

// Failed tells of an error that ends the node.
func (n *Node) Failed() <-chan error { return n.failed }

// Addr is where Kafka clients are served.
func (n *Node) Addr() string { return n.listeners[0].Addr().String() }

// HotLog is the node's own log.
func (n *Node) HotLog() *hotlog.Log { return n.hotLog }

func (n *Node) ready() error {
	if _, registered := n.lanes.Registration(); !registered {
		return errors.New("not registered with the coordinator")
	}
	return nil
}

func (n *Node) openHotLog(p *process.Process) error {
	dir, err := filepath.Abs(filepath.Join(p.Config.DataDir, "hotlog"))
	if err != nil {
		return fmt.Errorf("open hot log: %w", err)
	}
	started := time.Now()
	log, recovery, err := hotlog.Open(vfs.OS{}, path.Clean(filepath.ToSlash(dir)), hotlog.Config{SegmentBytes: int64(p.Config.HotSegmentBytes), Observer: n.filling})
	var corrupt *hotlog.CorruptionError
	if errors.As(err, &corrupt) && corrupt.Err == nil {
		return fmt.Errorf("open hot log %s: %w; restore the disk, or keep what is whole of it with varve repair %s", dir, err, dir)
	}
	if err != nil {
		return fmt.Errorf("open hot log %s: %w", dir, err)
	}
	n.hotLog = log
	n.metrics.observeHotLog(log)
	for _, torn := range recovery.TornTails {
		p.Log.Info("cut what a crash left unacknowledged", "tail", fmt.Sprintf("%+v", torn))
	}
	p.Log.Info("hot log is open", "disk", recovery.DiskUUID.String(), "segments", len(recovery.Segments), "bytes", log.SizeBytes(), "took", time.Since(started))
	return nil
}

func (n *Node) openLanes(ctx context.Context, p *process.Process) error {
	template, err := newRegistration(p.Config, n.listeners)
	if err != nil {
		return err
	}
	template.DiskId = diskID(n.hotLog)
	n.registrar = &Registrar{Log: p.Log, Replica: n.replica, HotLog: n.hotLog, Template: template, Dropped: func(err error) { n.failed <- err }}
	open := func(ctx context.Context, address string) (net.Conn, error) {
		return p.Client.OpenStream(ctx, address, copiesPath)
	}
	n.lanes, err = lane.New(lane.Config{
		BudgetBytes: int64(p.Config.RequestMemory), SealAge: p.Config.SealAge, PutsPerSecond: p.Config.ObjectPuts,
	}, lane.Dependencies{Log: n.hotLog, Store: p.Store, Replica: n.replica, Epochs: n.registrar, Peers: Peers{open, n.replica},
		Observer: n.metrics, Cache: n.cache})
	if err != nil {
		return fmt.Errorf("configure lanes: %w", err)
	}
	n.metrics.observeLanes(n.lanes)
	return nil
}

func (n *Node) openCache(p *process.Process) error {
	cache, err := blockcache.New(p.Store, blockcache.Config{CapacityBytes: int64(p.Config.CacheBytes)})
	if err != nil {
		return fmt.Errorf("configure block cache: %w", err)
	}
	n.cache = cache
	if err := p.Registry.Register(cache); err != nil {
		return fmt.Errorf("register metrics of the block cache: %w", err)
	}
	return nil
}

func (n *Node) openReader(p *process.Process) (*fetch.Reader, error) {
	reader, err := fetch.New(fetch.Config{BudgetBytes: int64(p.Config.FetchMemory)}, fetch.Dependencies{
		Replica: n.replica, Log: n.hotLog, DiskID: n.hotLog.DiskUUID(), Peer: peer{p.Client}, Objects: n.cache, Index: partindex.New(n.cache, indexCacheBytes),
		Damaged: newDamageReport(p.Registry, p.Log).add,
	})
	if err != nil {
		return nil, fmt.Errorf("configure reads: %w", err)
	}
	n.metrics.observeReader(reader)
	return reader, nil
}

func (n *Node) awaitRegistration(ctx context.Context) (lane.Registration, error) {
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for {
		if registration, registered := n.lanes.Registration(); registered {
			return registration, nil
		}
		select {
		case <-ctx.Done():
			return lane.Registration{}, fmt.Errorf("register node: %w", ctx.Err())
		case <-ticker.C:
		}
	}
}

// startJanitor deletes released hot segments, when the state says that there may be some.
func (n *Node) startJanitor(ctx context.Context, r *replica.Replica) {
	wake := make(chan struct{}, 1)
	cancel := r.Listen(changes{meta.ChangedContainers, wake})
	janitor := &lane.Janitor{Released: n.registrar, Log: n.registrar, Trouble: n.metrics.Trouble}
	n.running.Go(func() {
		defer cancel()
		janitor.Run(ctx, wake)
	})
}

// changes wakes somebody when the state changes in one way.
type changes struct {
	kind meta.ChangeKind
	wake chan struct{}
}

// Applied implements replica.Listener.
func (c changes) Applied(a *replica.Applied) {
	if !a.Has(c.kind) {
		return
	}
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Close stops taking requests, lets what is in flight come to its verdict as long as ctx allows, and closes the hot log.
func (n *Node) Close(ctx context.Context) error {
	var failed []error
	if n.server != nil {
		failed = append(failed, n.server.Shutdown(ctx))
	} else {
		for _, l := range n.listeners {
			failed = append(failed, l.Close())
		}
	}
	if n.lanes != nil {
		failed = append(failed, n.lanes.Close(ctx))
	}
	n.stop()
	n.running.Wait()
	if n.cache != nil {
		failed = append(failed, n.cache.Close())
	}
	if n.hotLog != nil {
		failed = append(failed, n.hotLog.Close())
	}
	return errors.Join(failed...)
}
