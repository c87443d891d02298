//go:build linux

package workload

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"github.com/varvelog/varve/services/nemesis/history"
)

// ledger is what was acknowledged so far, and what the last audit read.
type ledger struct {
	sync.Mutex
	acknowledged map[string][]history.Record // by partition
	read         map[string][]uint64         // by partition: the value at each offset, 0 where there is none
}

func (l *ledger) note(partition string, offset int64, value uint64) {
	l.Lock()
	defer l.Unlock()
	l.acknowledged[partition] = append(l.acknowledged[partition], history.Record{Offset: offset, Value: value})
}

// Audit reads all logs at one node, beside the clients, from their start, or where the last audit ended, to where they end by then. It complains where a record is not there that had been
// acknowledged before, and where an offset has another record than at the last audit, or none. What groups have committed goes into the history. It returns how many
// records it has read.
func (w *Workload) Audit(ctx context.Context, address string, fromStart bool) (records int, err error) {
	l := &life{w: w, ctx: ctx, name: "audit " + address, process: int(w.processes.Add(1))}
	client, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.ClientID(l.name))
	if err != nil {
		return 0, err
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	w.ledger.Lock()
	due := map[string]int{}
	for partition, list := range w.ledger.acknowledged {
		due[partition] = len(list)
	}
	w.ledger.Unlock()
	if err := l.readCommitted(ctx, admin); err != nil {
		return 0, err
	}
	topics := append([]string{input, output}, w.topics...)
	described, err := admin.ListTopics(ctx, topics...)
	if err != nil {
		return 0, err
	}
	ends, err := admin.ListEndOffsets(ctx, topics...)
	if err != nil {
		return 0, err
	}
	var reading errgroup.Group
	var sum atomic.Int64
	for _, topic := range topics {
		for p := range int32(partitions) {
			reading.Go(func() error {
				end, ok := ends.Lookup(topic, p)
				if !ok || end.Err != nil {
					return fmt.Errorf("end of %s: %w", place(topic, p), end.Err)
				}
				n, err := l.audit(client, described[topic], p, end.Offset, due[place(topic, p)], fromStart)
				sum.Add(int64(n))
				if err != nil {
					return fmt.Errorf("audit of %s at %s: %w", place(topic, p), address, err)
				}
				return nil
			})
		}
	}
	err = reading.Wait()
	return int(sum.Load()), err
}

// audit reads one log up to its end, and compares it with the first due acknowledgements.
func (l *life) audit(client *kgo.Client, topic kadm.TopicDetail, partition int32, end int64, due int, fromStart bool) (records int, err error) {
	name := place(topic.Topic, partition)
	l.w.ledger.Lock()
	before := l.w.ledger.read[name]
	l.w.ledger.Unlock()
	if end < int64(len(before)) {
		l.w.config.Complain("%s ends at %d, and reached to %d before", name, end, len(before))
		return 0, nil
	}
	values := make([]uint64, end)
	options := kgo.ProcessFetchPartitionOpts{Topic: topic.Topic, Partition: partition}
	if !fromStart {
		options.Offset = int64(copy(values, before))
	}
	for options.Offset < end {
		got, next, err := l.fetch(client, kadm.TopicID(topic.ID), options, false)
		if err != nil {
			return records, fmt.Errorf("fetch at offset %d: %w", options.Offset, err)
		}
		for _, r := range got {
			if r.Offset < end {
				values[r.Offset] = valueOf(r.Value)
				records++
			}
		}
		options.Offset = next
	}
	ledger, complain := &l.w.ledger, l.w.config.Complain
	ledger.Lock()
	defer ledger.Unlock()
	for _, r := range ledger.acknowledged[name][:due] {
		switch {
		case r.Offset >= end:
			complain("%s: value %d was acknowledged at offset %d, and the log ends at %d", name, r.Value, r.Offset, end)
		case values[r.Offset] != r.Value:
			complain("%s: value %d was acknowledged at offset %d, where value %d is now", name, r.Value, r.Offset, values[r.Offset])
		}
	}
	for offset, value := range before {
		if values[offset] != value {
			complain("%s: what was read at offset %d, value %d, is not there any more, or another record: value %d", name, offset, value, values[offset])
			break
		}
	}
	ledger.read[name] = values
	return records, nil
}

// readCommitted reads what the groups have committed.
func (l *life) readCommitted(ctx context.Context, admin *kadm.Client) error {
	for _, group := range []string{"classic", "consumer", "transform"} {
		e := history.Event{Kind: history.Committed, Status: history.OK, Group: group, Invoke: now()}
		offsets, err := admin.FetchOffsets(ctx, group)
		if err != nil {
			return fmt.Errorf("offsets of group %s: %w", group, err)
		}
		e.Complete = now()
		offsets.Each(func(o kadm.OffsetResponse) {
			if o.Err == nil && o.At >= 0 {
				e.Parts = append(e.Parts, history.Part{Partition: place(o.Topic, o.Partition), Offset: o.At})
			}
		})
		if len(e.Parts) > 0 {
			l.event(e)
		}
	}
	return nil
}
