package lane

import (
	"context"
	"sync"
	"time"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
)

const (
	// maxSubmission bounds the commands and maxSubmissionBytes the run tables of one submission.
	maxSubmission      = 128
	maxSubmissionBytes = 4 << 20
	// settledGrace is how long a submission may outlast its verdicts: the answer is on its way, or lost.
	settledGrace = 100 * time.Millisecond
)

// stepState is how far a step has come.
type stepState uint8

const (
	stepFilling stepState = iota // its bytes are not durable yet
	stepReady                    // to be submitted
	stepSent                     // in the submission in flight
	stepLogged                   // in the log; the verdict is to come
)

// step is one command of a lane, in the order in which state must see it: a chunk, or the sealing of a hot segment.
type step struct {
	state   stepState
	chunk   *flight // nil for a seal
	command *metapb.Command
	logged  time.Time // of a step that has been in the log
}

// committer brings the steps of the lanes to the log and their verdicts to the producers, for one epoch.
type committer struct {
	set      *Set
	wake     chan struct{}
	commands []*metapb.Command
	turn     int // the lane that is first in the next submission
	// emptied receives a value whenever the last step goes.
	emptied chan struct{}

	mu struct {
		sync.Mutex
		steps [laneCount][]*step
		// sent counts the chunks of the submission in flight that have no verdict.
		sent        int
		cancel      context.CancelFunc
		cancelTimer *time.Timer
		// voided: state has dropped what is in the submission in flight, since the leader that logged it had been succeeded, or since what
		// comes before it is not there. It has to go again, whatever its submitter is told.
		voided bool
	}
}

func newCommitter(set *Set) *committer {
	return &committer{set: set, wake: make(chan struct{}, 1), emptied: make(chan struct{}, 1)}
}

// add puts a step behind the others of its lane.
func (c *committer) add(lane Lane, s *step) {
	isReady := s.state == stepReady
	c.mu.Lock()
	c.mu.steps[lane] = append(c.mu.steps[lane], s)
	c.mu.Unlock()
	if isReady {
		c.signal()
	}
}

// ready marks a step whose bytes have become durable.
func (c *committer) ready(s *step) {
	c.mu.Lock()
	s.state = stepReady
	s.chunk.flushed = time.Now()
	c.mu.Unlock()
	c.signal()
}

func (c *committer) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// run submits until ctx ends.
func (c *committer) run(ctx context.Context) {
	retry := c.set.newRetry()
	for {
		c.gather()
		if len(c.commands) == 0 {
			if !c.awaitWork(ctx) {
				return
			}
			continue
		}
		err := c.submit(ctx)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			retry.reset()
			continue
		}
		c.set.observer.Trouble("submit chunks", err)
		if !retry.wait(ctx) {
			return
		}
	}
}

// awaitWork waits for something to submit, and for verdicts that stay away.
func (c *committer) awaitWork(ctx context.Context) bool {
	var late <-chan time.Time
	if due, some := c.verdictsDue(); some {
		timer := time.NewTimer(time.Until(due))
		defer timer.Stop()
		late = timer.C
	}
	select {
	case <-c.wake:
	case <-late:
	case <-ctx.Done():
		return false
	}
	return true
}

// verdictsDue is when what is in the log without a verdict is taken as not submitted; false where nothing is.
func (c *committer) verdictsDue() (due time.Time, some bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for lane := range c.mu.steps {
		if first := firstLogged(c.mu.steps[lane]); !first.IsZero() && (!some || first.Before(due)) {
			due, some = first, true
		}
	}
	return due.Add(c.set.config.VerdictTimeout), some
}

// firstLogged is when the first step that waits for its verdict was in the log; zero for none.
func firstLogged(steps []*step) time.Time {
	for _, s := range steps {
		if s.state == stepLogged {
			return s.logged
		}
	}
	return time.Time{}
}

func (c *committer) awaitsVerdicts() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.isEmpty()
}

// isEmpty tells whether no step is left. With mu held.
func (c *committer) isEmpty() bool {
	for lane := range c.mu.steps {
		if len(c.mu.steps[lane]) > 0 {
			return false
		}
	}
	return true
}

