package kafka

import (
	"context"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/coordinator/metapb"
)

// StreamsGroupDescribe (key 89), version 0 (KIP-1071).

func handleStreamsGroupDescribe(ctx context.Context, call *call, r *kmsg.StreamsGroupDescribeRequest) (kmsg.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, consumerGroupDescribeTimeout)
	defer cancel()
	response := kmsg.NewPtrStreamsGroupDescribeResponse()
	described, err := call.domain().Groups.StreamsDescribe(ctx, &metapb.StreamsDescribeRequest{Groups: r.Groups})
	for i, name := range r.Groups {
		answer := kmsg.NewStreamsGroupDescribeResponseGroup()
		answer.Group = name
		if e := call.mayGroup(Describe, name); e != nil {
			answer.ErrorCode = e.Code
		} else if err != nil || i >= len(described.Groups) {
			answer.ErrorCode = kerr.CoordinatorNotAvailable.Code
		} else {
			call.describeStreamsGroup(described.Groups[i], &answer)
			if r.IncludeAuthorizedOperations && answer.ErrorCode == 0 {
				answer.AuthorizedOperations = groupOperations
			}
		}
		response.Groups = append(response.Groups, answer)
	}
	return response, nil
}

func (c *call) describeStreamsGroup(d *metapb.StreamsDescribed, answer *kmsg.StreamsGroupDescribeResponseGroup) {
	answer.ErrorCode, answer.ErrorMessage = groupCode(d.Code, nil), nilIfEmpty(d.Message)
	if answer.ErrorCode != 0 {
		return
	}
	answer.State, answer.Epoch, answer.AssignmentEpoch = d.State, d.Epoch, d.AssignmentEpoch
	if d.Topology != nil {
		answer.Topology = &kmsg.StreamsGroupDescribeResponseGroupTopology{
			Epoch: d.Topology.Epoch, Subtopologies: []kmsg.StreamsGroupDescribeResponseGroupTopologySubtopology{},
		}
		for _, s := range d.Topology.Subtopologies {
			if !c.maySeeSubtopology(s) {
				answer.Topology, answer.State = nil, ""
				answer.ErrorCode, answer.ErrorMessage = refusal(kerr.TopicAuthorizationFailed, "The described group uses topics that the client is not authorized to describe.")
				return
			}
			answer.Topology.Subtopologies = append(answer.Topology.Subtopologies, kmsg.StreamsGroupDescribeResponseGroupTopologySubtopology{
				SubtopologyID: s.Id, SourceTopics: s.SourceTopics, RepartitionSinkTopics: s.RepartitionSinkTopics,
				StateChangelogTopics: describedTopics(s.ChangelogTopics), RepartitionSourceTopics: describedTopics(s.RepartitionSourceTopics),
			})
		}
	}
	for _, m := range d.Members {
		answer.Members = append(answer.Members, describedStreamsMember(m))
	}
}

func (c *call) maySeeSubtopology(s *metapb.StreamsSubtopology) bool {
	hidden := func(name string) bool { return c.mayTopic(Describe, name) != nil }
	hiddenTopic := func(t *metapb.StreamsTopicInfo) bool { return hidden(t.Name) }
	return !slices.ContainsFunc(s.SourceTopics, hidden) && !slices.ContainsFunc(s.RepartitionSinkTopics, hidden) &&
		!slices.ContainsFunc(s.RepartitionSourceTopics, hiddenTopic) && !slices.ContainsFunc(s.ChangelogTopics, hiddenTopic)
}

func describedTopics(from []*metapb.StreamsTopicInfo) (out []kmsg.TopicInfo) {
	for _, t := range from {
		topic := kmsg.NewTopicInfo()
		topic.Topic, topic.NumPartitions, topic.ReplicationFactor = t.Name, t.Partitions, int16(t.ReplicationFactor)
		for _, config := range t.Configs {
			entry := kmsg.NewTopicInfoConfig()
			entry.Key, entry.Value = config.Key, config.Value
			topic.Configs = append(topic.Configs, entry)
		}
		out = append(out, topic)
	}
	return out
}

func describedStreamsMember(m *metapb.StreamsMember) kmsg.StreamsGroupDescribeResponseGroupMember {
	md := m.GetMetadata()
	member := kmsg.NewStreamsGroupDescribeResponseGroupMember()
	member.MemberID, member.MemberEpoch, member.RackID = m.GetMemberId(), m.GetCurrent().GetEpoch(), nilIfEmpty(md.GetRackId())
	member.ClientID, member.ClientHost, member.TopologyEpoch, member.ProcessID = md.GetClientId(), md.GetClientHost(), md.GetTopologyEpoch(), md.GetProcessId()
	if e := md.GetEndpoint(); e != nil {
		member.UserEndpoint = &kmsg.StreamsGroupDescribeResponseGroupMemberUserEndpoint{Host: e.GetHost(), Port: uint16(e.GetPort())}
	}
	for _, tag := range md.GetClientTags() {
		member.ClientTags = append(member.ClientTags, kmsg.StreamsGroupDescribeResponseGroupMemberClientTag{Key: tag.GetKey(), Value: tag.GetValue()})
	}
	member.Assignment, member.TargetAssignment = describedTasks(m.GetCurrent().GetAssigned()), describedTasks(m.GetTarget())
	return member
}

func describedTasks(t *metapb.StreamsTasks) kmsg.StreamsAssignment {
	out := kmsg.NewStreamsAssignment()
	out.ActiveTasks, out.StandbyTasks, out.WarmupTasks = taskIDs(t.GetActive()), taskIDs(t.GetStandby()), taskIDs(t.GetWarmup())
	return out
}
