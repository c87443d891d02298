package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/coordinator/meta"
)

// DescribeTransactions (key 65), version 0 (KIP-664).

func handleDescribeTransactions(ctx context.Context, call *call, r *kmsg.DescribeTransactionsRequest) (kmsg.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, transactionTimeout)
	defer cancel()
	barrier := call.domain().Metadata.Barrier(ctx)
	response := kmsg.NewPtrDescribeTransactionsResponse()
	call.domain().Metadata.View(func(s *meta.State) {
		for _, id := range r.TransactionalIDs {
			answer := kmsg.NewDescribeTransactionsResponseTransactionState()
			answer.TransactionalID = id
			t, known := s.Transaction(id)
			switch refused := call.mayTransactionalID(Describe, id); {
			case id == "":
				answer.ErrorCode = kerr.InvalidRequest.Code
			case refused != nil:
				answer.ErrorCode = refused.Code
			case barrier != nil:
				answer.ErrorCode = kerr.CoordinatorNotAvailable.Code
			case !known:
				answer.ErrorCode = kerr.TransactionalIDNotFound.Code
			default:
				describeTransaction(s, &t, &answer, call)
			}
			response.TransactionStates = append(response.TransactionStates, answer)
		}
	})
	return response, nil
}

func describeTransaction(s *meta.State, t *meta.Transaction, answer *kmsg.DescribeTransactionsResponseTransactionState, call *call) {
	answer.State, answer.TimeoutMillis, answer.StartTimestamp = t.State.String(), t.TimeoutMillis, t.StartMillis
	answer.ProducerID, answer.ProducerEpoch = t.ProducerID, t.ProducerEpoch
	var last meta.TopicID
	for _, tp := range t.Partitions {
		topic := s.Topic(tp.Topic)
		if call.mayTopic(Describe, topic.Name) != nil {
			continue
		}
		if len(answer.Topics) == 0 || tp.Topic != last {
			answer.Topics = append(answer.Topics, kmsg.DescribeTransactionsResponseTransactionStateTopic{Topic: topic.Name})
			last = tp.Topic
		}
		of := &answer.Topics[len(answer.Topics)-1]
		of.Partitions = append(of.Partitions, tp.Partition)
	}
}
