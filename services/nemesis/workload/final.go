//go:build linux

package workload

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sync/errgroup"

	"github.com/varvelog/varve/services/nemesis/history"
)

// Finish is called when all clients have ended and nothing fails any more. It waits for the transactions of crashed clients to be aborted, and
// reads all logs at every node, each under both isolation levels.
func (w *Workload) Finish(ctx context.Context) error {
	topics := append([]string{input, output}, w.topics...)
	ends, err := w.awaitStable(ctx, topics)
	if err != nil {
		return err
	}
	for i, address := range w.config.Bootstrap {
		l := &life{w: w, ctx: ctx, name: "final " + address}
		if err := l.groups(address); err != nil {
			return err
		}
		for _, isolated := range []bool{false, true} {
			l.process = int(w.processes.Add(1))
			if err := l.readLogs(address, ends, isolated, i == 0); err != nil {
				return fmt.Errorf("read all logs at %s: %w", address, err)
			}
		}
	}
	return nil
}

// groups reads at one node what groups have committed.
func (l *life) groups(address string) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.ClientID(l.name))
	if err != nil {
		return err
	}
	defer client.Close()
	l.process = int(l.w.processes.Add(1))
	return l.readCommitted(l.ctx, kadm.NewClient(client))
}

// awaitStable waits until no transaction is open, and returns the ends of all logs.
func (w *Workload) awaitStable(ctx context.Context, topics []string) ([]history.Part, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(w.config.Bootstrap...))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	var open []string
	for {
		e, ok := watermarks(ctx, admin, topics)
		if ok && len(e.Parts) == len(topics)*partitions {
			open = nil
			for _, p := range e.Parts {
				if p.Stable < p.High {
					open = append(open, fmt.Sprintf("%s from %d to %d", p.Partition, p.Stable, p.High))
				}
			}
			if len(open) == 0 {
				return e.Parts, w.config.History.Write(&e)
			}
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("transactions stay open: %v: %w", open, ctx.Err())
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// readLogs reads at one node, whoever leads. The first reading is what the log is; others must be the same.
func (l *life) readLogs(address string, ends []history.Part, isolated, first bool) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.ClientID(l.name))
	if err != nil {
		return err
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	described, err := admin.ListTopics(l.ctx)
	if err != nil {
		return err
	}
	var reading errgroup.Group
	for _, end := range ends {
		var topic string
		var partition int32
		for _, t := range described {
			for p := range t.Partitions {
				if place(t.Topic, p) == end.Partition {
					topic, partition = t.Topic, p
				}
			}
		}
		if topic == "" {
			return fmt.Errorf("%s is not among its topics", end.Partition)
		}
		reading.Go(func() error {
			if err := l.readLog(client, kadm.TopicID(described[topic].ID), topic, partition, end.High, isolated, first); err != nil {
				return fmt.Errorf("%s: %w", end.Partition, err)
			}
			return nil
		})
	}
	return reading.Wait()
}

func (l *life) readLog(client *kgo.Client, id kadm.TopicID, topic string, partition int32, high int64, isolated, first bool) error {
	name := place(topic, partition)
	if !first {
		l.event(history.Event{Kind: history.Assign, Status: history.OK, Invoke: now(), Complete: now(), Parts: []history.Part{{Partition: name}}})
	}
	options := kgo.ProcessFetchPartitionOpts{Topic: topic, Partition: partition}
	if isolated {
		options.IsolationLevel = kgo.ReadCommitted()
	}
	for options.Offset < high {
		e := history.Event{Kind: history.Poll, Status: history.OK, Committed: isolated, Invoke: now()}
		if first {
			e.Kind = history.Log
		}
		got, next, err := l.fetch(client, id, options, isolated)
		if err != nil {
			return fmt.Errorf("fetch at offset %d: %w", options.Offset, err)
		}
		e.Complete = now()
		part := history.Part{Partition: name, High: next}
		for _, r := range got {
			part.Records = append(part.Records, history.Record{Offset: r.Offset, Value: valueOf(r.Value)})
		}
		e.Parts = []history.Part{part}
		l.event(e)
		options.Offset = next
	}
	return nil
}

// fetchPatience is how long one offset may take to be readable when nothing fails.
const fetchPatience = 30 * time.Second

// fetch reads on at an offset, and returns what comes next.
func (l *life) fetch(client *kgo.Client, id kadm.TopicID, options kgo.ProcessFetchPartitionOpts, isolated bool) (records []*kgo.Record, next int64, err error) {
	ctx, cancel := context.WithTimeout(l.ctx, fetchPatience)
	defer cancel()
	request := kmsg.NewPtrFetchRequest()
	request.MaxWaitMillis, request.MinBytes, request.MaxBytes, request.SessionEpoch = 500, 1, 4<<20, -1
	if isolated {
		request.IsolationLevel = 1
	}
	part := kmsg.NewFetchRequestTopicPartition()
	part.Partition, part.FetchOffset, part.PartitionMaxBytes, part.CurrentLeaderEpoch = options.Partition, options.Offset, 2<<20, -1
	topic := kmsg.NewFetchRequestTopic()
	topic.Topic, topic.TopicID, topic.Partitions = options.Topic, id, []kmsg.FetchRequestTopicPartition{part}
	request.Topics = []kmsg.FetchRequestTopic{topic}
	var failure error
	for ctx.Err() == nil {
		answer, err := request.RequestWith(ctx, client.SeedBrokers()[0])
		if failure = err; err == nil && len(answer.Topics) == 1 && len(answer.Topics[0].Partitions) == 1 {
			p := &answer.Topics[0].Partitions[0]
			got, after := kgo.ProcessFetchPartition(options, p, kgo.DefaultDecompressor(), nil)
			failure = errors.Join(kerr.ErrorForCode(p.ErrorCode), got.Err)
			if failure == nil && after > options.Offset {
				return got.Records, after, nil
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
	return nil, 0, errors.Join(failure, ctx.Err())
}
