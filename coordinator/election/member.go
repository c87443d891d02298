package election

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"syscall"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/infra/rpc"
)

// The methods on the internal listener of every coordinator.
const (
	methodStatus = "peer/status"
	methodYield  = "peer/yield"
)

// Timing says how patient a member is. The zero value is the defaults named.
type Timing struct {
	// Interval is the time between two questions to a peer: 250 ms. It is three times as long while there is nothing to be learnt soon: in the leader, and
	// between those who stand by and hear it.
	Interval time.Duration
	// Timeout bounds one question: 1 s.
	Timeout time.Duration
	// Silence is how long a leader may be silent before it is succeeded: 1.5 s.
	Silence time.Duration
	// Gone is the same for a leader that cannot be there: 400 ms.
	Gone time.Duration
	// Stagger is how much longer each member waits than the one before it: 300 ms.
	Stagger time.Duration
	// Confirm bounds the last question to all before taking over: 200 ms.
	Confirm time.Duration
	// Contention is how long a peer that takes over is given before others try, too: 15 s, since the log may need an election of its own.
	Contention time.Duration
	// Stalled is for how long a leader's append may have no answer before a member that reads the log tries: 20 s.
	Stalled time.Duration
}

func (t Timing) withDefaults() Timing {
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&t.Interval, 250 * time.Millisecond}, {&t.Timeout, time.Second}, {&t.Silence, 1500 * time.Millisecond},
		{&t.Gone, 400 * time.Millisecond}, {&t.Stagger, 300 * time.Millisecond}, {&t.Contention, 15 * time.Second},
		{&t.Stalled, 20 * time.Second}, {&t.Confirm, 200 * time.Millisecond},
	} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	return t
}

// Self is what a member knows of itself.
type Self struct {
	// Epoch and Leader are those of the last LeaderStart in its log: 0 and empty for none.
	Epoch  uint64
	Leader string
	// Leading says that this process leads.
	Leading bool
	Seq     uint64
	// Stalled is for how long an append of this leader has had no answer.
	Stalled time.Duration
}

// Caller calls another process's internal listener. *rpc.Client is one.
type Caller interface {
	Call(ctx context.Context, address, method string, request, response proto.Message) error
}

// Config says who a member is.
type Config struct {
	NodeID int
	Peers  Peers
	Caller Caller
	// Self is asked often, and must be quick.
	Self func() Self
	// FeatureLevel is the highest that this process knows.
	FeatureLevel uint32
	// Heard is told how far the leader says that its log is; nil for nobody.
	Heard func(seq uint64)
	// LogAnswers asks the log whether it answers this process. It is asked rarely.
	LogAnswers func(ctx context.Context) bool
	Timing     Timing
	Logger     *slog.Logger
}

// Member is one coordinator's view of its group.
type Member struct {
	cfg      Config
	own      Peer
	others   []Peer
	instance string
	yielded  chan struct{} // with room for one
	deposed  chan struct{} // with room for one
	stirred  chan struct{} // with room for one: a peer has not answered as a leader or its follower does

	mu struct {
		sync.Mutex
		standing   standing
		contending bool
		leaving    bool
		seen       map[int]*sight
		losses     losses
	}
}

// New returns a member that asks nobody before Run. NodeID must be among the peers.
func New(cfg Config) (*Member, error) {
	cfg.Timing = cfg.Timing.withDefaults()
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	m := &Member{cfg: cfg, instance: rand.Text(), yielded: make(chan struct{}, 1), deposed: make(chan struct{}, 1), stirred: make(chan struct{}, 1)}
	m.mu.seen = map[int]*sight{}
	found := false
	if m.own, found = cfg.Peers.Find(cfg.NodeID); !found {
		return nil, fmt.Errorf("node %d is not among the peers %s", cfg.NodeID, cfg.Peers)
	}
	for _, p := range cfg.Peers {
		if p.ID != cfg.NodeID {
			m.others = append(m.others, p)
			m.mu.seen[p.ID] = &sight{hurry: make(chan struct{}, 1)}
		}
	}
	return m, nil
}

// Register serves the member's methods.
func (m *Member) Register(r rpc.Registrar) {
	rpc.Method(r, methodStatus, m.status)
	rpc.Method(r, methodYield, m.yield)
}

// Run asks the peers how they are until ctx ends.
func (m *Member) Run(ctx context.Context) {
	var tasks sync.WaitGroup
	for _, p := range m.others {
		tasks.Go(func() { m.watch(ctx, p) })
	}
	tasks.Wait()
}

