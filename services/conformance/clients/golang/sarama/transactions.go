package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/IBM/sarama"

	"github.com/varvelog/varve/services/conformance/clients/golang/check"
)

func createTopic(brokers, topic string, partitions int32) error {
	a, err := sarama.NewClusterAdmin([]string{brokers}, sarama.NewConfig())
	if err != nil {
		return err
	}
	return errors.Join(a.CreateTopic(topic, &sarama.TopicDetail{NumPartitions: partitions, ReplicationFactor: 1}, false), a.Close())
}

// idempotentConfig has what the client insists on for an idempotent producer.
func idempotentConfig() *sarama.Config {
	config := sarama.NewConfig()
	config.Producer.Idempotent = true
	config.Producer.RequiredAcks = sarama.WaitForAll
	config.Producer.Return.Successes = true
	config.Net.MaxOpenRequests = 1
	return config
}

func idempotent(ctx context.Context, brokers string) error {
	if err := createTopic(brokers, "idempotent", 3); err != nil {
		return err
	}
	p, err := sarama.NewSyncProducer([]string{brokers}, idempotentConfig())
	if err != nil {
		return err
	}
	var messages []*sarama.ProducerMessage
	for i := range 3000 {
		messages = append(messages, &sarama.ProducerMessage{Topic: "idempotent", Key: sarama.StringEncoder(strconv.Itoa(i % 7)), Value: sarama.StringEncoder(strconv.Itoa(i))})
	}
	if err := errors.Join(p.SendMessages(messages), p.Close()); err != nil {
		return err
	}
	counts := map[int32]int{}
	for _, m := range messages {
		counts[m.Partition]++
	}
	last := map[string]int{}
	for partition, count := range counts {
		records, err := read(ctx, brokers, "idempotent", partition, sarama.OffsetOldest, count, sarama.ReadCommitted)
		if err != nil {
			return err
		}
		for _, r := range records {
			n, err := strconv.Atoi(string(r.Value))
			if err != nil {
				return err
			}
			if before, seen := last[string(r.Key)]; seen && n != before+7 {
				return fmt.Errorf("%d follows %d", n, before)
			}
			last[string(r.Key)] = n
		}
	}
	return nil
}

func transactional(brokers, id string) (sarama.SyncProducer, error) {
	config := idempotentConfig()
	config.Producer.Transaction.ID = id
	return sarama.NewSyncProducer([]string{brokers}, config)
}

func transaction(ctx context.Context, brokers string) error {
	if err := createTopic(brokers, "transactions", 2); err != nil {
		return err
	}
	p, err := transactional(brokers, "transaction")
	if err != nil {
		return err
	}
	committed, all := map[int32]int{}, map[int32]int{}
	for i := range 10 {
		word, end := "committed", p.CommitTxn
		if i%2 == 1 {
			word, end = "aborted", p.AbortTxn
		}
		if err := p.BeginTxn(); err != nil {
			return err
		}
		for j := range 20 {
			partition, _, err := p.SendMessage(&sarama.ProducerMessage{Topic: "transactions", Key: sarama.StringEncoder(strconv.Itoa(j)), Value: sarama.StringEncoder(fmt.Sprint(word, i))})
			if err != nil {
				return err
			}
			all[partition]++
			if word == "committed" {
				committed[partition]++
			}
		}
		if err := end(); err != nil {
			return err
		}
	}
	if err := p.Close(); err != nil {
		return err
	}
	for partition, count := range committed {
		records, err := read(ctx, brokers, "transactions", partition, sarama.OffsetOldest, count, sarama.ReadCommitted)
		if err != nil {
			return err
		}
		for _, r := range records {
			if !strings.HasPrefix(string(r.Value), "committed") {
				return fmt.Errorf("read_committed read %q", r.Value)
			}
		}
		if _, err := read(ctx, brokers, "transactions", partition, sarama.OffsetOldest, all[partition], sarama.ReadUncommitted); err != nil {
			return err
		}
	}
	return nil
}

func transactionOffsets(ctx context.Context, brokers string) error {
	for i, want := range []int64{-1, 100} {
		p, err := transactional(brokers, "mover")
		if err != nil {
			return err
		}
		if err := p.BeginTxn(); err != nil {
			return err
		}
		records, err := read(ctx, brokers, "gzip", 0, sarama.OffsetOldest, 100, sarama.ReadCommitted)
		if err != nil {
			return err
		}
		for _, r := range records {
			if _, _, err := p.SendMessage(&sarama.ProducerMessage{Topic: "moved", Value: sarama.ByteEncoder(r.Value)}); err != nil {
				return err
			}
		}
		if err := p.AddMessageToTxn(records[99], "movers", nil); err != nil {
			return err
		}
		end := p.AbortTxn
		if i == 1 {
			end = p.CommitTxn
		}
		if err := errors.Join(end(), p.Close()); err != nil {
			return err
		}
		a, err := sarama.NewClusterAdmin([]string{brokers}, sarama.NewConfig())
		if err != nil {
			return err
		}
		offsets, err := a.ListConsumerGroupOffsets("movers", map[string][]int32{"gzip": {0}})
		if err = errors.Join(err, a.Close()); err != nil {
			return err
		}
		if err := check.Want("committed offset", offsets.GetBlock("gzip", 0).Offset, want); err != nil {
			return err
		}
	}
	return nil
}

func fence(_ context.Context, brokers string) error {
	old, err := transactional(brokers, "fenced")
	if err != nil {
		return err
	}
	if err := old.BeginTxn(); err != nil {
		return err
	}
	if _, _, err := old.SendMessage(&sarama.ProducerMessage{Topic: "transactions", Value: sarama.StringEncoder("zombie")}); err != nil {
		return err
	}
	fresh, err := transactional(brokers, "fenced")
	if err != nil {
		return err
	}
	err = old.CommitTxn()
	if !errors.Is(err, sarama.ErrProducerFenced) && !errors.Is(err, sarama.ErrInvalidProducerEpoch) {
		return fmt.Errorf("the first producer's commit: %w", err)
	}
	return fresh.Close()
}
