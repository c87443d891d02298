package meta

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/ingest/chunk"
)

// model is what the state must amount to, kept the simplest way there is: a partition is a list of records, each of which
// knows where it is.
type model struct {
	partitions map[TopicPartition]*modelPartition
	nodes      map[NodeID]*modelNode
	jobs       map[JobID][]jobRun
	producers  map[string]*modelProducer // by transactional id
}

type modelNode struct {
	epoch   uint64
	seqs    [2]uint64
	segment uint64
	at      uint32
}

type modelPartition struct {
	start   int64
	records []string // records[i] says where offset i is
	// seen maps a producer's accepted batches to their offsets, in order.
	seen    map[int64][]modelBatch
	aborted []AbortedTransaction
}

type modelBatch struct {
	epoch       int16
	first, next int32
	offset      int64
	at          int64
}

type jobRun struct {
	tp         TopicPartition
	base, next int64
	marker     bool
}

// judge restates Kafka's rules; sequences in the model do not wrap.
func (p *modelPartition) judge(b chunk.Batch) (Code, int64) {
	seen := p.seen[b.ProducerID]
	if len(seen) == 0 {
		return OK, -1
	}
	last := seen[len(seen)-1]
	known := 0
	for i := len(seen) - 1; i >= 0 && seen[i].epoch == last.epoch && known < 5; i-- {
		known++
		if seen[i].epoch == b.ProducerEpoch && seen[i].first == b.BaseSequence && seen[i].next == b.BaseSequence+int32(b.Records) {
			return DuplicateSequence, seen[i].offset
		}
	}
	switch {
	case b.ProducerEpoch < last.epoch:
		return InvalidProducerEpoch, -1
	case b.ProducerEpoch > last.epoch && b.BaseSequence != 0, b.ProducerEpoch == last.epoch && b.BaseSequence != last.next:
		return OutOfOrderSequence, -1
	}
	return OK, -1
}

const modelExpiryMillis = 60_000

// machine runs random commands against state and model.
type machine struct {
	log *testLog
	model
	topics []string
	fresh  int
}

var modelConfigs = [][]*metapb.ConfigEntry{
	nil,
	{{Name: "local.retention.ms", Value: "50000"}},
	{{Name: "retention.ms", Value: "100000"}},
	{{Name: "retention.bytes", Value: "2000"}},
	{{Name: "cleanup.policy", Value: "compact"}, {Name: "min.cleanable.dirty.ratio", Value: "0"}},
	{{Name: "cleanup.policy", Value: "compact"}, {Name: "local.retention.ms", Value: "50000"}},
	{{Name: "cleanup.policy", Value: "compact,delete"}, {Name: "retention.ms", Value: "100000"}, {Name: "max.compaction.lag.ms", Value: "1000"}},
}

func (m *machine) createTopic(t *rapid.T) {
	if len(m.topics) == 4 {
		t.Skip("enough topics")
	}
	m.fresh++
	name := fmt.Sprint("t", m.fresh)
	partitions := rapid.Int32Range(1, 3).Draw(t, "partitions")
	if v := m.log.topic(name, partitions, rapid.SampledFrom(modelConfigs).Draw(t, "config")...); v.Code != OK {
		t.Fatal(v)
	}
	m.topics = append(m.topics, name)
	for i := range partitions {
		m.partitions[TopicPartition{topicID(name), i}] = &modelPartition{seen: map[int64][]modelBatch{}}
	}
}

func (m *machine) deleteTopic(t *rapid.T) {
	if len(m.topics) == 0 || rapid.IntRange(0, 3).Draw(t, "rarely") > 0 {
		t.Skip("not now")
	}
	i := rapid.IntRange(0, len(m.topics)-1).Draw(t, "topic")
	id := topicID(m.topics[i])
	m.log.do(&metapb.DeleteTopic{TopicId: id[:]})
	m.topics = slices.Delete(m.topics, i, i+1)
	for tp := range m.partitions {
		if tp.Topic == id {
			delete(m.partitions, tp)
			for _, producer := range m.producers {
				delete(producer.first, tp)
			}
		}
	}
}

