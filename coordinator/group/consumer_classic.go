package group

import (
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/coordinator/partset"
)

// Members that still use the classic protocol in a consumer group (KIP-848, online migration). The coordinator assigns for them: they
// join and sync as followers, with their member epoch as generation, and are told by heartbeat to join again when there is a step to be made.

// consumerProtocol is the protocol type of consumers, whose metadata and assignments can be read.
const consumerProtocol = "consumer"

// subscriptionOf reads a consumer's metadata.
func subscriptionOf(protocols []*metapb.GroupProtocol) (*kmsg.ConsumerMemberMetadata, bool) {
	if len(protocols) == 0 {
		return nil, false
	}
	return readSubscription(protocols[0].Metadata)
}

func readSubscription(metadata []byte) (*kmsg.ConsumerMemberMetadata, bool) {
	var s kmsg.ConsumerMemberMetadata
	if err := s.ReadFrom(metadata); err != nil {
		return nil, false
	}
	return &s, true
}

// supportsClassic says whether a joiner has a protocol in common with all classic members.
func (g *ConsumerGroup) supportsClassic(r *metapb.GroupJoinRequest) bool {
	if r.ProtocolType != consumerProtocol || len(r.Protocols) == 0 {
		return false
	}
	return slices.ContainsFunc(r.Protocols, func(p *metapb.GroupProtocol) bool {
		for _, m := range g.members {
			if m.classic != nil && m.id != r.MemberId && !slices.ContainsFunc(m.classic.protocols, func(q *metapb.GroupProtocol) bool { return q.Name == p.Name }) {
				return false
			}
		}
		return true
	})
}

// JoinClassic lets a classic member in, or brings it on.
func (g *ConsumerGroup) JoinClassic(now time.Time, c cluster, r *metapb.GroupJoinRequest, newID func(string) string) *metapb.GroupJoinResponse {
	refused := func(code metapb.GroupCode) *metapb.GroupJoinResponse {
		return &metapb.GroupJoinResponse{Code: code, MemberId: r.MemberId, Generation: noGeneration}
	}
	subscription, readable := subscriptionOf(r.Protocols)
	if wrong := g.mayEnter(c, r.MemberId); wrong != nil {
		return refused(wrong.code)
	}
	if !g.supportsClassic(r) || !readable {
		return refused(metapb.GroupCode_GROUP_INCONSISTENT_PROTOCOL)
	}
	id, isNew := r.MemberId, r.MemberId == ""
	if isNew {
		id = newID(r.ClientId)
	}
	if isNew && r.RequiresKnownMember {
		return &metapb.GroupJoinResponse{Code: metapb.GroupCode_GROUP_MEMBER_ID_REQUIRED, MemberId: id, Generation: noGeneration}
	}
	m, code := g.classicJoiner(id, isNew, r.InstanceId)
	if code != metapb.GroupCode_GROUP_OK {
		return refused(code)
	}
	g.refresh(c, g.updateClassic(m, r, subscription))
	owned := ownedPartitions(c.topics, subscription)
	g.reconcile(now, m, &owned)
	m.sessionEnds, m.joinEnds, m.syncEnds = now.Add(m.classic.session), time.Time{}, now.Add(m.rebalanceTimeout)
	return &metapb.GroupJoinResponse{
		Generation: m.epoch, MemberId: m.id, ProtocolType: consumerProtocol, Protocol: m.classic.protocols[0].Name,
	}
}

func (g *ConsumerGroup) classicJoiner(id string, isNew bool, instance *string) (*consumerMember, metapb.GroupCode) {
	if instance == nil {
		if m := g.members[id]; m != nil {
			return m, metapb.GroupCode_GROUP_OK
		}
		return g.add(id), metapb.GroupCode_GROUP_OK
	}
	m := g.static[*instance]
	switch {
	case m == nil && isNew:
		m = g.add(id)
		g.static[*instance] = m
	case m == nil:
		return nil, metapb.GroupCode_GROUP_UNKNOWN_MEMBER
	case isNew:
		g.replace(m, id)
	case m.id != id:
		return nil, metapb.GroupCode_GROUP_FENCED_INSTANCE
	}
	return m, metapb.GroupCode_GROUP_OK
}

func (g *ConsumerGroup) updateClassic(m *consumerMember, r *metapb.GroupJoinRequest, subscription *kmsg.ConsumerMemberMetadata) (subscriptionChanged bool) {
	topics := sortedNames(subscription.Topics)
	subscriptionChanged = !slices.Equal(topics, m.topics) || m.regex != ""
	classic := &classicPart{session: time.Duration(r.SessionTimeoutMillis) * time.Millisecond, protocols: r.Protocols}
	timeout := time.Duration(r.RebalanceTimeoutMillis) * time.Millisecond
	if timeout <= 0 {
		timeout = classic.session
	}
	same := !subscriptionChanged && m.classic != nil && m.classic.session == classic.session && sameProtocols(m.classic.protocols, r.Protocols) &&
		m.rebalanceTimeout == timeout && m.clientID == r.ClientId && m.clientHost == r.ClientHost
	m.topics, m.regex, m.pattern, m.assignor, m.classic, m.rebalanceTimeout = topics, "", nil, "", classic, timeout
	m.clientID, m.clientHost = r.ClientId, r.ClientHost
	if r.InstanceId != nil {
		m.instanceID = *r.InstanceId
	}
	if subscription.Rack != nil {
		m.rackID = *subscription.Rack
	}
	if !same {
		g.log.mark(m.id, changedSubscription)
	}
	return subscriptionChanged
}

func ownedPartitions(topics *catalog, s *kmsg.ConsumerMemberMetadata) assignment {
	owned := assignment{}
	for _, t := range s.OwnedPartitions {
		if info, ok := topics.byName[t.Topic]; ok && len(t.Partitions) > 0 {
			owned[info.id] = partset.Sorted(append(slices.Clone(t.Partitions), owned[info.id]...))
		}
	}
	return owned
}

