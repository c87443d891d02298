package recovery

import (
	"bytes"
	"slices"
	"testing"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/ingest/chunk"
	"github.com/varvelog/varve/ingest/recordbatch"
)

// small is a world with one topic of two partitions, in which nothing happens by chance that matters.
type small struct {
	*world
	topic meta.TopicID
}

func newSmall(t *testing.T, configs ...string) *small {
	w := newWorld(t, 1)
	id := meta.TopicID(bytes.Repeat([]byte{99}, 16))
	c := &metapb.CreateTopic{Name: "small", TopicId: id[:], Partitions: 2}
	for i := 0; i < len(configs); i += 2 {
		c.Configs = append(c.Configs, &metapb.ConfigEntry{Name: configs[i], Value: configs[i+1]})
	}
	w.log(&metapb.Command{Kind: &metapb.Command_CreateTopic{CreateTopic: c}})
	return &small{w, id}
}

func (s *small) place(partition int32) meta.TopicPartition {
	return meta.TopicPartition{Topic: s.topic, Partition: partition}
}

// write is what a chunk has for a partition; x is nil outside of transactions.
type write struct {
	partition int32
	records   int
	x         *openTxn
}

// send commits a chunk.
func (s *small) send(object bool, writes ...write) {
	var b chunk.Builder
	for _, n := range writes {
		tp := s.place(n.partition)
		detail := chunk.Batch{ProducerID: -1}
		options := recordbatch.BuilderOptions{}
		if n.x != nil {
			options.Attributes = recordbatch.AttrTransactional
			options.Producer = &recordbatch.Producer{ID: n.x.pid, Epoch: n.x.epoch, BaseSequence: n.x.next[tp]}
			detail = chunk.Batch{
				ProducerID: n.x.pid, ProducerEpoch: n.x.epoch, BaseSequence: n.x.next[tp], Attributes: recordbatch.AttrTransactional | chunk.AttrJoinsTransaction,
			}
			if n.x.added {
				detail.Attributes = recordbatch.AttrTransactional
			}
			n.x.next[tp] += int32(n.records)
		}
		builder := recordbatch.NewBuilder(options)
		builder.Reset(0, 0)
		for i := range n.records {
			s.values++
			value := "value " + string(rune('a'+s.values))
			if err := builder.Append(int64(i), int64(1000+s.values), []byte(value), []byte(value), nil); err != nil {
				s.t.Fatal(err)
			}
			s.written[spot{tp, s.state.Partition(tp).NextOffset() + int64(i)}] = record{value: value}
		}
		data, h, err := builder.Build(nil)
		if err != nil {
			s.t.Fatal(err)
		}
		detail.Topic, detail.Partition, detail.Data, detail.Records, detail.MaxTimestamp = tp.Topic, tp.Partition, bytes.Clone(data), uint32(n.records), h.MaxTimestamp
		b.Add(detail)
	}
	s.commit(&b, object)
}

func (s *small) begin(id string) *openTxn {
	s.log(&metapb.Command{Kind: &metapb.Command_InitTransactionalProducer{InitTransactionalProducer: &metapb.InitTransactionalProducer{
		TransactionalId: id, TimeoutMillis: 900_000, ExpectedProducerId: -1, ExpectedProducerEpoch: -1,
	}}})
	known, _ := s.state.Transaction(id)
	return &openTxn{id: id, pid: known.ProducerID, epoch: known.ProducerEpoch, next: map[meta.TopicPartition]int32{}}
}

func (s *small) end(x *openTxn, commit bool) {
	s.log(&metapb.Command{Kind: &metapb.Command_EndTransaction{EndTransaction: &metapb.EndTransaction{
		TransactionalId: x.id, ProducerId: x.pid, ProducerEpoch: int32(x.epoch), Commit: commit,
	}}})
}

// lease begins a job over some containers.
func (s *small) lease(containers uint32) meta.JobID {
	s.log(&metapb.Command{Kind: &metapb.Command_LeaseJob{LeaseJob: &metapb.LeaseJob{Worker: "w", LeaseMillis: 600_000, MaxContainers: containers}}})
	jobs := s.state.Jobs()
	return jobs[len(jobs)-1].ID
}

func (s *small) finish(id meta.JobID, objects []*metapb.SegmentObject) {
	s.log(&metapb.Command{Kind: &metapb.Command_FinishJob{FinishJob: &metapb.FinishJob{JobId: uint64(id), Objects: objects, Failed: objects == nil}}})
}