func rewind(steps []*step, state stepState) {
	for _, s := range steps {
		if s.state == state {
			s.state = stepReady
		}
	}
}

// gather collects the next submission: of each lane what is ready, up to the first step that is not durable. The lanes take turns in being first,
// so that none fills every submission by itself. What has been in the log for too long without a verdict is taken as not submitted: the log knows
// best, and a repeat changes nothing.
func (c *committer) gather() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.commands)
	c.commands = c.commands[:0]
	tableBytes, now := 0, time.Now()
	c.turn = (c.turn + 1) % laneCount
	for i := range laneCount {
		steps := c.mu.steps[(c.turn+i)%laneCount]
		if first := firstLogged(steps); !first.IsZero() && now.Sub(first) >= c.set.config.VerdictTimeout {
			rewind(steps, stepLogged)
		}
		for _, s := range steps {
			if s.state == stepFilling || len(c.commands) == maxSubmission || tableBytes > maxSubmissionBytes {
				break
			}
			if s.state != stepReady {
				continue
			}
			s.state = stepSent
			if s.chunk != nil {
				c.mu.sent++
				tableBytes += s.chunk.tableBytes
			}
			c.commands = append(c.commands, s.command)
		}
	}
}

// submit sends what was gathered and records what became of it. It returns early, with what has no verdict still to do,
// when all verdicts have come and the answer has not.
func (c *committer) submit(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.set.config.SubmitTimeout)
	defer cancel()
	c.mu.Lock()
	c.mu.cancel = cancel
	c.armCancel()
	c.mu.Unlock()

	err := c.set.replica.SubmitChunks(ctx, c.commands)

	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.cancel = nil
	if c.mu.cancelTimer != nil {
		c.mu.cancelTimer.Stop()
		c.mu.cancelTimer = nil
	}
	c.mu.sent = 0
	for lane := range c.mu.steps {
		if err != nil || c.mu.voided {
			rewind(c.mu.steps[lane], stepSent)
			continue
		}
		c.logged(Lane(lane))
	}
	c.mu.voided = false
	return err
}

// logged moves on what the log now holds. Seals have no verdict to wait for. With mu held.
func (c *committer) logged(lane Lane) {
	steps := c.mu.steps[lane]
	kept := steps[:0]
	for _, s := range steps {
		if s.state == stepSent {
			s.state, s.logged = stepLogged, time.Now()
			if s.chunk == nil {
				continue
			}
		}
		kept = append(kept, s)
	}
	clear(steps[len(kept):])
	c.mu.steps[lane] = kept
	c.noteEmpty()
}

// armCancel lets the submission in flight end soon once nothing waits for it. Seals alone are waited for. With mu held.
func (c *committer) armCancel() {
	if c.mu.sent == 0 && c.mu.cancel != nil && c.mu.cancelTimer == nil && !c.sentSeal() {
		c.mu.cancelTimer = time.AfterFunc(settledGrace, c.mu.cancel)
	}
}

func (c *committer) sentSeal() bool {
	for lane := range c.mu.steps {
		for _, s := range c.mu.steps[lane] {
			if s.state == stepSent && s.chunk == nil {
				return true
			}
		}
	}
	return false
}

func (c *committer) noteEmpty() {
	if !c.isEmpty() {
		return
	}
	select {
	case c.emptied <- struct{}{}:
	default:
	}
}

