package lane

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/infra/objstore"
	"github.com/varvelog/varve/infra/objstore/hedge"
	"github.com/varvelog/varve/ingest/chunk"
)

// Dependencies are what a Set works with. All but Peers, Observer and Cache are needed.
type Dependencies struct {
	Log      HotLog
	Store    objstore.Store
	Replica  Replica
	Epochs   Epochs
	Peers    Peers // nil: no other node is to be had, and the class replicated cannot be met
	Observer Observer
	// Cache gets the chunks of the object lane before they are committed, so that those who wait for them need not ask the store.
	Cache ObjectCache
}

// Set is a node's lanes. Its methods may be called concurrently.
//
// Lock order: the replica's lock, a committer's, a Pending's; mu is taken with none of them held, and nothing is called with it
// held that may block.
type Set struct {
	config   Config
	log      HotLog
	store    objstore.Store
	replica  Replica
	epochs   Epochs
	peers    Peers
	observer Observer
	cache    ObjectCache
	budget   *budget
	puts     *tokens
	hedging  *hedge.Policy
	pressure *pressure
	queues   [laneCount]*queue
	pendings sync.Pool
	// current is the epoch in which the lanes work, nil between two.
	current atomic.Pointer[session]

	// outstanding counts requests without all their results.
	outstanding atomic.Int64
	closing     atomic.Bool
	drained     chan struct{} // receives a value when outstanding has come to 0 while closing
	cancel      context.CancelFunc
	done        chan struct{}

	mu struct {
		sync.Mutex
		closed bool
		routes routes
		marks  [laneCount]mark
	}
}

// New returns a Set, none of whose chunks is larger than the log can hold, whose goroutines run until Close. It registers the node's first epoch on its own; what is
// appended before that waits.
func New(config Config, with Dependencies) (*Set, error) {
	if err := config.Validate(); err != nil {
		return nil, fmt.Errorf("configure lanes: %w", err)
	}
	config = config.withDefaults()
	// Header and run table come on top of the batches.
	room := with.Log.MaxChunkBytes() - chunk.HeaderSize - chunk.MaxTableBytes
	config.ChunkBytes = int(max(1, min(int64(config.ChunkBytes), room)))
	ctx, cancel := context.WithCancel(context.Background())
	s := &Set{
		config: config, log: with.Log, store: with.Store, replica: with.Replica, epochs: with.Epochs, peers: with.Peers, observer: with.Observer,
		cache:  with.Cache,
		budget: newBudget(config.BudgetBytes), puts: newTokens(config.PutsPerSecond, config.PutBurst), hedging: hedge.New(config.HedgeMin, config.HedgeShare),
		pressure: newPressure(config.BudgetBytes),
		drained:  make(chan struct{}, 1), cancel: cancel, done: make(chan struct{}),
	}
	if s.observer == nil {
		s.observer = noObserver{}
	}
	if s.peers == nil {
		s.peers = noPeers{}
	}
	if s.cache == nil {
		s.cache = noCache{}
	}
	s.pendings.New = makePending
	for lane := range s.queues {
		s.queues[lane] = newQueue()
	}
	s.mu.routes = newRoutes()
	go s.supervise(ctx)
	return s, nil
}

// Append puts a request's batches into their lanes. The order of calls is the order of commit. It waits only for the byte
// budget, as long as ctx allows, and then returns at once. On error nothing was taken, and Memory is not released.
func (s *Set) Append(ctx context.Context, request Request) (*Pending, error) {
	var bytes int64
	for i := range request.Batches {
		bytes += int64(len(request.Batches[i].Data))
	}
	held, err := s.budget.acquire(ctx, bytes)
	if err != nil {
		return nil, fmt.Errorf("wait for memory of %d bytes: %w", bytes, err)
	}
	p := newPending(s, held, request.Memory, len(request.Batches))
	if !s.enqueue(p, request.Batches) {
		s.budget.release(held)
		p.abandon()
		return nil, ErrClosed
	}
	return p, nil
}

// enqueue routes the batches and wakes their lanes; false if the Set is closed.
func (s *Set) enqueue(p *Pending, batches []Batch) bool {
	var refused []refusal
	s.mu.Lock()
	if s.mu.closed {
		s.mu.Unlock()
		return false
	}
	s.outstanding.Add(1)
	var woken [laneCount]bool
	for i := range batches {
		lane, bad := s.mu.routes.choose(&batches[i], &s.queues)
		if bad != NoFailure {
			refused = append(refused, refusal{int32(i), bad})
			continue
		}
		if s.pressure.overloaded(lane) {
			refused = append(refused, refusal{int32(i), Overloaded})
			s.observer.BatchesFailed(lane, Overloaded, 1)
			continue
		}
		s.pressure.held[lane].Add(int64(len(batches[i].Data)))
		ticket := s.queues[lane].push(entry{Batch: batches[i], pending: p, index: int32(i)})
		s.mu.routes.enqueued(lane, ticket)
		woken[lane] = true
	}
	s.mu.Unlock()
	for lane, wake := range woken {
		if wake {
			s.queues[lane].signal()
		}
	}
	for _, r := range refused {
		p.settle(r.index, Result{Failure: r.failure, BaseOffset: -1, LogStartOffset: -1})
	}
	if len(batches) == 0 {
		p.finish()
	}
	return true
}

