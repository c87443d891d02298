package copies

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
)

var (
	// ErrNoPeer: no other node could be found in time that has the chunk durably.
	ErrNoPeer = errors.New("no other node has a copy")
	// ErrClosed: the Sender is closed.
	ErrClosed = errors.New("sender of copies is closed")
)

// Config says how a Sender works. Peers and Dial are needed; the zero value is the default of the rest.
type Config struct {
	// Peers are the nodes that may have copies now, the preferred first.
	Peers func() []Peer
	// Dial opens a connection that is a Receiver's at the other end.
	Dial func(ctx context.Context, address string) (net.Conn, error)
	// DialTimeout bounds Dial. Default 500 ms.
	DialTimeout time.Duration
	// SlowFactor and SlowMin say when a peer is too slow: when an answer takes longer than SlowFactor times what answers take as a rule,
	// and SlowMin. Defaults 3 and 100 ms.
	SlowFactor float64
	SlowMin    time.Duration
	// GiveUp is how long a chunk may be without a copy, whoever was tried. Default 5 s.
	GiveUp time.Duration
	// Trouble hears why a peer was given up. Nil means nobody does.
	Trouble func(operation string, err error)
}

func (c Config) withDefaults() Config {
	orDefault(&c.DialTimeout, 500*time.Millisecond)
	orDefault(&c.SlowFactor, 3)
	orDefault(&c.SlowMin, 100*time.Millisecond)
	orDefault(&c.GiveUp, 5*time.Second)
	if c.Trouble == nil {
		c.Trouble = func(string, error) {}
	}
	return c
}

func orDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Chunk is a chunk to be copied.
type Chunk struct {
	Header
	// Body must not change before Done. CRC is the CRC-32C of its bytes.
	Body []byte
	CRC  uint32
	// Done is called once, by the Sender's goroutines: it must be quick. err is ErrNoPeer or ErrClosed where there is no copy.
	Done func(made *metapb.ChunkCopy, err error)
}

// pending is a chunk without an answer.
type pending struct {
	Chunk
	id      uint64
	since   time.Time // of Send
	sent    bool      // on the present connection
	writing time.Time // when its frame was begun there
}

// Sender copies chunks to one peer at a time. Its methods may be called concurrently.
type Sender struct {
	config Config
	cancel context.CancelFunc
	done   chan struct{}
	ready  chan struct{} // a chunk to write
	wake   chan struct{} // for who sleeps because nothing is pending

	mu struct {
		sync.Mutex
		pending  []*pending // in order of Send
		nextID   uint64
		sleeping bool
		closed   bool
	}
	health health
}

// NewSender returns a Sender that works until Close. It connects when there is something to send.
func NewSender(config Config) *Sender {
	ctx, cancel := context.WithCancel(context.Background())
	s := &Sender{config: config.withDefaults(), cancel: cancel, done: make(chan struct{}), ready: make(chan struct{}, 1), wake: make(chan struct{}, 1)}
	s.health.peers = make(map[meta.NodeID]*peerHealth)
	go s.run(ctx)
	return s
}

// Send begins to copy a chunk. It does not wait.
func (s *Sender) Send(c Chunk) {
	s.mu.Lock()
	if s.mu.closed {
		s.mu.Unlock()
		c.Done(nil, ErrClosed)
		return
	}
	s.mu.nextID++
	s.mu.pending = append(s.mu.pending, &pending{Chunk: c, id: s.mu.nextID, since: time.Now()})
	wake := s.mu.sleeping
	s.mu.sleeping = false
	s.mu.Unlock()
	signal(s.ready)
	if wake {
		signal(s.wake)
	}
}

// Close ends what is under way: chunks without an answer are done with ErrClosed.
func (s *Sender) Close() {
	s.cancel()
	<-s.done
}

