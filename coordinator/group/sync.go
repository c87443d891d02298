package group

import (
	"time"

	"github.com/varvelog/varve/coordinator/metapb"
)

// Sync gives a member its assignment. answer is called once, when the leader's assignments are durable or the sync fails.
func (g *Group) Sync(now time.Time, r *metapb.GroupSyncRequest, answer func(*metapb.GroupSyncResponse)) {
	refuse := func(code metapb.GroupCode) { answer(&metapb.GroupSyncResponse{Code: code}) }
	m, code := g.find(r.MemberId, r.InstanceId)
	switch {
	case code != metapb.GroupCode_GROUP_OK:
		refuse(code)
		return
	case r.Generation != g.generation:
		refuse(metapb.GroupCode_GROUP_ILLEGAL_GENERATION)
		return
	case r.ProtocolType != nil && *r.ProtocolType != g.protocolType, r.Protocol != nil && *r.Protocol != g.protocol:
		refuse(metapb.GroupCode_GROUP_INCONSISTENT_PROTOCOL)
		return
	}
	m.sessionEnds = now.Add(m.sessionTimeout)
	switch g.state {
	case Empty, Dead:
		refuse(metapb.GroupCode_GROUP_UNKNOWN_MEMBER)
	case PreparingRebalance:
		refuse(metapb.GroupCode_GROUP_REBALANCE_IN_PROGRESS)
	case Stable:
		g.noteSynced(m)
		answer(g.synced(m))
	case CompletingRebalance:
		m.answerSync(&metapb.GroupSyncResponse{Code: metapb.GroupCode_GROUP_REBALANCE_IN_PROGRESS})
		m.onSync = answer
		g.noteSynced(m)
		if m.id == g.leader && !g.storing {
			g.assign(now, r.Assignments)
		}
	}
}

// noteSynced ends the wait for those who have not asked for their assignments, once all have.
func (g *Group) noteSynced(m *member) {
	m.isSynced = true
	for _, other := range g.members {
		if !other.isSynced {
			return
		}
	}
	if g.state == Stable {
		g.syncEnds = time.Time{}
	}
}

func (g *Group) synced(m *member) *metapb.GroupSyncResponse {
	return &metapb.GroupSyncResponse{ProtocolType: g.protocolType, Protocol: g.protocol, Assignment: m.assignment}
}

// assign takes the leader's assignments; they count once they are stored.
func (g *Group) assign(now time.Time, assignments []*metapb.GroupAssignment) {
	given := make(map[string][]byte, len(assignments))
	for _, a := range assignments {
		given[a.MemberId] = a.Assignment
	}
	g.storing = true
	g.store(g.stored(now, given), nil)
}

// Stored tells what became of a store: the group as it was handed over, and whether it is in the log.
func (g *Group) Stored(now time.Time, stored *metapb.StoreGroup, ok bool) {
	if !g.storing || g.state != CompletingRebalance || stored.Generation != g.generation {
		return // the group has moved on
	}
	g.storing = false
	if !ok {
		g.prepareRebalance(now)
		g.tryCompleteJoin(now)
		return
	}
	g.state = Stable
	for _, m := range g.members {
		if m.isSynced {
			g.noteSynced(m)
		}
	}
	for _, kept := range stored.Members {
		if m := g.member(kept.MemberId); m != nil {
			m.assignment, m.held = kept.Assignment, kept.Assignment
		}
	}
	for _, m := range g.members {
		if m.onSync != nil {
			m.sessionEnds = now.Add(m.sessionTimeout)
		}
		m.answerSync(g.synced(m))
	}
}

// Heartbeat keeps a member in the group, and tells it when it has to join again.
func (g *Group) Heartbeat(now time.Time, r *metapb.GroupHeartbeatRequest) metapb.GroupCode {
	m, code := g.find(r.MemberId, r.InstanceId)
	switch {
	case code != metapb.GroupCode_GROUP_OK:
		return code
	case g.state == Empty, g.state == Dead:
		return metapb.GroupCode_GROUP_UNKNOWN_MEMBER
	case r.Generation != g.generation:
		return metapb.GroupCode_GROUP_ILLEGAL_GENERATION
	}
	m.sessionEnds = now.Add(m.sessionTimeout)
	if g.state == PreparingRebalance {
		return metapb.GroupCode_GROUP_REBALANCE_IN_PROGRESS
	}
	return metapb.GroupCode_GROUP_OK
}

