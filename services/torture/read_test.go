package torture

import (
	"context"
	"fmt"
	"time"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/ingest/fetch"
	"github.com/varvelog/varve/ingest/recordbatch"
)

// answer is what one read brought.
type answer struct {
	code                    fetch.Code
	logStart, highWatermark int64
	records                 []record
	covered                 int64 // the offset after the last batch
}

// read reads once. A batch may begin before the offset; what lies there is left out, as clients do.
func (n *node) read(ctx context.Context, tp meta.TopicPartition, from int64, maxBytes int) (a answer, err error) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	response := n.reader.Read(ctx, &fetch.Request{
		Partitions: []fetch.PartitionRead{{TopicPartition: tp, Offset: from, MaxBytes: maxBytes, LeaderEpoch: -1, Open: true}},
		MinBytes:   1, MaxBytes: maxBytes, MaxWait: 50 * time.Millisecond,
	})
	defer response.Release()
	d := &response.Partitions[0]
	a = answer{code: d.Code, logStart: d.LogStartOffset, highWatermark: d.HighWatermark, covered: from}
	var scratch recordbatch.Scratch
	for _, slice := range d.Records {
		for batch, err := range recordbatch.Batches(slice) {
			if err != nil {
				return a, err
			}
			if err := recordbatch.CheckCRC(batch.Bytes); err != nil {
				return a, err
			}
			if batch.NextOffset() <= from {
				return a, fmt.Errorf("batch [%d, %d) below %d", batch.BaseOffset, batch.NextOffset(), from)
			}
			for r, err := range recordbatch.Records(batch.Bytes, &scratch) {
				if err != nil {
					return a, err
				}
				if r.Offset >= from {
					a.records = append(a.records, record{r.Offset, string(r.Value)})
				}
			}
			a.covered = batch.NextOffset()
		}
	}
	return a, nil
}

// consume reads at random until ctx ends, and checks each answer by itself.
func (c *cluster) consume(ctx context.Context, t *topics) {
	for ctx.Err() == nil {
		tp, m := t.pick(c.dice)
		logStart, acknowledged := m.floor()
		from := logStart
		if acknowledged > logStart {
			from += int64(c.dice.intN(int(acknowledged - logStart + 1)))
		}
		a, err := c.nodes[c.dice.intN(len(c.nodes))].read(ctx, tp, from, 1+c.dice.intN(40<<10))
		if err != nil {
			m.fail("read from %d: %v", from, err)
			continue
		}
		if a.code == fetch.OffsetOutOfRange && from >= a.logStart {
			m.fail("offset %d is out of range [%d, %d), acknowledged up to %d", from, a.logStart, a.highWatermark, acknowledged)
		}
		if a.code == fetch.OK && a.highWatermark < acknowledged {
			m.fail("high watermark %d, though %d was acknowledged before", a.highWatermark, acknowledged)
		}
		if a.code == fetch.OK {
			m.read(from, a.records, a.covered)
		}
	}
}

// readAll reads the partition from its log start to its high watermark.
func (n *node) readAll(tp meta.TopicPartition, m *model) {
	var from, logStart, highWatermark int64
	n.replica.View(func(s *meta.State) {
		if p := s.Partition(tp); p != nil {
			from = p.LogStartOffset()
		}
	})
	deadline := time.Now().Add(30 * time.Second)
	for {
		a, err := n.read(context.Background(), tp, from, 64<<10)
		switch {
		case err != nil:
			m.fail("%s: read from %d: %v", n.name, from, err)
			return
		case a.code == fetch.OffsetOutOfRange && from < a.logStart:
			from = a.logStart
			continue
		case a.code == fetch.OK && len(a.records) > 0:
			m.read(from, a.records, a.covered)
			from = a.covered
		case a.code == fetch.OK && from == a.highWatermark:
			logStart, highWatermark = a.logStart, a.highWatermark
			m.complete(logStart, highWatermark)
			return
		case time.Now().After(deadline):
			m.fail("%s: offset %d of [%d, %d) cannot be read: %v", n.name, from, a.logStart, a.highWatermark, a.code)
			return
		}
	}
}