func (m *machine) register(t *rapid.T) {
	disk := rapid.SampledFrom([]string{"A", "B", "C"}).Draw(t, "disk")
	var segments []uint64
	if n := m.log.s.NodeByDisk([16]byte(diskID(disk))); n != nil {
		for i := range m.nodes[n.ID].segment {
			segments = append(segments, i+1)
		}
	}
	v := m.log.register(disk, segments...)
	n := m.nodes[v.NodeID]
	if n == nil {
		n = &modelNode{}
		m.nodes[v.NodeID] = n
	}
	if v.NodeEpoch != n.epoch+1 {
		t.Fatalf("epoch %d after %d", v.NodeEpoch, n.epoch)
	}
	*n = modelNode{epoch: v.NodeEpoch, segment: n.segment + 1}
}

func (m *machine) chunk(t *rapid.T) {
	if len(m.nodes) == 0 {
		t.Skip("no node")
	}
	id := NodeID(rapid.IntRange(1, len(m.nodes)).Draw(t, "node"))
	n := m.nodes[id]
	lane := rapid.IntRange(0, 1).Draw(t, "lane")
	seq := n.seqs[lane] + uint64(rapid.SampledFrom([]int{1, 1, 1, 1, 0, 2}).Draw(t, "seq"))
	epoch := n.epoch
	if rapid.IntRange(0, 20).Draw(t, "stale") == 0 {
		epoch--
	}
	var batches []chunk.Batch
	for range rapid.IntRange(0, 6).Draw(t, "batches") {
		batches = append(batches, m.batch(t))
	}
	segment, position := n.segment, n.at
	if lane == 1 {
		segment, position = 0, 0
	}
	c := commitOf(id, epoch, uint32(lane), seq, segment, position, batches...)
	if lane == 1 {
		c.Hedges = rapid.Uint32Range(0, MaxHedges).Draw(t, "hedges")
		c.Hedge = rapid.Uint32Range(0, c.Hedges).Draw(t, "hedge")
	}
	m.log.do(c)
	v := m.log.chunks[0]
	switch {
	case epoch != n.epoch:
		expect(t, v.Code, Fenced)
		return
	case seq <= n.seqs[lane]:
		expect(t, v.Code, AlreadyCommitted)
		return
	case seq > n.seqs[lane]+1:
		expect(t, v.Code, WrongSeq)
		return
	}
	expect(t, v.Code, OK)
	n.seqs[lane] = seq
	if lane == 0 {
		n.at += uint32(c.ChunkBytes)
	}
	m.acceptRuns(t, c, v)
}

func (m *machine) batch(t *rapid.T) chunk.Batch {
	name := "unknown"
	if len(m.topics) > 0 && rapid.IntRange(0, 9).Draw(t, "known") > 0 {
		name = rapid.SampledFrom(m.topics).Draw(t, "topic")
	}
	tp := TopicPartition{topicID(name), rapid.Int32Range(0, 2).Draw(t, "partition")}
	b := chunk.Batch{
		Topic: tp.Topic, Partition: tp.Partition, Records: rapid.Uint32Range(1, 4).Draw(t, "records"), ProducerID: -1,
		MaxTimestamp: m.log.now, Data: make([]byte, rapid.IntRange(1, 300).Draw(t, "bytes")),
	}
	p := m.partitions[tp]
	if p == nil || rapid.Bool().Draw(t, "plain") {
		return b
	}
	if len(m.producers) > 0 && rapid.Bool().Draw(t, "transactional") {
		return m.transactionalBatch(t, p, b)
	}
	b.ProducerID = rapid.Int64Range(1, 2).Draw(t, "producer")
	if seen := p.seen[b.ProducerID]; len(seen) > 0 {
		last := seen[max(0, len(seen)-rapid.IntRange(1, 7).Draw(t, "back"))]
		b.ProducerEpoch, b.BaseSequence = last.epoch, last.first
		switch rapid.IntRange(0, 5).Draw(t, "kind") {
		case 0: // a duplicate
			b.Records = uint32(last.next - last.first)
		case 1:
			b.ProducerEpoch, b.BaseSequence = last.epoch+1, rapid.Int32Range(0, 1).Draw(t, "sequence")
		default:
			last = seen[len(seen)-1]
			b.ProducerEpoch, b.BaseSequence = last.epoch, last.next
		}
	}
	return b
}

