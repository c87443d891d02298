package group

import (
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/coordinator/partset"
)

// refusal is why a request is not done.
type refusal struct {
	code    metapb.GroupCode
	message string
}

func refuse(code metapb.GroupCode, format string, args ...any) *refusal {
	return &refusal{code, fmt.Sprintf(format, args...)}
}

// checkHeartbeat is what can be said against a request without knowing the group.
func checkHeartbeat(r *metapb.ConsumerHeartbeatRequest) *refusal {
	invalid := func(message string) *refusal { return refuse(metapb.GroupCode_GROUP_INVALID_REQUEST, "%s", message) }
	isEmpty := func(s *string) bool { return s != nil && *s == "" }
	switch {
	case (r.Version >= 1 || r.MemberEpoch > epochJoin || r.MemberEpoch == epochLeave) && r.MemberId == "":
		return invalid("MemberId can't be empty.")
	case r.Group == "":
		return invalid("GroupId can't be empty.")
	case isEmpty(r.InstanceId):
		return invalid("InstanceId can't be empty.")
	case isEmpty(r.RackId):
		return invalid("RackId can't be empty.")
	case r.MemberEpoch == epochJoin && r.RebalanceTimeoutMillis == -1:
		return invalid("RebalanceTimeoutMs must be provided in first request.")
	case r.MemberEpoch == epochJoin && (r.Owned == nil || len(r.Owned.Topics) > 0):
		return invalid("TopicPartitions must be empty when (re-)joining.")
	case r.MemberEpoch == epochJoin && r.Topics == nil && r.TopicRegex == nil:
		return invalid("Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.")
	case r.MemberEpoch == epochAwayStatic && r.InstanceId == nil:
		return invalid("InstanceId can't be null.")
	case r.MemberEpoch < epochAwayStatic:
		return invalid("MemberEpoch is invalid.")
	case r.ServerAssignor != nil && *r.ServerAssignor != assignorUniform && *r.ServerAssignor != assignorRange:
		return refuse(metapb.GroupCode_GROUP_UNSUPPORTED_ASSIGNOR, "ServerAssignor %s is not supported. Supported assignors: uniform, range.", *r.ServerAssignor)
	}
	return nil
}

// Heartbeat lets a member in, keeps it in and brings it on, or lets it go (KIP-848). What the answer says counts when it is
// stored. newID is for members of version 0, which are given their ids.
func (g *ConsumerGroup) Heartbeat(now time.Time, c cluster, r *metapb.ConsumerHeartbeatRequest, newID func() string) (*metapb.ConsumerHeartbeatResponse, *refusal) {
	if r.MemberEpoch < epochJoin {
		return g.leave(r)
	}
	if wrong := g.mayEnter(c, r.MemberId); wrong != nil {
		return nil, wrong
	}
	pattern, err := compileTopicRegex(r.GetTopicRegex())
	if err != nil {
		return nil, refuse(metapb.GroupCode_GROUP_INVALID_REGEX, "SubscribedTopicRegex `%s` is not a valid regular expression: %s.", r.GetTopicRegex(), err)
	}
	if r.MemberId == "" {
		r.MemberId = newID()
	}
	m, wrong := g.speaker(r)
	if wrong != nil {
		return nil, wrong
	}
	before := m.assigned
	g.refresh(c, g.update(m, r, pattern))
	var owned *assignment
	if r.Owned != nil {
		o := assignmentOf(r.Owned)
		owned = &o
	}
	g.reconcile(now, m, owned)
	m.sessionEnds, m.joinEnds, m.syncEnds = now.Add(m.session(c.session())), time.Time{}, time.Time{}

	answer := &metapb.ConsumerHeartbeatResponse{MemberId: m.id, MemberEpoch: m.epoch, HeartbeatIntervalMillis: c.config.ConsumerHeartbeatMillis}
	isFull := r.MemberEpoch == epochJoin || (r.RebalanceTimeoutMillis != -1 && (r.Topics != nil || r.TopicRegex != nil) && r.Owned != nil)
	if isFull || !before.equal(m.assigned) {
		answer.Assignment = m.assigned.proto()
	}
	return answer, nil
}

func (g *ConsumerGroup) mayEnter(c cluster, id string) *refusal {
	if bound := int(c.config.ConsumerMaxSize); len(g.members) >= bound && g.members[id] == nil {
		return refuse(metapb.GroupCode_GROUP_MAX_SIZE_REACHED, "The consumer group has reached its maximum capacity of %d members.", bound)
	}
	return nil
}

