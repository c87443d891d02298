package coordinatord

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"

	"github.com/varvelog/varve/coordinator/election"
	"github.com/varvelog/varve/coordinator/leader"
	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metalog"
	"github.com/varvelog/varve/coordinator/metalog/jetstream"
	"github.com/varvelog/varve/coordinator/replica"
	"github.com/varvelog/varve/infra/bus"
	"github.com/varvelog/varve/infra/rpc"
	"github.com/varvelog/varve/services/process"
)

const (
	// handoverTimeout bounds how long a leader that is told to end waits for its successor.
	handoverTimeout = 3 * time.Second
	// leaveLogTimeout bounds how long a member that is told to end waits until others serve the log.
	leaveLogTimeout = time.Second
)

// MemberConfig says which coordinator of a group a member is, and what it needs of the process around it.
type MemberConfig struct {
	NodeID  int
	Peers   election.Peers
	Address string // of the own internal listener, as Peers have it
	Caller  election.Caller
	Bus     Bus
	Key     *bus.Key
	// Open opens the log and a replica of its state.
	Open func(ctx context.Context) (*replica.Replica, metalog.Log, error)
	// Leader is how to lead; LeaderAlive is the member's.
	Leader func(r *replica.Replica, log metalog.Log) leader.Config
	// LeaveLog has others serve the log where this process does, which is about to end; nil where it does not.
	LeaveLog func(ctx context.Context, log metalog.Log) error
	Log      *slog.Logger
}

// Member is one coordinator of a group: it stands by, leads, and stands by again.
type Member struct {
	cfg      MemberConfig
	election *election.Member
	log      metalog.Log
	replica  atomic.Pointer[replica.Replica] // nil before the log was read
	reign    atomic.Pointer[Reign]           // nil while this process does not lead
	running  sync.WaitGroup
}

// RunMember runs a coordinator of a group until ctx ends or it cannot go on. serving is called when it stands by or leads.
func RunMember(ctx context.Context, p *process.Process, serving func()) error {
	observer := newAppends(p.Registry)
	m, err := NewMember(MemberConfig{
		NodeID: p.Config.NodeID, Peers: p.Config.Peers, Address: p.Config.AdvertisedInternalAddr,
		Caller: p.Client, Bus: p.Bus, Key: p.Key, Log: p.Log,
		Open:   func(ctx context.Context) (*replica.Replica, metalog.Log, error) { return OpenReplica(ctx, p, true) },
		Leader: func(r *replica.Replica, log metalog.Log) leader.Config { return leaderConfig(p, r, log, observer) },
		LeaveLog: func(ctx context.Context, log metalog.Log) error {
			if l, ok := log.(*jetstream.Log); ok && p.RunsNATS() {
				return l.StepAside(ctx)
			}
			return nil
		},
	})
	if err != nil {
		return err
	}
	m.Register(p.Internal)
	p.Internal.Serve()
	m.observe(p.Registry)
	return m.Run(ctx, serving)
}

// NewMember returns a member that Run runs.
func NewMember(cfg MemberConfig) (m *Member, err error) {
	m = &Member{cfg: cfg}
	m.election, err = election.New(election.Config{
		NodeID: cfg.NodeID, Peers: cfg.Peers, Caller: cfg.Caller, Self: m.self, Heard: m.heard, LogAnswers: m.logAnswers, Logger: cfg.Log,
		FeatureLevel: meta.FeatureLevel,
	})
	return m, err
}

// Register has the internal listener serve what a member serves. It must serve before Run.
func (m *Member) Register(internal *rpc.Server) {
	m.election.Register(internal)
	internal.HandleOthers(m.find)
}

// Run stands by and leads until ctx ends or the member cannot go on. serving is called when it has read the log.
func (m *Member) Run(ctx context.Context, serving func()) (err error) {
	if err := m.election.Check(ctx); err != nil {
		return err
	}
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	m.running.Go(func() { m.election.Run(background) })
	defer m.running.Wait()
	defer stop()
	r, log, err := m.cfg.Open(ctx)
	if err != nil {
		return err
	}
	m.log = log
	m.replica.Store(r)
	defer func() {
		r.Close()
		err = errors.Join(err, log.Close())
	}()
	serving()
	err = m.run(ctx)
	if ctx.Err() != nil {
		m.leaveLog()
		return nil
	}
	return err
}

// run stands by and leads in turn.
func (m *Member) run(ctx context.Context) error {
	for {
		if err := m.standBy(ctx); err != nil {
			return err
		}
		if err := m.lead(ctx); err != nil {
			return err
		}
	}
}

// standBy follows the log until it is this member's turn to lead.
func (m *Member) standBy(ctx context.Context) error {
	m.cfg.Log.Info("coordinator stands by", "node", m.cfg.NodeID, "seq", m.replica.Load().Seq())
	following, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var follower sync.WaitGroup
	follower.Go(func() {
		if err := m.replica.Load().Follow(following, m.cfg.Bus, m.cfg.Key); err != nil {
			stop(err)
		}
	})
	err := m.election.AwaitTurn(following)
	if err != nil {
		err = fmt.Errorf("stand by: %w", context.Cause(following))
	}
	stop(nil)
	follower.Wait()
	return err
}

