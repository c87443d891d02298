package kafka

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/ingest/chunk"
	"github.com/varvelog/varve/ingest/fetch"
	"github.com/varvelog/varve/ingest/lane"
	"github.com/varvelog/varve/ingest/recordbatch"
)

// cluster is a whole Varve in one lock, for tests: the real state machine with a log of no bytes, and record batches in memory.
type cluster struct {
	t     *testing.T
	logID [16]byte

	mu struct {
		sync.Mutex
		state     *meta.State
		verdict   meta.Verdict
		chunk     meta.ChunkVerdict
		seq       uint64
		position  uint32
		log       map[meta.TopicPartition][]storedBatch
		committed chan struct{} // closed and replaced at every commit
		barrier   error         // what Barrier and Propose fail with
		behind    func()        // called by Barrier: what has happened elsewhere
		propose   error
		polls     int // long polls that have begun
	}
	// hold, if set, keeps verdicts back until it is closed.
	hold  chan struct{}
	delay atomic.Int64 // how long producers are made to wait
	wait  sync.WaitGroup
}

type storedBatch struct {
	next int64
	data []byte
}

func newCluster(t *testing.T) *cluster {
	c := &cluster{t: t, logID: [16]byte{1}}
	c.mu.state = meta.New(c.logID)
	c.mu.log = make(map[meta.TopicPartition][]storedBatch)
	c.mu.committed = make(chan struct{})
	c.apply(&metapb.Command{Kind: &metapb.Command_LeaderStart{LeaderStart: &metapb.LeaderStart{Epoch: 1}}})
	return c
}

func (c *cluster) addNode(host string, port int32, zone string) meta.NodeID {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := len(c.mu.state.Nodes()) + 1
	disk, incarnation := make([]byte, 16), []byte{1}
	disk[0] = byte(n)
	return c.applyLocked(&metapb.Command{Kind: &metapb.Command_RegisterNode{RegisterNode: &metapb.RegisterNode{
		DiskId: disk, Incarnation: incarnation, KafkaHost: host, KafkaPort: port, Zone: zone,
	}}}).NodeID
}

func (c *cluster) apply(command *metapb.Command) meta.Verdict {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.applyLocked(command)
}

func (c *cluster) applyLocked(command *metapb.Command) meta.Verdict {
	command.Id = bytes.Repeat([]byte{1}, 16)
	c.mu.verdict, c.mu.chunk = meta.Verdict{}, meta.ChunkVerdict{}
	seq := c.mu.state.Seq() + 1
	err := c.mu.state.Apply(seq, &metapb.Entry{
		Format: meta.EntryFormat, LogId: c.logID[:], LeaderEpoch: 1, TimeMillis: time.Now().UnixMilli(), Commands: []*metapb.Command{command},
	}, c)
	if err != nil {
		panic(err)
	}
	close(c.mu.committed)
	c.mu.committed = make(chan struct{})
	return c.mu.verdict
}

// The observer of its own state.
func (c *cluster) Wants([]byte) bool                                        { return true }
func (c *cluster) Verdict(_ []byte, v meta.Verdict)                         { c.mu.verdict = v }
func (c *cluster) WantsChunks(meta.NodeID, uint64) bool                     { return true }
func (c *cluster) ChunkVerdict(_ *metapb.CommitChunk, v *meta.ChunkVerdict) { c.mu.chunk = *v }
func (c *cluster) Committed(meta.TopicPartition, int64)                     {}
func (c *cluster) Changed(meta.ChangeKind)                                  {}

func (c *cluster) ProposeWhile(ctx context.Context, command *metapb.Command, valid func() bool) (meta.Verdict, error) {
	if !valid() {
		return meta.Verdict{}, errors.New("withdrawn")
	}
	return c.Propose(ctx, command)
}

func (c *cluster) Propose(_ context.Context, command *metapb.Command) (meta.Verdict, error) {
	c.mu.Lock()
	err := c.mu.propose
	c.mu.Unlock()
	if err != nil {
		return meta.Verdict{}, err
	}
	return c.apply(command), nil
}

