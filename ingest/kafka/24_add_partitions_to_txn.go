package kafka

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
)

// AddPartitionsToTxn (key 24), versions 0 to 5.
//
//	v2  PRODUCER_FENCED
//	v3  flexible
//	v4  several transactions in one request, and verification alone; asked by brokers (KIP-890)
//	v5  TRANSACTION_ABORTABLE
//
// The partitions of a transaction are added all or not at all: beside one that cannot be, the others get OPERATION_NOT_ATTEMPTED.

const transactionTimeout = 30 * time.Second

// txnPartitions is the request for one transaction, whatever the version.
type txnPartitions struct {
	id            string
	producerID    int64
	producerEpoch int16
	verifyOnly    bool
	topics        []kmsg.AddPartitionsToTxnRequestTransactionTopic
}

func handleAddPartitionsToTxn(ctx context.Context, call *call, r *kmsg.AddPartitionsToTxnRequest) (kmsg.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, transactionTimeout)
	defer cancel()
	response := kmsg.NewPtrAddPartitionsToTxnResponse()
	if r.Version >= 4 {
		if e := call.mayCluster(ClusterAction); e != nil {
			response.ErrorCode = e.Code
			return response, nil
		}
		for i := range r.Transactions {
			t := &r.Transactions[i]
			response.Transactions = append(response.Transactions, kmsg.AddPartitionsToTxnResponseTransaction{
				TransactionalID: t.TransactionalID,
				Topics:          addPartitions(ctx, call, r.Version, &txnPartitions{t.TransactionalID, t.ProducerID, t.ProducerEpoch, t.VerifyOnly, t.Topics}),
			})
		}
		return response, nil
	}
	asked := txnPartitions{id: r.TransactionalID, producerID: r.ProducerID, producerEpoch: r.ProducerEpoch}
	for _, t := range r.Topics {
		asked.topics = append(asked.topics, kmsg.AddPartitionsToTxnRequestTransactionTopic{Topic: t.Topic, Partitions: t.Partitions})
	}
	for _, t := range addPartitions(ctx, call, r.Version, &asked) {
		topic := kmsg.AddPartitionsToTxnResponseTopic{Topic: t.Topic}
		for _, p := range t.Partitions {
			topic.Partitions = append(topic.Partitions, kmsg.AddPartitionsToTxnResponseTopicPartition{Partition: p.Partition, ErrorCode: p.ErrorCode})
		}
		response.Topics = append(response.Topics, topic)
	}
	return response, nil
}

func addPartitions(ctx context.Context, call *call, version int16, asked *txnPartitions) []kmsg.AddPartitionsToTxnResponseTransactionTopic {
	var command metapb.AddToTransaction
	answers, refused := make([]kmsg.AddPartitionsToTxnResponseTransactionTopic, len(asked.topics)), false
	for i := range asked.topics {
		t := &asked.topics[i]
		id, _, count, known := call.resolve(t.Topic, meta.TopicID{}, false)
		mayWrite := call.mayTopic(Write, t.Topic)
		answers[i].Topic = t.Topic
		for _, partition := range t.Partitions {
			answer := kmsg.AddPartitionsToTxnResponseTransactionTopicPartition{Partition: partition}
			switch {
			case mayWrite != nil && !asked.verifyOnly && version < 4:
				answer.ErrorCode = mayWrite.Code
			case !known || partition < 0 || partition >= count:
				answer.ErrorCode = kerr.UnknownTopicOrPartition.Code
			}
			refused = refused || answer.ErrorCode != 0
			answers[i].Partitions = append(answers[i].Partitions, answer)
		}
		command.Topics = append(command.Topics, &metapb.TransactionTopic{TopicId: id[:], Partitions: t.Partitions})
	}
	switch {
	case asked.id == "":
		fillTxnPartitions(answers, kerr.InvalidRequest)
	case version < 4 && call.mayTransactionalID(Write, asked.id) != nil:
		fillTxnPartitions(answers, kerr.TransactionalIDAuthorizationFailed)
	case asked.verifyOnly:
		verifyPartitions(ctx, call, version, asked, answers)
	case refused:
		for i := range answers {
			for j := range answers[i].Partitions {
				if p := &answers[i].Partitions[j]; p.ErrorCode == 0 {
					p.ErrorCode = kerr.OperationNotAttempted.Code
				}
			}
		}
	default:
		command.TransactionalId, command.ProducerId, command.ProducerEpoch = asked.id, asked.producerID, int32(asked.producerEpoch)
		verdict, failed := call.proposeTransaction(ctx, &metapb.Command{Kind: &metapb.Command_AddToTransaction{AddToTransaction: &command}})
		if failed == nil {
			failed = transactionError(verdict.Code, version, 2)
		}
		fillTxnPartitions(answers, failed)
	}
	return answers
}

func fillTxnPartitions(topics []kmsg.AddPartitionsToTxnResponseTransactionTopic, e *kerr.Error) {
	for i := range topics {
		for j := range topics[i].Partitions {
			topics[i].Partitions[j].ErrorCode = errorCode(e)
		}
	}
}

// verifyPartitions tells of each partition whether it is in the open transaction.
func verifyPartitions(ctx context.Context, call *call, version int16, asked *txnPartitions, answers []kmsg.AddPartitionsToTxnResponseTransactionTopic) {
	if call.domain().Metadata.Barrier(ctx) != nil {
		fillTxnPartitions(answers, kerr.CoordinatorNotAvailable)
		return
	}
	call.domain().Metadata.View(func(s *meta.State) {
		for i := range answers {
			var tp meta.TopicPartition
			if t := s.TopicByName(answers[i].Topic); t != nil {
				tp.Topic = t.ID
			}
			for j := range answers[i].Partitions {
				p := &answers[i].Partitions[j]
				tp.Partition = p.Partition
				code := s.InTransaction(asked.id, asked.producerID, int32(asked.producerEpoch), tp)
				p.ErrorCode = errorCode(abortable(transactionError(code, version, 2), version, 5))
			}
		}
	})
}
