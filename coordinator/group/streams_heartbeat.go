package group

import (
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/coordinator/partset"
	"github.com/varvelog/varve/coordinator/streamsgroup"
)

// Heartbeat lets a member in, keeps it in and brings it on, or lets it go (KIP-1071). What the answer says counts when it is stored. A request
// that is refused changes nothing.
func (g *StreamsGroup) Heartbeat(now time.Time, c streamsCluster, r *metapb.StreamsHeartbeatRequest) (*metapb.StreamsHeartbeatResponse, *refusal) {
	if r.MemberEpoch < epochJoin {
		return g.leave(r)
	}
	m, wrong := g.speaker(c, r)
	if wrong != nil {
		return nil, wrong
	}
	plan, wrong := g.plan(c, r)
	if wrong != nil {
		return nil, wrong
	}
	if wrong := plan.configured.checkTasks(r.Owned); wrong != nil {
		return nil, wrong
	}

	before := m.assigned
	g.follow(m, plan, r)
	if g.epoch > g.targetEpoch {
		g.retarget(c)
	}
	var owned *streamsgroup.TaskSets
	if r.Owned != nil {
		o := streamsgroup.TaskSetsOf(r.Owned)
		owned = &o
	}
	g.reconcile(now, m, owned)
	m.sessionEnds = now.Add(c.session())
	g.requestShutdown(r)

	answer := &metapb.StreamsHeartbeatResponse{
		MemberId: m.id, MemberEpoch: m.epoch, HeartbeatIntervalMillis: c.config.HeartbeatMillis, Status: g.status(m), Missing: g.configured.Missing,
	}
	if r.MemberEpoch == epochJoin || !before.Equal(m.assigned) {
		answer.Assigned = m.assigned.Proto()
		if r.MemberEpoch != epochJoin || m.assigned.Count() > 0 {
			g.endpointEpoch++
		}
	}
	if answer.EndpointEpoch = g.endpointEpoch; g.endpointEpoch != r.EndpointEpoch {
		answer.Endpoints = g.endpoints(c)
	}
	return answer, nil
}

// speaker is the member that a heartbeat speaks for. One that joins is made, and not added yet.
func (g *StreamsGroup) speaker(c streamsCluster, r *metapb.StreamsHeartbeatRequest) (*streamsMember, *refusal) {
	joins := r.MemberEpoch == epochJoin
	m := g.members[r.MemberId]
	switch {
	case joins && len(g.members) >= c.config.MaxSize:
		return nil, refuse(metapb.GroupCode_GROUP_MAX_SIZE_REACHED, "The streams group has reached its maximum capacity of %d members.", c.config.MaxSize)
	case m == nil && joins:
		return newStreamsMember(r.MemberId), nil
	case m == nil:
		return nil, g.unknown(r.MemberId)
	}
	return m, m.checkEpoch(r)
}

func (g *StreamsGroup) unknown(id string) *refusal {
	return refuse(metapb.GroupCode_GROUP_UNKNOWN_MEMBER, "Member %s is not a member of group %s.", id, g.name)
}

// streamsPlan is what a heartbeat would make of the group's topology.
type streamsPlan struct {
	topology   *metapb.StreamsTopology
	topics     []*metapb.SubscribedTopic
	topicsSeq  uint64
	moved      bool // topics are others than the epoch counts on
	configured configuredTopology
}

// configuredTopology judges requests by a topology.
type configuredTopology struct{ *streamsgroup.Configured }

// plan judges the topology of a request against the group's, and both against the topics there are.
func (g *StreamsGroup) plan(c streamsCluster, r *metapb.StreamsHeartbeatRequest) (streamsPlan, *refusal) {
	p := streamsPlan{topology: g.topology, topics: g.topics, topicsSeq: max(g.topicsSeq, c.topics.seq), configured: configuredTopology{g.configured}}
	switch {
	case r.Topology != nil && r.Topology.Epoch < 0:
		return p, refuse(metapb.GroupCode_GROUP_STREAMS_INVALID_TOPOLOGY, "Topology epoch must be non-negative.")
	case g.topology == nil:
		p.topology = r.Topology
	case r.Topology != nil && r.Topology.Epoch >= g.topology.Epoch && !sameTopology(g.topology, r.Topology):
		return p, refuse(metapb.GroupCode_GROUP_INVALID_REQUEST, "Topology updates are not supported yet.")
	}
	if g.configured != nil && g.topicsSeq >= c.topics.seq { // another heartbeat may have come with later topics
		return p, nil
	}
	p.topics = c.topics.subscribed(streamsgroup.RequiredTopics(p.topology))
	if p.moved = !sameSubscribed(p.topics, g.topics); !p.moved && g.configured != nil {
		return p, nil
	}
	configured, err := streamsgroup.Configure(p.topology, c.partitions)
	if invalid := (*streamsgroup.InvalidTopologyError)(nil); errors.As(err, &invalid) {
		return p, refuse(metapb.GroupCode_GROUP_STREAMS_INVALID_TOPOLOGY, "%s", invalid)
	}
	p.configured = configuredTopology{configured}
	return p, nil
}

