//go:build linux

package workload

import (
	"context"
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varvelog/varve/services/nemesis/history"
)

// status of what was answered with err. No error of a client is taken as proof that a thing has not happened.
func status(err error) history.Status {
	if err != nil {
		return history.Unknown
	}
	return history.OK
}

// send hands a record over, and writes down what becomes of it. done, where not nil, is told.
func (l *life) send(client *kgo.Client, topic string, partition int32, txn int64, done func(error)) {
	value := l.w.values.Add(1)
	e := history.Event{Kind: history.Send, Txn: txn, Invoke: now()}
	record := &kgo.Record{Topic: topic, Partition: partition, Value: payload(value)}
	if value%3 == 0 {
		record.Key = record.Value[:1]
	}
	client.Produce(context.WithoutCancel(l.ctx), record, func(r *kgo.Record, err error) {
		offset := int64(-1)
		e.Complete, e.Status = now(), status(err)
		if err == nil {
			offset = r.Offset
			l.w.progress.note("send "+topic, e.Invoke)
			l.w.ledger.note(place(topic, partition), offset, value)
		} else {
			e.Note = err.Error()
		}
		e.Parts = []history.Part{{Partition: place(topic, partition), Records: []history.Record{{Offset: offset, Value: value}}}}
		l.event(e)
		if done != nil {
			done(err)
		}
	})
}

// produce sends records to random partitions with an idempotent producer of default settings.
func (l *life) produce(rate int) { l.produceTo(rate, l.partition) }

// feed sends what is to be transformed.
func (l *life) feed(rate int) {
	l.produceTo(rate, func() (string, int32) { return input, l.random.Int32N(partitions) })
}

func (l *life) produceTo(rate int, pick func() (string, int32)) {
	client, err := l.client()
	if err != nil {
		l.w.config.Complain("producer: %v", err)
		l.pause(time.Second)
		return
	}
	for l.ctx.Err() == nil {
		// Small bursts: several records of a partition are in flight.
		topic, partition := pick()
		burst := 1 + l.random.IntN(6)
		for range burst {
			if client.BufferedProduceRecords() < 400 {
				l.send(client, topic, partition, 0, nil)
			}
		}
		l.pause(time.Duration(l.random.ExpFloat64() * float64(burst) * float64(time.Second) / float64(max(1, rate))))
	}
	l.finish(client)
}

// finishing is how long a client that leaves in order waits for its answers.
const finishing = 20 * time.Second

// finish waits for what is under way, or does not.
func (l *life) finish(client *kgo.Client) {
	if !l.crashes() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(l.ctx), finishing)
		defer cancel()
		if err := client.Flush(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			l.w.config.Complain("flush: %v", err)
		}
	} else {
		l.cut.cut()
	}
	client.CloseAllowingRebalance()
}
