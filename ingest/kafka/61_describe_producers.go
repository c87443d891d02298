package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/coordinator/meta"
)

// DescribeProducers (key 61), version 0 (KIP-664): the producers that partitions remember, and where their open transactions begin.

func handleDescribeProducers(ctx context.Context, call *call, r *kmsg.DescribeProducersRequest) (kmsg.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, transactionTimeout)
	defer cancel()
	barrier := call.domain().Metadata.Barrier(ctx)
	response := kmsg.NewPtrDescribeProducersResponse()
	call.domain().Metadata.View(func(s *meta.State) {
		for i := range r.Topics {
			asked := &r.Topics[i]
			topic := kmsg.DescribeProducersResponseTopic{Topic: asked.Topic}
			t, refused := s.TopicByName(asked.Topic), call.mayTopic(Read, asked.Topic)
			for _, index := range asked.Partitions {
				answer := kmsg.DescribeProducersResponseTopicPartition{Partition: index}
				switch {
				case refused != nil:
					answer.ErrorCode, answer.ErrorMessage = refusal(refused, "")
				case barrier != nil:
					answer.ErrorCode, answer.ErrorMessage = refusal(kerr.NotLeaderForPartition, "")
				case meta.ValidTopicName(asked.Topic) != "":
					answer.ErrorCode, answer.ErrorMessage = refusal(kerr.InvalidTopicException, "")
				case t == nil:
					answer.ErrorCode, answer.ErrorMessage = refusal(kerr.UnknownTopicOrPartition, "")
				case t.Partition(index) == nil:
					answer.ErrorCode = kerr.UnknownTopicOrPartition.Code
				default:
					answer.ActiveProducers = activeProducers(t.Partition(index), int32(s.LeaderEpoch()))
				}
				topic.Partitions = append(topic.Partitions, answer)
			}
			response.Topics = append(response.Topics, topic)
		}
	})
	return response, nil
}

func activeProducers(p *meta.Partition, coordinatorEpoch int32) []kmsg.DescribeProducersResponseTopicPartitionActiveProducer {
	var out []kmsg.DescribeProducersResponseTopicPartitionActiveProducer
	for _, known := range p.Producers() {
		a := kmsg.DescribeProducersResponseTopicPartitionActiveProducer{
			ProducerID: known.ProducerID, ProducerEpoch: int32(known.ProducerEpoch), LastSequence: known.LastSequence,
			LastTimestamp: known.LastMillis, CoordinatorEpoch: -1, CurrentTxnStartOffset: -1,
		}
		if first, open := p.OpenSince(known.ProducerID); open {
			a.CurrentTxnStartOffset, a.CoordinatorEpoch = first, coordinatorEpoch
		}
		out = append(out, a)
	}
	return out
}