// sameTopology compares topologies whose subtopologies may come in any order.
func sameTopology(a, b *metapb.StreamsTopology) bool {
	if a.Epoch != b.Epoch || len(a.Subtopologies) != len(b.Subtopologies) {
		return false
	}
	byID := make(map[string]*metapb.StreamsSubtopology, len(a.Subtopologies))
	for _, s := range a.Subtopologies {
		byID[s.Id] = s
	}
	for _, s := range b.Subtopologies {
		if !proto.Equal(byID[s.Id], s) {
			return false
		}
	}
	return true
}

// checkTasks refuses tasks that there are not.
func (t configuredTopology) checkTasks(owned *metapb.StreamsTasks) *refusal {
	if !t.IsReady() {
		return nil
	}
	for _, tasks := range [][]*metapb.StreamsTaskIds{owned.GetActive(), owned.GetStandby(), owned.GetWarmup()} {
		for _, ids := range tasks {
			s := t.Subtopology(ids.Subtopology)
			if s == nil {
				return refuse(metapb.GroupCode_GROUP_INVALID_REQUEST, "Subtopology %s does not exist in the topology.", ids.Subtopology)
			}
			for _, p := range ids.Partitions {
				if p < 0 || p >= s.Tasks {
					return refuse(metapb.GroupCode_GROUP_INVALID_REQUEST,
						"Task %d for subtopology %s is invalid. Number of tasks for this subtopology: %d", p, ids.Subtopology, s.Tasks)
				}
			}
		}
	}
	return nil
}

// follow takes over what the request says and what was planned for it. The epoch moves where a member, or what it counts on, has changed.
func (g *StreamsGroup) follow(m *streamsMember, p streamsPlan, r *metapb.StreamsHeartbeatRequest) {
	changed := p.moved
	if g.members[m.id] == nil {
		g.members[m.id] = m
		g.log.mark(m.id, changedAll)
		changed = true
	}
	if told := m.toldMetadata(r); !proto.Equal(told, m.metadata) {
		m.metadata = told
		g.log.mark(m.id, changedSubscription)
		changed = true
	}
	if p.moved {
		g.topics, g.log.topics = p.topics, true
	}
	g.topology, g.topicsSeq, g.configured = p.topology, p.topicsSeq, p.configured.Configured
	if changed {
		g.bump()
	}
}

// reconcile brings a member a step on towards its target. owned is what it says it has; nil where it does not say.
func (g *StreamsGroup) reconcile(now time.Time, m *streamsMember, owned *streamsgroup.TaskSets) {
	has := func(tasks streamsgroup.TaskSets) bool { return owned == nil || owned.And(tasks).Count() > 0 }
	epoch := m.epoch
	switch {
	case m.isSettled(g.targetEpoch):
		return
	case m.state == metapb.ConsumerMemberState_CONSUMER_MEMBER_UNREVOKED:
		if has(m.revoking) {
			return
		}
		epoch++
	}
	kept := m.assigned.And(m.target)
	if revoking := m.assigned.Minus(kept); revoking.Count() > 0 && has(revoking) {
		g.settle(m, metapb.ConsumerMemberState_CONSUMER_MEMBER_UNREVOKED, epoch, kept, revoking)
		m.rebalanceEnds = now.Add(m.rebalanceTimeout())
		return
	}
	missing := m.target.Minus(kept)
	free := g.free(m, missing)
	state := metapb.ConsumerMemberState_CONSUMER_MEMBER_STABLE
	if free.Count() < missing.Count() {
		state = metapb.ConsumerMemberState_CONSUMER_MEMBER_UNRELEASED
	}
	g.settle(m, state, g.targetEpoch, kept.Plus(free), streamsgroup.TaskSets{})
	m.rebalanceEnds = time.Time{}
}