// acceptRuns gives the model's records their places, as the commit should have.
func (m *machine) acceptRuns(t *rapid.T, c *metapb.CommitChunk, v ChunkVerdict) {
	table, err := chunk.ParseTable(c.RunTable)
	if err != nil {
		t.Fatal(err)
	}
	for i := range table.Runs() {
		r := table.Run(i)
		tp := TopicPartition{r.Topic, r.Partition}
		p := m.partitions[tp]
		if p == nil {
			expect(t, v.Runs[i].Code, UnknownTopic)
			continue
		}
		expect(t, v.Runs[i].Code, OK)
		expect(t, v.Runs[i].LogStartOffset, p.start)
		before := len(p.records)
		if r.Details == 0 {
			expect(t, v.Runs[i].BaseOffset, int64(before))
			p.appendRecords(c, int(r.Records))
		} else {
			for j := range r.Details {
				d := table.Detail(int(r.FirstDetail + j))
				m.acceptBatch(t, tp, c, d, v.Runs[i].Batches[j])
			}
		}
		if len(p.records) > before {
			expect(t, m.log.committed[tp], int64(len(p.records)))
		}
	}
}

func (m *machine) acceptBatch(t *rapid.T, tp TopicPartition, c *metapb.CommitChunk, d chunk.Detail, got BatchVerdict) {
	p := m.partitions[tp]
	code, offset := OK, int64(-1)
	b := chunk.Batch{ProducerID: d.ProducerID, ProducerEpoch: d.ProducerEpoch, BaseSequence: d.BaseSequence, Records: d.Records}
	if d.ProducerID >= 0 {
		code, offset = p.judge(b)
	}
	if d.Attributes&attrTransactional != 0 && code != DuplicateSequence {
		if transactional := m.judgeTransactional(tp, &d); transactional != OK {
			code = transactional
		}
	}
	if code == OK {
		offset = int64(len(p.records))
		p.appendRecords(c, int(d.Records))
		if d.Attributes&attrTransactional != 0 {
			m.join(tp, d.ProducerID, offset)
		}
		if d.ProducerID >= 0 {
			p.seen[d.ProducerID] = append(p.seen[d.ProducerID], modelBatch{d.ProducerEpoch, d.BaseSequence, d.BaseSequence + int32(d.Records), offset, m.log.now})
		}
	}
	expect(t, got, BatchVerdict{code, offset})
}

func (p *modelPartition) appendRecords(c *metapb.CommitChunk, n int) {
	place := fmt.Sprintf("node %d segment %d", c.NodeId, c.Segment)
	if c.Segment == 0 {
		place = ChunkID{NodeID(c.NodeId), c.NodeEpoch, c.Lane, c.Seq, c.Hedge}.Key()
	}
	for range n {
		p.records = append(p.records, place)
	}
}

func (m *machine) roll(t *rapid.T) {
	if len(m.nodes) == 0 {
		t.Skip("no node")
	}
	id := NodeID(rapid.IntRange(1, len(m.nodes)).Draw(t, "node"))
	n := m.nodes[id]
	m.log.do(&metapb.SealContainer{NodeId: int32(id), NodeEpoch: n.epoch, Segment: n.segment})
	n.segment++
	n.at = 0
}

func (m *machine) lease(t *rapid.T) {
	v := m.log.do(&metapb.LeaseJob{
		Worker: "w", LeaseMillis: 30_000, MaxContainers: rapid.Uint32Range(0, 3).Draw(t, "containers"), MaxBytes: rapid.Uint64Range(0, 2000).Draw(t, "bytes"),
	})
	if v.Code != OK {
		return
	}
	var runs []jobRun
	for _, some := range m.log.s.JobContainers(v.JobID) {
		for _, r := range some {
			runs = append(runs, jobRun{r.Partition, r.BaseOffset, r.BaseOffset + int64(r.Records), r.Marker != nil})
		}
	}
	m.jobs[v.JobID] = runs
}