func signal(ch chan<- struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// run goes from peer to peer.
func (s *Sender) run(ctx context.Context) {
	defer close(s.done)
	for ctx.Err() == nil {
		if !s.awaitWork(ctx, nil) {
			break
		}
		peer, wait := s.choose()
		if peer.Node != 0 {
			s.serve(ctx, peer)
		} else {
			pause(ctx, wait)
		}
		s.giveUp()
	}
	s.mu.Lock()
	s.mu.closed = true
	left := s.mu.pending
	s.mu.pending = nil
	s.mu.Unlock()
	for _, p := range left {
		p.Done(nil, ErrClosed)
	}
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// awaitWork sleeps while nothing is pending; false when ctx has ended or the connection, if there is one, has failed.
func (s *Sender) awaitWork(ctx context.Context, failed <-chan error) bool {
	for {
		s.mu.Lock()
		idle := len(s.mu.pending) == 0
		s.mu.sleeping = idle
		s.mu.Unlock()
		if !idle {
			return true
		}
		select {
		case <-s.wake:
		case <-failed:
			return false
		case <-ctx.Done():
			return false
		}
	}
}

// noPeerPoll is how often it is looked for a peer where there is none, or none that is worth another try yet.
const noPeerPoll = 20 * time.Millisecond

// choose returns the peer to go on with, or how long to wait before there may be one. Where all have failed, it is the one that is to be
// tried again first, though not without a pause.
func (s *Sender) choose() (Peer, time.Duration) {
	now := time.Now()
	var least Peer
	var leastUntil time.Time
	for _, p := range s.config.Peers() {
		h := s.health.of(p)
		if h.until.Before(now) {
			return p, 0
		}
		if now.Sub(h.tried) >= minPenalty && (least.Node == 0 || h.until.Before(leastUntil)) {
			least, leastUntil = p, h.until
		}
	}
	return least, noPeerPoll
}

// elsewhere tells whether there is a peer to turn to, other than one.
func (s *Sender) elsewhere(than Peer) bool {
	now := time.Now()
	for _, p := range s.config.Peers() {
		if p != than && s.health.of(p).until.Before(now) {
			return true
		}
	}
	return false
}

// eligible tells whether the peer still is one.
func (s *Sender) eligible(peer Peer) bool {
	for _, p := range s.config.Peers() {
		if p == peer {
			return true
		}
	}
	return false
}

// giveUp ends the chunks that have waited too long.
func (s *Sender) giveUp() {
	now := time.Now()
	s.mu.Lock()
	var left []*pending
	for len(s.mu.pending) > 0 && now.Sub(s.mu.pending[0].since) > s.config.GiveUp {
		left = append(left, s.mu.pending[0])
		s.mu.pending = s.mu.pending[1:]
	}
	if len(left) > 0 {
		// What came behind them must not be taken without them.
		left = append(left, s.mu.pending...)
		s.mu.pending = nil
	}
	s.mu.Unlock()
	for _, p := range left {
		p.Done(nil, ErrNoPeer)
	}
}

// serve sends to one peer until the connection fails, the peer is too slow or not eligible any more, or ctx ends.
func (s *Sender) serve(ctx context.Context, peer Peer) {
	dialing, cancel := context.WithTimeout(ctx, s.config.DialTimeout)
	conn, err := s.config.Dial(dialing, peer.Address)
	cancel()
	if err != nil {
		s.abandon(ctx, peer, fmt.Errorf("connect: %w", err))
		return
	}
	s.begin()
	failed := make(chan error, 2)
	stopped := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() { failed <- s.write(conn, stopped) })
	running.Go(func() { failed <- s.read(conn, peer) })
	err = s.watch(ctx, peer, failed)
	close(stopped)
	_ = conn.Close()
	running.Wait()
	if err != nil {
		s.abandon(ctx, peer, err)
	}
}

// begin counts everything as not sent: a new connection has seen none of it.
func (s *Sender) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.mu.pending {
		p.sent = false
	}
	if len(s.mu.pending) > 0 {
		signal(s.ready)
	}
}

func (s *Sender) abandon(ctx context.Context, peer Peer, err error) {
	if ctx.Err() != nil {
		return
	}
	if !s.health.penalize(peer, errors.Is(err, errSlow)) {
		return
	}
	s.config.Trouble("copy chunks", fmt.Errorf("to node %d at %s: %w", peer.Node, peer.Address, err))
}

var (
	errSlow   = errors.New("it is slow")
	errGone   = errors.New("it is not eligible any more")
	errEnded  = errors.New("the connection has ended")
	errRefuse = errors.New("it refuses a chunk")
)

const (
	// watchInterval is how often it is looked whether answers are late.
	watchInterval = 20 * time.Millisecond
	// restTicks is how many looks find nothing pending before looking stops.
	restTicks = 50
	// homeTicks is how many looks pass between two that ask whether the preferred peer is back.
	homeTicks = 100
)

// watch returns why the connection is to be given up; nil where that is nobody's fault.
func (s *Sender) watch(ctx context.Context, peer Peer, failed <-chan error) error {
	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	for resting, ticks := 0, 1; ; ticks++ {
		select {
		case err := <-failed:
			return err
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if !s.eligible(peer) {
			return errGone
		}
		oldest, pending := s.oldest()
		switch {
		case !pending:
			if ticks%homeTicks == 0 && s.prefersOther(peer) {
				return nil
			}
			if resting++; resting >= restTicks {
				if tick.Stop(); !s.awaitWork(ctx, failed) {
					return errEnded
				}
				tick.Reset(watchInterval)
				resting = 0
			}
		case time.Since(oldest.since) > s.config.GiveUp:
			return errSlow
		case !oldest.writing.IsZero() && time.Since(oldest.writing) > s.health.bound(peer, s.config) && s.elsewhere(peer):
			return errSlow
		default:
			resting = 0
		}
	}
}

// prefersOther tells whether the first of the peers is another one, and well.
func (s *Sender) prefersOther(peer Peer) bool {
	peers := s.config.Peers()
	return len(peers) > 0 && peers[0] != peer && s.health.of(peers[0]).until.Before(time.Now())
}

// oldest is the chunk that has waited longest; writing is the zero time where it is not on its way.
func (s *Sender) oldest() (pending, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.mu.pending) == 0 {
		return pending{}, false
	}
	p := *s.mu.pending[0]
	if !p.sent {
		p.writing = time.Time{}
	}
	return p, true
}