// speaker is the member that a heartbeat speaks for; one that joins is made, or takes the place of its instance.
func (g *ConsumerGroup) speaker(r *metapb.ConsumerHeartbeatRequest) (*consumerMember, *refusal) {
	joins := r.MemberEpoch == epochJoin
	if r.InstanceId == nil {
		m := g.members[r.MemberId]
		switch {
		case m == nil && joins:
			return g.add(r.MemberId), nil
		case m == nil:
			return nil, g.unknown(r.MemberId)
		}
		return m, m.checkEpoch(r)
	}
	m := g.static[*r.InstanceId]
	switch {
	case m == nil && joins:
		if m = g.members[r.MemberId]; m == nil {
			m = g.add(r.MemberId)
		}
		g.static[*r.InstanceId] = m
		return m, nil
	case m == nil:
		return nil, refuse(metapb.GroupCode_GROUP_UNKNOWN_MEMBER, "Instance id %s is unknown.", *r.InstanceId)
	case m.id == r.MemberId:
		return m, m.checkEpoch(r)
	case !joins:
		return nil, refuse(metapb.GroupCode_GROUP_FENCED_INSTANCE, "Static member %s with instance id %s was fenced by member %s.", r.MemberId, *r.InstanceId, m.id)
	case m.epoch != epochAwayStatic && m.classic == nil:
		return nil, refuse(metapb.GroupCode_GROUP_UNRELEASED_INSTANCE,
			"Static member %s with instance id %s cannot join the group because the instance id is owned by %s member.", r.MemberId, *r.InstanceId, m.id)
	}
	g.replace(m, r.MemberId)
	return m, nil
}

func (g *ConsumerGroup) unknown(id string) *refusal {
	return refuse(metapb.GroupCode_GROUP_UNKNOWN_MEMBER, "Member %s is not a member of group %s.", id, g.name)
}

// checkEpoch fences what is not the member as the group knows it. One that has not heard of its latest epoch may go on from the one
// before, and one that begins anew (0) is taken for what it is: a client that was not answered, or was fenced.
func (m *consumerMember) checkEpoch(r *metapb.ConsumerHeartbeatRequest) *refusal {
	const advice = "The member must abandon all its partitions and rejoin."
	switch {
	case r.MemberEpoch == m.epoch, r.MemberEpoch == epochJoin:
		return nil
	case r.MemberEpoch > m.epoch:
		return refuse(metapb.GroupCode_GROUP_FENCED_MEMBER_EPOCH,
			"The consumer group member has a greater member epoch (%d) than the one known by the group coordinator (%d). %s", r.MemberEpoch, m.epoch, advice)
	case r.MemberEpoch == m.previousEpoch && r.Owned != nil && assignmentOf(r.Owned).within(m.assigned):
		return nil
	}
	return refuse(metapb.GroupCode_GROUP_FENCED_MEMBER_EPOCH,
		"The consumer group member has a smaller member epoch (%d) than the one known by the group coordinator (%d). %s", r.MemberEpoch, m.epoch, advice)
}

// update takes over what the request says of the member, and tells whether it subscribes to something else.
func (g *ConsumerGroup) update(m *consumerMember, r *metapb.ConsumerHeartbeatRequest, pattern *regexp.Regexp) (subscriptionChanged bool) {
	was := *m
	if r.InstanceId != nil {
		m.instanceID = *r.InstanceId
	}
	if r.RackId != nil {
		m.rackID = *r.RackId
	}
	if r.RebalanceTimeoutMillis != -1 {
		m.rebalanceTimeout = time.Duration(r.RebalanceTimeoutMillis) * time.Millisecond
	}
	if r.ServerAssignor != nil {
		m.assignor = *r.ServerAssignor
	}
	if r.Topics != nil {
		m.topics = sortedNames(r.Topics.Names)
	}
	if r.TopicRegex != nil {
		m.regex, m.pattern = *r.TopicRegex, pattern
	}
	m.clientID, m.clientHost, m.classic = r.ClientId, r.ClientHost, nil
	subscriptionChanged = !slices.Equal(m.topics, was.topics) || m.regex != was.regex
	if subscriptionChanged || m.instanceID != was.instanceID || m.rackID != was.rackID || m.rebalanceTimeout != was.rebalanceTimeout ||
		m.assignor != was.assignor || m.clientID != was.clientID || m.clientHost != was.clientHost || was.classic != nil {
		g.log.mark(m.id, changedSubscription)
	}
	return subscriptionChanged
}

func sortedNames(names []string) []string {
	names = slices.Clone(names)
	slices.Sort(names)
	return slices.Compact(names)
}

// reconcile brings a member a step on towards its target. owned is what it says it has; nil where it does not say.
func (g *ConsumerGroup) reconcile(now time.Time, m *consumerMember, owned *assignment) {
	switch {
	case m.isSettled(g.targetEpoch):
	case m.state == metapb.ConsumerMemberState_CONSUMER_MEMBER_UNREVOKED:
		if !stillOwns(owned, m.revoking) {
			g.step(now, m, m.epoch+1, owned)
		}
	default:
		g.step(now, m, m.epoch, owned)
	}
}

func stillOwns(owned *assignment, any assignment) bool {
	if owned == nil {
		return true
	}
	return partset.Any(*owned, any.has)
}

