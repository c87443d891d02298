package coordinatord

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/varvelog/varve/coordinator/archive"
	"github.com/varvelog/varve/coordinator/delivery"
	"github.com/varvelog/varve/coordinator/group"
	"github.com/varvelog/varve/coordinator/identity"
	"github.com/varvelog/varve/coordinator/leader"
	"github.com/varvelog/varve/coordinator/metalog"
	"github.com/varvelog/varve/coordinator/metalog/bucket"
	"github.com/varvelog/varve/coordinator/metalog/jetstream"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/coordinator/replica"
	"github.com/varvelog/varve/infra/bus"
	"github.com/varvelog/varve/infra/objstore"
	"github.com/varvelog/varve/infra/rpc"
	"github.com/varvelog/varve/services/presence"
	"github.com/varvelog/varve/services/process"
)

// Coordinator is a running coordinator that leads.
type Coordinator struct {
	Replica *replica.Replica
	Leader  *leader.Leader
	Groups  *group.Coordinator
	Shares  *delivery.Coordinator

	log     metalog.Log
	stop    context.CancelFunc
	running sync.WaitGroup
	failed  chan error // of the leader, at most one
	cancel  func()     // of the answers to who leads
}

// OpenLog opens the metadata log that the cluster's identity names. create says that this process is a coordinator, which makes a new one.
func OpenLog(ctx context.Context, p *process.Process, create bool) (metalog.Log, error) {
	var log metalog.Log
	var err error
	switch p.Cluster.Metalog {
	case identity.MetalogBucket:
		log, err = bucket.Open(ctx, p.Metadata)
	default:
		log, err = jetstream.Open(ctx, p.Bus, jetstream.Config{
			ClusterID: p.Cluster.LogName(), LogID: p.Cluster.LogID, Replicas: wantedCopies(p), Existing: !create,
		})
		if errors.Is(err, metalog.ErrFewCopies) {
			err = fmt.Errorf("%w: %s", err, fewCopiesRemedy)
		}
		if err == nil && p.Cluster.Recovered() {
			// A recovery leaves the log's first entry in the bucket: it cannot know where the log will be.
			err = archive.Seed(ctx, p.Metadata, p.Cluster.LogID, log)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("open metadata log (%s): %w", p.Cluster.Metalog, err)
	}
	return log, nil
}

// shortPatience is for how long a replicated log may seem too short. A server of JetStream's notices after 10 s at the latest that it was cut off from
// the others.
const shortPatience = 20 * time.Second

// bucketPatience is how long workers' commands wait for a client's where each append is a PUT: a client's that came a little later would wait for theirs.
const bucketPatience = 300 * time.Millisecond

// bucketSnapshotEntries are so many that a process which starts reads what is behind a snapshot in a few seconds, though each takes a GET.
const bucketSnapshotEntries = 2000

// maxReplicas is the most that JetStream keeps of a stream.
const maxReplicas = 5

// OpenReplica opens the metadata log and a replica of its state.
func OpenReplica(ctx context.Context, p *process.Process, create bool) (*replica.Replica, metalog.Log, error) {
	var log metalog.Log
	step := func(ctx context.Context) (err error) {
		log, err = OpenLog(ctx, p, create)
		return err
	}
	wait := p.Patiently
	if p.Cluster.Metalog == identity.MetalogJetStream && !p.HasOwnLog() {
		// Roles, coordinators and servers start in any order, and the log is there when most servers are.
		wait = p.Persistently
	}
	if err := wait(ctx, "open the metadata log", step); err != nil {
		return nil, nil, refuse(p, err)
	}
	config := replica.Config{LogID: p.Cluster.LogID, Log: log, Store: p.Metadata, Logger: p.Log}
	if l, ok := log.(*jetstream.Log); ok && l.Replicated() {
		config.ShortPatience = shortPatience
	}
	var r *replica.Replica
	err := wait(ctx, "read the metadata", func(ctx context.Context) (err error) {
		r, err = replica.Open(ctx, config)
		return err
	})
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("open metadata: %w", err), log.Close())
	}
	observe(p.Registry, r)
	if l, ok := log.(*jetstream.Log); ok && create {
		observeCopies(p, l.Copies())
	}
	return r, log, nil
}

// wantedCopies is how often the log is to be kept in JetStream, 0 where that is not for coordinators to say.
func wantedCopies(p *process.Process) int { return min(len(p.Config.Peers), maxReplicas) }

const fewCopiesRemedy = "have the NATS servers of --nats-url form a JetStream cluster of as many as there are --peers, or leave --nats-url out for coordinators, which then have such a cluster in themselves"

// observeCopies says, as long as the process runs, that the log is kept fewer times than the number of coordinators promises: whoever runs three of them
// counts on outliving a disk.
func observeCopies(p *process.Process, copies int) {
	p.Registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "varve_metalog_copies", Help: "NATS servers that keep the metadata log.",
	}, func() float64 { return float64(copies) }))
	wanted := wantedCopies(p)
	if copies >= wanted {
		return
	}
	few := fmt.Errorf("metadata log is kept %d times, and there are to be %d copies: the loss of one disk is the loss of the log; "+
		"%s, bring the stream there (nats stream backup, restore), and start the coordinators again", copies, wanted, fewCopiesRemedy)
	p.Log.Error(few.Error(), "nats_url", bus.Redact(p.Config.NATSURL))
	p.Readiness.Add("metalog", func() error { return few })
}