// findClassic is the classic member a request speaks for.
func (g *ConsumerGroup) findClassic(id string, instance *string) (*consumerMember, metapb.GroupCode) {
	m := g.members[id]
	if instance != nil {
		if m = g.static[*instance]; m != nil && m.id != id {
			return nil, metapb.GroupCode_GROUP_FENCED_INSTANCE
		}
	}
	if m == nil || m.classic == nil {
		return nil, metapb.GroupCode_GROUP_UNKNOWN_MEMBER
	}
	return m, metapb.GroupCode_GROUP_OK
}

// SyncClassic gives a classic member what it may have now.
func (g *ConsumerGroup) SyncClassic(now time.Time, c cluster, r *metapb.GroupSyncRequest) *metapb.GroupSyncResponse {
	m, code := g.findClassic(r.MemberId, r.InstanceId)
	switch {
	case code != metapb.GroupCode_GROUP_OK:
	case r.Generation != m.epoch:
		code = metapb.GroupCode_GROUP_ILLEGAL_GENERATION
	case r.ProtocolType != nil && *r.ProtocolType != consumerProtocol, r.Protocol != nil && *r.Protocol != m.classic.protocols[0].Name:
		code = metapb.GroupCode_GROUP_INCONSISTENT_PROTOCOL
	case g.epoch > m.epoch && m.state != metapb.ConsumerMemberState_CONSUMER_MEMBER_UNREVOKED:
		g.tellToJoin(now, m)
		code = metapb.GroupCode_GROUP_REBALANCE_IN_PROGRESS
	}
	if code != metapb.GroupCode_GROUP_OK {
		return &metapb.GroupSyncResponse{Code: code}
	}
	m.syncEnds, m.sessionEnds = time.Time{}, now.Add(m.classic.session)
	return &metapb.GroupSyncResponse{
		ProtocolType: consumerProtocol, Protocol: m.classic.protocols[0].Name,
		Assignment: classicAssignment(c.topics, m.assigned, metadataVersion(m.classic.protocols)),
	}
}

// tellToJoin gives a classic member its rebalance timeout to join again.
func (g *ConsumerGroup) tellToJoin(now time.Time, m *consumerMember) {
	if m.joinEnds.IsZero() {
		m.joinEnds = now.Add(m.rebalanceTimeout)
	}
}

func metadataVersion(protocols []*metapb.GroupProtocol) int16 {
	if s, ok := subscriptionOf(protocols); ok {
		return s.Version
	}
	return 0
}

// classicAssignment is an assignment as classic consumers read it.
func classicAssignment(topics *catalog, a assignment, version int16) []byte {
	out := kmsg.ConsumerMemberAssignment{Version: version}
	for _, id := range a.topicIDs() {
		if t, ok := topics.byID[id]; ok {
			out.Topics = append(out.Topics, kmsg.ConsumerMemberAssignmentTopic{Topic: t.name, Partitions: a[id]})
		}
	}
	return out.AppendTo(nil)
}

// readAssignment reads one; empty bytes are an empty assignment.
func readAssignment(topics *catalog, b []byte) (assignment, bool) {
	out := assignment{}
	if len(b) == 0 {
		return out, true
	}
	var from kmsg.ConsumerMemberAssignment
	if err := from.ReadFrom(b); err != nil {
		return nil, false
	}
	for _, t := range from.Topics {
		if info, ok := topics.byName[t.Topic]; ok && len(t.Partitions) > 0 {
			out[info.id] = partset.Sorted(append(slices.Clone(t.Partitions), out[info.id]...))
		}
	}
	return out, true
}

// HeartbeatClassic keeps a classic member in the group, and tells it when it has to join again.
func (g *ConsumerGroup) HeartbeatClassic(now time.Time, r *metapb.GroupHeartbeatRequest) metapb.GroupCode {
	m, code := g.findClassic(r.MemberId, r.InstanceId)
	switch {
	case code != metapb.GroupCode_GROUP_OK:
		return code
	case r.Generation != m.epoch:
		return metapb.GroupCode_GROUP_ILLEGAL_GENERATION
	}
	m.sessionEnds = now.Add(m.classic.session)
	if m.epoch < g.epoch || m.state == metapb.ConsumerMemberState_CONSUMER_MEMBER_UNREVOKED ||
		(m.state == metapb.ConsumerMemberState_CONSUMER_MEMBER_UNRELEASED && !g.waits(m)) {
		g.tellToJoin(now, m)
		return metapb.GroupCode_GROUP_REBALANCE_IN_PROGRESS
	}
	return metapb.GroupCode_GROUP_OK
}

// waits says whether something of the member's target is not free yet.
func (g *ConsumerGroup) waits(m *consumerMember) bool {
	for topic, partitions := range m.target {
		for _, p := range partitions {
			if !g.isFree(m, topic, p) {
				return true
			}
		}
	}
	return false
}

// LeaveClassic takes classic members out at once.
func (g *ConsumerGroup) LeaveClassic(leavers []*metapb.GroupLeaver) []*metapb.GroupLeft {
	left := make([]*metapb.GroupLeft, len(leavers))
	for i, l := range leavers {
		left[i] = &metapb.GroupLeft{MemberId: l.MemberId, InstanceId: l.InstanceId}
		id := l.MemberId
		if l.InstanceId != nil && id == "" {
			if m := g.static[*l.InstanceId]; m != nil {
				id = m.id
				left[i].MemberId = id
			}
		}
		m, code := g.findClassic(id, l.InstanceId)
		if left[i].Code = code; m != nil {
			g.remove(m)
		}
	}
	return left
}