func (c *cluster) View(f func(*meta.State)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(c.mu.state)
}

func (c *cluster) Barrier(context.Context) error {
	c.mu.Lock()
	behind := c.mu.behind
	c.mu.Unlock()
	if behind != nil {
		behind()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.barrier
}

func (c *cluster) Delay([]lane.Batch) time.Duration { return time.Duration(c.delay.Load()) }

// Append commits a request as one chunk.
func (c *cluster) Append(_ context.Context, request lane.Request) (Pending, error) {
	p := &pendingAppend{done: make(chan struct{}, 1), results: c.commit(request.Batches)}
	if c.hold == nil {
		request.Memory.Release()
		p.done <- struct{}{}
		return p, nil
	}
	hold := c.hold
	c.wait.Go(func() {
		<-hold
		request.Memory.Release()
		p.done <- struct{}{}
	})
	return p, nil
}

func (c *cluster) commit(batches []lane.Batch) []lane.Result {
	c.mu.Lock()
	defer c.mu.Unlock()
	var b chunk.Builder
	for i := range batches {
		h := &batches[i].Header
		attributes := h.Attributes
		if batches[i].JoinsTransaction {
			attributes |= chunk.AttrJoinsTransaction
		}
		if !b.Add(chunk.Batch{
			Topic: batches[i].Topic, Partition: batches[i].Partition, Data: batches[i].Data, Records: uint32(h.LastOffsetDelta) + 1,
			ProducerID: h.ProducerID, ProducerEpoch: h.ProducerEpoch, Attributes: attributes, BaseSequence: h.BaseSequence, MaxTimestamp: h.MaxTimestamp,
		}) {
			panic("chunk is full")
		}
	}
	c.mu.seq++
	sealed := b.Seal(chunk.Header{NodeID: 1, NodeEpoch: 1, Seq: c.mu.seq})
	c.applyLocked(&metapb.Command{Kind: &metapb.Command_CommitChunk{CommitChunk: &metapb.CommitChunk{
		NodeId: 1, NodeEpoch: 1, Seq: c.mu.seq, Durability: metapb.Durability_DURABILITY_LOCAL, Segment: 1, Position: c.mu.position,
		ChunkBytes: uint64(sealed.Header.ChunkBytes()), RunTable: bytes.Clone(sealed.Table.Bytes()),
	}}})
	c.mu.position += uint32(sealed.Header.ChunkBytes())
	if c.mu.chunk.Code != meta.OK {
		panic(fmt.Sprintf("chunk refused: %v", c.mu.chunk.Code))
	}
	results := make([]lane.Result, len(batches))
	for run := range sealed.Table.Runs() {
		verdict := c.mu.chunk.Runs[run]
		next := verdict.BaseOffset
		for k := sealed.First[run]; k < sealed.First[run+1]; k++ {
			i := sealed.Order[k]
			r := lane.Result{Code: verdict.Code, BaseOffset: next, LogStartOffset: verdict.LogStartOffset}
			if len(verdict.Batches) > 0 {
				r.Code, r.BaseOffset = verdict.Batches[k-sealed.First[run]].Code, verdict.Batches[k-sealed.First[run]].BaseOffset
			}
			if r.Code == meta.OK {
				next = r.BaseOffset + int64(batches[i].Header.LastOffsetDelta) + 1
				data := bytes.Clone(batches[i].Data)
				recordbatch.SetBaseOffset(data, r.BaseOffset)
				tp := meta.TopicPartition{Topic: batches[i].Topic, Partition: batches[i].Partition}
				c.mu.log[tp] = append(c.mu.log[tp], storedBatch{next: next, data: data})
			}
			results[i] = r
		}
	}
	return results
}

type pendingAppend struct {
	done    chan struct{}
	results []lane.Result
}

func (p *pendingAppend) Done() <-chan struct{} { return p.done }
func (p *pendingAppend) Free()                 {}

func (p *pendingAppend) Wait(ctx context.Context, timeout time.Duration) []lane.Result {
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-p.done:
		return p.results
	case <-timer.C:
	case <-ctx.Done():
	}
	timedOut := make([]lane.Result, len(p.results))
	for i := range timedOut {
		timedOut[i].Failure = lane.TimedOut
	}
	return timedOut
}

