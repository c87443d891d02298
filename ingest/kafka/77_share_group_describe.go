package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
)

// ShareGroupDescribe (key 77), version 1 (KIP-932). Version 0 was an early access of Kafka 4.0.

func handleShareGroupDescribe(ctx context.Context, call *call, r *kmsg.ShareGroupDescribeRequest) (kmsg.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, consumerGroupDescribeTimeout)
	defer cancel()
	response := kmsg.NewPtrShareGroupDescribeResponse()
	described, err := call.domain().Groups.ShareDescribe(ctx, &metapb.ShareDescribeRequest{Groups: r.GroupIDs})
	for i, name := range r.GroupIDs {
		answer := kmsg.NewShareGroupDescribeResponseGroup()
		answer.GroupID = name
		if e := call.mayGroup(Describe, name); e != nil {
			answer.ErrorCode = e.Code
		} else if err != nil || i >= len(described.Groups) {
			answer.ErrorCode = kerr.CoordinatorNotAvailable.Code
		} else {
			call.describeShareGroup(described.Groups[i], &answer)
			if r.IncludeAuthorizedOperations && answer.ErrorCode == 0 {
				answer.AuthorizedOperations = groupOperations
			}
		}
		response.Groups = append(response.Groups, answer)
	}
	return response, nil
}

func (c *call) describeShareGroup(d *metapb.ShareDescribed, answer *kmsg.ShareGroupDescribeResponseGroup) {
	answer.ErrorCode, answer.ErrorMessage = groupCode(d.Code, nil), nilIfEmpty(d.Message)
	if answer.ErrorCode != 0 {
		return
	}
	answer.GroupState, answer.GroupEpoch, answer.AssignmentEpoch, answer.Assignor = d.State, d.Epoch, d.AssignmentEpoch, d.Assignor
	for _, m := range d.Members {
		member := kmsg.NewShareGroupDescribeResponseGroupMember()
		member.MemberID, member.RackID, member.MemberEpoch = m.MemberId, nilIfEmpty(m.RackId), m.Epoch
		member.ClientID, member.ClientHost, member.SubscribedTopicNames = m.ClientId, m.ClientHost, m.Topics
		c.domain().Metadata.View(func(s *meta.State) {
			for _, t := range m.GetAssigned().GetTopics() {
				if topic := s.Topic(topicIDOf(t.TopicId)); topic != nil {
					member.Assignment.TopicPartitions = append(member.Assignment.TopicPartitions, kmsg.ShareGroupDescribeResponseGroupMemberAssignmentTopicPartition{
						TopicID: topic.ID, Topic: topic.Name, Partitions: t.Partitions,
					})
				}
			}
		})
		answer.Members = append(answer.Members, member)
	}
}
