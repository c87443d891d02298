package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varvelog/varve/services/conformance/clients/golang/check"
)

func createTopic(ctx context.Context, brokers, topic string, partitions int32) error {
	client, err := newClient(brokers)
	if err != nil {
		return err
	}
	defer client.Close()
	_, err = kadm.NewClient(client).CreateTopic(ctx, partitions, -1, nil, topic)
	return err
}

// idempotent: what is sent in order has to be in order in every partition, once. The client is idempotent unless told otherwise.
func idempotent(ctx context.Context, brokers string) error {
	if err := createTopic(ctx, brokers, "idempotent", 3); err != nil {
		return err
	}
	client, err := newClient(brokers)
	if err != nil {
		return err
	}
	defer client.Close()
	for i := range 3000 {
		client.Produce(ctx, &kgo.Record{Topic: "idempotent", Key: fmt.Appendf(nil, "%d", i%7), Value: fmt.Appendf(nil, "%d", i)}, nil)
	}
	if err := client.Flush(ctx); err != nil {
		return err
	}
	reader, err := newClient(brokers, kgo.ConsumeTopics("idempotent"))
	if err != nil {
		return err
	}
	defer reader.Close()
	records, err := read(ctx, reader, 3000)
	if err != nil {
		return err
	}
	last := map[string]int{}
	for _, r := range records {
		var n int
		if _, err := fmt.Sscan(string(r.Value), &n); err != nil {
			return err
		}
		if before, seen := last[string(r.Key)]; seen && n != before+7 {
			return fmt.Errorf("%d follows %d", n, before)
		}
		last[string(r.Key)] = n
	}
	return nil
}

// transaction commits and aborts in turn; a reader of what is committed sees nothing else, another sees all.
func transaction(ctx context.Context, brokers string) error {
	if err := createTopic(ctx, brokers, "transactions", 2); err != nil {
		return err
	}
	client, err := newClient(brokers, kgo.TransactionalID("transaction"))
	if err != nil {
		return err
	}
	defer client.Close()
	for i := range 10 {
		word, end := "committed", kgo.TryCommit
		if i%2 == 1 {
			word, end = "aborted", kgo.TryAbort
		}
		if err := client.BeginTransaction(); err != nil {
			return err
		}
		for j := range 20 {
			client.Produce(ctx, &kgo.Record{Topic: "transactions", Key: fmt.Append(nil, j), Value: fmt.Appendf(nil, "%s %d %d", word, i, j)}, nil)
		}
		if err := errors.Join(client.Flush(ctx), client.EndTransaction(ctx, end)); err != nil {
			return fmt.Errorf("transaction %d: %w", i, err)
		}
	}
	for _, level := range []struct {
		isolation kgo.IsolationLevel
		records   int
	}{{kgo.ReadCommitted(), 100}, {kgo.ReadUncommitted(), 200}} {
		reader, err := newClient(brokers, kgo.ConsumeTopics("transactions"), kgo.FetchIsolationLevel(level.isolation))
		if err != nil {
			return err
		}
		records, err := read(ctx, reader, level.records)
		reader.Close()
		if err != nil {
			return err
		}
		for _, r := range records {
			if level.records == 100 && !strings.HasPrefix(string(r.Value), "committed") {
				return fmt.Errorf("read_committed read %q", r.Value)
			}
		}
	}
	return nil
}

// transactionOffsets consumes and produces in one transaction, which is aborted once and then committed.
func transactionOffsets(ctx context.Context, brokers string) error {
	for i, want := range []int64{-1, 100} {
		session, err := kgo.NewGroupTransactSession(
			kgo.SeedBrokers(brokers), kgo.TransactionalID("mover"), kgo.ConsumerGroup("movers"), kgo.ConsumeTopics("gzip"), kgo.DefaultProduceTopic("moved"),
			kgo.AllowAutoTopicCreation(), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.WithLogger(logger{discard}),
		)
		if err != nil {
			return err
		}
		defer session.Close()
		records, err := read(ctx, session.Client(), 100)
		if err != nil {
			return err
		}
		if err := session.Begin(); err != nil {
			return err
		}
		for _, r := range records {
			session.Produce(ctx, &kgo.Record{Value: r.Value}, nil)
		}
		if err := session.Client().Flush(ctx); err != nil {
			return err
		}
		if _, err := session.End(ctx, kgo.TransactionEndTry(i == 1)); err != nil {
			return err
		}
		offsets, err := kadm.NewClient(session.Client()).FetchOffsets(ctx, "movers")
		if err != nil {
			return err
		}
		got := int64(-1)
		if o, ok := offsets.Lookup("gzip", 0); ok {
			got = o.At
		}
		if err := check.Want("committed offset", got, want); err != nil {
			return err
		}
		session.Close()
	}
	return nil
}

// fence: a second producer of the same transactional id ends the first.
func fence(ctx context.Context, brokers string) error {
	old, err := newClient(brokers, kgo.TransactionalID("fenced"), kgo.DefaultProduceTopic("transactions"))
	if err != nil {
		return err
	}
	defer old.Close()
	if err := errors.Join(old.BeginTransaction(), old.ProduceSync(ctx, kgo.StringRecord("zombie")).FirstErr()); err != nil {
		return err
	}
	fresh, err := newClient(brokers, kgo.TransactionalID("fenced"))
	if err != nil {
		return err
	}
	defer fresh.Close()
	if _, _, err := fresh.ProducerID(ctx); err != nil {
		return err
	}
	err = old.EndTransaction(ctx, kgo.TryCommit)
	if !errors.Is(err, kerr.ProducerFenced) && !errors.Is(err, kerr.InvalidProducerEpoch) {
		return fmt.Errorf("the first producer's commit: %w", err)
	}
	return nil
}