// lead takes over, and returns nil when another has, or was first.
func (m *Member) lead(ctx context.Context) error {
	r := m.replica.Load()
	began := time.Now()
	m.election.Contend(true)
	n, err := Begin(ctx, m.cfg.Bus, m.leaderConfig())
	m.election.Contend(false)
	if err == nil {
		m.reign.Store(n)
		epoch, _ := n.Leader.Leading()
		m.cfg.Log.Info("coordinator leads", "epoch", epoch, "seq", r.Seq(), "cluster", m.cfg.Key.ClusterID(), "internal_address", m.cfg.Address,
			"took", time.Since(began))
		err = m.await(ctx, n)
		m.reign.Store(nil)
		n.End()
		if ctx.Err() != nil {
			return m.handOver(ctx, epoch)
		}
	}
	if errors.Is(err, leader.ErrFenced) || errors.Is(err, leader.ErrLeaderAlive) {
		m.cfg.Log.Info("another coordinator leads", "reason", err)
		m.election.Lost(time.Since(began))
		return nil
	}
	return err
}

// await returns when the leader has stopped or has to.
func (m *Member) await(ctx context.Context, n *Reign) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-n.Ended():
			return n.Err()
		case <-m.election.Deposed():
			if err := n.Leader.Doubt(ctx); err != nil {
				m.cfg.Log.Warn("a peer knows of a later leader", "error", err)
			}
		}
	}
}

// handOver has a peer take over, and returns when it has, so that whoever asks here is told where to go.
func (m *Member) handOver(ctx context.Context, epoch uint64) error {
	stopping := ctx.Err()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), handoverTimeout)
	defer cancel()
	m.election.Leave()
	m.leaveLog() // now, while nobody appends
	if err := m.election.Yield(ctx, epoch); err != nil {
		m.cfg.Log.Warn("leader stops without a successor", "error", err)
		return stopping
	}
	r := m.replica.Load()
	following, stop := context.WithCancel(ctx)
	var follower sync.WaitGroup
	defer follower.Wait()
	defer stop()
	follower.Go(func() { _ = r.Follow(following, m.cfg.Bus, m.cfg.Key) })
	if err := r.AwaitLeader(ctx, epoch+1); err != nil {
		m.cfg.Log.Warn("leader stops without having heard of its successor", "error", err)
		return stopping
	}
	m.cfg.Log.Info("another coordinator leads", "epoch", r.LeaderEpoch())
	return stopping
}

// leaveLog has others serve the log before this process ends: whoever appends would notice otherwise.
func (m *Member) leaveLog() {
	if m.cfg.LeaveLog == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), leaveLogTimeout)
	defer cancel()
	if err := m.cfg.LeaveLog(ctx, m.log); err != nil {
		m.cfg.Log.Warn("nobody else serves the metadata log yet: appends will wait", "error", err)
	}
}

// self is what the election needs to know of this process.
func (m *Member) self() (s election.Self) {
	r := m.replica.Load()
	if r == nil {
		return s
	}
	r.View(func(state *meta.State) {
		s.Epoch, s.Leader, s.Seq = state.LeaderEpoch(), state.LeaderAddress(), state.Seq()
	})
	if n := m.reign.Load(); n != nil {
		_, s.Leading = n.Leader.Leading()
		s.Stalled = n.Leader.Stalled()
	}
	return s
}

// heard has the log read that far, where hints of it stay away.
func (m *Member) heard(seq uint64) {
	if r := m.replica.Load(); r != nil {
		r.Expect(seq)
	}
}

func (m *Member) logAnswers(ctx context.Context) bool {
	_, _, err := m.log.Bounds(ctx)
	return err == nil
}

// find returns what serves a method: the reign's handler, else one that says where the leader is.
func (m *Member) find(method string) rpc.Handler {
	if n := m.reign.Load(); n != nil {
		return n.Handler(method)
	}
	return func(context.Context, []byte) (proto.Message, error) {
		address := m.self().Leader
		if address == "" || address == m.cfg.Address {
			return nil, replica.ErrNotLeader
		}
		return nil, rpc.NotLeader(replica.ErrNotLeader, address)
	}
}

// leaderConfig is that of a leader that takes over from whom the log names now. Whoever is named later was first.
func (m *Member) leaderConfig() leader.Config {
	c := m.cfg.Leader(m.replica.Load(), m.log)
	c.PeersSupport = m.election.PeersSupport
	former := m.self().Leader
	c.LeaderAlive = func(_ context.Context, address string) bool { return address != former }
	return c
}

func (m *Member) observe(registry *prometheus.Registry) {
	gauge := func(name, help string, value func(*Reign) float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 {
			if n := m.reign.Load(); n != nil {
				return value(n)
			}
			return 0
		})
	}
	registry.MustRegister(
		gauge("varve_coordinator_leading", "1 where this coordinator leads, 0 where it stands by.", func(*Reign) float64 { return 1 }),
		gauge("varve_metalog_archive_lag_entries", "Metadata entries that are durable and not in the bucket's archive yet.", func(n *Reign) float64 {
			return float64(n.Leader.ArchiveLag())
		}),
	)
}
