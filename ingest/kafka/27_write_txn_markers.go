package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
)

// WriteTxnMarkers (key 27), version 1.
//
// Between Kafka's brokers this ends a transaction in one partition. Here a transaction ends everywhere at once, so that the request is an
// administrator's (kafka-transactions abort): an abort ends the producer's whole transaction and fences the producer, a commit of an open
// transaction is refused, and where the partition has none open there is nothing to end and nothing wrong.

func handleWriteTxnMarkers(ctx context.Context, call *call, r *kmsg.WriteTxnMarkersRequest) (kmsg.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, transactionTimeout)
	defer cancel()
	response := kmsg.NewPtrWriteTxnMarkersResponse()
	refused := call.mayCluster(ClusterAction)
	if refused != nil && call.mayCluster(Alter) == nil {
		refused = nil
	}
	if refused == nil && call.domain().Metadata.Barrier(ctx) != nil {
		refused = kerr.CoordinatorNotAvailable
	}
	for i := range r.Markers {
		m := &r.Markers[i]
		answer := kmsg.WriteTxnMarkersResponseMarker{ProducerID: m.ProducerID}
		var open []*int16 // the codes of partitions in which the producer has a transaction
		var id string
		call.domain().Metadata.View(func(s *meta.State) {
			id = s.TransactionOf(m.ProducerID)
			for _, t := range m.Topics {
				answer.Topics = append(answer.Topics, markerTopic(s, &t, m.ProducerID, refused))
			}
		})
		for t := range answer.Topics {
			for p := range answer.Topics[t].Partitions {
				if code := &answer.Topics[t].Partitions[p].ErrorCode; *code == kerr.OperationNotAttempted.Code {
					open = append(open, code)
				}
			}
		}
		if len(open) > 0 {
			code := errorCode(forceAbort(ctx, call, id, m))
			for _, p := range open {
				*p = code
			}
		}
		response.Markers = append(response.Markers, answer)
	}
	return response, nil
}

// markerTopic answers what is known at once; partitions with an open transaction are left as not attempted.
func markerTopic(s *meta.State, asked *kmsg.WriteTxnMarkersRequestMarkerTopic, producerID int64, refused *kerr.Error) kmsg.WriteTxnMarkersResponseMarkerTopic {
	topic := kmsg.WriteTxnMarkersResponseMarkerTopic{Topic: asked.Topic}
	for _, index := range asked.Partitions {
		answer := kmsg.WriteTxnMarkersResponseMarkerTopicPartition{Partition: index, ErrorCode: errorCode(refused)}
		if refused == nil {
			t := s.TopicByName(asked.Topic)
			if t == nil || t.Partition(index) == nil {
				answer.ErrorCode = kerr.UnknownTopicOrPartition.Code
			} else if _, open := t.Partition(index).OpenSince(producerID); open {
				answer.ErrorCode = kerr.OperationNotAttempted.Code
			}
		}
		topic.Partitions = append(topic.Partitions, answer)
	}
	return topic
}

func forceAbort(ctx context.Context, call *call, id string, m *kmsg.WriteTxnMarkersRequestMarker) *kerr.Error {
	verdict, failed := call.proposeTransaction(ctx, &metapb.Command{Kind: &metapb.Command_EndTransaction{EndTransaction: &metapb.EndTransaction{
		TransactionalId: id, ProducerId: m.ProducerID, ProducerEpoch: int32(m.ProducerEpoch), Commit: m.Committed, Fences: true,
	}}})
	if failed != nil {
		return failed
	}
	return transactionError(verdict.Code, 1, 0)
}