// Read serves what is in memory, as fetch.Reader would.
func (c *cluster) Read(ctx context.Context, r *fetch.Request) FetchAnswer {
	if r.MaxWait > 0 {
		c.mu.Lock()
		c.mu.polls++
		c.mu.Unlock()
	}
	deadline := time.NewTimer(r.MaxWait)
	defer deadline.Stop()
	for {
		answer, size, failed, committed := c.readNow(r)
		if size >= r.MinBytes || failed {
			return FetchAnswer{Partitions: answer}
		}
		select {
		case <-committed:
		case <-deadline.C:
			return FetchAnswer{Partitions: answer}
		case <-ctx.Done():
			return FetchAnswer{Partitions: answer}
		}
	}
}

func (c *cluster) readNow(r *fetch.Request) (answer []fetch.PartitionData, size int, failed bool, committed chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	answer = make([]fetch.PartitionData, len(r.Partitions))
	for k := range r.Partitions {
		i := (k + int(r.Rotation)) % len(r.Partitions)
		read, d := &r.Partitions[i], &answer[i]
		p := c.mu.state.Partition(read.TopicPartition)
		switch {
		case p == nil:
			d.Code = fetch.UnknownTopic
		case read.LeaderEpoch >= 0 && read.LeaderEpoch < p.LeaderEpoch():
			d.Code = fetch.FencedLeaderEpoch
		case read.LeaderEpoch > p.LeaderEpoch():
			d.Code = fetch.UnknownLeaderEpoch
		case read.Offset < p.LogStartOffset() || read.Offset > p.HighWatermark():
			d.Code = fetch.OffsetOutOfRange
		case read.Open && c.mu.barrier != nil:
			d.Code = fetch.OffsetNotAvailable
		default:
			d.HighWatermark, d.LastStableOffset, d.LogStartOffset = p.HighWatermark(), p.LastStableOffset(), p.LogStartOffset()
			if r.Committed {
				d.Aborted = p.AbortedTransactions(nil, read.Offset, d.LastStableOffset)
			}
			for _, b := range c.mu.log[read.TopicPartition] {
				if b.next <= read.Offset || (size > 0 && size+len(b.data) > r.MaxBytes) || (d.Bytes > 0 && d.Bytes+len(b.data) > read.MaxBytes) {
					continue
				}
				d.Records, d.Bytes, size = append(d.Records, b.data), d.Bytes+len(b.data), size+len(b.data)
			}
		}
		failed = failed || d.Code != fetch.OK
	}
	return answer, size, failed, c.mu.committed
}

func (c *cluster) OffsetForTimestamp(_ context.Context, tp meta.TopicPartition, millis int64) (fetch.TimedOffset, bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, b := range c.mu.log[tp] {
		for record, err := range recordbatch.Records(b.data, nil) {
			if err != nil || record.Timestamp >= millis {
				return fetch.TimedOffset{Offset: record.Offset, Timestamp: record.Timestamp}, err == nil, err
			}
		}
	}
	return fetch.TimedOffset{}, false, nil
}

func (c *cluster) OffsetOfMaxTimestamp(_ context.Context, tp meta.TopicPartition) (best fetch.TimedOffset, found bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, b := range c.mu.log[tp] {
		for record, err := range recordbatch.Records(b.data, nil) {
			if err != nil {
				return best, false, err
			}
			if !found || record.Timestamp > best.Timestamp {
				best, found = fetch.TimedOffset{Offset: record.Offset, Timestamp: record.Timestamp}, true
			}
		}
	}
	return best, found, nil
}
