package group

import (
	"slices"
	"time"

	"github.com/varvelog/varve/coordinator/metapb"
)

// checkShareHeartbeat is what can be said against a request without knowing the group.
func checkShareHeartbeat(r *metapb.ShareHeartbeatRequest) *refusal {
	invalid := func(message string) *refusal { return refuse(metapb.GroupCode_GROUP_INVALID_REQUEST, "%s", message) }
	switch {
	case r.MemberId == "":
		return invalid("MemberId can't be empty.")
	case r.Group == "":
		return invalid("GroupId can't be empty.")
	case r.RackId != nil && *r.RackId == "":
		return invalid("RackId can't be empty.")
	case r.MemberEpoch == epochJoin && len(r.Topics.GetNames()) == 0:
		return invalid("SubscribedTopicNames must be set in first request.")
	case r.MemberEpoch < epochLeave:
		return invalid("MemberEpoch is invalid.")
	}
	return nil
}

// Heartbeat lets a member in, keeps it in and gives it its target, or lets it go (KIP-932). What the answer says counts when it is stored.
func (g *ShareGroup) Heartbeat(now time.Time, c shareCluster, r *metapb.ShareHeartbeatRequest) (*metapb.ShareHeartbeatResponse, *refusal) {
	m := g.members[r.MemberId]
	if r.MemberEpoch == epochLeave {
		if m == nil {
			return nil, g.unknown(r.MemberId)
		}
		g.remove(m)
		return &metapb.ShareHeartbeatResponse{MemberId: r.MemberId, MemberEpoch: r.MemberEpoch}, nil
	}
	if bound := int(c.config.MaxSize); len(g.members) >= bound && m == nil {
		return nil, refuse(metapb.GroupCode_GROUP_MAX_SIZE_REACHED, "The share group has reached its maximum capacity of %d members.", bound)
	}
	switch {
	case m == nil && r.MemberEpoch != epochJoin:
		return nil, g.unknown(r.MemberId)
	case m == nil:
		m = &shareMember{id: r.MemberId, assigned: assignment{}, target: assignment{}}
		g.members[m.id] = m
		g.log.mark(m.id, changedAll)
	default:
		if wrong := m.checkEpoch(r.MemberEpoch); wrong != nil {
			return nil, wrong
		}
	}
	g.refresh(c, g.update(m, r))
	before := m.assigned
	if m.epoch != g.targetEpoch {
		m.previousEpoch, m.epoch, m.assigned = m.epoch, g.targetEpoch, m.target
		g.log.mark(m.id, changedCurrent)
	}
	m.sessionEnds = now.Add(c.session())
	answer := &metapb.ShareHeartbeatResponse{MemberId: m.id, MemberEpoch: m.epoch, HeartbeatIntervalMillis: c.config.HeartbeatMillis}
	if r.MemberEpoch == epochJoin || r.Topics != nil || !before.equal(m.assigned) {
		answer.Assignment = m.assigned.proto()
	}
	return answer, nil
}

func (g *ShareGroup) unknown(id string) *refusal {
	return refuse(metapb.GroupCode_GROUP_UNKNOWN_MEMBER, "Member %s is not a member of group %s.", id, g.name)
}

// checkEpoch fences what is not the member as the group knows it. One that has not heard of its latest epoch may go on from the one before.
func (m *shareMember) checkEpoch(epoch int32) *refusal {
	const advice = "The member must abandon all its partitions and rejoin."
	switch {
	case epoch == m.epoch, epoch < m.epoch && epoch == m.previousEpoch:
		return nil
	case epoch > m.epoch:
		return refuse(metapb.GroupCode_GROUP_FENCED_MEMBER_EPOCH,
			"The share group member has a greater member epoch (%d) than the one known by the group coordinator (%d). %s", epoch, m.epoch, advice)
	}
	return refuse(metapb.GroupCode_GROUP_FENCED_MEMBER_EPOCH,
		"The share group member has a smaller member epoch (%d) than the one known by the group coordinator (%d), and it does not match the previous member epoch (%d). %s",
		epoch, m.epoch, m.previousEpoch, advice)
}

// update takes over what the request says of the member, and tells whether it subscribes to something else.
func (g *ShareGroup) update(m *shareMember, r *metapb.ShareHeartbeatRequest) (subscriptionChanged bool) {
	was := *m
	if r.RackId != nil {
		m.rackID = *r.RackId
	}
	if r.Topics != nil {
		m.topics = sortedNames(r.Topics.Names)
	}
	m.clientID, m.clientHost = r.ClientId, r.ClientHost
	subscriptionChanged = !slices.Equal(m.topics, was.topics)
	if subscriptionChanged || m.rackID != was.rackID || m.clientID != was.clientID || m.clientHost != was.clientHost {
		g.log.mark(m.id, changedSubscription)
	}
	return subscriptionChanged
}
