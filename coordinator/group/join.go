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
	switch code := g.limits.checkSession(r); {
	case code != metapb.GroupCode_GROUP_OK:
		refuse(code, r.MemberId)
	case !g.hasRoom(r.MemberId, r.InstanceId):
		g.turnAway(now, r.MemberId)
		refuse(metapb.GroupCode_GROUP_MAX_SIZE_REACHED, "")
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

func (l Limits) checkSession(r *metapb.GroupJoinRequest) metapb.GroupCode {
	session := time.Duration(r.SessionTimeoutMillis) * time.Millisecond
	if session < l.MinSessionTimeout || session > l.MaxSessionTimeout {
		return metapb.GroupCode_GROUP_INVALID_SESSION_TIMEOUT
	}
	return metapb.GroupCode_GROUP_OK
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

// hasRoom bounds the members. While a rebalance is prepared only those who have joined it count, since the others may be gone.
func (g *Group) hasRoom(id string, instance *string) bool {
	bound := g.limits.MaxMembers
	if bound <= 0 || g.state == Empty || g.state == Dead {
		return true
	}
	if instance != nil && id == "" {
		id = g.static[*instance]
	}
	m := g.member(id)
	if g.state != PreparingRebalance {
		return m != nil || len(g.members) < bound
	}
	joined := 0
	for _, other := range g.members {
		if other.awaitsJoin() {
			joined++
		}
	}
	return m != nil && m.awaitsJoin() || joined < bound
}

// turnAway forgets somebody for whom there is no room.
func (g *Group) turnAway(now time.Time, id string) {
	delete(g.pending, id)
	if m := g.member(id); m != nil {
		g.remove(now, m, metapb.GroupCode_GROUP_MAX_SIZE_REACHED)
	}
}

func (g *Group) joinNew(now time.Time, r *metapb.GroupJoinRequest, answer func(*metapb.GroupJoinResponse)) {
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
	default:
		g.admit(now, g.newID(*r.InstanceId), r, answer)
	}
}

// replaceStatic gives the instance a new member id. In a stable group nothing else changes, unless another protocol would be chosen
// now: its assignment stays.
func (g *Group) replaceStatic(now time.Time, m *member, r *metapb.GroupJoinRequest, answer func(*metapb.GroupJoinResponse)) {
	wasLeader, oldLeader := g.leader == m.id, g.leader
	m.answerJoin(&metapb.GroupJoinResponse{Code: metapb.GroupCode_GROUP_FENCED_INSTANCE, MemberId: m.id, Generation: noGeneration})
	m.answerSync(&metapb.GroupSyncResponse{Code: metapb.GroupCode_GROUP_FENCED_INSTANCE})
	m.id = g.newID(*r.InstanceId)
	g.static[*r.InstanceId] = m.id
	if wasLeader {
		g.leader = m.id
	}
	g.update(now, m, r)
	if g.state != Stable || g.chooseProtocol() != g.protocol {
		m.onJoin = answer
		if g.state == Stable || g.state == CompletingRebalance {
			g.prepareRebalance(now)
		}
		g.tryCompleteJoin(now)
		return
	}
	// A leader of an older client would assign anew; it is told that its old self leads, as Kafka does before v9.
	answered := g.joined(m, wasLeader && r.CanSkipAssignment)
	if wasLeader && !r.CanSkipAssignment {
		answered.Members, answered.Leader = nil, oldLeader
	}
	g.store(g.stored(now, g.assignments()), func(_ time.Time, ok bool) {
		if !ok {
			answered = &metapb.GroupJoinResponse{Code: metapb.GroupCode_GROUP_UNAVAILABLE, MemberId: r.MemberId, Generation: noGeneration}
		}
		answer(answered)
	})
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
		if !g.joinOpens.IsZero() { // still gathering the first members
			g.joinOpens = now.Add(g.limits.InitialDelay)
		}
	}
	g.tryCompleteJoin(now)
}

func (g *Group) update(now time.Time, m *member, r *metapb.GroupJoinRequest) {
	m.clientID, m.clientHost, m.protocols = r.ClientId, r.ClientHost, r.Protocols
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
