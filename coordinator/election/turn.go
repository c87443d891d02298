package election

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/varvelog/varve/coordinator/metapb"
)

// goneAnswers is how many answers in a row must say that a peer cannot lead: one alone may come between its election and its lead.
const goneAnswers = 2

// sight is what a member has last seen of a peer.
type sight struct {
	status    *metapb.PeerStatusResponse // of the last answer; nil before the first
	answered  time.Time
	asked     bool // at least once, with whatever outcome
	refused   bool // the last question found nobody listening
	noLead    int  // outcomes in a row that exclude that it leads, since the log named the leader of noLeadIn
	noLeadIn  uint64
	noLeadAt  time.Time     // of the first of them
	contended time.Time     // since when it says that it takes over
	complaint string        // what was last said of it
	hurry     chan struct{} // with room for one: ask it now
}

// standing is a time of standing by.
type standing struct {
	since  time.Time // zero while this process leads, or before its first turn
	ticked time.Time
	jitter time.Duration
}

// losses are leads that did not last.
type losses struct {
	count int
	last  time.Time
}

const (
	// lossForgotten is after how long without one the losses of leads are forgotten.
	lossForgotten = time.Minute
	firstPenalty  = time.Second
	lastPenalty   = 16 * time.Second
)

// see takes note of the outcome of a question to p.
func (m *Member) see(p Peer, status *metapb.PeerStatusResponse, err error, now time.Time) {
	m.complain(p, m.objection(p, status, err))
	if err == nil && status.Peers != m.cfg.Peers.String() {
		// It belongs to another group: what it says does not matter.
		return
	}
	self := m.cfg.Self()
	if err == nil {
		m.noticeEpoch(self, status.KnownEpoch)
		if m.cfg.Heard != nil && !self.Leading && status.Leading && status.Seq > self.Seq {
			m.cfg.Heard(status.Seq)
		}
	}
	if err != nil || status.Contending || (p.Address == self.Leader && !status.Leading) {
		signal(m.stirred)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.mu.seen[p.ID]
	s.asked, s.refused = true, isRefused(err)
	if err == nil {
		s.status, s.answered = status, now
	}
	switch {
	case s.refused, err == nil && !status.Leading:
		if s.noLeadIn != self.Epoch {
			s.noLead, s.noLeadIn = 0, self.Epoch
		}
		if s.noLead++; s.noLead == 1 {
			s.noLeadAt = now
		}
	default:
		s.noLead = 0
	}
	switch {
	case s.refused, err == nil && !status.Contending:
		s.contended = time.Time{}
	case err == nil && s.contended.IsZero():
		s.contended = now
	}
}

// AwaitTurn returns when this member should take over, or when ctx ends. It stands by from the call on.
func (m *Member) AwaitTurn(ctx context.Context) error {
	m.standBy(time.Now())
	defer m.standBy(time.Time{})
	timer := time.NewTimer(m.rest(time.Now()))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-m.yielded:
			m.cfg.Logger.Info("the leader has stopped and asks this coordinator to take over")
			return nil
		case <-timer.C:
		case <-m.stirred:
		}
		why := m.turn(time.Now())
		if why == "" || (why == stalledLeader && !m.logAnswers(ctx)) {
			timer.Reset(m.rest(time.Now()))
			continue
		}
		// Another may have been quicker since it was last asked.
		m.askAll(ctx)
		if m.turn(time.Now()) == why {
			m.cfg.Logger.Info("taking over: " + why)
			return nil
		}
		timer.Reset(m.rest(time.Now()))
	}
}

// rest is how long this member's turn need not be looked at, unless it is stirred. Where the leader is not heard, it has the peers asked.
func (m *Member) rest(now time.Time) time.Duration {
	self := m.cfg.Self()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.hearsLeader(self, now) {
		return m.cfg.Timing.Interval
	}
	for _, s := range m.mu.seen {
		signal(s.hurry)
	}
	return m.cfg.Timing.Interval / 5
}

// hearsLeader tells that the leader which the log names has answered one of the last two questions, and nobody is about to succeed it.
func (m *Member) hearsLeader(self Self, now time.Time) bool {
	if _, gone := m.goneSince(self); gone || m.isContended(now) {
		return false
	}
	return now.Sub(m.heardLeader(self)) <= 2*m.cfg.Timing.Interval
}

// isCalm tells that nothing is to be learnt from p soon: this process leads, or it hears the leader, and p is another.
func (m *Member) isCalm(p Peer, now time.Time) bool {
	self := m.cfg.Self()
	if self.Leading {
		return true
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.mu.seen[p.ID]
	return p.Address != self.Leader && (s.status == nil || !s.status.Leading) && m.hearsLeader(self, now)
}

// askAll asks every peer once more, and does not wait long.
func (m *Member) askAll(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, m.cfg.Timing.Confirm)
	defer cancel()
	var tasks sync.WaitGroup
	for _, p := range m.others {
		tasks.Go(func() {
			if status, err := m.ask(ctx, p.Address); err == nil {
				m.see(p, status, nil, time.Now())
			}
		})
	}
	tasks.Wait()
}

func (m *Member) logAnswers(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, m.cfg.Timing.Timeout)
	defer cancel()
	return m.cfg.LogAnswers != nil && m.cfg.LogAnswers(ctx)
}

