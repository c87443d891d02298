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
// A partition's leader epoch is raised only where records may have been given up: by a recovery, or when a node is forgotten. What a client
// has read beyond the end of an epoch is not there any more; it goes on at that end.

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
		if epoch, end, known := p.EpochEnd(asked.LeaderEpoch); answer.ErrorCode == 0 && known {
			answer.LeaderEpoch, answer.EndOffset = epoch, end
		} else if answer.ErrorCode == 0 && asked.LeaderEpoch < -1 { // which ended before there was anything
			answer.LeaderEpoch, answer.EndOffset = asked.LeaderEpoch, p.LogStartOffset()
		}
	})
	return answer
}
