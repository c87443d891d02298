package recovery

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/varvelog/varve/coordinator/archive"
	"github.com/varvelog/varve/coordinator/identity"
	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/coordinator/replica"
	"github.com/varvelog/varve/infra/objstore"
	"github.com/varvelog/varve/infra/objstore/mem"
	"github.com/varvelog/varve/ingest/chunk"
	"github.com/varvelog/varve/ingest/recordbatch"
	"github.com/varvelog/varve/tiering/segment"
)

// spot is an offset of a partition.
type spot struct {
	partition meta.TopicPartition
	offset    int64
}

// record is what was written somewhere, and in which transaction.
type record struct {
	value       string
	key         string
	tombstone   bool
	transaction int // 0 for none
}

// world is a cluster as one thread sees it: a state, its log, hot logs in memory, and a bucket.
type world struct {
	t       *testing.T
	ctx     context.Context
	random  *rand.Rand
	store   objstore.Store
	cluster *identity.Cluster
	state   *meta.State
	hash    [32]byte
	pending [][]byte // entries that are not archived
	first   uint64   // the sequence of the first of them

	archived  []archive.Object
	snapshots []uint64 // sequences

	topics []*metapb.CreateTopic
	hot    map[[2]uint64][]byte // by node and segment
	fill   map[uint64]uint64    // the open segment of each node
	seqs   map[[2]uint64]uint64 // by node and lane
	values int
	// created counts topics that were given a new name, ids those and the ones that were made again.
	created, ids int

	written   map[spot]record
	committed map[int]bool // transactions, by number
	markers   map[spot]int // numbers of the transactions that end there
	txns      []*openTxn
	shipped   map[spot]bool           // has been in a segment object
	chunks    map[meta.ChunkID][]spot // what is in object chunks
	busy      int                     // how often in a hundred a step is one that deletes or drops something
	// skewMillis is how far each node's clock is ahead of the one's before it. Which transaction a chunk's batch is of may then be told wrongly where ends
	// do not raise the epoch, so that all do.
	skewMillis int64
}

type openTxn struct {
	id     string
	number int
	pid    int64
	epoch  int16
	in     []meta.TopicPartition // with records of the open transaction
	next   map[meta.TopicPartition]int32
	added  bool // its batches do not join by themselves
	raises bool // each end gives it a new epoch (KIP-890)
}

const nodes = 2

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{
		t: t, ctx: t.Context(), random: rand.New(rand.NewPCG(seed, 1)), store: mem.New(fmt.Sprint("world ", seed)), first: 1,
		hot: map[[2]uint64][]byte{}, fill: map[uint64]uint64{}, seqs: map[[2]uint64]uint64{}, written: map[spot]record{},
		committed: map[int]bool{}, markers: map[spot]int{}, shipped: map[spot]bool{}, chunks: map[meta.ChunkID][]spot{},
	}
	var err error
	if w.cluster, err = identity.LoadOrCreate(w.ctx, w.store, identity.MetalogJetStream); err != nil {
		t.Fatal(err)
	}
	w.state = meta.New(w.cluster.LogID)
	w.log(&metapb.Command{Kind: &metapb.Command_LeaderStart{LeaderStart: &metapb.LeaderStart{Epoch: 1, FeatureLevel: meta.FeatureLevel}}})
	for i := range byte(nodes) {
		w.log(&metapb.Command{Kind: &metapb.Command_RegisterNode{RegisterNode: &metapb.RegisterNode{DiskId: bytes.Repeat([]byte{i + 1}, 16), Incarnation: []byte{1}}}})
		w.fill[uint64(i)+1] = 1
	}
	w.createTopic()
	return w
}

// log appends one entry.
func (w *world) log(commands ...*metapb.Command) {
	w.t.Helper()
	w.logAs(1, commands...)
}

