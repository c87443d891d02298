package kafka

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/coordinator/metapb"
)

// OffsetDelete (key 47), version 0 (KIP-496).
//
// Offsets in topics that members of the group subscribe to stay.

const offsetDeleteTimeout = 30 * time.Second

func handleOffsetDelete(ctx context.Context, call *call, r *kmsg.OffsetDeleteRequest) (kmsg.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, offsetDeleteTimeout)
	defer cancel()
	response := kmsg.NewPtrOffsetDeleteResponse()
	if e := call.mayGroup(Delete, r.Group); e != nil {
		response.ErrorCode = e.Code
		return response, nil
	}
	request := &metapb.GroupDeleteOffsetsRequest{Group: r.Group}
	var answers []*int16
	for i := range r.Topics {
		asked := &r.Topics[i]
		id, _, partitions, known := call.resolve(asked.Topic, [16]byte{}, false)
		topic := kmsg.OffsetDeleteResponseTopic{Topic: asked.Topic, Partitions: make([]kmsg.OffsetDeleteResponseTopicPartition, len(asked.Partitions))}
		for j := range asked.Partitions {
			p, answer := asked.Partitions[j].Partition, &topic.Partitions[j]
			answer.Partition = p
			switch {
			case call.mayTopic(Read, asked.Topic) != nil:
				answer.ErrorCode = kerr.TopicAuthorizationFailed.Code
			case !known || p < 0 || p >= partitions:
				answer.ErrorCode = kerr.UnknownTopicOrPartition.Code
			default:
				request.Offsets = append(request.Offsets, &metapb.CommittedOffset{TopicId: id[:], Partition: p})
				answers = append(answers, &answer.ErrorCode)
			}
		}
		response.Topics = append(response.Topics, topic)
	}
	deleted, err := call.domain().Groups.DeleteOffsets(ctx, request)
	if response.ErrorCode = groupCode(deleted.GetCode(), err); response.ErrorCode != 0 {
		response.Topics = nil
		return response, nil
	}
	for i, answer := range answers {
		if i < len(deleted.Codes) {
			*answer = groupCode(deleted.Codes[i], nil)
		}
	}
	return response, nil
}
