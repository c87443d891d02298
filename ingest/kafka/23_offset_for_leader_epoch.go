package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/coordinator/meta"
)

// OffsetForLeaderEpoch (key 23), versions 2 to 4.
//
//	v2  the epoch the client believes in, for fencing; v3 replica id; v4 flexible
//
// A partition's leader epoch is raised only where records were given up, and nothing is ever cut off a log: whatever epoch a client has read
// last, it goes on where it is. So there is no log of epochs, and the present one and all before it end at the high watermark. Of later ones nothing is known (-1).

func handleOffsetForLeaderEpoch(ctx context.Context, call *call, r *kmsg.OffsetForLeaderEpochRequest) (kmsg.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, listOffsetsTimeout)
	defer cancel()
	barrier := call.domain().Metadata.Barrier(ctx)
	response := kmsg.NewPtrOffsetForLeaderEpochResponse()
	for i := range r.Topics {
		topic := kmsg.OffsetForLeaderEpochResponseTopic{Topic: r.Topics[i].Topic}
		for j := range r.Topics[i].Partitions {
			answer := offsetForLeaderEpoch(call, topic.Topic, &r.Topics[i].Partitions[j])
			if barrier != nil && answer.ErrorCode == 0 {
				answer.ErrorCode, answer.LeaderEpoch, answer.EndOffset = kerr.OffsetNotAvailable.Code, -1, -1
			}
			topic.Partitions = append(topic.Partitions, answer)
		}
		response.Topics = append(response.Topics, topic)
	}
	return response, nil
}

func offsetForLeaderEpoch(call *call, name string, asked *kmsg.OffsetForLeaderEpochRequestTopicPartition) kmsg.OffsetForLeaderEpochResponseTopicPartition {
	answer := kmsg.OffsetForLeaderEpochResponseTopicPartition{Partition: asked.Partition, LeaderEpoch: -1, EndOffset: -1}
	if e := call.mayTopic(Describe, name); e != nil {
		answer.ErrorCode = e.Code
		return answer
	}
	answer.ErrorCode = kerr.UnknownTopicOrPartition.Code
	call.domain().Metadata.View(func(s *meta.State) {
		t := s.TopicByName(name)
		if t == nil || t.Partition(asked.Partition) == nil {
			return
		}
		p := t.Partition(asked.Partition)
		answer.ErrorCode = epochError(listedEpoch(asked.CurrentLeaderEpoch), p.LeaderEpoch())
		if answer.ErrorCode == 0 && asked.LeaderEpoch >= 0 && asked.LeaderEpoch <= p.LeaderEpoch() {
			answer.LeaderEpoch, answer.EndOffset = asked.LeaderEpoch, p.HighWatermark()
		} else if answer.ErrorCode == 0 && asked.LeaderEpoch < -1 { // which ended before there was anything
			answer.LeaderEpoch, answer.EndOffset = asked.LeaderEpoch, p.LogStartOffset()
		}
	})
	return answer
}