// drain waits until no step is left, or it is hopeless or has taken DrainTimeout, or ctx ends.
func (c *committer) drain(ctx context.Context, hopeless <-chan struct{}) {
	timeout := time.NewTimer(c.set.config.DrainTimeout)
	defer timeout.Stop()
	for c.awaitsVerdicts() {
		select {
		case <-c.emptied:
		case <-hopeless:
			return
		case <-timeout.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// dropUnready answers the chunks whose bytes will not become durable, and with them all behind them in their lane.
func (c *committer) dropUnready(failure Failure) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for lane, steps := range c.mu.steps {
		for i, s := range steps {
			if s.state != stepFilling {
				continue
			}
			failSteps(c.set, steps[i:], failure)
			clear(steps[i:])
			c.mu.steps[lane] = steps[:i]
			break
		}
	}
}

func failSteps(set *Set, steps []*step, failure Failure) {
	for _, s := range steps {
		if s.chunk != nil {
			s.chunk.fail(set, failure)
		}
	}
}

// verdict settles a chunk. It is called while the replica applies the log; v is valid during the call only.
func (c *committer) verdict(command *metapb.CommitChunk, v *meta.ChunkVerdict) (fenced bool) {
	lane := Lane(command.GetLane())
	if lane >= laneCount {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch v.Code {
	case meta.OK:
		c.committed(lane, command.GetSeq(), v)
	case meta.AlreadyCommitted:
		c.forgetBefore(lane, command.GetSeq()+1)
	case meta.WrongSeq:
		return c.missing(lane, v.Expected)
	case meta.StaleLeader:
		c.again(lane)
	default:
		// Fenced; or state will never take this chunk, and so nothing behind it in this epoch.
		return true
	}
	return false
}

// committed settles the chunk with seq. With mu held.
func (c *committer) committed(lane Lane, seq uint64, v *meta.ChunkVerdict) {
	c.forgetBefore(lane, seq)
	i := c.firstChunk(lane)
	if i < 0 || c.mu.steps[lane][i].chunk.seq != seq {
		return
	}
	s := c.mu.steps[lane][i]
	c.remove(lane, i)
	s.chunk.settle(c.set, v)
}

// missing: state expects a chunk that is not in the log, though a later one is. It is submitted again. One that is not here any more was committed and
// answered, and the log has lost it: nothing behind it is ever taken in this epoch. With mu held.
func (c *committer) missing(lane Lane, expected uint64) (lost bool) {
	c.forgetBefore(lane, expected)
	if i := c.firstChunk(lane); i >= 0 && c.mu.steps[lane][i].chunk.seq > expected {
		return true
	}
	c.again(lane)
	return false
}

// again submits what the lane has in the log, or on its way there, once more. With mu held.
func (c *committer) again(lane Lane) {
	c.mu.voided = c.mu.cancel != nil
	rewind(c.mu.steps[lane], stepLogged)
	c.signal()
}

// forgetBefore answers the chunks below seq that have no verdict: they are committed, but the verdicts passed this node by
// (it took up a snapshot), so their offsets are not known. With mu held.
func (c *committer) forgetBefore(lane Lane, seq uint64) {
	for {
		i := c.firstChunk(lane)
		if i < 0 || c.mu.steps[lane][i].chunk.seq >= seq {
			return
		}
		s := c.mu.steps[lane][i]
		c.remove(lane, i)
		s.chunk.fail(c.set, TimedOut)
	}
}

func (c *committer) firstChunk(lane Lane) int {
	for i, s := range c.mu.steps[lane] {
		if s.chunk != nil {
			return i
		}
	}
	return -1
}

// remove takes step i out. With mu held.
func (c *committer) remove(lane Lane, i int) {
	steps := c.mu.steps[lane]
	if steps[i].state == stepSent {
		c.mu.sent--
		c.armCancel()
	}
	copy(steps[i:], steps[i+1:])
	steps[len(steps)-1] = nil
	c.mu.steps[lane] = steps[:len(steps)-1]
	c.noteEmpty()
}

// failAll answers everything that has no verdict. Nothing may refer to the chunks' bytes any more.
func (c *committer) failAll(failure Failure) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for lane, steps := range c.mu.steps {
		failSteps(c.set, steps, failure)
		c.mu.steps[lane] = nil
	}
	c.mu.sent = 0
}

// cover lets batches that were answered without becoming a chunk count as settled: at once, or with the chunk before them.
func (c *committer) cover(lane Lane, ticket uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := len(c.mu.steps[lane]) - 1; i >= 0; i-- {
		if f := c.mu.steps[lane][i].chunk; f != nil {
			f.lastTicket = ticket
			return
		}
	}
	c.set.queues[lane].settled.Store(ticket)
}
