package group

import (
	"bytes"
	"slices"
	"time"

	"github.com/varvelog/varve/coordinator/metapb"
)

// Join lets a member into the next generation. answer is called once, when that begins or the join fails.
func (g *Group) Join(now time.Time, r *metapb.GroupJoinRequest, answer func(*metapb.GroupJoinResponse)) {
	refuse := func(code metapb.GroupCode, id string) {
		answer(&metapb.GroupJoinResponse{Code: code, MemberId: id, Generation: noGeneration})
	}
	session := time.Duration(r.SessionTimeoutMillis) * time.Millisecond
	switch {
	case session < g.limits.MinSessionTimeout || session > g.limits.MaxSessionTimeout:
		refuse(metapb.GroupCode_GROUP_INVALID_SESSION_TIMEOUT, r.MemberId)
	case r.ProtocolType == "" || len(r.Protocols) == 0 || !g.accepts(r):
		refuse(metapb.GroupCode_GROUP_INCONSISTENT_PROTOCOL, r.MemberId)
	case r.InstanceId != nil:
		g.joinStatic(now, r, answer)
	case r.MemberId == "":
		g.joinNew(now, r, answer)
	default:
		g.joinKnown(now, r, answer)
	}
}

// accepts tells whether the group and the joiner have a protocol in common. The joiner's own earlier protocols do not count.
func (g *Group) accepts(r *metapb.GroupJoinRequest) bool {
	if len(g.members) > 0 && r.ProtocolType != g.protocolType {
		return false
	}
	others := slices.DeleteFunc(slices.Clone(g.members), func(m *member) bool {
		return m.id == r.MemberId || (r.InstanceId != nil && m.instanceID != nil && *m.instanceID == *r.InstanceId)
	})
	if len(others) == 0 {
		return true
	}
	return slices.ContainsFunc(r.Protocols, func(p *metapb.GroupProtocol) bool {
		return !slices.ContainsFunc(others, func(m *member) bool { return !m.supports(p.Name) })
	})
}

func (g *Group) isFull() bool {
	return g.limits.MaxMembers > 0 && len(g.members)+len(g.pending) >= g.limits.MaxMembers
}

func (g *Group) joinNew(now time.Time, r *metapb.GroupJoinRequest, answer func(*metapb.GroupJoinResponse)) {
	if g.isFull() {
		answer(&metapb.GroupJoinResponse{Code: metapb.GroupCode_GROUP_MAX_SIZE_REACHED, Generation: noGeneration})
		return
	}
	id := g.newID(r.ClientId)
	if r.RequiresKnownMember {
		g.pending[id] = now.Add(time.Duration(r.SessionTimeoutMillis) * time.Millisecond)
		answer(&metapb.GroupJoinResponse{Code: metapb.GroupCode_GROUP_MEMBER_ID_REQUIRED, MemberId: id, Generation: noGeneration})
		return
	}
	g.admit(now, id, r, answer)
}

func (g *Group) joinKnown(now time.Time, r *metapb.GroupJoinRequest, answer func(*metapb.GroupJoinResponse)) {
	if _, pending := g.pending[r.MemberId]; pending {
		delete(g.pending, r.MemberId)
		g.admit(now, r.MemberId, r, answer)
		return
	}
	m := g.member(r.MemberId)
	if m == nil {
		answer(&metapb.GroupJoinResponse{Code: metapb.GroupCode_GROUP_UNKNOWN_MEMBER, MemberId: r.MemberId, Generation: noGeneration})
		return
	}
	g.rejoin(now, m, r, answer)
}

// joinStatic lets a member in under its instance id. One that comes without a member id is a new process of that
// instance, and takes the place of the old one.
func (g *Group) joinStatic(now time.Time, r *metapb.GroupJoinRequest, answer func(*metapb.GroupJoinResponse)) {
	current, known := g.static[*r.InstanceId]
	switch {
	case known && r.MemberId == "":
		g.replaceStatic(now, g.member(current), r, answer)
	case known && r.MemberId != current:
		answer(&metapb.GroupJoinResponse{Code: metapb.GroupCode_GROUP_FENCED_INSTANCE, MemberId: r.MemberId, Generation: noGeneration})
	case known:
		g.rejoin(now, g.member(current), r, answer)
	case r.MemberId != "":
		answer(&metapb.GroupJoinResponse{Code: metapb.GroupCode_GROUP_UNKNOWN_MEMBER, MemberId: r.MemberId, Generation: noGeneration})
	case g.isFull():
		answer(&metapb.GroupJoinResponse{Code: metapb.GroupCode_GROUP_MAX_SIZE_REACHED, Generation: noGeneration})
	default:
		g.admit(now, g.newID(*r.InstanceId), r, answer)
	}
}