// logAs appends an entry of the leader of an epoch.
func (w *world) logAs(epoch uint64, commands ...*metapb.Command) {
	w.t.Helper()
	e := &metapb.Entry{LogId: w.cluster.LogID[:], LeaderEpoch: epoch, TimeMillis: w.state.TimeMillis() + 10, Commands: commands}
	if w.state.Seq() > 0 {
		e.PreviousHash = w.hash[:]
	}
	encoded, err := meta.EncodeEntry(e)
	if err == nil {
		err = w.state.Apply(w.state.Seq()+1, e, nil)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	w.hash = sha256.Sum256(encoded)
	w.pending = append(w.pending, encoded)
}

func (w *world) createTopic() {
	w.created++
	w.topics = append(w.topics, w.newTopic(fmt.Sprintf("topic-%d", w.created)))
}

func (w *world) newTopic(name string) *metapb.CreateTopic {
	w.ids++
	durability := "local"
	if w.random.IntN(2) == 0 {
		durability = "object"
	}
	c := &metapb.CreateTopic{
		Name: name, TopicId: bytes.Repeat([]byte{byte(w.ids)}, 16), Partitions: 1 + w.random.Int32N(3),
		Configs: []*metapb.ConfigEntry{{Name: "varve.durability", Value: durability}, {Name: "max.message.bytes", Value: fmt.Sprint(1000 + w.ids)}},
	}
	if w.busy > 0 && w.random.IntN(2) == 0 {
		c.Configs = append(c.Configs, compacted...)
	}
	w.log(&metapb.Command{Kind: &metapb.Command_CreateTopic{CreateTopic: c}})
	return c
}

// compacted is what a topic has that is compacted at every opportunity.
var compacted = []*metapb.ConfigEntry{
	{Name: "cleanup.policy", Value: "compact"}, {Name: "min.cleanable.dirty.ratio", Value: "0"}, {Name: "delete.retention.ms", Value: "50"},
}

func (w *world) place() (meta.TopicPartition, bool) {
	c := w.topics[w.random.IntN(len(w.topics))]
	return meta.TopicPartition{Topic: meta.TopicID(c.TopicId), Partition: w.random.Int32N(c.Partitions)}, c.Configs[0].Value == "object"
}

// batch builds a batch of records with values, and times, that nobody else writes. Tombstones are known by their times.
func (w *world) batch(options recordbatch.BuilderOptions) (data []byte, records []record, h recordbatch.Header) {
	b := recordbatch.NewBuilder(options)
	b.Reset(0, 0)
	for i := range 1 + w.random.IntN(3) {
		w.values++
		r := record{value: fmt.Sprintf("value %d", w.values), key: fmt.Sprintf("key %d", w.random.IntN(6)), tombstone: w.busy > 0 && w.random.IntN(4) == 0}
		value := []byte(r.value)
		if r.tombstone {
			value = nil
		}
		if err := b.Append(int64(i), int64(1000+w.values), []byte(r.key), value, nil); err != nil {
			w.t.Fatal(err)
		}
		records = append(records, r)
	}
	data, h, err := b.Build(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return bytes.Clone(data), records, h
}

// produce writes one chunk with batches of several partitions, all of one class; t is nil outside of transactions.
func (w *world) produce(t *openTxn) {
	var b chunk.Builder
	_, object := w.place()
	type piece struct {
		partition meta.TopicPartition
		records   []record
	}
	var pieces []piece
	for range 1 + w.random.IntN(3) {
		tp, direct := w.place()
		if direct != object || slices.ContainsFunc(pieces, func(p piece) bool { return p.partition == tp }) {
			continue
		}
		options, detail := recordbatch.BuilderOptions{}, chunk.Batch{ProducerID: -1}
		if t != nil {
			options.Attributes = recordbatch.AttrTransactional
			options.Producer = &recordbatch.Producer{ID: t.pid, Epoch: t.epoch, BaseSequence: t.next[tp]}
			detail = chunk.Batch{ProducerID: t.pid, ProducerEpoch: t.epoch, BaseSequence: t.next[tp], Attributes: recordbatch.AttrTransactional | chunk.AttrJoinsTransaction}
		}
		data, records, h := w.batch(options)
		detail.Topic, detail.Partition, detail.Data, detail.Records, detail.MaxTimestamp = tp.Topic, tp.Partition, data, uint32(len(records)), h.MaxTimestamp
		b.Add(detail)
		pieces = append(pieces, piece{tp, records})
		if t != nil {
			t.next[tp] += int32(len(records))
			t.in = append(t.in, tp)
		}
	}
	if len(pieces) == 0 {
		return
	}
	ends := map[meta.TopicPartition]int64{}
	for _, p := range pieces {
		ends[p.partition] = w.state.Partition(p.partition).NextOffset()
	}
	id := w.commit(&b, object)
	for _, p := range pieces {
		if got := w.state.Partition(p.partition).NextOffset() - ends[p.partition]; got != int64(len(p.records)) {
			w.t.Fatalf("%d offsets were given to %d records", got, len(p.records))
		}
		for i, r := range p.records {
			if t != nil {
				r.transaction = t.number
			}
			at := spot{p.partition, ends[p.partition] + int64(i)}
			w.written[at] = r
			if object {
				w.chunks[id] = append(w.chunks[id], at)
			}
		}
	}
}

// commit makes a chunk of some node durable where its class says, and commits it.
func (w *world) commit(b *chunk.Builder, object bool) meta.ChunkID {
	node := 1 + w.random.Uint64N(nodes)
	return w.commitFrom(node, w.state.TimeMillis()+w.skewMillis*int64(node-1), b, object)
}

// commitFrom is commit of a node by whose clock it is now.
func (w *world) commitFrom(node uint64, nowMillis int64, b *chunk.Builder, object bool) meta.ChunkID {
	lane := uint64(0)
	if object {
		lane = 1
	}
	w.seqs[[2]uint64{node, lane}]++
	sealed := b.Seal(chunk.Header{NodeID: int32(node), NodeEpoch: 1, Lane: uint32(lane), Seq: w.seqs[[2]uint64{node, lane}], CreatedMillis: nowMillis})
	whole := bytes.Clone(sealed.Head)
	for _, part := range sealed.Body {
		whole = append(whole, part...)
	}
	c := &metapb.CommitChunk{
		NodeId: int32(node), NodeEpoch: 1, Lane: uint32(lane), Seq: sealed.Header.Seq, Durability: durabilityOf(uint32(lane)),
		ChunkBytes: uint64(len(whole)), RunTable: sealed.Table.Bytes(),
	}
	if object {
		w.put(meta.ChunkKey(meta.NodeID(node), 1, 1, c.Seq), whole)
	} else {
		at := [2]uint64{node, w.fill[node]}
		c.Segment, c.Position = w.fill[node], uint32(len(w.hot[at]))
		w.hot[at] = append(w.hot[at], whole...)
	}
	w.log(&metapb.Command{Kind: &metapb.Command_CommitChunk{CommitChunk: c}})
	return idOf(c)
}

func (w *world) put(key string, body []byte) {
	w.t.Helper()
	if _, err := w.store.PutIfAbsent(w.ctx, key, body); err != nil {
		w.t.Fatal(err)
	}
}

// seal ends a node's hot segment.
func (w *world) seal() {
	node := 1 + w.random.Uint64N(nodes)
	w.log(&metapb.Command{Kind: &metapb.Command_SealContainer{SealContainer: &metapb.SealContainer{NodeId: int32(node), NodeEpoch: 1, Segment: w.fill[node]}}})
	w.fill[node]++
}

// transact moves a producer on: it begins, writes, commits, aborts, or begins again under the next epoch.
func (w *world) transact() {
	if len(w.txns) < 3 {
		t := &openTxn{id: fmt.Sprintf("producer-%d", len(w.txns)), number: 1000 * (len(w.txns) + 1), raises: w.random.IntN(2) == 0 || w.skewMillis != 0}
		w.txns = append(w.txns, t)
		w.initialize(t)
	}
	t := w.txns[w.random.IntN(len(w.txns))]
	switch n := w.random.IntN(30); {
	case n < 2:
		w.initialize(t)
	case len(t.in) == 0 || n < 20:
		w.produce(t)
	default:
		w.end(t, w.random.IntN(2) == 0, t.raises)
	}
}

// initialize gives a producer its next epoch, which aborts the transaction that is open.
func (w *world) initialize(t *openTxn) {
	w.log(&metapb.Command{Kind: &metapb.Command_InitTransactionalProducer{InitTransactionalProducer: &metapb.InitTransactionalProducer{
		TransactionalId: t.id, TimeoutMillis: 60_000, ExpectedProducerId: -1, ExpectedProducerEpoch: -1,
	}}})
	w.ended(t, false)
	w.renew(t)
}

func (w *world) renew(t *openTxn) {
	known, _ := w.state.Transaction(t.id)
	t.pid, t.epoch, t.next = known.ProducerID, known.ProducerEpoch, map[meta.TopicPartition]int32{}
}

func (w *world) end(t *openTxn, commit, bumps bool) {
	w.log(&metapb.Command{Kind: &metapb.Command_EndTransaction{EndTransaction: &metapb.EndTransaction{
		TransactionalId: t.id, ProducerId: t.pid, ProducerEpoch: int32(t.epoch), Commit: commit, BumpsEpoch: bumps,
	}}})
	w.ended(t, commit)
	if bumps {
		w.renew(t)
	}
}

// ended notes how the open transaction ended.
func (w *world) ended(t *openTxn, commit bool) {
	for _, tp := range t.in {
		if p := w.state.Partition(tp); p != nil {
			w.markers[spot{tp, p.NextOffset() - 1}] = t.number
		}
	}
	w.committed[t.number] = commit
	t.number, t.in = t.number+1, nil
}

// ship does a job, or dies on the way.
func (w *world) ship() {
	before := w.state.Jobs()
	w.log(&metapb.Command{Kind: &metapb.Command_LeaseJob{LeaseJob: &metapb.LeaseJob{Worker: "w", LeaseMillis: 1000, MaxContainers: 1 + w.random.Uint32N(3)}}})
	jobs := w.state.Jobs()
	if len(jobs) == len(before) {
		return
	}
	id := jobs[len(jobs)-1].ID
	objects := w.build(id)
	if w.random.IntN(5) == 0 {
		return // its lease ends
	}
	w.log(&metapb.Command{Kind: &metapb.Command_FinishJob{FinishJob: &metapb.FinishJob{JobId: uint64(id), Objects: objects}}})
}

type jobRun struct {
	meta.ContainerRun
	container meta.Container
}

// build stores what a job's runs come to, an object for each few parts.
func (w *world) build(id meta.JobID) (objects []*metapb.SegmentObject) {
	var runs []jobRun
	for c, some := range w.state.JobContainers(id) {
		for _, r := range some {
			runs = append(runs, jobRun{r, c})
		}
	}
	slices.SortFunc(runs, func(x, y jobRun) int {
		return cmpPlaces(x.Partition, x.BaseOffset, y.Partition, y.BaseOffset)
	})
	var e *segment.Encoder
	end := func() {
		if e != nil {
			body, parts := e.Finish()
			o := describe(id, uint32(len(objects)), len(body), parts)
			w.put(meta.SegmentKey(id, o.Ordinal), body)
			objects = append(objects, o)
			e = nil
		}
	}
	for i := 0; i < len(runs); {
		if e == nil {
			e = segment.NewEncoder(segment.Header{JobID: uint64(id), Ordinal: uint32(len(objects)), CreatedMillis: w.state.TimeMillis()}, 0)
		}
		i += w.part(e, runs[i:])
		if w.random.IntN(3) == 0 {
			end()
		}
	}
	end()
	return objects
}

// part encodes the runs at the beginning that continue each other, and returns how many there are.
func (w *world) part(e *segment.Encoder, runs []jobRun) (n int) {
	tp, next := runs[0].Partition, runs[0].BaseOffset
	t := w.state.Topic(tp.Topic)
	e.About(segment.Topic{ID: tp.Topic, Partitions: int32(t.Partitions()), Overrides: t.Overrides})
	e.Begin(tp.Topic, t.Name, tp.Partition, next)
	e.LogStart(w.state.Partition(tp).LogStartOffset())
	for ; n < len(runs) && runs[n].Partition == tp && runs[n].BaseOffset == next; n++ {
		r := runs[n]
		data := w.bytesOf(r)
		source := segment.Source{From: r.Position, To: r.Position + r.Length}
		if c := r.container.Chunk; r.container.IsChunk() {
			source.Chunk = segment.ChunkName{Node: int32(c.Node), Lane: c.Lane, Epoch: c.Epoch, Seq: c.Seq}
		} else {
			source.Hot = segment.HotSegment{Disk: w.state.Node(r.container.Node).DiskID, ID: r.container.Segment, Node: int32(r.container.Node)}
		}
		if r.Marker == nil {
			e.From(source)
		}
		for b, err := range recordbatch.Batches(data) {
			if err == nil {
				err = e.Batch(b.Header, b.Bytes, false)
			}
			if err != nil {
				w.t.Fatal(err)
			}
		}
		for range r.Records {
			w.shipped[spot{tp, next}] = true
			next++
		}
	}
	e.End(next)
	return n
}

func (w *world) bytesOf(r jobRun) []byte {
	if m := r.Marker; m != nil {
		return recordbatch.ControlBatch(recordbatch.Marker{ProducerID: m.ProducerID, ProducerEpoch: m.ProducerEpoch, Commit: m.Commit, TimestampMillis: m.TimestampMillis}, r.BaseOffset, 0)
	}
	whole := w.hot[[2]uint64{uint64(r.container.Node), r.container.Segment}]
	if r.container.IsChunk() {
		var err error
		if whole, _, err = objstore.ReadAll(w.ctx, w.store, r.container.Chunk.Key(), 1<<30); err != nil {
			w.t.Fatal(err)
		}
	}
	data := bytes.Clone(whole[r.Position : r.Position+r.Length])
	if _, err := recordbatch.AssignOffsets(data, r.BaseOffset, 0); err != nil {
		w.t.Fatal(err)
	}
	return data
}

// archive writes what is not archived yet.
func (w *world) archive() {
	if len(w.pending) == 0 {
		return
	}
	b := &archive.Batch{LogID: w.cluster.LogID, First: w.first, Entries: w.pending}
	o := archive.Object{First: b.First, Next: b.Next()}
	w.put(o.Key(), archive.Encode(b))
	w.archived = append(w.archived, o)
	w.first, w.pending = b.Next(), nil
}

// snapshot writes one; the archive holds what it stands for.
func (w *world) snapshot() {
	w.archive()
	m, err := w.state.Snapshot(w.hash[:], func(hash [32]byte, part []byte) error {
		_, err := w.store.Put(w.ctx, replica.PartKey(hash), part)
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	encoded, err := meta.EncodeManifest(m)
	if err == nil {
		_, err = w.store.Put(w.ctx, replica.SnapshotKey(m.Seq), encoded)
		w.snapshots = append(w.snapshots, m.Seq)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// sweep deletes garbage.
func (w *world) sweep() {
	for _, g := range slices.Clone(w.state.Garbage()) {
		if w.busy > 0 && w.random.IntN(2) == 0 {
			continue // later
		}
		if err := w.store.Delete(w.ctx, g.Key); err != nil {
			w.t.Fatal(err)
		}
		w.log(&metapb.Command{Kind: &metapb.Command_ForgetGarbage{ForgetGarbage: &metapb.ForgetGarbage{Keys: []string{g.Key}}}})
	}
}

func (w *world) step() {
	if w.random.IntN(100) < w.busy {
		w.remove()
		return
	}
	switch n := w.random.IntN(100); {
	case n < 35:
		w.produce(nil)
	case n < 60:
		w.transact()
	case n < 68:
		w.seal()
	case n < 80:
		w.ship()
	case n < 84:
		w.merge()
	case n < 90:
		w.archive()
	case n < 93:
		w.snapshot()
	case n < 96:
		w.sweep()
	case n < 98 && w.created < 5:
		w.createTopic()
	default:
		tp, _ := w.place()
		w.log(&metapb.Command{Kind: &metapb.Command_CommitOffsets{CommitOffsets: &metapb.CommitOffsets{Group: "group", Offsets: []*metapb.CommittedOffset{
			{TopicId: tp.Topic[:], Partition: tp.Partition, Offset: w.random.Int64N(1 + w.state.Partition(tp).NextOffset()), LeaderEpoch: -1},
		}}}})
	}
	if w.random.IntN(10) == 0 {
		w.log(&metapb.Command{Kind: &metapb.Command_Tick{Tick: &metapb.Tick{}}})
	}
}

func cmpPlaces(x meta.TopicPartition, xo int64, y meta.TopicPartition, yo int64) int {
	key := func(tp meta.TopicPartition, o int64) []byte {
		return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32(bytes.Clone(tp.Topic[:]), uint32(tp.Partition)), uint64(o))
	}
	return bytes.Compare(key(x, xo), key(y, yo))
}
