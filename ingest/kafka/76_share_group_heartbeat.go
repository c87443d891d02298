package kafka

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/coordinator/metapb"
)

// ShareGroupHeartbeat (key 76), version 1 (KIP-932). Version 0 was an early access of Kafka 4.0.

func beginShareGroupHeartbeat(call *call, r *kmsg.ShareGroupHeartbeatRequest, answer func(kmsg.Response)) {
	response := kmsg.NewPtrShareGroupHeartbeatResponse()
	if e := call.mayGroup(Read, r.GroupID); e != nil {
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
	request := &metapb.ShareHeartbeatRequest{
		Group: r.GroupID, MemberId: r.MemberID, MemberEpoch: r.MemberEpoch, RackId: r.RackID, ClientId: call.clientID(), ClientHost: "/" + call.conn.host,
	}
	if r.SubscribedTopicNames != nil {
		request.Topics = &metapb.ConsumerTopics{Names: r.SubscribedTopicNames}
	}
	call.domain().Groups.BeginShareHeartbeat(request, func(beat *metapb.ShareHeartbeatResponse, err error) {
		answer(shareHeartbeatAnswer(response, beat, err))
	})
}

func shareHeartbeatAnswer(response *kmsg.ShareGroupHeartbeatResponse, beat *metapb.ShareHeartbeatResponse, err error) kmsg.Response {
	response.ErrorCode, response.ErrorMessage = groupCode(beat.GetCode(), err), nilIfEmpty(beat.GetMessage())
	if response.ErrorCode != 0 {
		return response
	}
	response.MemberID, response.MemberEpoch, response.HeartbeatIntervalMillis = nilIfEmpty(beat.MemberId), beat.MemberEpoch, beat.HeartbeatIntervalMillis
	if beat.Assignment != nil {
		assignment := kmsg.NewShareGroupHeartbeatResponseAssignment()
		for _, t := range beat.Assignment.Topics {
			assignment.TopicPartitions = append(assignment.TopicPartitions, kmsg.ShareGroupHeartbeatResponseAssignmentTopicPartition{
				TopicID: topicIDOf(t.TopicId), Partitions: t.Partitions,
			})
		}
		response.Assignment = &assignment
	}
	return response
}