// calmIntervals is how many times longer the time between two questions is to a peer from which nothing is to be learnt soon.
const calmIntervals = 3

// watch asks one peer again and again.
func (m *Member) watch(ctx context.Context, p Peer) {
	m.mu.Lock()
	hurry := m.mu.seen[p.ID].hurry
	m.mu.Unlock()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-hurry:
		}
		status, err := m.ask(ctx, p.Address)
		if ctx.Err() != nil {
			return
		}
		now := time.Now()
		m.see(p, status, err, now)
		select {
		case <-hurry: // it was asked
		default:
		}
		wait := m.cfg.Timing.Interval
		if m.isCalm(p, now) {
			wait *= calmIntervals
		}
		timer.Reset(jitter(wait))
	}
}

func (m *Member) ask(ctx context.Context, address string) (*metapb.PeerStatusResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, m.cfg.Timing.Timeout)
	defer cancel()
	answer := &metapb.PeerStatusResponse{}
	err := m.cfg.Caller.Call(ctx, address, methodStatus, &metapb.PeerStatusRequest{NodeId: int32(m.cfg.NodeID), KnownEpoch: m.cfg.Self().Epoch}, answer)
	return answer, err
}

// status answers a peer.
func (m *Member) status(_ context.Context, request *metapb.PeerStatusRequest) (*metapb.PeerStatusResponse, error) {
	self := m.cfg.Self()
	m.noticeEpoch(self, request.KnownEpoch)
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	answer := &metapb.PeerStatusResponse{
		NodeId: int32(m.cfg.NodeID), Peers: m.cfg.Peers.String(), Instance: m.instance, KnownEpoch: self.Epoch, Leading: self.Leading,
		Contending: m.mu.contending, Leaving: m.mu.leaving, Seq: self.Seq, HeardMillis: -1, StalledMillis: self.Stalled.Milliseconds(),
		FeatureLevel: m.cfg.FeatureLevel,
	}
	if heard := m.heardLeader(self); !heard.IsZero() {
		answer.HeardMillis = now.Sub(heard).Milliseconds()
	}
	return answer, nil
}

// yield makes it this member's turn, where it stands by and knows of no later leader.
func (m *Member) yield(_ context.Context, request *metapb.PeerYieldRequest) (*metapb.PeerYieldResponse, error) {
	self := m.cfg.Self()
	m.mu.Lock()
	standsBy := !m.mu.standing.since.IsZero() && !m.mu.leaving
	m.mu.Unlock()
	if self.Leading || !standsBy || self.Epoch > request.Epoch {
		return nil, fmt.Errorf("node %d does not stand by for epoch %d", m.cfg.NodeID, request.Epoch)
	}
	signal(m.yielded)
	return &metapb.PeerYieldResponse{}, nil
}

// Yield asks one peer after the other to take over from this process, which led epoch and has stopped, until one says that it will.
func (m *Member) Yield(ctx context.Context, epoch uint64) error {
	successors := m.successors()
	if len(successors) == 0 {
		return errors.New("nobody stands by to take over")
	}
	var failed []error
	for _, p := range successors {
		bounded, cancel := context.WithTimeout(ctx, m.cfg.Timing.Timeout)
		err := m.cfg.Caller.Call(bounded, p.Address, methodYield, &metapb.PeerYieldRequest{Epoch: epoch}, &metapb.PeerYieldResponse{})
		cancel()
		if err == nil {
			return nil
		}
		failed = append(failed, err)
	}
	return fmt.Errorf("nobody takes over: %w", errors.Join(failed...))
}

// Leave says that this process is about to end, and no turn of its will come.
func (m *Member) Leave() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.leaving = true
}

// PeersSupport is the highest feature level that every peer has said it knows: 0 while one of them is not heard.
func (m *Member) PeersSupport() uint32 {
	m.mu.Lock()
	defer m.mu.Unlock()
	level, now := uint32(math.MaxUint32), time.Now()
	for _, s := range m.mu.seen {
		if !m.isFresh(s, now) {
			return 0
		}
		level = min(level, s.status.FeatureLevel)
	}
	return level
}

// Contend says whether this process is taking over.
func (m *Member) Contend(contending bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.contending = contending
}

// Deposed tells, while this process leads, that a peer knows of a later leader: the log should be asked.
func (m *Member) Deposed() <-chan struct{} { return m.deposed }

func (m *Member) noticeEpoch(self Self, known uint64) {
	if self.Leading && known > self.Epoch {
		signal(m.deposed)
	}
}

// isRefused tells that nobody listens where a peer should.
func isRefused(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }

func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