// Leave takes members out at once.
func (g *Group) Leave(now time.Time, leavers []*metapb.GroupLeaver) []*metapb.GroupLeft {
	left := make([]*metapb.GroupLeft, len(leavers))
	for i, l := range leavers {
		left[i] = &metapb.GroupLeft{MemberId: l.MemberId, InstanceId: l.InstanceId, Code: g.leave(now, l)}
	}
	return left
}

func (g *Group) leave(now time.Time, l *metapb.GroupLeaver) metapb.GroupCode {
	id := l.MemberId
	if l.InstanceId != nil && id == "" { // an administrator removes an instance, whichever process it is
		id = g.static[*l.InstanceId]
	}
	if _, pending := g.pending[id]; pending {
		delete(g.pending, id)
		g.tryCompleteJoin(now)
		return metapb.GroupCode_GROUP_OK
	}
	m, code := g.find(id, l.InstanceId)
	if code != metapb.GroupCode_GROUP_OK {
		return code
	}
	g.remove(now, m, metapb.GroupCode_GROUP_UNKNOWN_MEMBER)
	return metapb.GroupCode_GROUP_OK
}

// MayCommit judges whether a commit of offsets speaks for the group.
func (g *Group) MayCommit(now time.Time, r *metapb.GroupCommitRequest) metapb.GroupCode {
	if r.Generation < 0 && (g.state == Empty || g.state == Dead) {
		return metapb.GroupCode_GROUP_OK // a consumer that manages its partitions itself, or a tool
	}
	if r.Generation < 0 && r.MemberId == "" && r.InstanceId == nil {
		return metapb.GroupCode_GROUP_UNKNOWN_MEMBER
	}
	if r.Generation >= 0 && len(g.members) == 0 && len(g.pending) == 0 && g.state == Empty && r.MemberId == "" {
		return metapb.GroupCode_GROUP_ILLEGAL_GENERATION
	}
	m, code := g.find(r.MemberId, r.InstanceId)
	switch {
	case code != metapb.GroupCode_GROUP_OK:
		return code
	case r.Generation != g.generation:
		return metapb.GroupCode_GROUP_ILLEGAL_GENERATION
	case g.state == CompletingRebalance:
		return metapb.GroupCode_GROUP_REBALANCE_IN_PROGRESS
	}
	m.sessionEnds = now.Add(m.sessionTimeout)
	return metapb.GroupCode_GROUP_OK
}

// Describe is the group as administrators see it.
func (g *Group) Describe() *metapb.GroupDescribed {
	d := &metapb.GroupDescribed{Group: g.name, State: g.state.String(), ProtocolType: g.protocolType}
	settled := g.state == Stable // before, Kafka tells of no protocol either
	if settled {
		d.Protocol = g.protocol
	}
	for _, m := range g.members {
		shown := &metapb.GroupMember{MemberId: m.id, ClientId: m.clientID, ClientHost: m.clientHost}
		if m.instanceID != nil {
			shown.InstanceId = *m.instanceID
		}
		if settled {
			shown.Protocols = []*metapb.GroupProtocol{{Name: g.protocol, Metadata: m.metadata(g.protocol)}}
			shown.Assignment = m.assignment
		} else if shown.Assignment = m.assignment; len(m.assignment) == 0 {
			shown.Assignment = classicAssignment(nil, nil, 0)
		}
		d.Members = append(d.Members, shown)
	}
	return d
}

// closeAll answers everybody who waits: this coordinator leads no more.
func (g *Group) closeAll() {
	for _, m := range g.members {
		m.answerJoin(&metapb.GroupJoinResponse{Code: metapb.GroupCode_GROUP_UNAVAILABLE, MemberId: m.id, Generation: noGeneration})
		m.answerSync(&metapb.GroupSyncResponse{Code: metapb.GroupCode_GROUP_UNAVAILABLE})
	}
}
