package compact

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/varvelog/varve/coordinator/leader"
	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/infra/objstore"
	"github.com/varvelog/varve/infra/objstore/mem"
	"github.com/varvelog/varve/ingest/chunk"
	"github.com/varvelog/varve/ingest/recordbatch"
	"github.com/varvelog/varve/tiering/segment"
)

// failer is what the tests need of testing.T and rapid.T.
type failer interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

var topic = meta.TopicID{'t'}

var place = meta.TopicPartition{Topic: topic}

// sent is a record as it was produced.
type sent struct {
	key, value []byte // a nil value is a tombstone, a nil key none
	millis     int64
	header     string
	marker     bool
	producer   int64 // of a transaction, 0 for none
	aborted    bool
}

// world is a state with one compacted partition, and the objects it refers to; it is the leader, too.
type world struct {
	t     failer
	state *meta.State
	store objstore.Store
	now   int64

	verdict meta.Verdict
	chunk   meta.ChunkVerdict
	ids     int
	seq     uint64
	chunks  map[meta.ChunkID][]byte
	log     []sent // log[i] has offset i
	open    map[int64][]int64
	begun   []int64 // begun[i] is when a round first went over offset i

	merging   *metapb.Merging
	spoil     func(batch []byte) // what is produced, nil for none
	reports   int                // until the worker dies, where not negative
	die       context.CancelFunc
	loseNext  bool // the answer to the next report is lost
	allThere  bool // chunks that are there are too many to be named
	completed int
}

const deleteRetention = 10_000

func newWorld(t failer, configs ...string) *world {
	t.Helper()
	w := &world{
		t: t, state: meta.New([16]byte{'w'}), store: mem.New("compact"), now: 1_000_000, chunks: map[meta.ChunkID][]byte{}, open: map[int64][]int64{}, reports: -1,
	}
	w.do(&metapb.LeaderStart{Epoch: 1, InternalAddress: "leader:1", FeatureLevel: meta.FeatureLevel})
	w.do(&metapb.RegisterNode{DiskId: make([]byte, 16), Incarnation: []byte("i"), KafkaHost: "h", KafkaPort: 1})
	policy := "compact"
	if len(configs) > 1 && configs[0] == "cleanup.policy" {
		policy, configs = configs[1], configs[2:]
	}
	c := &metapb.CreateTopic{Name: "t", TopicId: topic[:], Partitions: 1, Configs: []*metapb.ConfigEntry{
		{Name: "cleanup.policy", Value: policy}, {Name: "min.cleanable.dirty.ratio", Value: "0"}, {Name: "delete.retention.ms", Value: fmt.Sprint(deleteRetention)},
		{Name: "varve.durability", Value: "object"},
	}}
	for i := 0; i < len(configs); i += 2 {
		c.Configs = append(c.Configs, &metapb.ConfigEntry{Name: configs[i], Value: configs[i+1]})
	}
	if v := w.do(c); v.Code != meta.OK {
		t.Fatal(v.Message)
	}
	return w
}

func (w *world) Wants([]byte) bool                                        { return true }
func (w *world) Verdict(_ []byte, v meta.Verdict)                         { w.verdict = v }
func (w *world) WantsChunks(meta.NodeID, uint64) bool                     { return true }
func (w *world) ChunkVerdict(_ *metapb.CommitChunk, v *meta.ChunkVerdict) { w.chunk = *v }
func (w *world) Committed(meta.TopicPartition, int64)                     {}
func (w *world) Changed(meta.ChangeKind)                                  {}

func (w *world) do(m proto.Message) meta.Verdict {
	w.t.Helper()
	w.ids++
	c := &metapb.Command{Id: fmt.Appendf(nil, "%016d", w.ids)}
	r := c.ProtoReflect()
	fields := r.Descriptor().Oneofs().ByName("kind").Fields()
	for i := range fields.Len() {
		if f := fields.Get(i); f.Message().FullName() == m.ProtoReflect().Descriptor().FullName() {
			r.Set(f, protoreflect.ValueOfMessage(m.ProtoReflect()))
		}
	}
	e := &metapb.Entry{Format: meta.EntryFormat, LogId: slices.Concat([]byte{'w'}, make([]byte, 15)), LeaderEpoch: 1, TimeMillis: w.now, Commands: []*metapb.Command{c}}
	if err := w.state.Apply(w.state.Seq()+1, e, w); err != nil {
		w.t.Fatal(err)
	}
	return w.verdict
}

func (w *world) partition() *meta.Partition { return w.state.Partition(place) }

