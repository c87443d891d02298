package process

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"path"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/varvelog/varve/coordinator/identity"
	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/infra/bus"
	"github.com/varvelog/varve/infra/objstore"
	"github.com/varvelog/varve/infra/objstore/metered"
	"github.com/varvelog/varve/infra/objstore/open"
	"github.com/varvelog/varve/infra/rpc"
	"github.com/varvelog/varve/infra/telemetry"
	"github.com/varvelog/varve/infra/vfs"
	"github.com/varvelog/varve/services/config"
)

// Process is one process's shared parts.
type Process struct {
	Config    *config.Config
	Log       *slog.Logger
	LogLevel  *slog.LevelVar // of Log
	Registry  *prometheus.Registry
	Readiness *telemetry.Readiness
	Store     *metered.Store
	Cluster   *identity.Cluster
	Metadata  objstore.Store // the part of Store in which the cluster's metadata is
	Bus       *bus.Conn
	Key       *bus.Key // of what Bus carries
	Client    *rpc.Client
	// Internal is the internal listener; nil in a process that nobody calls. Serve it when all methods are registered.
	Internal *rpc.Server

	status  *telemetry.Server
	server  *bus.Server
	lock    io.Closer
	serving atomic.Bool
	leads   bool // it has the role that may lead
}

// How long a process waits at its start, for a coordinator that makes the bucket a cluster's and for NATS, before it says so.
const (
	bucketPatience = 5 * time.Second
	natsPatience   = 2 * time.Second
)

// bucketTimeout bounds one attempt at the bucket's identity, so that one lost answer does not take all patience.
const bucketTimeout = 15 * time.Second

// Start opens the parts that role needs. On an error, what was opened is closed.
func Start(ctx context.Context, c *config.Config, role config.Role, log *slog.Logger, level *slog.LevelVar) (_ *Process, err error) {
	p := &Process{
		Config: c, Log: log, LogLevel: level, Registry: telemetry.NewRegistry(), Readiness: &telemetry.Readiness{}, leads: role&config.RoleCoordinator != 0,
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.Close(context.WithoutCancel(ctx)))
		}
	}()
	// The status listener is the first to be there. Until the roles are wired nothing else could say that they are not.
	p.Readiness.Add("process", p.ready)
	if p.status, err = telemetry.Serve(c.HTTPAddr, p.Registry, p.Readiness, log); err != nil {
		return nil, err
	}
	if err := p.openBucket(ctx, role); err != nil {
		return nil, err
	}
	if err := p.openBus(ctx, role); err != nil {
		return nil, err
	}
	p.Key = bus.NewKey(p.Cluster.Secret, p.Cluster.ClusterID)
	p.Client = rpc.NewClient(rpc.ClientConfig{Secret: p.Cluster.Secret, ClusterID: p.Cluster.ClusterID})
	if role&(config.RoleCoordinator|config.RoleIngest) != 0 {
		p.Internal, err = rpc.Listen(rpc.ServerConfig{
			Addr: c.InternalAddr, Secret: p.Cluster.Secret, ClusterID: p.Cluster.ClusterID, Logger: log,
			MaxBodyBytes: meta.MaxCommandBytes, // the result of a job that has very many parts is a command
		})
		if err != nil {
			return nil, err
		}
		c.AdvertisedInternalAddr = config.WithPort(c.AdvertisedInternalAddr, p.Internal.NetAddr())
	}
	return p, nil
}

// SetServing says that every role is wired, or that the process has begun to stop. /readyz follows.
func (p *Process) SetServing(serving bool) { p.serving.Store(serving) }

func (p *Process) ready() error {
	if !p.serving.Load() {
		return errors.New("starting or stopping")
	}
	return nil
}

// openBucket opens the store and learns whose it is. A coordinator makes an empty bucket its own; others wait for one.
func (p *Process) openBucket(ctx context.Context, role config.Role) error {
	store, err := p.reachBucket(ctx)
	if err != nil {
		return fmt.Errorf("open --bucket: %w", err) // names it, without what should not be in the URL
	}
	p.Store = metered.New(store)
	if err := p.Registry.Register(p.Store); err != nil {
		return fmt.Errorf("register metrics of the bucket: %w", err)
	}
	found, err := p.findOwner(role)
	if err != nil {
		return err
	}
	learn := p.awaitCluster
	if role&config.RoleCoordinator != 0 {
		learn = func(ctx context.Context) error { return p.makeCluster(ctx, found) }
	}
	if err := learn(ctx); err != nil {
		return err
	}
	p.Metadata = p.Cluster.Metadata(p.Store)
	if err := p.probeBucket(ctx); err != nil {
		return err
	}
	return p.own(role, found)
}

