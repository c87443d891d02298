package main

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/ingest/recordbatch"
	"github.com/varvelog/varve/services/simulate/world"
)

// view is what one connection has been shown of a partition; it never goes back.
type view struct {
	high, stable, start int64
	opened              bool
}

// check compares an answer with the answers before it on the same connection.
func (v *view) check(w *world.World, node string, at partition, from, floor int64, answer *kmsg.FetchResponseTopicPartition) {
	if answer.ErrorCode != 0 {
		return
	}
	switch {
	case answer.HighWatermark < v.high:
		w.Fail("9 monotonic views", "%s: high watermark of %v goes from %d to %d on one connection", node, at, v.high, answer.HighWatermark)
	case answer.LogStartOffset < v.start:
		w.Fail("9 monotonic views", "%s: log start of %v goes from %d to %d on one connection", node, at, v.start, answer.LogStartOffset)
	case answer.HighWatermark < from:
		w.Fail("9 monotonic views", "%s: high watermark %d of %v below the fetch offset %d", node, answer.HighWatermark, at, from)
	case !v.opened && answer.HighWatermark < floor:
		w.Fail("9 monotonic views", "%s: high watermark %d of %v, though %d was acknowledged before the connection asked", node, answer.HighWatermark, at, floor)
	case answer.LastStableOffset > answer.HighWatermark:
		w.Fail("8 atomic transactions", "%s: last stable offset %d of %v above %d", node, answer.LastStableOffset, at, answer.HighWatermark)
	case answer.LastStableOffset < v.stable:
		w.Fail("8 atomic transactions", "%s: last stable offset of %v goes from %d to %d", node, at, v.stable, answer.LastStableOffset)
	}
	v.high, v.start, v.stable, v.opened = answer.HighWatermark, answer.LogStartOffset, answer.LastStableOffset, true
}

// watch reads partitions from their beginning to their end, connection by connection, and looks at each answer.
func (u *workload) watch(ctx context.Context, host *world.Process) {
	for ctx.Err() == nil {
		node := u.c.pick(u.c.nodes).name
		connection, err := dial(ctx, host, kafkaAddress(node))
		if err != nil {
			_ = world.Sleep(ctx, 100*time.Millisecond)
			continue
		}
		at, offset, v := u.pick(), int64(0), view{}
		if u.w.OneIn(2) {
			offset = u.history.floor(at)
		}
		for range 3 + u.w.IntN(20) {
			if ctx.Err() != nil {
				break
			}
			floor := u.history.floor(at)
			answer, err := connection.fetch(at, offset, u.w.Between(0, 500*time.Millisecond), u.w.OneIn(2))
			if err != nil {
				break
			}
			v.check(u.w, node, at, offset, floor, answer)
			if answer.ErrorCode != 0 {
				u.w.Count("fetch " + kerr.ErrorForCode(answer.ErrorCode).Error())
				if answer.ErrorCode == kerr.OffsetOutOfRange.Code && offset <= floor {
					u.w.Fail("14 missing bytes are never a wrong answer", "%s: offset %d of %v is out of range, %d was acknowledged", node, offset, at, floor)
				}
				continue
			}
			offset = u.take(node, at, offset, answer.RecordBatches)
		}
		connection.close()
	}
}

// roam asks one node after the other where a partition ends: whatever was acknowledged anywhere before it asked is below.
func (u *workload) roam(ctx context.Context, host *world.Process) {
	for ctx.Err() == nil {
		node, at := u.c.pick(u.c.nodes).name, u.pick()
		if connection, err := dial(ctx, host, kafkaAddress(node)); err == nil {
			floor := u.history.floor(at)
			end, err := connection.end(at)
			if err == nil && end >= 0 {
				u.w.Count("asked for the end")
				if end < floor {
					u.w.Fail("9 monotonic views", "%s: %v ends at %d, though %d was acknowledged before it was asked", node, at, end, floor)
				}
			}
			connection.close()
		}
		_ = world.Sleep(ctx, u.w.Between(0, 300*time.Millisecond))
	}
}