// finish ships a job as a worker does: neighbours of a partition become one part. Sometimes it lies.
func (m *machine) finish(t *rapid.T) {
	jobs := m.log.s.Jobs()
	if len(m.jobs) == 0 {
		t.Skip("no job")
	}
	id := JobID(rapid.IntRange(1, int(m.log.s.nextJob)-1).Draw(t, "job"))
	runs := slices.Clone(m.jobs[id])
	slices.SortFunc(runs, func(x, y jobRun) int {
		if c := compareTopicPartition(x.tp, y.tp); c != 0 {
			return c
		}
		return int(x.base - y.base)
	})
	c := &metapb.FinishJob{JobId: uint64(id), Failed: rapid.IntRange(0, 9).Draw(t, "failed") == 0}
	var parts []*metapb.Part
	for _, r := range runs {
		if n := len(parts); n > 0 && TopicID(parts[n-1].TopicId) == r.tp.Topic && parts[n-1].Partition == r.tp.Partition && parts[n-1].NextOffset == r.base {
			parts[n-1].NextOffset = r.next
			continue
		}
		parts = append(parts, &metapb.Part{TopicId: slices.Clone(r.tp.Topic[:]), Partition: r.tp.Partition, BaseOffset: r.base, NextOffset: r.next, Length: 10, MaxTimestamp: m.log.now})
	}
	lies := rapid.IntRange(0, 5).Draw(t, "lie") == 0 && len(parts) > 0
	if lies {
		p := rapid.SampledFrom(parts).Draw(t, "part")
		p.BaseOffset += rapid.Int64Range(-1, 1).Draw(t, "base")
		p.NextOffset += rapid.Int64Range(-1, 1).Draw(t, "next")
	}
	for i, p := range parts {
		if i == 0 || rapid.Bool().Draw(t, "another") {
			c.Objects = append(c.Objects, &metapb.SegmentObject{JobId: uint64(id), Ordinal: uint32(i), SizeBytes: 100})
		}
		o := c.Objects[len(c.Objects)-1]
		o.Parts = append(o.Parts, p)
	}
	if c.Failed {
		c.Objects = nil
	}
	v := m.log.do(c)
	if live := slices.ContainsFunc(jobs, func(j Job) bool { return j.ID == id }); !live {
		expect(t, v.Code, UnknownJob)
		return
	}
	markers := slices.ContainsFunc(runs, func(r jobRun) bool { return r.marker }) // may have gone with a neighbour's job
	if want := m.wanted(c); !lies && !markers && v.PartsTaken != want {
		t.Fatalf("%d parts taken, want %d", v.PartsTaken, want)
	}
	// Which parts were taken is read back; the check demands that all else is where it was.
	for _, o := range c.Objects {
		for _, p := range o.Parts {
			m.moved(id, o.Ordinal, p)
		}
	}
}

// wanted counts the parts of which something is left to be read.
func (m *machine) wanted(c *metapb.FinishJob) (n uint32) {
	for _, o := range c.Objects {
		for _, p := range o.Parts {
			if mp := m.partitions[TopicPartition{TopicID(p.TopicId), p.Partition}]; mp != nil && p.NextOffset > mp.start {
				n++
			}
		}
	}
	return n
}

// moved gives the records of a part that was taken their new place.
func (m *machine) moved(job JobID, ordinal uint32, p *metapb.Part) {
	tp := TopicPartition{TopicID(p.TopicId), p.Partition}
	mp := m.partitions[tp]
	if mp == nil {
		return
	}
	at := max(p.BaseOffset, mp.start)
	l, ok := m.log.s.LocateStored(tp, at)
	if !ok || l.Object != (SegmentID{job, ordinal}) || l.BaseOffset != p.BaseOffset || l.NextOffset != p.NextOffset {
		return
	}
	for o := at; o < p.NextOffset; o++ {
		mp.records[o] = l.Key()
	}
}

func (m *machine) trim(t *rapid.T) {
	if len(m.topics) == 0 {
		t.Skip("no topic")
	}
	tp := TopicPartition{topicID(rapid.SampledFrom(m.topics).Draw(t, "topic")), 0}
	p := m.partitions[tp]
	offset := rapid.Int64Range(0, int64(len(p.records))).Draw(t, "offset")
	v := m.log.do(&metapb.AdvanceLogStart{TopicId: tp.Topic[:], Offset: offset})
	p.start = max(p.start, offset)
	expect(t, v.LogStartOffset, p.start)
}

func (m *machine) tick(t *rapid.T) {
	m.log.now += rapid.Int64Range(1, 40_000).Draw(t, "millis")
	retention := rapid.Bool().Draw(t, "retention")
	due, before := m.log.s.Due(m.log.now), m.dump(t)
	m.log.do(&metapb.Tick{Retention: retention})
	if after := m.dump(t); (after != before) != (due.Tick || due.Retention && retention) && !m.tooSoon(due, retention) {
		t.Fatalf("due %+v, retention %v, but the tick changed %s", due, retention, firstDifference(before, after))
	}
	m.timeOut()
	for tp, p := range m.partitions {
		for id, seen := range p.seen {
			if !m.transacts(id, tp) && seen[len(seen)-1].at+modelExpiryMillis <= m.log.now {
				delete(p.seen, id)
			}
		}
		start := m.log.s.Partition(tp).LogStartOffset()
		if start < p.start || start > int64(len(p.records)) || !retention && start != p.start {
			t.Fatalf("%s: log start %d after %d", tp, start, p.start)
		}
		p.start = start
	}
	if d := m.log.s.Due(m.log.now); d.Tick {
		t.Fatalf("after a tick another is due: %+v", d)
	}
}

