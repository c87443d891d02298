package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	transactionsTopic      = "transactions"
	transactionPartitions  = 100
	transactionTimeoutSecs = 60
)

// measureTransactions measures EndTxn alone: the transactions have their partitions by AddPartitionsToTxn, and one of 100 is ended in turn
// with one of a single partition.
func measureTransactions(ctx context.Context, e *env) ([]Result, error) {
	s, err := e.start(ctx, noShipping...)
	if err != nil {
		return nil, err
	}
	if _, err := createTopic(ctx, s.kafkaAddr, transactionsTopic, transactionPartitions, nil); err != nil {
		return nil, s.explain(err)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(s.kafkaAddr))
	if err != nil {
		return nil, fmt.Errorf("make client: %w", err)
	}
	defer client.Close()
	one, err := newTransactor(ctx, client, "one", 1)
	if err != nil {
		return nil, s.explain(err)
	}
	many, err := newTransactor(ctx, client, "many", transactionPartitions)
	if err != nil {
		return nil, s.explain(err)
	}
	const warmUp = 200
	samples := pick(e, 10_000, 1_500)
	for i := range warmUp + samples {
		if i == warmUp {
			one.took, many.took = one.took[:0], many.took[:0]
		}
		for _, t := range []*transactor{one, many} {
			if err := t.transact(ctx); err != nil {
				return nil, s.explain(err)
			}
		}
	}
	a, b := summarise(one.took), summarise(many.took)
	detail := fmt.Sprintf("p50 %.3f ms against %.3f ms, p99 %.3f ms against %.3f ms, %d samples each", millis(b.p50), millis(a.p50), millis(b.p99), millis(a.p99), b.count)
	return []Result{
		required("EndTxn p99 / 1 partition", ratio(float64(b.p99), float64(a.p99)), "x", atMost, 1.5, detail),
		info("EndTxn p99, 100 partitions", millis(b.p99), "ms", ""),
	}, nil
}

// transactor opens and ends transactions in plain requests.
type transactor struct {
	broker *kgo.Broker
	id     string
	add    kmsg.AddPartitionsToTxnRequest
	end    kmsg.EndTxnRequest
	took   []time.Duration
}

func newTransactor(ctx context.Context, client *kgo.Client, id string, partitions int32) (*transactor, error) {
	t := &transactor{broker: client.SeedBrokers()[0], id: id, add: kmsg.NewAddPartitionsToTxnRequest(), end: kmsg.NewEndTxnRequest()}
	topic := kmsg.AddPartitionsToTxnRequestTopic{Topic: transactionsTopic}
	for i := range partitions {
		topic.Partitions = append(topic.Partitions, i)
	}
	t.add.TransactionalID, t.add.Topics = id, []kmsg.AddPartitionsToTxnRequestTopic{topic}
	t.end.TransactionalID, t.end.Commit = id, true
	begin := kmsg.NewPtrInitProducerIDRequest()
	begin.TransactionalID, begin.TransactionTimeoutMillis = &id, transactionTimeoutSecs*1000
	answer, err := begin.RequestWith(ctx, t.broker)
	if err == nil {
		err = kerr.ErrorForCode(answer.ErrorCode)
	}
	if err != nil {
		return nil, fmt.Errorf("begin as %s: %w", id, err)
	}
	t.took = make([]time.Duration, 0, 16_384)
	t.goOn(answer.ProducerID, answer.ProducerEpoch)
	return t, nil
}

func (t *transactor) goOn(producerID int64, epoch int16) {
	t.add.ProducerID, t.add.ProducerEpoch = producerID, epoch
	t.end.ProducerID, t.end.ProducerEpoch = producerID, epoch
}

// pinned keeps a request at a version that brokers take from producers.
type pinned struct {
	*kmsg.AddPartitionsToTxnRequest
}

func (pinned) MaxVersion() int16 { return 3 }

func (t *transactor) transact(ctx context.Context) error {
	added, err := t.broker.Request(ctx, pinned{&t.add})
	if err != nil {
		return fmt.Errorf("add partitions as %s: %w", t.id, err)
	}
	answer := added.(*kmsg.AddPartitionsToTxnResponse) //nolint:forcetypeassert // it answers that request
	if err := kerr.ErrorForCode(answer.Topics[0].Partitions[0].ErrorCode); err != nil {
		return fmt.Errorf("add partitions as %s: %w", t.id, err)
	}
	begun := time.Now()
	ended, err := t.end.RequestWith(ctx, t.broker)
	took := time.Since(begun)
	if err == nil {
		err = kerr.ErrorForCode(ended.ErrorCode)
	}
	if err != nil {
		return fmt.Errorf("end as %s: %w", t.id, err)
	}
	t.took = append(t.took, took)
	t.goOn(ended.ProducerID, ended.ProducerEpoch)
	return nil
}