func (m *Member) standBy(since time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.standing = standing{since: since, ticked: since, jitter: rand.N(m.cfg.Timing.Stagger / 3)}
	select {
	case <-m.yielded: // of an earlier standing
	default:
	}
}

// Lost takes note that this process has led for so long and was succeeded, or was not even first.
func (m *Member) Lost(led time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if now := time.Now(); led < lossForgotten && now.Sub(m.mu.losses.last) < lossForgotten {
		m.mu.losses = losses{m.mu.losses.count + 1, now}
	} else {
		m.mu.losses = losses{0, now}
	}
}

func (l losses) penalty() time.Duration {
	if l.count == 0 {
		return 0
	}
	return min(firstPenalty<<min(l.count-1, 10), lastPenalty)
}

const stalledLeader = "the leader's log does not answer it"

// turn says why this member should take over, or nothing.
func (m *Member) turn(now time.Time) (why string) {
	self := m.cfg.Self()
	t := &m.cfg.Timing
	m.mu.Lock()
	defer m.mu.Unlock()
	s := &m.mu.standing
	if now.Sub(s.ticked) > t.Silence/2 {
		// This process was asleep. What it has not heard meanwhile says nothing of others.
		s.since = now
	}
	s.ticked = now
	if s.since.IsZero() || m.mu.leaving || self.Leading || m.isContended(now) {
		return ""
	}
	patience := time.Duration(m.rank(now))*t.Stagger + s.jitter + m.mu.losses.penalty()
	if since, gone := m.goneSince(self); gone {
		if now.Sub(later(since, s.since)) >= t.Gone+patience {
			return "there is no leader"
		}
		return ""
	}
	if now.Sub(later(m.heardByAny(self), s.since)) >= t.Silence+patience {
		return "the leader is silent"
	}
	if m.isStalled(self, now, patience) {
		return stalledLeader
	}
	return ""
}

// heardLeader is when the leader that the log names, or a later one, last answered this member.
func (m *Member) heardLeader(self Self) (heard time.Time) {
	for _, p := range m.others {
		if s := m.mu.seen[p.ID]; s.status != nil && s.status.Leading && s.status.KnownEpoch >= self.Epoch {
			heard = later(heard, s.answered)
		}
	}
	return heard
}

// heardByAny is when the leader was last heard by this member, or by one that this member hears.
func (m *Member) heardByAny(self Self) time.Time {
	heard := m.heardLeader(self)
	for _, p := range m.others {
		s := m.mu.seen[p.ID]
		if s.status != nil && !s.status.Leading && s.status.HeardMillis >= 0 && s.status.KnownEpoch >= self.Epoch {
			heard = later(heard, s.answered.Add(-time.Duration(s.status.HeardMillis)*time.Millisecond))
		}
	}
	return heard
}

// goneSince is since when it is certain that the leader which the log names is none any more, and nobody else is.
func (m *Member) goneSince(self Self) (since time.Time, gone bool) {
	named := slices.ContainsFunc(m.others, func(p Peer) bool { return p.Address == self.Leader })
	for _, p := range m.others {
		s := m.mu.seen[p.ID]
		if s.noLead >= goneAnswers && s.noLeadIn == self.Epoch {
			if p.Address == self.Leader || !named {
				since = later(since, s.noLeadAt)
			}
			continue
		}
		// A peer that is silent may lead where nobody is named, and where it is the one named.
		if p.Address == self.Leader || !named || (s.status != nil && s.status.Leading) {
			return time.Time{}, false
		}
	}
	return since, true
}

// rank is how many members that live come before this one.
func (m *Member) rank(now time.Time) (rank int) {
	for _, p := range m.others {
		s := m.mu.seen[p.ID]
		if p.ID < m.cfg.NodeID && m.isFresh(s, now) && !s.status.Leading && !s.status.Leaving {
			rank++
		}
	}
	return rank
}

func (m *Member) isFresh(s *sight, now time.Time) bool {
	return s.status != nil && !s.refused && now.Sub(s.answered) <= m.cfg.Timing.Silence
}

// isContended tells that a peer is taking over.
func (m *Member) isContended(now time.Time) bool {
	for _, s := range m.mu.seen {
		if m.isFresh(s, now) && !s.contended.IsZero() && now.Sub(s.contended) < m.cfg.Timing.Contention {
			return true
		}
	}
	return false
}

func (m *Member) isStalled(self Self, now time.Time, patience time.Duration) bool {
	for _, s := range m.mu.seen {
		if m.isFresh(s, now) && s.status.Leading && s.status.KnownEpoch >= self.Epoch {
			return time.Duration(s.status.StalledMillis)*time.Millisecond >= m.cfg.Timing.Stalled+10*patience
		}
	}
	return false
}

// successors are the peers that could take over, those that were heard last before others, and of them the first in order.
func (m *Member) successors() []Peer {
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	var fresh, others []Peer
	for _, p := range m.others {
		s := m.mu.seen[p.ID]
		switch {
		case m.isFresh(s, now) && !s.status.Leaving:
			fresh = append(fresh, p)
		case !s.refused:
			others = append(others, p)
		}
	}
	return append(fresh, others...)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// jitter is d, a tenth more or less.
func jitter(d time.Duration) time.Duration { return d - d/10 + rand.N(d/5) }
