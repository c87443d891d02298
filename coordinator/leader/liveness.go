package leader

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/coordinator/replica"
)

const (
	// maxHolds bounds how often the wait of a node that comes and goes is doubled.
	maxHolds = 5
	// steady: a node that was live for so long is taken to be well again.
	steady = time.Minute
)

// hearing remembers when each node was last heard of.
//
// It reckons in time in which this process was awake: where a round of runLiveness comes late, what has passed since it last looked counts for two
// intervals at most. A leader that was paused therefore finds nobody silent when it goes on. The clock on the wall plays no part.
//
// Liveness fences nothing: a node that is taken for silent by mistake goes on committing, and is left out of Metadata answers for a while.
// So the way out is short. The way back is longer, and doubles for a node that comes and goes: clients are not sent to and fro.
type hearing struct {
	awake  time.Duration
	looked time.Time // when awake was last reckoned
	due    time.Time // when the next round is to come
	signs  map[meta.NodeID]*sign
}

// sign is what is known of one epoch of a node. Times are of hearing.awake.
type sign struct {
	epoch  uint64
	heard  time.Duration // last
	since  time.Duration // heard without a gap since
	silent bool          // it had fallen silent, and has to be heard for a while
	holds  int           // how often, within less than steady
}

// look reckons the time since the last look.
func (h *hearing) look(now time.Time, interval time.Duration) {
	elapsed := max(now.Sub(h.looked), 0)
	if now.Sub(h.due) > interval {
		elapsed = min(elapsed, 2*interval) // nobody knows for how much of it the process was paused
	}
	h.awake += elapsed
	h.looked = now
}

// ping notes a sign of life. It says whether there is something to judge before the next round.
func (h *hearing) ping(id meta.NodeID, epoch uint64, timeout time.Duration) (news bool) {
	s := h.signs[id]
	if s == nil || s.epoch != epoch {
		return s == nil || epoch > s.epoch // the next round gives a new epoch its whole timeout
	}
	if h.awake-s.heard > timeout {
		s.since, news = h.awake, true
	}
	s.heard = h.awake
	return news
}

// gone notes that the process of an epoch has died.
func (h *hearing) gone(id meta.NodeID, epoch uint64, timeout time.Duration) {
	if s := h.signs[id]; s != nil && s.epoch == epoch {
		s.heard = h.awake - timeout - 1
	}
}

// judge appends a command for each node that has fallen silent, or has been heard again for long enough.
func (h *hearing) judge(s *meta.State, timeout, hold time.Duration, commands []*metapb.Command) []*metapb.Command {
	for id := range h.signs {
		if s.Node(id) == nil {
			delete(h.signs, id)
		}
	}
	for _, n := range s.Nodes() {
		known := h.signs[n.ID]
		if known == nil || known.epoch != n.Epoch {
			// A new leader, and a new epoch, give a live node the whole timeout.
			h.signs[n.ID] = &sign{epoch: n.Epoch, heard: h.awake, since: h.awake, silent: !n.Live}
			if !n.Live {
				h.signs[n.ID].heard = h.awake - timeout - 1
			}
			continue
		}
		switch silence := h.awake - known.heard; {
		case n.Live && silence > timeout:
			if h.awake-known.since > steady {
				known.holds = 0
			}
			known.holds, known.silent = min(known.holds+1, maxHolds), true
		case !n.Live && silence <= timeout && !n.Draining && (!known.silent || h.awake-known.since >= hold<<max(known.holds-1, 0)):
			known.silent = false
		default:
			continue
		}
		commands = append(commands, &metapb.Command{Kind: &metapb.Command_SetNodeLive{SetNodeLive: &metapb.SetNodeLive{
			NodeId: int32(n.ID), NodeEpoch: n.Epoch, Live: !n.Live,
		}}})
	}
	return commands
}

// restRounds is how many intervals may lie between two rounds while every live node is heard.
const restRounds = 5

