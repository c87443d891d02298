package kafka

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
)

// ConsumerGroupDescribe (key 69), versions 0 to 1 (KIP-848).
//
//	v1  which protocol each member uses

const (
	consumerGroupDescribeTimeout = 30 * time.Second

	memberTypeClassic  = 0
	memberTypeConsumer = 1
)

func handleConsumerGroupDescribe(ctx context.Context, call *call, r *kmsg.ConsumerGroupDescribeRequest) (kmsg.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, consumerGroupDescribeTimeout)
	defer cancel()
	response := kmsg.NewPtrConsumerGroupDescribeResponse()
	described, err := call.domain().Groups.ConsumerDescribe(ctx, &metapb.ConsumerDescribeRequest{Groups: r.Groups})
	for i, name := range r.Groups {
		answer := kmsg.NewConsumerGroupDescribeResponseGroup()
		answer.Group = name
		if e := call.mayGroup(Describe, name); e != nil {
			answer.ErrorCode = e.Code
		} else if err != nil || i >= len(described.Groups) {
			answer.ErrorCode = kerr.CoordinatorNotAvailable.Code
		} else {
			call.describeConsumerGroup(described.Groups[i], &answer)
			if r.IncludeAuthorizedOperations && answer.ErrorCode == 0 {
				answer.AuthorizedOperations = groupOperations
			}
		}
		response.Groups = append(response.Groups, answer)
	}
	return response, nil
}

func (c *call) describeConsumerGroup(d *metapb.ConsumerDescribed, answer *kmsg.ConsumerGroupDescribeResponseGroup) {
	answer.ErrorCode, answer.ErrorMessage = groupCode(d.Code, nil), nilIfEmpty(d.Message)
	if answer.ErrorCode != 0 {
		return
	}
	answer.State, answer.Epoch, answer.AssignmentEpoch, answer.AssignorName = d.State, d.Epoch, d.AssignmentEpoch, d.Assignor
	for _, m := range d.Members {
		s, current := m.GetMember().GetSubscription(), m.GetMember().GetCurrent()
		member := kmsg.NewConsumerGroupDescribeResponseGroupMember()
		member.MemberID, member.InstanceID, member.RackID = m.GetMember().GetMemberId(), nilIfEmpty(s.GetInstanceId()), nilIfEmpty(s.GetRackId())
		member.MemberEpoch, member.ClientID, member.ClientHost = current.GetEpoch(), s.GetClientId(), s.GetClientHost()
		member.SubscribedTopics, member.SubscribedTopicRegex = s.GetTopics(), kmsg.StringPtr(s.GetTopicRegex())
		member.Assignment = c.describeAssignment(current.GetAssigned())
		member.TargetAssignment = c.describeAssignment(m.GetMember().GetTarget())
		member.MemberType = memberTypeConsumer
		if m.Classic {
			member.MemberType = memberTypeClassic
		}
		answer.Members = append(answer.Members, member)
	}
}

// describeAssignment names the topics; one that is gone since is left out.
func (c *call) describeAssignment(a *metapb.ConsumerAssignment) kmsg.Assignment {
	described := kmsg.NewAssignment()
	c.domain().Metadata.View(func(s *meta.State) {
		for _, t := range a.GetTopics() {
			if topic := s.Topic(topicIDOf(t.TopicId)); topic != nil {
				described.TopicPartitions = append(described.TopicPartitions, kmsg.AssignmentTopicPartition{TopicID: topic.ID, Topic: topic.Name, Partitions: t.Partitions})
			}
		}
	})
	return described
}
