//go:build linux

package workload

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varvelog/varve/services/nemesis/history"
)

// transactionTimeout bounds how long what a crashed client has left open holds readers up.
const transactionTimeout = 10 * time.Second

// transact writes to several partitions in each transaction, commits most and aborts some. Its successor has the same transactional id, and
// fences it.
func (l *life) transact(id string, rate int) {
	client, err := l.client(kgo.TransactionalID(id), kgo.TransactionTimeout(transactionTimeout))
	if err != nil {
		l.w.config.Complain("transactional producer: %v", err)
		l.pause(time.Second)
		return
	}
	defer l.close(client)
	reader, err := l.reader(true)
	if err != nil {
		l.w.config.Complain("transactional producer: %v", err)
		return
	}
	defer l.close(reader)
	for l.ctx.Err() == nil {
		records := 1 + l.random.IntN(6)
		if !l.transaction(client, reader, records) {
			return
		}
		l.pause(time.Duration(l.random.ExpFloat64() * float64(records) * float64(time.Second) / float64(max(1, rate))))
	}
}

// transaction runs one transaction, which reads in the middle, so that transactions may depend on each other. It is false where the client can do
// no more.
func (l *life) transaction(client, reader *kgo.Client, records int) bool {
	txn := int64(l.w.txns.Add(1))
	if err := client.BeginTransaction(); err != nil {
		return false
	}
	var failed atomic.Bool
	for i := range records {
		if i == (records+1)/2 {
			l.readIn(client, reader, txn)
		}
		topic, partition := l.partition()
		l.send(client, topic, partition, txn, func(err error) {
			if err != nil {
				failed.Store(true)
			}
		})
	}
	flushing, cancel := context.WithTimeout(context.WithoutCancel(l.ctx), finishing)
	defer cancel()
	if l.random.IntN(20) == 0 {
		return false // it crashes with the transaction open
	}
	commit := l.random.IntN(4) > 0
	if err := client.Flush(flushing); err != nil || failed.Load() {
		commit = false
		if err := client.AbortBufferedRecords(flushing); err != nil {
			return false
		}
	}
	e := history.Event{Kind: history.End, Txn: txn, Commit: commit, Invoke: now()}
	ending, cancel := context.WithTimeout(context.WithoutCancel(l.ctx), finishing)
	defer cancel()
	err := client.EndTransaction(ending, kgo.TransactionEndTry(commit))
	e.Complete, e.Status = now(), status(err)
	if err != nil {
		e.Note = err.Error()
	} else if commit {
		l.w.progress.note("transaction", e.Invoke)
	}
	l.event(e)
	return err == nil
}

// readIn reads for a moment, as a part of a transaction, when what the transaction has written so far is there.
func (l *life) readIn(client, reader *kgo.Client, txn int64) {
	reading, cancel := context.WithTimeout(l.ctx, 80*time.Millisecond)
	defer cancel()
	if client.Flush(reading) != nil {
		return
	}
	for reading.Err() == nil {
		e := history.Event{Kind: history.Poll, Status: history.OK, Txn: txn, Committed: true, Invoke: now()}
		fetches := reader.PollRecords(reading, 100)
		e.Complete, e.Parts = now(), polled(fetches)
		l.complain(fetches)
		if len(e.Parts) > 0 {
			l.event(e)
		}
	}
}

// transform reads input as a member of a group, and writes each record's successor to output, in transactions that hold the group's
// offsets too.
func (l *life) transform(id string) {
	t := &tracker{l: l, group: "transform"}
	session, err := kgo.NewGroupTransactSession(append(l.options(), append(t.options(),
		kgo.TransactionalID(id), kgo.TransactionTimeout(transactionTimeout), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumerGroup("transform"), kgo.ConsumeTopics(input))...)...)
	if err != nil {
		l.w.config.Complain("transformer: %v", err)
		l.pause(time.Second)
		return
	}
	defer func() {
		if l.crashes() {
			l.cut.cut()
		}
		session.Client().CloseAllowingRebalance()
	}()
	for l.ctx.Err() == nil {
		if !l.transformation(session, t) {
			return
		}
	}
}

func (l *life) transformation(session *kgo.GroupTransactSession, t *tracker) bool {
	polling, cancel := context.WithTimeout(l.ctx, time.Second)
	defer cancel()
	e := history.Event{Kind: history.Poll, Status: history.OK, Committed: true, Group: t.group, Invoke: now()}
	fetches := session.PollRecords(polling, 40)
	defer session.AllowRebalance()
	e.Complete = now()
	l.complain(fetches)
	if fetches.NumRecords() == 0 {
		return true
	}
	txn := int64(l.w.txns.Add(1))
	e.Txn, e.Parts = txn, polled(fetches)
	l.event(e)
	if err := session.Begin(); err != nil {
		return false
	}
	var failed atomic.Bool
	for range e.Parts {
		for range 1 + l.random.IntN(3) {
			l.send(session.Client(), output, l.random.Int32N(partitions), txn, func(err error) {
				if err != nil {
					failed.Store(true)
				}
			})
		}
	}
	commits := history.Event{Kind: history.Commit, Txn: txn, Group: t.group, Invoke: now()}
	for _, p := range e.Parts {
		commits.Parts = append(commits.Parts, history.Part{Partition: p.Partition, Offset: p.Records[len(p.Records)-1].Offset + 1})
	}
	ending, cancel := context.WithTimeout(context.WithoutCancel(l.ctx), finishing)
	defer cancel()
	end := history.Event{Kind: history.End, Txn: txn, Commit: true, Invoke: now()}
	_ = session.Client().Flush(ending)
	committed, err := session.End(ending, kgo.TransactionEndTry(!failed.Load()))
	commits.Complete, end.Complete = now(), now()
	commits.Status, end.Status = history.Unknown, history.Unknown
	switch {
	case committed && err == nil:
		commits.Status, end.Status = history.OK, history.OK
		l.w.progress.note("transformation", e.Invoke)
	case err == nil && failed.Load():
		end.Commit, end.Status = false, history.OK
	}
	l.event(commits)
	l.event(end)
	if !committed {
		l.event(history.Event{Kind: history.Revoke, Status: history.OK, Invoke: now(), Complete: now()}) // it goes on where the group is
	}
	return err == nil
}