// rest is how long the next round can wait: an interval where a node is on its way back, or a live one has been silent for half of the timeout.
func (h *hearing) rest(s *meta.State, timeout, interval time.Duration) time.Duration {
	rest := restRounds * interval
	for _, n := range s.Nodes() {
		known := h.signs[n.ID]
		switch {
		case known == nil || known.epoch != n.Epoch:
			return interval
		case n.Live:
			rest = min(rest, known.heard+timeout/2-h.awake)
		case h.awake-known.heard <= timeout && !n.Draining:
			return interval
		}
	}
	return max(rest, interval)
}

// liveness is the leader's hearing.
type liveness struct {
	wake chan struct{} // with room for one
	mu   struct {
		sync.Mutex
		hearing hearing
	}
}

func (l *liveness) init() {
	l.wake = make(chan struct{}, 1)
	l.mu.hearing.signs = map[meta.NodeID]*sign{}
}

// Ping implements replica.Submitter.
func (l *Leader) Ping(_ context.Context, request *metapb.PingRequest) (*metapb.PingResponse, error) {
	epoch, leading := l.Leading()
	if !leading {
		return nil, replica.ErrNotLeader
	}
	answer := &metapb.PingResponse{LeaderEpoch: epoch}
	id := meta.NodeID(request.NodeId)
	l.cfg.Replica.View(func(s *meta.State) {
		answer.Seq = s.Seq()
		if n := s.Node(id); n != nil {
			answer.Fenced = request.NodeEpoch < n.Epoch
			answer.Away = !n.Live && !n.Draining && len(s.Nodes()) > 1 // an only node names itself
		} else {
			answer.Fenced = s.Dropped(id)
		}
	})
	now := l.cfg.Now()
	l.liveness.mu.Lock()
	l.liveness.mu.hearing.look(now, l.cfg.LivenessInterval)
	news := l.liveness.mu.hearing.ping(id, request.NodeEpoch, l.cfg.NodeTimeout)
	l.liveness.mu.Unlock()
	if news {
		l.wakeLiveness()
	}
	return answer, nil
}

// NodeGone says that the process of a node's epoch has been seen to die. It stops being live at once, unless it is heard again.
func (l *Leader) NodeGone(id meta.NodeID, epoch uint64) {
	l.liveness.mu.Lock()
	l.liveness.mu.hearing.gone(id, epoch, l.cfg.NodeTimeout)
	l.liveness.mu.Unlock()
	l.wakeLiveness()
}

func (l *Leader) wakeLiveness() {
	select {
	case l.liveness.wake <- struct{}{}:
	default:
	}
}

// runLiveness submits which nodes have fallen silent and which are back, and a feature level that everybody knows.
func (l *Leader) runLiveness(ctx context.Context) {
	l.liveness.mu.Lock()
	l.liveness.mu.hearing.looked, l.liveness.mu.hearing.due = l.cfg.Now(), l.cfg.Now()
	l.liveness.mu.Unlock()
	timer := time.NewTimer(l.cfg.LivenessInterval)
	defer timer.Stop()
	var raise raising
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-l.liveness.wake:
		}
		commands, rest := l.judgeNodes()
		timer.Reset(rest)
		if commands = append(commands, l.judgeLevel(&raise, l.cfg.Now())...); len(commands) == 0 {
			continue
		}
		bounded, cancel := context.WithTimeout(ctx, upkeepTimeout)
		_, err := l.queue.submit(bounded, commands)
		cancel()
		if err != nil && !errors.Is(err, replica.ErrNotLeader) {
			l.complain("liveness of nodes, or a feature level, was not logged, trying again", err)
		}
	}
}

// judgeNodes says what is to be logged of nodes, and after how long to judge again.
func (l *Leader) judgeNodes() (commands []*metapb.Command, rest time.Duration) {
	now := l.cfg.Now()
	l.liveness.mu.Lock()
	defer l.liveness.mu.Unlock()
	h := &l.liveness.mu.hearing
	h.look(now, l.cfg.LivenessInterval)
	l.cfg.Replica.View(func(s *meta.State) {
		commands, rest = h.judge(s, l.cfg.NodeTimeout, l.cfg.NodeReturn, nil), h.rest(s, l.cfg.NodeTimeout, l.cfg.LivenessInterval)
	})
	if len(commands) > 0 {
		rest = l.cfg.LivenessInterval
	}
	h.due = now.Add(rest)
	return commands, rest
}