// replaceStatic gives the instance a new member id. In a stable group nothing else changes: its assignment stays.
func (g *Group) replaceStatic(now time.Time, m *member, r *metapb.GroupJoinRequest, answer func(*metapb.GroupJoinResponse)) {
	wasLeader := g.leader == m.id
	m.answerJoin(&metapb.GroupJoinResponse{Code: metapb.GroupCode_GROUP_FENCED_INSTANCE, MemberId: m.id, Generation: noGeneration})
	m.answerSync(&metapb.GroupSyncResponse{Code: metapb.GroupCode_GROUP_FENCED_INSTANCE})
	m.id = g.newID(*r.InstanceId)
	g.static[*r.InstanceId] = m.id
	if wasLeader {
		g.leader = m.id
	}
	sameProtocols := sameProtocols(m.protocols, r.Protocols)
	g.update(now, m, r)
	if g.state != Stable || !sameProtocols {
		m.onJoin = answer
		if g.state == Stable || g.state == CompletingRebalance {
			g.prepareRebalance(now)
		}
		g.tryCompleteJoin(now)
		return
	}
	g.store(g.stored(now, g.assignments()))
	// A leader of an older client would assign anew; it is told that another leads, as Kafka does before v9.
	answered := g.joined(m, wasLeader && r.CanSkipAssignment)
	if wasLeader && !r.CanSkipAssignment {
		answered.Members, answered.Leader = nil, "another"
	}
	answer(answered)
}

// rejoin is a join of a member that the group knows.
func (g *Group) rejoin(now time.Time, m *member, r *metapb.GroupJoinRequest, answer func(*metapb.GroupJoinResponse)) {
	changed := !sameProtocols(m.protocols, r.Protocols)
	switch {
	case g.state == CompletingRebalance && !changed, g.state == Stable && !changed && m.id != g.leader:
		// The answer to its last join was lost, or it joins again without a reason to: it is told what counts.
		g.update(now, m, r)
		answer(g.joined(m, false))
		return
	case g.state == CompletingRebalance, g.state == Stable:
		g.update(now, m, r)
		m.onJoin = answer
		g.prepareRebalance(now)
	default:
		g.update(now, m, r)
		m.answerJoin(&metapb.GroupJoinResponse{Code: metapb.GroupCode_GROUP_REBALANCE_IN_PROGRESS, MemberId: m.id, Generation: noGeneration})
		m.onJoin = answer
	}
	g.tryCompleteJoin(now)
}

// admit makes a new member.
func (g *Group) admit(now time.Time, id string, r *metapb.GroupJoinRequest, answer func(*metapb.GroupJoinResponse)) {
	m := &member{id: id, instanceID: r.InstanceId}
	g.update(now, m, r)
	m.onJoin = answer
	g.members = append(g.members, m)
	if m.instanceID != nil {
		g.static[*m.instanceID] = id
	}
	g.protocolType = r.ProtocolType
	if g.state != PreparingRebalance {
		g.prepareRebalance(now)
	} else {
		g.joinEnds = later(g.joinEnds, now.Add(m.rebalanceTimeout))
		if !g.joinOpens.IsZero() { // still gathering the first members
			g.joinOpens = now.Add(g.limits.InitialDelay)
		}
	}
	g.tryCompleteJoin(now)
}

func (g *Group) update(now time.Time, m *member, r *metapb.GroupJoinRequest) {
	m.clientID, m.clientHost, m.protocols, m.canSkip = r.ClientId, r.ClientHost, r.Protocols, r.CanSkipAssignment
	m.sessionTimeout = time.Duration(r.SessionTimeoutMillis) * time.Millisecond
	m.rebalanceTimeout = time.Duration(r.RebalanceTimeoutMillis) * time.Millisecond
	if m.rebalanceTimeout <= 0 {
		m.rebalanceTimeout = m.sessionTimeout
	}
	m.sessionEnds = now.Add(m.sessionTimeout)
}

func sameProtocols(a, b []*metapb.GroupProtocol) bool {
	return slices.EqualFunc(a, b, func(x, y *metapb.GroupProtocol) bool {
		return x.Name == y.Name && bytes.Equal(x.Metadata, y.Metadata)
	})
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