// produce commits a batch as an object chunk. A producer above 0 has a transaction, which the batch joins.
func (w *world) produce(codec recordbatch.Codec, logAppendTime bool, records ...sent) {
	w.t.Helper()
	options := recordbatch.BuilderOptions{Codec: codec}
	joins := int16(0)
	if p := records[0].producer; p > 0 {
		options.Attributes, joins = recordbatch.AttrTransactional, chunk.AttrJoinsTransaction
		options.Producer = &recordbatch.Producer{ID: p, BaseSequence: w.sequence(p)}
	}
	b := recordbatch.NewBuilder(options)
	b.Reset(0, 0)
	for i, r := range records {
		headers := recordbatch.AppendRecordHeaders(nil, recordbatch.RecordHeader{Key: []byte("h"), Value: []byte(r.header)})
		if err := b.Append(int64(i), r.millis, r.key, r.value, headers); err != nil {
			w.t.Fatal(err)
		}
	}
	data, h, err := b.Build(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	if logAppendTime {
		recordbatch.SetLogAppendTime(data, w.now)
		for i := range records {
			records[i].millis = w.now
		}
		if h, err = recordbatch.ParseHeader(data); err != nil {
			w.t.Fatal(err)
		}
	}
	if w.spoil != nil {
		w.spoil(data)
		if h, err = recordbatch.ParseHeader(data); err != nil {
			w.t.Fatal(err)
		}
	}
	w.seq++
	var c chunk.Builder
	c.Add(chunk.Batch{
		Topic: topic, Data: data, Records: uint32(len(records)), ProducerID: h.ProducerID, ProducerEpoch: h.ProducerEpoch, BaseSequence: h.BaseSequence,
		Attributes: h.Attributes | joins, MaxTimestamp: h.MaxTimestamp,
	})
	sealed := c.Seal(chunk.Header{NodeID: 1, NodeEpoch: 1, Lane: 1, Seq: w.seq})
	w.chunks[meta.ChunkID{Node: 1, Epoch: 1, Lane: 1, Seq: w.seq}] = slices.Concat(sealed.Head, slices.Concat(sealed.Body...))
	w.do(&metapb.CommitChunk{
		NodeId: 1, NodeEpoch: 1, Lane: 1, Seq: w.seq, Durability: metapb.Durability_DURABILITY_OBJECT, ChunkBytes: uint64(sealed.Header.ChunkBytes()),
		RunTable: slices.Clone(sealed.Table.Bytes()),
	})
	if w.chunk.Code != meta.OK || w.chunk.Runs[0].Code != meta.OK || w.chunk.Runs[0].BaseOffset != int64(len(w.log)) {
		w.t.Fatalf("commit: %+v", w.chunk)
	}
	for _, r := range records {
		if r.producer > 0 {
			w.open[r.producer] = append(w.open[r.producer], int64(len(w.log)))
		}
		w.log = append(w.log, r)
	}
}

// sequence is the next of a producer's.
func (w *world) sequence(producer int64) (n int32) {
	for _, r := range w.log {
		if r.producer == producer && !r.marker {
			n++
		}
	}
	return n
}

// begin makes a transactional id and answers its producer.
func (w *world) begin(id string) int64 {
	w.t.Helper()
	v := w.do(&metapb.InitTransactionalProducer{TransactionalId: id, TimeoutMillis: 900_000, ExpectedProducerId: -1, ExpectedProducerEpoch: -1})
	if v.Code != meta.OK {
		w.t.Fatal(v)
	}
	return v.ProducerID
}

// end ends a producer's transaction, if it has one.
func (w *world) end(id string, producer int64, commit bool) {
	w.t.Helper()
	if len(w.open[producer]) == 0 {
		return
	}
	if v := w.do(&metapb.EndTransaction{TransactionalId: id, ProducerId: producer, Commit: commit}); v.Code != meta.OK {
		w.t.Fatal(v)
	}
	for _, offset := range w.open[producer] {
		w.log[offset].aborted = !commit
	}
	delete(w.open, producer)
	w.log = append(w.log, sent{marker: true, producer: producer, aborted: !commit})
}

// ship stores what waits, as a shipping worker does: every contiguous range is a part of an object of its own.
func (w *world) ship() {
	w.t.Helper()
	v := w.do(&metapb.LeaseJob{Worker: "s", LeaseMillis: 60_000})
	if v.Code != meta.OK {
		return
	}
	type piece struct {
		base, next int64
		data       []byte
		chunk      *segment.Source
	}
	var pieces []piece
	for c, runs := range w.state.JobContainers(v.JobID) {
		for _, r := range runs {
			p := piece{base: r.BaseOffset, next: r.BaseOffset + int64(r.Records)}
			if m := r.Marker; m != nil {
				p.data = recordbatch.ControlBatch(recordbatch.Marker{ProducerID: m.ProducerID, ProducerEpoch: m.ProducerEpoch, Commit: m.Commit, TimestampMillis: m.TimestampMillis}, m.Offset, 0)
			} else {
				p.data = slices.Clone(w.chunks[c.Chunk][r.Position:][:r.Length])
				p.chunk = &segment.Source{Chunk: segment.ChunkName{Node: int32(c.Chunk.Node), Epoch: c.Chunk.Epoch, Lane: c.Chunk.Lane, Seq: c.Chunk.Seq}}
				if _, err := recordbatch.AssignOffsets(p.data, r.BaseOffset, 0); err != nil {
					w.t.Fatal(err)
				}
			}
			pieces = append(pieces, p)
		}
	}
	slices.SortFunc(pieces, func(x, y piece) int { return int(x.base - y.base) })
	finish := &metapb.FinishJob{JobId: uint64(v.JobID)}
	for len(pieces) > 0 {
		n := 1
		for n < len(pieces) && pieces[n].base == pieces[n-1].next {
			n++
		}
		e := segment.NewEncoder(segment.Header{JobID: uint64(v.JobID), Ordinal: uint32(len(finish.Objects))}, 0)
		e.Begin(topic, "t", 0, pieces[0].base)
		for _, p := range pieces[:n] {
			if p.chunk != nil {
				e.From(*p.chunk)
			}
			for b, err := range recordbatch.Batches(p.data) {
				if err == nil {
					err = e.Batch(b.Header, b.Bytes, false)
				}
				if err != nil {
					w.t.Fatal(err)
				}
			}
		}
		e.End(pieces[n-1].next)
		body, parts := e.Finish()
		p := parts[0]
		o := &metapb.SegmentObject{JobId: uint64(v.JobID), Ordinal: uint32(len(finish.Objects)), SizeBytes: uint64(len(body)), Parts: []*metapb.Part{{
			TopicId: topic[:], BaseOffset: p.BaseOffset, NextOffset: p.NextOffset, Position: p.Position, Length: p.LengthBytes,
			IndexPosition: p.IndexPosition, IndexLength: p.IndexLengthBytes, MaxTimestamp: p.MaxTimestamp, MinTimestamp: p.MinTimestamp, Records: p.Records,
		}}}
		if _, err := w.store.PutIfAbsent(context.Background(), meta.SegmentKey(v.JobID, o.Ordinal), body); err != nil {
			w.t.Fatal(err)
		}
		finish.Objects = append(finish.Objects, o)
		pieces = pieces[n:]
	}
	if v := w.do(finish); v.PartsDropped > 0 {
		w.t.Fatalf("%d parts dropped", v.PartsDropped)
	}
}

// trim raises the log start.
func (w *world) trim(offset int64) { w.do(&metapb.AdvanceLogStart{TopicId: topic[:], Offset: offset}) }

// LeaseCompaction implements Leader.
func (w *world) LeaseCompaction(_ context.Context, r *metapb.CompactionLeaseRequest) (*metapb.CompactionLeaseResponse, error) {
	v := w.do(&metapb.LeaseCompaction{Worker: r.Worker, LeaseMillis: r.LeaseMillis, Merging: w.merging})
	if v.Code != meta.OK {
		return &metapb.CompactionLeaseResponse{}, nil
	}
	round := leader.DescribeRound(w.state, v.JobID)
	for len(w.begun) < len(w.log) {
		w.begun = append(w.begun, -1)
	}
	for o := range w.begun[:round.Parts[len(round.Parts)-1].NextOffset] {
		if w.begun[o] < 0 {
			w.begun[o] = w.now
		}
	}
	if w.allThere {
		round.ChunksThere, round.AllThere = nil, true
	}
	return &metapb.CompactionLeaseResponse{Round: round}, nil
}

// ReportCompaction implements Leader.
func (w *world) ReportCompaction(ctx context.Context, r *metapb.CompactionReportRequest) (*metapb.CompactionReportResponse, error) {
	if w.reports == 0 {
		w.die()
		return nil, ctx.Err()
	}
	w.reports--
	v := w.do(proto.Clone(r.Range))
	if w.loseNext {
		w.loseNext = false
		return nil, errors.New("the answer is lost")
	}
	if v.Code == meta.OK && r.Range.Done {
		w.completed++
	}
	return &metapb.CompactionReportResponse{Accepted: v.Code == meta.OK}, nil
}

// FinishJob implements Leader.
func (w *world) FinishJob(_ context.Context, r *metapb.JobFinishRequest) (*metapb.JobFinishResponse, error) {
	w.do(r.Finish)
	return &metapb.JobFinishResponse{}, nil
}

func (w *world) Compacted(Stats, time.Duration) {}
func (w *world) CompactionFailed()              {}

// worker is a new one.
func (w *world) worker(config Config) *Worker {
	w.t.Helper()
	config.Poll = time.Millisecond
	worker, err := New(config, w, w.store, w, slog.New(slog.DiscardHandler))
	if err != nil {
		w.t.Fatal(err)
	}
	return worker
}

// compact carries out a round, if one is due; the worker dies before its report number reports, unless that is negative.
func (w *world) compact(config Config, reports int) bool {
	w.t.Helper()
	worker := w.worker(config)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	w.reports, w.die = reports, cancel
	compacted, err := worker.Once(ctx)
	if err != nil && ctx.Err() == nil {
		w.t.Fatal(err)
	}
	return compacted || err != nil
}
