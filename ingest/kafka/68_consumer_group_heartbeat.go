package kafka

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
)

// ConsumerGroupHeartbeat (key 68), versions 0 to 1 (KIP-848).
//
//	v1  subscriptions by regular expression; the member makes its id itself (KIP-1082)

func beginConsumerGroupHeartbeat(call *call, r *kmsg.ConsumerGroupHeartbeatRequest, answer func(kmsg.Response)) {
	response := kmsg.NewPtrConsumerGroupHeartbeatResponse()
	if e := call.mayGroup(Read, r.Group); e != nil {
		response.ErrorCode = e.Code
		answer(response)
		return
	}
	for _, name := range r.SubscribedTopicNames {
		if e := call.mayTopic(Describe, name); e != nil {
			response.ErrorCode = e.Code
			answer(response)
			return
		}
	}
	call.domain().Groups.BeginConsumerHeartbeat(consumerHeartbeat(call, r), func(beat *metapb.ConsumerHeartbeatResponse, err error) {
		answer(consumerHeartbeatAnswer(response, beat, err))
	})
}

func consumerHeartbeatAnswer(response *kmsg.ConsumerGroupHeartbeatResponse, beat *metapb.ConsumerHeartbeatResponse, err error) kmsg.Response {
	response.ErrorCode, response.ErrorMessage = groupCode(beat.GetCode(), err), nilIfEmpty(beat.GetMessage())
	if response.ErrorCode != 0 {
		return response
	}
	response.MemberID, response.MemberEpoch, response.HeartbeatIntervalMillis = nilIfEmpty(beat.MemberId), beat.MemberEpoch, beat.HeartbeatIntervalMillis
	if beat.Assignment != nil {
		assignment := kmsg.NewConsumerGroupHeartbeatResponseAssignment()
		for _, t := range beat.Assignment.Topics {
			assignment.Topics = append(assignment.Topics, kmsg.ConsumerGroupHeartbeatResponseAssignmentTopic{TopicID: topicIDOf(t.TopicId), Partitions: t.Partitions})
		}
		response.Assignment = &assignment
	}
	return response
}

func consumerHeartbeat(call *call, r *kmsg.ConsumerGroupHeartbeatRequest) *metapb.ConsumerHeartbeatRequest {
	request := &metapb.ConsumerHeartbeatRequest{
		Group: r.Group, MemberId: r.MemberID, MemberEpoch: r.MemberEpoch, InstanceId: r.InstanceID, RackId: r.RackID,
		RebalanceTimeoutMillis: r.RebalanceTimeoutMillis, ClientId: call.clientID(), ClientHost: "/" + call.conn.host,
		ServerAssignor: r.ServerAssignor, Version: int32(r.Version),
	}
	if r.SubscribedTopicNames != nil {
		request.Topics = &metapb.ConsumerTopics{Names: r.SubscribedTopicNames}
	}
	if r.Version >= 1 {
		request.TopicRegex = r.SubscribedTopicRegex
	}
	if r.Topics != nil {
		request.Owned = &metapb.ConsumerAssignment{}
		for i := range r.Topics {
			t := &r.Topics[i]
			request.Owned.Topics = append(request.Owned.Topics, &metapb.AssignedTopic{TopicId: slices.Clone(t.TopicID[:]), Partitions: t.Partitions})
		}
	}
	return request
}

// topicIDOf takes an id from a message of the coordinator's.
func topicIDOf(b []byte) (id meta.TopicID) {
	copy(id[:], b)
	return id
}
