package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// InitializeShareGroupState (key 83), ReadShareGroupState (84), WriteShareGroupState (85), DeleteShareGroupState (86) and
// ReadShareGroupStateSummary (87), version 0 (KIP-932).
//
// These are what Kafka's brokers say to each other: the leader of a partition keeps the state of its share partitions with a coordinator. Varve's
// nodes keep it in the metadata log, and say nothing of the kind to each other. Who writes it from outside takes records away from the
// members that have them, so nobody is granted the action on the cluster that these need in Kafka, and they are refused as Kafka refuses
// those without it. What can be known and changed without harm is in DescribeShareGroupOffsets, AlterShareGroupOffsets and
// DeleteShareGroupOffsets.

func refuseShareState() (int16, *string) { return refusal(kerr.ClusterAuthorizationFailed, "") }

func handleInitializeShareGroupState(_ context.Context, _ *call, r *kmsg.InitializeShareGroupStateRequest) (kmsg.Response, error) {
	response := kmsg.NewPtrInitializeShareGroupStateResponse()
	for i := range r.Topics {
		topic := kmsg.InitializeShareGroupStateResponseTopic{TopicID: r.Topics[i].TopicID}
		for j := range r.Topics[i].Partitions {
			p := kmsg.NewInitializeShareGroupStateResponseTopicPartition()
			p.Partition = r.Topics[i].Partitions[j].Partition
			p.ErrorCode, p.ErrorMessage = refuseShareState()
			topic.Partitions = append(topic.Partitions, p)
		}
		response.Topics = append(response.Topics, topic)
	}
	return response, nil
}

func handleReadShareGroupState(_ context.Context, _ *call, r *kmsg.ReadShareGroupStateRequest) (kmsg.Response, error) {
	response := kmsg.NewPtrReadShareGroupStateResponse()
	for i := range r.Topics {
		topic := kmsg.ReadShareGroupStateResponseTopic{TopicID: r.Topics[i].TopicID}
		for j := range r.Topics[i].Partitions {
			p := kmsg.NewReadShareGroupStateResponseTopicPartition()
			p.Partition = r.Topics[i].Partitions[j].Partition
			p.ErrorCode, p.ErrorMessage = refuseShareState()
			topic.Partitions = append(topic.Partitions, p)
		}
		response.Topics = append(response.Topics, topic)
	}
	return response, nil
}

func handleWriteShareGroupState(_ context.Context, _ *call, r *kmsg.WriteShareGroupStateRequest) (kmsg.Response, error) {
	response := kmsg.NewPtrWriteShareGroupStateResponse()
	for i := range r.Topics {
		topic := kmsg.WriteShareGroupStateResponseTopic{TopicID: r.Topics[i].TopicID}
		for j := range r.Topics[i].Partitions {
			p := kmsg.NewWriteShareGroupStateResponseTopicPartition()
			p.Partition = r.Topics[i].Partitions[j].Partition
			p.ErrorCode, p.ErrorMessage = refuseShareState()
			topic.Partitions = append(topic.Partitions, p)
		}
		response.Topics = append(response.Topics, topic)
	}
	return response, nil
}

func handleDeleteShareGroupState(_ context.Context, _ *call, r *kmsg.DeleteShareGroupStateRequest) (kmsg.Response, error) {
	response := kmsg.NewPtrDeleteShareGroupStateResponse()
	for i := range r.Topics {
		topic := kmsg.DeleteShareGroupStateResponseTopic{TopicID: r.Topics[i].TopicID}
		for j := range r.Topics[i].Partitions {
			p := kmsg.NewDeleteShareGroupStateResponseTopicPartition()
			p.Partition = r.Topics[i].Partitions[j].Partition
			p.ErrorCode, p.ErrorMessage = refuseShareState()
			topic.Partitions = append(topic.Partitions, p)
		}
		response.Topics = append(response.Topics, topic)
	}
	return response, nil
}

func handleReadShareGroupStateSummary(_ context.Context, _ *call, r *kmsg.ReadShareGroupStateSummaryRequest) (kmsg.Response, error) {
	response := kmsg.NewPtrReadShareGroupStateSummaryResponse()
	for i := range r.Topics {
		topic := kmsg.ReadShareGroupStateSummaryResponseTopic{TopicID: r.Topics[i].TopicID}
		for j := range r.Topics[i].Partitions {
			p := kmsg.NewReadShareGroupStateSummaryResponseTopicPartition()
			p.Partition = r.Topics[i].Partitions[j].Partition
			p.ErrorCode, p.ErrorMessage = refuseShareState()
			topic.Partitions = append(topic.Partitions, p)
		}
		response.Topics = append(response.Topics, topic)
	}
	return response, nil
}