// refuse turns a log that does not fit the bucket into the line that says what to do.
func refuse(p *process.Process, err error) error {
	if replica.Final(err) {
		return identity.Refuse(p.Store, err)
	}
	return err
}

// Start takes over as leader. alone says that every role runs in this process, so that nobody else reads the log.
func Start(ctx context.Context, p *process.Process, alone bool) (_ *Coordinator, err error) {
	c := &Coordinator{failed: make(chan error, 1)}
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	c.stop = stop
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Close())
		}
	}()
	if c.Replica, c.log, err = OpenReplica(ctx, p, true); err != nil {
		return nil, err
	}
	config := leaderConfig(p, c.Replica, c.log, newAppends(p.Registry))
	config.Exclusive = alone && p.HasOwnLog()
	config.LeaderAlive = func(ctx context.Context, address string) bool { return leads(ctx, p, address) }
	if c.Leader, err = leader.New(config); err != nil {
		return nil, fmt.Errorf("configure leader: %w", err)
	}
	c.Replica.SetSubmitter(c.Leader)
	p.Registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "varve_metalog_archive_lag_entries", Help: "Metadata entries that are durable and not in the bucket's archive yet.",
	}, func() float64 { return float64(c.Leader.ArchiveLag()) }))
	if err := c.lead(ctx, background); err != nil {
		return nil, err
	}
	c.Groups = group.New(group.Limits{}, c.Replica, p.Log)
	c.Leader.Register(p.Internal)
	group.Register(p.Internal, c.Groups)
	c.Shares = delivery.New(c.Replica, p.Log)
	delivery.Register(p.Internal, c.Shares)
	if c.cancel, err = p.Bus.Respond(bus.LeaderSubject(p.Cluster.ClusterID), c.Leader.AnswerLeader); err != nil {
		return nil, fmt.Errorf("answer who leads: %w", err)
	}
	watcher := presence.New(presence.Config{Client: p.Client, Replica: c.Replica, Self: p.Config.AdvertisedInternalAddr, Gone: c.Leader.NodeGone})
	c.running.Go(func() { watcher.Run(background) })
	p.Readiness.Add("coordinator", c.ready)
	epoch, _ := c.Leader.Leading()
	p.Log.Info("coordinator leads", "epoch", epoch, "seq", c.Replica.Seq(), "metalog", p.Cluster.Metalog, "cluster", p.Cluster.ClusterID, "internal_address", p.Config.AdvertisedInternalAddr)
	return c, nil
}

func leaderConfig(p *process.Process, r *replica.Replica, log metalog.Log, observer leader.Observer) leader.Config {
	hostname, err := os.Hostname()
	if err != nil {
		hostname = "coordinator" // for people only
	}
	var archived objstore.Store
	if p.Cluster.Metalog != identity.MetalogBucket {
		archived = p.Metadata // the bucket is to know what a log elsewhere says
	}
	c := leader.Config{
		Archive: archived, ClusterID: p.Cluster.ClusterID, LogID: p.Cluster.LogID, Log: log, Replica: r, Bus: p.Bus, Key: p.Key,
		InternalAddress: p.Config.AdvertisedInternalAddr, Name: strings.ToValidUTF8(fmt.Sprintf("%s/%d", hostname, os.Getpid()), "?"),
		StoreTime: p.Store.Now, Guard: p.Succeeded, Observer: observer, SnapshotEntries: uint64(p.Config.SnapshotEntries), Logger: p.Log,
	}
	if p.Cluster.Metalog == identity.MetalogBucket {
		c.Patience = bucketPatience
		c.SnapshotEntries = cmp.Or(c.SnapshotEntries, bucketSnapshotEntries)
	}
	if l, ok := log.(*jetstream.Log); ok && l.Replicated() {
		// While the stream's servers elect a leader nobody answers: what is repeated often is answered soon after.
		c.BarrierAppends = true
		c.FirstAppendTimeout, c.AppendTimeout, c.MaxRetryInterval = 200*time.Millisecond, time.Second, 200*time.Millisecond
	}
	return c
}

// leads asks the coordinator at address whether it leads. One of an earlier build, which refuses the question, may.
func leads(ctx context.Context, p *process.Process, address string) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	var answer metapb.PingResponse
	err := p.Client.Call(ctx, address, replica.MethodPing, &metapb.PingRequest{}, &answer)
	return err == nil || errors.Is(err, rpc.ErrUnsigned)
}

// lead runs the leader until stop, and returns when it leads or cannot.
func (c *Coordinator) lead(ctx, background context.Context) error {
	started := make(chan struct{})
	c.running.Go(func() {
		c.failed <- c.Leader.Run(background, func() { close(started) })
	})
	select {
	case <-started:
		return nil
	case err := <-c.failed:
		return fmt.Errorf("take over as leader: %w", err)
	case <-ctx.Done():
		return fmt.Errorf("take over as leader: %w", ctx.Err())
	}
}

// Failed tells why the coordinator has stopped leading.
func (c *Coordinator) Failed() <-chan error { return c.failed }

func (c *Coordinator) ready() error {
	if _, leading := c.Leader.Leading(); !leading {
		return errors.New("does not lead")
	}
	return nil
}

// Close stops leading and closes log and replica.
func (c *Coordinator) Close() error {
	if c.cancel != nil {
		c.cancel()
	}
	if c.Groups != nil {
		c.Groups.Close()
	}
	if c.Shares != nil {
		c.Shares.Close()
	}
	c.stop()
	c.running.Wait()
	if c.Replica != nil {
		c.Replica.Close()
	}
	if c.log != nil {
		return c.log.Close()
	}
	return nil
}