// free is what the member may have of tasks that it has not: an active task that is active nowhere, and no task that is in its process in any
// role, since members of a process share the state on its disk.
func (g *StreamsGroup) free(m *streamsMember, missing streamsgroup.TaskSets) streamsgroup.TaskSets {
	inProcess := func(subtopology string, partition int32) bool {
		return g.anyHolds(func(other *streamsMember) bool {
			return other.metadata.ProcessId == m.metadata.ProcessId && other.holds(subtopology, partition, activeOf, standbyOf, warmupOf)
		})
	}
	isActive := func(subtopology string, partition int32) bool {
		return g.anyHolds(func(other *streamsMember) bool { return other.holds(subtopology, partition, activeOf) })
	}
	copies := func(subtopology string, partition int32) bool { return !inProcess(subtopology, partition) }
	return streamsgroup.TaskSets{
		Active: partset.Filter(missing.Active, func(subtopology string, partition int32) bool {
			return !isActive(subtopology, partition) && copies(subtopology, partition)
		}),
		Standby: partset.Filter(missing.Standby, copies),
		Warmup:  partset.Filter(missing.Warmup, copies),
	}
}

func (g *StreamsGroup) anyHolds(holds func(*streamsMember) bool) bool {
	for _, m := range g.members {
		if holds(m) {
			return true
		}
	}
	return false
}

func (g *StreamsGroup) settle(m *streamsMember, state metapb.ConsumerMemberState, epoch int32, assigned, revoking streamsgroup.TaskSets) {
	if state == m.state && epoch == m.epoch && assigned.Equal(m.assigned) && revoking.Equal(m.revoking) {
		return
	}
	m.previousEpoch, m.epoch, m.state, m.assigned, m.revoking = m.epoch, epoch, state, assigned, revoking
	g.log.mark(m.id, changedCurrent)
}

func (g *StreamsGroup) leave(r *metapb.StreamsHeartbeatRequest) (*metapb.StreamsHeartbeatResponse, *refusal) {
	m := g.members[r.MemberId]
	if m == nil {
		return nil, g.unknown(r.MemberId)
	}
	g.requestShutdown(r)
	g.remove(m)
	return &metapb.StreamsHeartbeatResponse{MemberId: r.MemberId, MemberEpoch: r.MemberEpoch}, nil
}

// requestShutdown notes the first member that asks all to shut down; it holds until nobody is left.
func (g *StreamsGroup) requestShutdown(r *metapb.StreamsHeartbeatRequest) {
	if r.ShutdownApplication && g.shutdownBy == "" {
		g.shutdownBy = r.MemberId
	}
}

// status is what a member is told of the group besides its tasks.
func (g *StreamsGroup) status(m *streamsMember) (all []*metapb.StreamsStatus) {
	if told, current := m.metadata.TopologyEpoch, g.topology.Epoch; told < current {
		all = append(all, &metapb.StreamsStatus{
			Code:   metapb.StreamsStatusCode_STREAMS_STALE_TOPOLOGY,
			Detail: fmt.Sprintf("The member's topology epoch %d is behind the group's topology epoch %d.", told, current),
		})
	}
	if g.configured.Problem != nil {
		all = append(all, g.configured.Problem)
	}
	if g.shutdownBy != "" {
		all = append(all, &metapb.StreamsStatus{
			Code:   metapb.StreamsStatusCode_STREAMS_SHUTDOWN_APPLICATION,
			Detail: fmt.Sprintf("Streams group member %s encountered a fatal error and requested a shutdown for the entire application.", g.shutdownBy),
		})
	}
	return all
}

// endpoints tells where interactive queries find what: the partitions behind the active and standby tasks at each endpoint. Members of a process
// have one endpoint, of which clients take one entry.
func (g *StreamsGroup) endpoints(c streamsCluster) (all []*metapb.StreamsEndpointPartitions) {
	type place struct {
		host string
		port int32
	}
	tasks := map[place]streamsgroup.TaskSets{}
	var places []place
	for _, m := range g.inOrder() {
		e := m.metadata.Endpoint
		if e == nil {
			continue
		}
		at := place{e.Host, e.Port}
		if _, known := tasks[at]; !known {
			places = append(places, at)
		}
		tasks[at] = tasks[at].Plus(m.assigned)
	}
	for _, at := range places {
		all = append(all, &metapb.StreamsEndpointPartitions{
			Endpoint: &metapb.StreamsEndpoint{Host: at.host, Port: at.port},
			Active:   g.inputs(c, tasks[at].Active), Standby: g.inputs(c, tasks[at].Standby),
		})
	}
	return all
}

// inputs are the partitions that tasks read.
func (g *StreamsGroup) inputs(c streamsCluster, tasks streamsgroup.Tasks) (all []*metapb.StreamsTopicPartitions) {
	for i := range g.configured.Subtopologies {
		s := &g.configured.Subtopologies[i]
		for _, topic := range s.Inputs() {
			read := &metapb.StreamsTopicPartitions{Topic: topic}
			for _, p := range tasks[s.ID] {
				if p < c.partitions(topic) {
					read.Partitions = append(read.Partitions, p)
				}
			}
			if len(read.Partitions) > 0 {
				all = append(all, read)
			}
		}
	}
	return all
}
