package group

import (
	"cmp"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/coordinator/partset"
	"github.com/varvelog/varve/coordinator/streamsgroup"
)

// streamsMember is one member of a StreamsGroup. The times are the ends of what it was given; zero where nothing runs.
type streamsMember struct {
	id       string
	metadata *metapb.StreamsMetadata // never changed once it is made

	epoch         int32
	previousEpoch int32
	state         metapb.ConsumerMemberState
	assigned      streamsgroup.TaskSets
	revoking      streamsgroup.TaskSets // it was told to give these up
	target        streamsgroup.TaskSets

	sessionEnds   time.Time // by then it must have been heard of
	rebalanceEnds time.Time // by then it must have given up what it was told to
}

func newStreamsMember(id string) *streamsMember {
	return &streamsMember{id: id, metadata: &metapb.StreamsMetadata{RebalanceTimeoutMillis: -1, TopologyEpoch: -1}}
}

func restoreStreamsMember(stored *metapb.StreamsMember) *streamsMember {
	c := stored.GetCurrent()
	m := newStreamsMember(stored.MemberId)
	if stored.Metadata != nil {
		m.metadata = stored.Metadata
	}
	m.epoch, m.previousEpoch, m.state = c.GetEpoch(), c.GetPreviousEpoch(), c.GetState()
	m.assigned, m.revoking = streamsgroup.TaskSetsOf(c.GetAssigned()), streamsgroup.TaskSetsOf(c.GetRevoking())
	m.target = streamsgroup.TaskSetsOf(stored.GetTarget())
	return m
}

func (m *streamsMember) rebalanceTimeout() time.Duration {
	return time.Duration(m.metadata.RebalanceTimeoutMillis) * time.Millisecond
}

// isSettled says that the member has its target.
func (m *streamsMember) isSettled(targetEpoch int32) bool {
	return m.state == metapb.ConsumerMemberState_CONSUMER_MEMBER_STABLE && m.epoch == targetEpoch
}

func (m *streamsMember) current() *metapb.StreamsCurrent {
	return &metapb.StreamsCurrent{
		Epoch: m.epoch, PreviousEpoch: m.previousEpoch, State: m.state, Assigned: m.assigned.Proto(), Revoking: m.revoking.Proto(),
	}
}

// toldMetadata is the member's metadata with what a request says.
func (m *streamsMember) toldMetadata(r *metapb.StreamsHeartbeatRequest) *metapb.StreamsMetadata {
	told := proto.CloneOf(m.metadata)
	if r.RackId != nil {
		told.RackId = *r.RackId
	}
	if r.RebalanceTimeoutMillis != -1 {
		told.RebalanceTimeoutMillis = r.RebalanceTimeoutMillis
	}
	if r.Topology != nil {
		told.TopologyEpoch = r.Topology.Epoch
	}
	if r.ProcessId != nil {
		told.ProcessId = *r.ProcessId
	}
	if r.Endpoint != nil {
		told.Endpoint = r.Endpoint
	}
	if r.ClientTags != nil {
		told.ClientTags = slices.Clone(r.ClientTags.Tags)
		slices.SortStableFunc(told.ClientTags, func(x, y *metapb.StreamsKeyValue) int { return cmp.Compare(x.Key, y.Key) })
	}
	told.ClientId, told.ClientHost = r.ClientId, r.ClientHost
	return told
}

// checkEpoch fences what is not the member as the group knows it. One that has not heard of its latest epoch may go on from the one before.
func (m *streamsMember) checkEpoch(r *metapb.StreamsHeartbeatRequest) *refusal {
	const advice = "The member must abandon all its partitions and rejoin."
	switch {
	case r.MemberEpoch == m.epoch:
		return nil
	case r.MemberEpoch > m.epoch:
		return refuse(metapb.GroupCode_GROUP_FENCED_MEMBER_EPOCH,
			"The streams group member has a greater member epoch (%d) than the one known by the group coordinator (%d). %s", r.MemberEpoch, m.epoch, advice)
	case r.MemberEpoch == m.previousEpoch && r.Owned != nil && streamsgroup.TaskSetsOf(r.Owned).Within(m.assigned):
		return nil
	}
	return refuse(metapb.GroupCode_GROUP_FENCED_MEMBER_EPOCH,
		"The streams group member has a smaller member epoch (%d) than the one known by the group coordinator (%d). %s", r.MemberEpoch, m.epoch, advice)
}

// role is one kind of tasks.
type role func(streamsgroup.TaskSets) streamsgroup.Tasks

func activeOf(t streamsgroup.TaskSets) streamsgroup.Tasks  { return t.Active }
func standbyOf(t streamsgroup.TaskSets) streamsgroup.Tasks { return t.Standby }
func warmupOf(t streamsgroup.TaskSets) streamsgroup.Tasks  { return t.Warmup }

// holds says whether the member has a task in one of the roles, or had and has not said that it gave it up.
func (m *streamsMember) holds(subtopology string, partition int32, roles ...role) bool {
	for _, of := range roles {
		if partset.Has(of(m.assigned), subtopology, partition) || partset.Has(of(m.revoking), subtopology, partition) {
			return true
		}
	}
	return false
}