// tooSoon says that retention came before its interval had passed, when Due does not ask for it.
func (m *machine) tooSoon(due Due, retention bool) bool { return retention && !due.Retention }

// dump is the state but for its first line, which tells sequence and time.
func (m *machine) dump(t *rapid.T) string {
	var out strings.Builder
	if err := m.log.s.Dump(&out, true); err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(out.String(), "\n")
	return rest
}

// check is what holds after every command.
func (m *machine) check(t *rapid.T) {
	s := m.log.s
	if err := s.invariants(); err != nil {
		t.Fatal(err)
	}
	for tp, p := range m.partitions {
		got := s.Partition(tp)
		if got == nil || got.LogStartOffset() != p.start || got.HighWatermark() != int64(len(p.records)) {
			t.Fatalf("%s: %+v, want [%d, %d)", tp, got, p.start, len(p.records))
		}
		for o := p.start; o < int64(len(p.records)); o++ {
			l, ok := s.Locate(tp, o)
			if !ok || l.BaseOffset > o || l.NextOffset <= o {
				t.Fatalf("%s: offset %d at %+v, %v", tp, o, l, ok)
			}
			if stored, ok := s.LocateStored(tp, o); ok && stored.BaseOffset <= o {
				l = stored // a local copy may be in front of it
			}
			place := l.Key()
			if l.Tier == TierMarker {
				place = "marker"
			} else if l.Tier == TierHot {
				place = fmt.Sprintf("node %d segment %d", l.Node, l.Segment)
			}
			if place != p.records[o] {
				t.Fatalf("%s: offset %d is in %s, want %s", tp, o, place, p.records[o])
			}
			if l.Key() != "" && !s.Referenced(place) {
				t.Fatalf("%s is needed and not referenced", place)
			}
		}
		m.checkStable(t, tp, p)
		if _, ok := s.Locate(tp, int64(len(p.records))); ok {
			t.Fatalf("%s: something at the high watermark", tp)
		}
	}
	for _, n := range s.Nodes() {
		for _, segment := range s.Released(n.ID) {
			if len(s.files[hotKey{n.ID, segment}]) > 0 {
				t.Fatalf("segment %d of node %d is released and in use", segment, n.ID)
			}
		}
	}
}

func expect[T comparable](t *rapid.T, got, want T) {
	t.Helper()
	if got != want {
		t.Fatalf("got %+v, want %+v", got, want)
	}
}

// TestModel: whatever commands come, every offset in [log start, high watermark) is found exactly once and where it should be,
// sequences are judged as Kafka does, and nothing that is needed is released or garbage.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { runMachine(t, true) })
}

func runMachine(t *rapid.T, check bool) *machine {
	m := &machine{log: newTestLog(t), model: model{
		partitions: map[TopicPartition]*modelPartition{}, nodes: map[NodeID]*modelNode{}, jobs: map[JobID][]jobRun{}, producers: map[string]*modelProducer{},
	}}
	m.log.lead(1)
	m.log.do(&metapb.AlterConfig{Resource: metapb.AlterConfig_BROKER, Entries: []*metapb.ConfigEntry{
		{Name: "producer.id.expiration.ms", Value: fmt.Sprint(modelExpiryMillis)}, {Name: "transactional.id.expiration.ms", Value: "2000000000"}, {Name: "log.retention.check.interval.ms", Value: "30000"},
	}})
	for range 2 { // the model's idempotent producers
		m.log.do(&metapb.AllocateProducerId{})
	}
	actions := map[string]func(*rapid.T){
		"initTransactional": m.initTransactional, "add": m.add, "end": m.end, "end2": m.end,
		"createTopic": m.createTopic, "deleteTopic": m.deleteTopic, "register": m.register, "chunk": m.chunk, "chunk2": m.chunk, "chunk3": m.chunk,
		"roll": m.roll, "lease": m.lease, "finish": m.finish, "trim": m.trim, "tick": m.tick,
		"leaseCompaction": m.leaseCompaction, "compactRange": m.compactRange, "raiseLevel": m.raiseLevel,
	}
	if check {
		actions[""] = m.check
	}
	t.Repeat(actions)
	return m
}
