package delivery

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/ingest/chunk"
)

// stateLog applies commands to a real state at once.
type stateLog struct {
	mu struct {
		sync.Mutex
		state    *meta.State
		position uint32
		seq      uint64
		failing  bool
		losing   bool          // the next command is applied, and its verdict lost
		hold     chan struct{} // commands wait for it
		watchers map[chan<- struct{}]struct{}
		stores   int
	}
}

var (
	logID = [16]byte{1}
	topic = meta.TopicID([]byte("orders----------"))
)

func tp(partition int32) meta.TopicPartition {
	return meta.TopicPartition{Topic: topic, Partition: partition}
}

// newLog has a topic of two partitions, and a share group that has both.
func newLog(t testing.TB) *stateLog {
	t.Helper()
	l := &stateLog{}
	l.mu.state = meta.New(logID)
	l.mu.watchers = map[chan<- struct{}]struct{}{}
	for _, c := range []*metapb.Command{
		{Kind: &metapb.Command_LeaderStart{LeaderStart: &metapb.LeaderStart{Epoch: 1}}},
		{Kind: &metapb.Command_CreateTopic{CreateTopic: &metapb.CreateTopic{Name: "orders", TopicId: topic[:], Partitions: 2,
			Configs: []*metapb.ConfigEntry{{Name: "varve.durability", Value: "local"}}}}},
		{Kind: &metapb.Command_RegisterNode{RegisterNode: &metapb.RegisterNode{DiskId: make([]byte, 16), Incarnation: []byte{1}, KafkaHost: "h", KafkaPort: 1}}},
		{Kind: &metapb.Command_StoreShareGroup{StoreShareGroup: &metapb.StoreShareGroup{Group: "g", Epoch: 1,
			Partitions: []*metapb.AssignedTopic{{TopicId: topic[:], Partitions: []int32{0, 1}}}}}},
	} {
		l.apply(t, c)
	}
	l.configure(t, "share.auto.offset.reset", "earliest")
	return l
}

func (l *stateLog) configure(t testing.TB, name, value string) {
	t.Helper()
	resource, on := metapb.AlterConfig_GROUP, "g"
	if meta.LookupConfig(meta.ScopeGroup, name) == nil {
		resource, on = metapb.AlterConfig_BROKER, ""
	}
	l.apply(t, &metapb.Command{Kind: &metapb.Command_AlterConfig{AlterConfig: &metapb.AlterConfig{
		Resource: resource, Name: on, Entries: []*metapb.ConfigEntry{{Name: name, Value: value}},
	}}})
}

func (l *stateLog) apply(t testing.TB, c *metapb.Command) {
	t.Helper()
	if v, err := l.Propose(context.Background(), c); err != nil || v.Code != meta.OK {
		t.Fatalf("apply %v: %v %v", c, v, err)
	}
}

// produce makes n records in one batch.
func (l *stateLog) produce(t testing.TB, partition int32, n int) {
	t.Helper()
	l.mu.Lock()
	l.mu.seq++
	seq, position := l.mu.seq, l.mu.position
	l.mu.Unlock()
	var b chunk.Builder
	if !b.Add(chunk.Batch{Topic: topic, Partition: partition, Records: uint32(n), ProducerID: -1, ProducerEpoch: -1, BaseSequence: -1, Data: make([]byte, 100)}) {
		t.Fatal("batch does not fit")
	}
	sealed := b.Seal(chunk.Header{NodeID: 1, NodeEpoch: 1, Seq: seq})
	l.apply(t, &metapb.Command{Kind: &metapb.Command_CommitChunk{CommitChunk: &metapb.CommitChunk{
		NodeId: 1, NodeEpoch: 1, Seq: seq, Durability: metapb.Durability_DURABILITY_LOCAL, Segment: 1, Position: position,
		ChunkBytes: uint64(sealed.Header.ChunkBytes()), RunTable: slices.Clone(sealed.Table.Bytes()),
	}}})
	l.mu.Lock()
	l.mu.position += uint32(sealed.Header.ChunkBytes())
	l.mu.Unlock()
}

type verdictSink struct {
	meta.Observer
	verdict meta.Verdict
}

func (s *verdictSink) Wants([]byte) bool                                    { return true }
func (s *verdictSink) Verdict(_ []byte, v meta.Verdict)                     { s.verdict = v }
func (s *verdictSink) Changed(meta.ChangeKind)                              {}
func (s *verdictSink) WantsChunks(meta.NodeID, uint64) bool                 { return false }
func (s *verdictSink) ChunkVerdict(*metapb.CommitChunk, *meta.ChunkVerdict) {}
func (s *verdictSink) Committed(meta.TopicPartition, int64)                 {}

func (l *stateLog) Propose(ctx context.Context, c *metapb.Command) (meta.Verdict, error) {
	l.mu.Lock()
	hold := l.mu.hold
	l.mu.Unlock()
	if hold != nil && c.GetStoreShareState() != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			return meta.Verdict{}, ctx.Err()
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.GetStoreShareState() != nil {
		l.mu.stores++
		if l.mu.failing {
			return meta.Verdict{}, errors.New("no leader")
		}
	}
	c.Id = []byte("0123456789abcdef")
	sink := &verdictSink{}
	err := l.mu.state.Apply(l.mu.state.Seq()+1, &metapb.Entry{Format: 1, LogId: logID[:], LeaderEpoch: 1, TimeMillis: time.Now().UnixMilli(), Commands: []*metapb.Command{c}}, sink)
	for ch := range l.mu.watchers {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
	if l.mu.losing && c.GetStoreShareState() != nil {
		l.mu.losing = false
		return meta.Verdict{}, errors.New("deadline")
	}
	return sink.verdict, err
}

func (l *stateLog) View(read func(*meta.State)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	read(l.mu.state)
}

func (l *stateLog) Watch(_ []meta.TopicPartition, ch chan<- struct{}) (cancel func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.watchers[ch] = struct{}{}
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.mu.watchers, ch)
	}
}

// with changes how the log behaves.
func (l *stateLog) with(change func(*stateLog)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(l)
}

// partition is what the state has of a share partition.
func (l *stateLog) partition(partition int32) (p meta.SharePartition) {
	l.View(func(s *meta.State) { p = *s.Group("g").Share.Partition(tp(partition)) })
	return p
}

func newCoordinator(l *stateLog) *Coordinator { return New(l, slog.New(slog.DiscardHandler)) }
