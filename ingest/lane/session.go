package lane

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

var errEpochEnded = errors.New("the node's epoch has ended")

// session is the lanes' work within one epoch of the node. Chunk numbers begin at 1 in each.
type session struct {
	set          *Set
	registration Registration
	committer    *committer
	hot          *hotWriter
	segments     *segments
	over         chan struct{} // closed by the first end
	hopeless     chan struct{} // closed by the first end without drain

	mu struct {
		sync.Mutex
		failure  Failure
		hopeless bool
	}
}

// end says that the epoch is over and how batches without a verdict are answered: the first call counts. With drain, chunks
// that are flushed may still come to their verdicts. It does not wait.
func (s *session) end(failure Failure, err error, drain bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.isOver() {
		s.mu.failure = failure
		close(s.over)
		s.set.observer.Trouble("end epoch", err)
	}
	if !drain && !s.mu.hopeless {
		s.mu.hopeless = true
		close(s.hopeless)
	}
}

func (s *session) isOver() bool {
	select {
	case <-s.over:
		return true
	default:
		return false
	}
}

func (s *session) failure() Failure {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.failure
}

// supervise goes from epoch to epoch until ctx ends, and then answers all that is left.
func (s *Set) supervise(ctx context.Context) {
	defer close(s.done)
	retry := s.newRetry()
	for ctx.Err() == nil {
		registration, err := s.epochs.Renew(ctx)
		if err != nil {
			if ctx.Err() == nil {
				s.observer.Trouble("register node", err)
				retry.wait(ctx)
			}
			continue
		}
		started := time.Now()
		s.runEpoch(ctx, registration)
		// An epoch that ends as soon as it begins is not followed by the next at once.
		if time.Since(started) > s.config.RetryMax {
			retry.reset()
		}
		retry.wait(ctx)
	}
	s.failQueues(Closed)
}

// runEpoch runs the lanes under registration until the epoch or ctx ends, and answers everything they leave.
func (s *Set) runEpoch(ctx context.Context, registration Registration) {
	epoch := &session{
		set: s, registration: registration, committer: newCommitter(s),
		over: make(chan struct{}), hopeless: make(chan struct{}),
	}
	epoch.segments = newSegments(epoch)
	epoch.hot = &hotWriter{session: epoch}
	s.current.Store(epoch)
	defer s.replica.SubscribeChunks(registration.Node, registration.Epoch, s)()
	s.observer.EpochStarted(registration)

	lanesCtx, stopLanes := context.WithCancel(ctx)
	commitCtx, stopCommit := context.WithCancel(ctx)
	var lanes, commits sync.WaitGroup
	lanes.Go(func() { newLocalLane(epoch).run(lanesCtx) })
	lanes.Go(func() { newObjectLane(epoch).run(lanesCtx) })
	lanes.Go(func() { newReplicatedLane(epoch).run(lanesCtx) })
	lanes.Go(func() { epoch.segments.run(lanesCtx) })
	commits.Go(func() { epoch.committer.run(commitCtx) })

	failure := Closed
	select {
	case <-epoch.over:
		failure = epoch.failure()
	case <-ctx.Done():
	}
	stopLanes()
	lanes.Wait()
	epoch.committer.dropUnready(failure)
	epoch.committer.drain(ctx, epoch.hopeless)
	stopCommit()
	commits.Wait()
	s.current.Store(nil)
	epoch.committer.failAll(failure)
	s.failQueues(failure)
}

// failQueues answers what is in no chunk. Nothing of it is on its way, so all tickets are settled then.
func (s *Set) failQueues(failure Failure) {
	for lane := range laneCount {
		entries, ticket := s.takeAll(Lane(lane))
		failEntries(s, Lane(lane), entries, failure)
		s.queues[lane].settled.Store(ticket)
	}
}

// refuse answers the batches of a chunk that was not written, and all that wait behind it in the lane.
func (s *session) refuse(lane Lane, entries []entry, failure Failure) {
	failEntries(s.set, lane, entries, failure)
	rest, ticket := s.set.takeAll(lane)
	failEntries(s.set, lane, rest, failure)
	s.committer.cover(lane, ticket)
}

// refuseTooLarge answers a chunk that no hot segment can hold, and tells whether it is one. Chunks of several batches fit (Config.ChunkBytes), so it is
// one batch that is too large; what waits behind it goes on.
func (s *session) refuseTooLarge(f *flight) bool {
	if int64(f.sizeBytes) <= s.set.log.MaxChunkBytes() {
		return false
	}
	failEntries(s.set, f.lane, f.entries, TooLarge)
	s.committer.cover(f.lane, f.lastTicket)
	f.abandon()
	return true
}

func chunkError(operation string, f *flight, err error) error {
	return fmt.Errorf("%s chunk %d of lane %s: %w", operation, f.seq, f.lane, err)
}