// take looks at what a fetch brought, and returns the offset after it. Offsets have no gaps: control batches take one each.
func (u *workload) take(node string, at partition, from int64, encoded []byte) int64 {
	var scratch recordbatch.Scratch
	next := from
	for batch, err := range recordbatch.Batches(encoded) {
		if err == nil {
			err = recordbatch.CheckCRC(batch.Bytes)
		}
		if err != nil {
			u.w.Fail("13 same records out", "%s: %v@%d: %v", node, at, next, err)
			return next
		}
		if batch.BaseOffset > next || batch.NextOffset() <= from {
			u.w.Fail("13 same records out", "%s: %v: a batch [%d, %d) where %d comes next", node, at, batch.BaseOffset, batch.NextOffset(), next)
		}
		next = batch.NextOffset()
		if batch.Header.IsControl() {
			continue
		}
		for r, err := range recordbatch.Records(batch.Bytes, &scratch) {
			if err != nil {
				u.w.Fail("13 same records out", "%s: %v@%d: %v", node, at, batch.BaseOffset, err)
				break
			}
			u.history.read(at, r.Offset, string(r.Value))
		}
	}
	u.w.Count("fetched")
	return next
}

// check reads everything in the end.
func (u *workload) check() {
	for _, at := range u.partitions {
		all := u.readAll(at, kgo.ReadUncommitted())
		stable := u.readAll(at, kgo.ReadCommitted())
		if len(u.w.Failed()) == 0 {
			u.history.complete(at, all, stable)
		}
	}
	u.history.whole()
	u.checkOffsets()
}

// readAll is what a client reads of a partition from its beginning to its end.
func (u *workload) readAll(at partition, level kgo.IsolationLevel) map[int64]string {
	records := map[int64]string{}
	end := int64(-1)
	for _, s := range u.c.nodes {
		if offset, err := u.readFrom(s.name, at); err != nil {
			u.w.Fail("14 missing bytes are never a wrong answer", "%s: %v@%d: %v", s.name, at, offset, err)
			return records
		} else if end >= 0 && offset != end {
			u.w.Fail("9 monotonic views", "%v ends at %d on %s and at %d on another node", at, offset, s.name, end)
		} else {
			end = offset
		}
	}
	if floor := u.history.floor(at); end < floor {
		u.w.Fail("9 monotonic views", "%v ends at %d, %d was acknowledged", at, end, floor)
	}
	cl := u.client(u.hosts[0], kgo.FetchIsolationLevel(level), kgo.FetchMaxWait(200*time.Millisecond), kgo.KeepControlRecords(),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{at.topic: {at.number: kgo.NewOffset().At(0)}}))
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 40*time.Second)
	defer cancel()
	next := int64(0)
	for next < end {
		fetches := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			u.w.Fail(world.Progress, "%v cannot be read beyond %d of %d", at, next, end)
			return records
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if r.Offset < next {
				u.w.Fail("9 monotonic views", "%v: offset %d is read after %d", at, r.Offset, next-1)
			}
			next = r.Offset + 1
			if !r.Attrs.IsControl() {
				records[r.Offset] = string(r.Value)
				u.history.read(at, r.Offset, string(r.Value))
			}
		})
		if fetches.Empty() && u.trailing(at, next, end, level) {
			break
		}
	}
	return records
}

// trailing says whether nothing but what the reader does not see is left: aborted records at the end.
func (u *workload) trailing(at partition, next, end int64, level kgo.IsolationLevel) bool {
	all := 0
	for offset := next; offset < end; offset++ {
		u.history.mu.Lock()
		value, known := u.history.mu.seen[at][offset]
		r := u.history.mu.sent[value]
		u.history.mu.Unlock()
		if known && (r == nil || r.txn == nil) {
			return false
		}
		all++
	}
	return level == kgo.ReadCommitted() && all > 0
}

// readFrom reads a partition through one node, and returns the offset after its last record.
func (u *workload) readFrom(node string, at partition) (offset int64, err error) {
	v := view{}
	deadline := time.Now().Add(time.Minute)
	for time.Now().Before(deadline) {
		connection, dialErr := dial(context.Background(), u.hosts[0], kafkaAddress(node))
		if err = dialErr; err != nil {
			time.Sleep(100 * time.Millisecond)
			continue
		}
		v = view{}
		for time.Now().Before(deadline) {
			floor := u.history.floor(at)
			answer, fetchErr := connection.fetch(at, offset, 100*time.Millisecond, false)
			if err = fetchErr; err != nil {
				break
			}
			v.check(u.w, node, at, offset, floor, answer)
			if answer.ErrorCode != 0 {
				err = kerr.ErrorForCode(answer.ErrorCode)
				time.Sleep(100 * time.Millisecond)
				continue
			}
			offset = u.take(node, at, offset, answer.RecordBatches)
			if offset == answer.HighWatermark {
				connection.close()
				return offset, nil
			}
			err = fmt.Errorf("the high watermark is %d", answer.HighWatermark)
		}
		connection.close()
	}
	return offset, err
}