// step computes what a member may have now. Where it has to give something up, it stays at epoch until it says that it did.
func (g *ConsumerGroup) step(now time.Time, m *consumerMember, epoch int32, owned *assignment) {
	kept := m.assigned.and(m.target)
	revoking := m.assigned.minus(kept)
	if len(revoking) > 0 && stillOwns(owned, revoking) {
		g.settle(m, metapb.ConsumerMemberState_CONSUMER_MEMBER_UNREVOKED, epoch, kept, revoking)
		m.rebalanceEnds = time.Time{}
		if m.classic == nil {
			m.rebalanceEnds = now.Add(m.rebalanceTimeout)
		}
		return
	}
	missing := m.target.minus(kept)
	free := missing.filter(func(t meta.TopicID, p int32) bool { return g.isFree(m, t, p) })
	state := metapb.ConsumerMemberState_CONSUMER_MEMBER_STABLE
	if free.count() < missing.count() {
		state = metapb.ConsumerMemberState_CONSUMER_MEMBER_UNRELEASED
	}
	g.settle(m, state, g.targetEpoch, kept.plus(free), assignment{})
	m.rebalanceEnds = time.Time{}
}

func (g *ConsumerGroup) settle(m *consumerMember, state metapb.ConsumerMemberState, epoch int32, assigned, revoking assignment) {
	moved := !assigned.equal(m.assigned) || !revoking.equal(m.revoking)
	if !moved && state == m.state && epoch == m.epoch {
		return
	}
	if moved {
		g.disown(m)
		m.assigned, m.revoking = assigned, revoking
		g.own(m, assigned.plus(revoking))
	}
	if epoch != m.epoch {
		m.previousEpoch, m.epoch = m.epoch, epoch
	}
	m.state = state
	g.log.mark(m.id, changedCurrent)
}

// leave takes a member out, or notes that a static one is away.
func (g *ConsumerGroup) leave(r *metapb.ConsumerHeartbeatRequest) (*metapb.ConsumerHeartbeatResponse, *refusal) {
	answer := &metapb.ConsumerHeartbeatResponse{MemberId: r.MemberId, MemberEpoch: r.MemberEpoch}
	m := g.members[r.MemberId]
	if r.InstanceId != nil {
		switch m = g.static[*r.InstanceId]; {
		case m == nil:
			return nil, refuse(metapb.GroupCode_GROUP_UNKNOWN_MEMBER, "Instance id %s is unknown.", *r.InstanceId)
		case m.id != r.MemberId:
			return nil, refuse(metapb.GroupCode_GROUP_FENCED_INSTANCE, "Static member %s with instance id %s was fenced by member %s.", r.MemberId, *r.InstanceId, m.id)
		}
	}
	switch {
	case m == nil:
		return nil, g.unknown(r.MemberId)
	case r.MemberEpoch == epochAwayStatic:
		g.settle(m, m.state, epochAwayStatic, m.assigned, assignment{})
		m.rebalanceEnds = time.Time{}
	default:
		g.remove(m)
	}
	return answer, nil
}

// MayCommit judges whether a commit of offsets speaks for the group.
func (g *ConsumerGroup) MayCommit(r *metapb.GroupCommitRequest) metapb.GroupCode {
	if r.Generation < 0 && len(g.members) == 0 {
		return metapb.GroupCode_GROUP_OK
	}
	m := g.members[r.MemberId]
	switch {
	case m == nil:
		return metapb.GroupCode_GROUP_UNKNOWN_MEMBER
	case m.classic == nil && r.Version < 9:
		return metapb.GroupCode_GROUP_UNSUPPORTED_VERSION
	case r.Generation == m.epoch:
		return metapb.GroupCode_GROUP_OK
	case m.classic != nil:
		return metapb.GroupCode_GROUP_ILLEGAL_GENERATION
	}
	return metapb.GroupCode_GROUP_STALE_MEMBER_EPOCH
}

// Subscribes tells whether members want a topic.
func (g *ConsumerGroup) Subscribes(name string) bool {
	_, found := slices.BinarySearchFunc(g.topics, name, func(t *metapb.SubscribedTopic, name string) int {
		switch {
		case t.Name < name:
			return -1
		case t.Name > name:
			return 1
		}
		return 0
	})
	return found && len(g.members) > 0
}

// Describe is the group as administrators see it.
func (g *ConsumerGroup) Describe() *metapb.ConsumerDescribed {
	d := &metapb.ConsumerDescribed{Group: g.name, State: g.State(), Epoch: g.epoch, AssignmentEpoch: g.targetEpoch, Assignor: g.assignor()}
	for _, m := range g.inOrder() {
		d.Members = append(d.Members, &metapb.ConsumerDescribedMember{
			Member:  &metapb.ConsumerMember{MemberId: m.id, Subscription: m.subscription(), Target: m.target.proto(), Current: m.current()},
			Classic: m.classic != nil,
		})
	}
	return d
}