// shipAll ships what waits.
func (s *small) shipAll() {
	for node := uint64(1); node <= nodes; node++ {
		s.log(&metapb.Command{Kind: &metapb.Command_SealContainer{SealContainer: &metapb.SealContainer{NodeId: int32(node), NodeEpoch: 1, Segment: s.fill[node]}}})
		s.fill[node]++
	}
	for {
		before := len(s.state.Jobs())
		s.log(&metapb.Command{Kind: &metapb.Command_LeaseJob{LeaseJob: &metapb.LeaseJob{Worker: "w", LeaseMillis: 600_000}}})
		jobs := s.state.Jobs()
		if len(jobs) == before {
			return
		}
		s.finish(jobs[len(jobs)-1].ID, s.build(jobs[len(jobs)-1].ID))
	}
}

// recovered recovers, and demands that every record that was written is there once.
func (s *small) recovered() (*meta.State, *Report) {
	s.t.Helper()
	report := mustRecover(s.t, s.store)
	_, state := reopen(s.t, s.store)
	count := countBack(s.t, s.store, state)
	for at, r := range s.written {
		if count[r.value] != 1 {
			s.t.Errorf("%q, written to %v, is there %d times; lost %+v, not adopted %+v", r.value, at, count[r.value], report.Lost, report.NotAdopted)
		}
	}
	return state, report
}

func hides(p *meta.Partition, x *openTxn, offset int64) bool {
	return slices.ContainsFunc(p.AbortedTransactions(nil, offset, offset+1), func(a meta.AbortedTransaction) bool {
		return a.ProducerID == x.pid && a.FirstOffset <= offset && offset <= a.LastOffset
	})
}

// What is known ends before a merge. Of what was merged some is deleted, and some not, since it holds other partitions' parts.
func TestSourcesOfAMergeAreGoneInPart(t *testing.T) {
	s := newSmall(t, "varve.durability", "local")
	for i := range 10 {
		writes := []write{{0, 2, nil}}
		if i == 2 {
			writes = append(writes, write{1, 1, nil})
		}
		s.send(false, writes...)
		s.shipAll()
	}
	s.archive()
	for range 10 {
		s.merge()
	}
	s.sweep()
	if _, report := s.recovered(); len(report.Damaged) > 0 {
		t.Errorf("damaged: %+v", report.Damaged)
	}
}

// What is known ends in the middle of what was merged.
func TestTheFirstSourcesOfAMergeAreKnown(t *testing.T) {
	for _, deleted := range []bool{false, true} {
		s := newSmall(t, "varve.durability", "local")
		for i := range 10 {
			s.send(false, write{0, 2, nil})
			s.shipAll()
			if i == 4 {
				s.archive()
			}
		}
		for range 10 {
			s.merge()
		}
		if deleted {
			s.sweep()
		}
		s.recovered()
	}
}

// A chunk is still there for one of its partitions, when what was shipped of another has been stored anew and deleted.
func TestAChunkOutlivesWhatWasShippedOfIt(t *testing.T) {
	for _, policy := range []string{"delete", "compact"} {
		s := newSmall(t, "varve.durability", "object", "cleanup.policy", policy)
		x := s.begin("x")
		for i := range 10 {
			if i == 2 {
				s.send(true, write{0, 1, nil}, write{1, 1, x})
			} else {
				s.send(true, write{0, 1, nil})
			}
			s.shipAll()
		}
		for range 10 {
			s.merge()
			s.sweep()
		}
		if p := s.state.Partition(s.place(0)); len(slices.Collect(partsOf(s.state, p))) > 3 {
			t.Fatalf("%s: little was stored anew", policy)
		}
		loseMetadata(t, s.store)
		delete(s.written, spot{s.place(1), 0}) // of a transaction that nobody knows any more
		s.recovered()
	}
}

func partsOf(s *meta.State, p *meta.Partition) func(func(meta.Location) bool) {
	return func(yield func(meta.Location) bool) { s.Extents(p, yield) }
}