// probeBucket refuses a store that ignores conditions, on which the log, snapshots, chunks and segments are written by all roles: a bucket
// may have been copied to another kind of store since it was first used.
func (p *Process) probeBucket(ctx context.Context) error {
	return p.Patiently(ctx, "probe the bucket", func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, bucketTimeout)
		defer cancel()
		if err := objstore.Probe(ctx, p.Store); err != nil {
			return fmt.Errorf("probe bucket %s: %w", p.Store, err)
		}
		return nil
	})
}

// identityInterval is how often a process looks whether the bucket is still its own, and leaderInterval how often one does that may lead: what it
// accepts after a recovery, nobody will find.
const (
	identityInterval = time.Minute
	leaderInterval   = 5 * time.Second
)

// WatchIdentity returns when a recovery has put another log in the place of this process's (identity.ErrSucceeded), or ctx ends.
func (p *Process) WatchIdentity(ctx context.Context) error {
	interval := identityInterval
	if p.leads {
		interval = leaderInterval
	}
	for {
		timer := time.NewTimer(interval/2 + rand.N(interval))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
		if err := p.Succeeded(ctx); err != nil {
			return err
		}
	}
}

// Succeeded is identity.ErrSucceeded where a recovery has put another log in the place of this process's, nil where it has not or nobody can tell.
func (p *Process) Succeeded(ctx context.Context) error {
	if err := p.CheckIdentity(ctx); errors.Is(err, identity.ErrSucceeded) {
		return err
	}
	return nil
}

// CheckIdentity says whether the bucket's metadata is still what this process is of.
func (p *Process) CheckIdentity(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, bucketTimeout)
	defer cancel()
	return identity.Check(ctx, p.Store, p.Cluster)
}

// reachBucket opens the store, and waits for one that comes up later. A directory is there or it is not.
func (p *Process) reachBucket(ctx context.Context) (store objstore.Store, err error) {
	if err := open.Validate(p.Config.Bucket); err != nil {
		return nil, err
	}
	if strings.HasPrefix(p.Config.Bucket, "file:") {
		return open.URL(ctx, p.Config.Bucket)
	}
	err = p.Patiently(ctx, "reach the bucket", func(ctx context.Context) (err error) {
		ctx, cancel := context.WithTimeout(ctx, bucketTimeout)
		defer cancel()
		store, err = open.URL(ctx, p.Config.Bucket)
		return err
	})
	return store, err
}

// makeCluster learns whose the bucket is, and makes it this cluster's where it is nobody's; an empty bucket
// does not become the cluster of a directory that holds another's data.
func (p *Process) makeCluster(ctx context.Context, found owner) error {
	return p.Patiently(ctx, "use the bucket", func(ctx context.Context) (err error) {
		ctx, cancel := context.WithTimeout(ctx, bucketTimeout)
		defer cancel()
		if found != (owner{}) {
			if _, err := identity.Load(ctx, p.Store); errors.Is(err, identity.ErrNone) {
				return identity.Refuse(p.Store, fmt.Errorf("it is empty, while --data-dir %s holds data of cluster %s", p.Config.DataDir, found.clusterID))
			}
		}
		p.Cluster, err = identify(ctx, p.Store, p.Config.Metalog)
		return err
	})
}

func identify(ctx context.Context, store objstore.Store, metalog string) (*identity.Cluster, error) {
	if _, err := identity.Load(ctx, store); errors.Is(err, identity.ErrNone) {
		// What fences must be fenced by conditions that the store honours, this object's first.
		if err := objstore.Probe(ctx, store); err != nil {
			return nil, fmt.Errorf("probe bucket %s: %w", store, err)
		}
	}
	cluster, err := identity.LoadOrCreate(ctx, store, metalog)
	if err != nil {
		return nil, fmt.Errorf("identify cluster: %w", err)
	}
	return cluster, nil
}

// lookInterval is how often a process looks, about, whether its bucket has become a cluster's: many may have been started in one moment.
const lookInterval = 200 * time.Millisecond