// refusal is a batch of a request that goes into no lane.
type refusal struct {
	index   int32
	failure Failure
}

// take moves the batches of lane's next chunk out of its queue.
func (s *Set) take(lane Lane, into []entry) ([]entry, uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.queues[lane].take(into, s.config.ChunkBytes)
}

// takeAll empties lane's queue.
func (s *Set) takeAll(lane Lane) ([]entry, uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.queues[lane]
	entries := append([]entry(nil), q.entries[q.head:]...)
	clear(q.entries)
	q.entries, q.head, q.bytes = q.entries[:0], 0, 0
	return entries, q.enqueued
}

// putBack returns the newest of what was just taken.
func (s *Set) putBack(lane Lane, entries []entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queues[lane].putBack(entries)
}

// queued tells whether anything waits in lane, and whether it fills a chunk.
func (s *Set) queued(lane Lane) (some, full bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.queues[lane]
	return q.len() > 0, q.full(s.config.ChunkBytes)
}

// answered counts a request with all its results, and returns its bytes to the budget.
func (s *Set) answered(bytes int64) {
	s.budget.release(bytes)
	if s.outstanding.Add(-1) == 0 && s.closing.Load() {
		s.signalDrained()
	}
}

func (s *Set) signalDrained() {
	select {
	case s.drained <- struct{}{}:
	default:
	}
}

// ChunkVerdict hears what state made of a chunk. The replica calls it while it applies the log; v and command are not
// kept.
func (s *Set) ChunkVerdict(command *metapb.CommitChunk, v *meta.ChunkVerdict) {
	current := s.current.Load()
	if current == nil || current.registration != (Registration{meta.NodeID(command.GetNodeId()), command.GetNodeEpoch()}) {
		return
	}
	if !current.committer.verdict(command, v) {
		return
	}
	err := fmt.Errorf("chunk %d of lane %d: %s", command.GetSeq(), command.GetLane(), v.Code)
	if v.Code == meta.WrongSeq {
		err = fmt.Errorf("%w: the metadata log has lost chunk %d, which was committed", err, v.Expected)
	}
	current.end(Fenced, err, false)
}

// Fence says that registration is no longer the node's: another incarnation has registered, or the leader says so. What has
// no verdict fails, and the node registers anew.
func (s *Set) Fence(registration Registration) {
	if current := s.current.Load(); current != nil && current.registration == registration {
		current.end(Fenced, errEpochEnded, false)
	}
}

// Registration is what the lanes commit under; false between two epochs.
func (s *Set) Registration() (Registration, bool) {
	current := s.current.Load()
	if current == nil {
		return Registration{}, false
	}
	return current.registration, true
}

// SetPutsPerSecond changes the rate of Config.PutsPerSecond, which must be above 0, from now on.
func (s *Set) SetPutsPerSecond(perSecond float64) {
	s.puts.setRate(perSecond, time.Now())
	s.queues[Object].signal()
}

// Stats is the depth of the queues, for metrics.
type Stats struct {
	Requests      int64 // without all their results
	BudgetedBytes int64
	QueuedBatches [laneCount]int
	QueuedBytes   [laneCount]int64
	HeldBytes     [laneCount]int64 // of batches between Append and result
}

// Stats reads the present depths.
func (s *Set) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	stats := Stats{Requests: s.outstanding.Load(), BudgetedBytes: s.budget.used.Load()}
	for lane, q := range s.queues {
		stats.QueuedBatches[lane], stats.QueuedBytes[lane] = q.len(), q.bytes
		stats.HeldBytes[lane] = s.pressure.held[lane].Load()
	}
	return stats
}

// Close refuses further requests, lets those that are there come to their verdicts as long as ctx allows, answers the rest
// with Closed, and waits for the Set's goroutines. The hot log may be closed after it.
func (s *Set) Close(ctx context.Context) error {
	s.mu.Lock()
	s.mu.closed = true
	s.mu.Unlock()
	s.closing.Store(true)
	var err error
	for s.outstanding.Load() > 0 && err == nil {
		select {
		case <-s.drained:
		case <-ctx.Done():
			err = fmt.Errorf("drain lanes: %w", ctx.Err())
		}
	}
	s.signalDrained() // for another caller of Close
	s.cancel()
	<-s.done
	return err
}