// All metadata is lost, and of two objects that overlap one can be taken. What only the other one has is in a chunk, too.
func TestTheLeftPartOfOverlappingObjectsComesFromItsChunk(t *testing.T) {
	s := newSmall(t, "varve.durability", "object")
	s.send(true, write{0, 2, nil})
	s.finish(s.lease(1), nil)
	s.pass(1100)
	s.send(true, write{0, 1, nil})
	both := s.lease(2)
	s.build(both)
	s.finish(both, nil) // the first chunk, which has failed before, waits longer than the second
	s.pass(1500)
	s.send(true, write{0, 5, nil})
	last := s.lease(3)
	s.finish(last, s.build(last))
	if l, ok := s.state.Locate(s.place(0), 0); !ok || l.Tier != meta.TierChunk {
		t.Fatal("the first chunk was not left")
	}
	loseMetadata(t, s.store)
	s.recovered()
}

// pass lets time pass.
func (s *small) pass(millis int) {
	for range millis / 10 {
		s.log(&metapb.Command{Kind: &metapb.Command_Tick{Tick: &metapb.Tick{}}})
	}
}

// The marker of a transaction is adopted, and its producer has gone on where no marker was.
func TestTheNextTransactionIsNotTheOneThatEnded(t *testing.T) {
	s := newSmall(t, "varve.durability", "object")
	x := s.begin("x")
	s.send(true, write{0, 1, x})
	s.send(true, write{1, 1, x})
	s.archive()
	s.end(x, true)
	job := s.lease(1)
	s.finish(job, s.build(job))
	s.send(true, write{1, 1, x})
	s.end(x, false)
	state, _ := s.recovered()
	p := state.Partition(s.place(1))
	if hides(p, x, 0) || !hides(p, x, 2) {
		t.Errorf("aborted: %+v", p.AbortedTransactions(nil, 0, p.NextOffset()))
	}
}

// The marker of a transaction is adopted, and a batch of it is in a chunk.
func TestAChunkOfATransactionThatEnded(t *testing.T) {
	s := newSmall(t, "varve.durability", "object")
	x := s.begin("x")
	s.send(true, write{0, 1, x})
	s.archive()
	s.send(true, write{1, 1, x})
	s.end(x, true)
	job := s.lease(1)
	s.finish(job, s.build(job))
	state, _ := s.recovered()
	if hides(state.Partition(s.place(1)), x, 0) {
		t.Error("a committed transaction is aborted in part")
	}
}

// A transaction has a partition without records, and its abort is a marker there. The next one commits in that partition.
func TestTheEndOfTheNextTransactionIsNotTheFirstOnes(t *testing.T) {
	s := newSmall(t, "varve.durability", "object")
	x := s.begin("x")
	s.log(&metapb.Command{Kind: &metapb.Command_AddToTransaction{AddToTransaction: &metapb.AddToTransaction{
		TransactionalId: "x", ProducerId: x.pid, ProducerEpoch: int32(x.epoch), Topics: []*metapb.TransactionTopic{{TopicId: s.topic[:], Partitions: []int32{1}}},
	}}})
	s.send(true, write{0, 1, x})
	s.archive()
	s.end(x, false)
	s.send(true, write{1, 1, x})
	s.end(x, true)
	s.lease(1) // of the first chunk, by a worker that dies
	job := s.lease(1)
	s.finish(job, s.build(job))
	state, _ := s.recovered()
	if !hides(state.Partition(s.place(0)), x, 0) {
		t.Error("a record of an aborted transaction can be seen")
	}
}

// loseStoredAnew has the first partition's first part stored anew, and loses what that came to.
func (s *small) loseStoredAnew() {
	s.t.Helper()
	first := func() string {
		for l := range partsOf(s.state, s.state.Partition(s.place(0))) {
			return l.Key()
		}
		return ""
	}
	for before := first(); first() == before; {
		s.merge()
	}
	s.archive()
	if err := s.store.Delete(s.ctx, first()); err != nil {
		s.t.Fatal(err)
	}
}

// What a compacted part was made of is taken in its place, with what was aborted there.
func TestRescuedRecordsStayAborted(t *testing.T) {
	s := newSmall(t, "varve.durability", "object", "cleanup.policy", "compact")
	x := s.begin("x")
	s.send(true, write{0, 1, x})
	s.end(x, false)
	s.send(true, write{0, 1, nil})
	s.shipAll()
	s.loseStoredAnew()
	state, report := s.recovered()
	if p := state.Partition(s.place(0)); report.Rescued.Offsets == 0 || !hides(p, x, 0) {
		t.Errorf("rescued %+v, aborted %+v", report.Rescued, p.AbortedTransactions(nil, 0, p.NextOffset()))
	}
}