// awaitCluster waits for a coordinator to make the bucket its own, as long as it takes.
func (p *Process) awaitCluster(ctx context.Context) error {
	told := time.Now()
	for {
		err := p.Patiently(ctx, "read the bucket", func(ctx context.Context) (err error) {
			ctx, cancel := context.WithTimeout(ctx, bucketTimeout)
			defer cancel()
			p.Cluster, err = identity.Load(ctx, p.Store)
			if errors.Is(err, identity.ErrNone) {
				return nil
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("identify cluster: %w", err)
		}
		if p.Cluster != nil {
			return nil
		}
		if time.Since(told) > bucketPatience {
			p.Log.Info("waiting for a coordinator to make the bucket a cluster's", "bucket", p.Store.String())
			told = time.Now().Add(time.Minute)
		}
		timer := time.NewTimer(lookInterval/2 + rand.N(lookInterval))
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
	}
}

// openBus starts the embedded NATS server, where this process is to have it, and connects. Where the log is in the bucket, NATS carries hints alone:
// the process starts without it, too.
func (p *Process) openBus(ctx context.Context, role config.Role) error {
	connect := bus.ConnConfig{
		URL: p.Config.NATSURL, Password: bus.Password(p.Cluster.Secret, p.Cluster.ClusterID), Name: "varve", Logger: p.Log,
		Optional: p.Cluster.Metalog == identity.MetalogBucket,
	}
	if strings.Contains(p.Config.NATSURL, "@") {
		connect.Password = "" // the operator's server, with credentials of its own
	}
	if role&config.RoleCoordinator != 0 && p.Config.NATSURL == "" {
		if err := p.startNATS(ctx); err != nil {
			return err
		}
		connect.Server, connect.URL, connect.Password, connect.Optional = p.server, "", "", false
	}
	// Roles and servers start in any order: only ctx ends the wait.
	slow := time.AfterFunc(natsPatience, func() { p.Log.Warn("waiting for NATS (--nats-url)") })
	defer slow.Stop()
	conn, err := bus.Connect(ctx, connect)
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("connect to NATS: %w", ctx.Err())
	case err != nil:
		return err // names the server, without the credentials that may be in the URL
	}
	p.Bus = conn
	switch {
	case !connect.Optional:
		p.Readiness.Add("nats", conn.Ready)
	case conn.Ready() != nil:
		p.Log.Warn("NATS does not answer (--nats-url): without its hints the log in the bucket is polled", "nats_url", bus.Redact(p.Config.NATSURL))
	}
	return nil
}

// startNATS starts the embedded server, in a cluster with those of the other coordinators where there are any.
func (p *Process) startNATS(ctx context.Context) error {
	if err := p.lockData(); err != nil {
		return err
	}
	c := p.Config
	server := bus.ServerConfig{ListenAddr: c.NATSAddr, Name: "varve", Password: bus.Password(p.Cluster.Secret, p.Cluster.ClusterID), Logger: p.Log}
	if p.Cluster.Metalog == identity.MetalogJetStream {
		server.StoreDir = filepath.Join(c.DataDir, "metalog")
	}
	if len(c.Peers) > 0 {
		// JetStream knows its members by the servers' names.
		server.Name = fmt.Sprintf("varve-%d", c.NodeID)
		server.Cluster = &bus.ClusterConfig{Name: "varve-" + p.Cluster.ClusterID, ListenAddr: c.NATSClusterAddr, ListenFlag: "--nats-cluster-addr"}
		for _, peer := range c.Peers {
			server.Cluster.Routes = append(server.Cluster.Routes, peer.RouteAddress)
		}
	}
	var failed error
	err := p.Persistently(ctx, "start NATS", func(context.Context) error {
		p.server, failed = bus.StartServer(server)
		if errors.Is(failed, bus.ErrDiskFull) {
			return failed // space comes back
		}
		return nil
	})
	if err = cmp.Or(failed, err); err != nil {
		return fmt.Errorf("start NATS: %w", err)
	}
	if server.Cluster != nil && server.StoreDir != "" {
		p.Readiness.Add("jetstream", p.server.Health)
	}
	return nil
}

// lockData keeps a second process from the metadata log's directory.
func (p *Process) lockData() error {
	files := vfs.OS{}
	dir := filepath.ToSlash(p.Config.DataDir)
	if err := files.MkdirAll(dir); err != nil {
		return fmt.Errorf("create data directory (--data-dir %s): %w", p.Config.DataDir, err)
	}
	lock, err := files.Lock(path.Join(dir, "coordinator.lock"))
	if err != nil {
		return fmt.Errorf("lock data directory (--data-dir %s): %w", p.Config.DataDir, err)
	}
	p.lock = lock
	return nil
}

// HasOwnLog tells whether the metadata log is in this process alone, so that nobody else can append to it.
func (p *Process) HasOwnLog() bool {
	return p.server != nil && len(p.Config.Peers) == 0 && p.Cluster.Metalog == identity.MetalogJetStream
}

// RunsNATS tells whether the NATS server that this process is connected to is its own, and ends with it.
func (p *Process) RunsNATS() bool { return p.server != nil }

// StatusAddr is where the status listener listens.
func (p *Process) StatusAddr() string { return p.status.Addr() }

// Close closes what Start opened, in reverse, and waits for it, at most until ctx ends.
func (p *Process) Close(ctx context.Context) error {
	var failed []error
	if p.Internal != nil {
		failed = append(failed, p.Internal.Shutdown(ctx))
	}
	if p.Client != nil {
		p.Client.Close()
	}
	if p.Bus != nil {
		p.Bus.Close()
	}
	if p.server != nil {
		p.server.Shutdown()
	}
	if p.lock != nil {
		failed = append(failed, p.lock.Close())
	}
	if p.Store != nil {
		failed = append(failed, p.Store.Close())
	}
	if p.status != nil {
		failed = append(failed, p.status.Close(ctx))
	}
	return errors.Join(failed...)
}
