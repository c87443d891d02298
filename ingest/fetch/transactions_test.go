package fetch_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/ingest/fetch"
	"github.com/varvelog/varve/ingest/lane"
	"github.com/varvelog/varve/ingest/lane/lanetest"
	"github.com/varvelog/varve/ingest/recordbatch"
)

// transactor is a transactional producer of a world.
type transactor struct {
	*world
	id       string
	producer recordbatch.Producer
}

func (w *world) transactor(id string) *transactor {
	w.t.Helper()
	v := w.cluster.Propose(&metapb.Command{Kind: &metapb.Command_InitTransactionalProducer{InitTransactionalProducer: &metapb.InitTransactionalProducer{
		TransactionalId: id, TimeoutMillis: 60_000, ExpectedProducerId: -1, ExpectedProducerEpoch: -1,
	}}})
	if v.Code != meta.OK {
		w.t.Fatal(v)
	}
	return &transactor{world: w, id: id, producer: recordbatch.Producer{ID: v.ProducerID, Epoch: v.ProducerEpoch}}
}

// batch is the next batch of its transaction, on its way into a request.
func (x *transactor) batch(tp meta.TopicPartition, values ...string) lane.Batch {
	x.t.Helper()
	b := recordbatch.NewBuilder(recordbatch.BuilderOptions{Attributes: recordbatch.AttrTransactional, Producer: &x.producer})
	for i, value := range values {
		if err := b.Append(int64(i), 1000, nil, []byte(value), nil); err != nil {
			x.t.Fatal(err)
		}
	}
	data, header, err := b.Build(nil)
	if err != nil {
		x.t.Fatal(err)
	}
	x.producer.BaseSequence += int32(len(values))
	return lane.Batch{Topic: tp.Topic, Partition: tp.Partition, Durability: metapb.Durability_DURABILITY_LOCAL, Header: header, Data: data, JoinsTransaction: true}
}

func (x *transactor) end(commit bool) {
	x.t.Helper()
	v := x.cluster.Propose(&metapb.Command{Kind: &metapb.Command_EndTransaction{EndTransaction: &metapb.EndTransaction{
		TransactionalId: x.id, ProducerId: x.producer.ID, ProducerEpoch: int32(x.producer.Epoch), Commit: commit, BumpsEpoch: true,
	}}})
	if v.Code != meta.OK {
		x.t.Fatal(v)
	}
	x.producer = recordbatch.Producer{ID: v.ProducerID, Epoch: v.ProducerEpoch}
}

// one is a plain batch on its way into a request.
func (w *world) one(tp meta.TopicPartition, value string) lane.Batch {
	data, header := lanetest.RecordBatch(w.t, nil, 1000, value)
	return lane.Batch{Topic: tp.Topic, Partition: tp.Partition, Durability: metapb.Durability_DURABILITY_LOCAL, Header: header, Data: data}
}

// append commits batches as one request.
func (w *world) append(batches ...lane.Batch) {
	w.t.Helper()
	p, err := w.set.Append(context.Background(), lane.Request{Batches: batches})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, r := range p.Wait(context.Background(), patience) {
		if r.Failure != lane.NoFailure || r.Code != meta.OK {
			w.t.Fatalf("produce: %+v", r)
		}
	}
	p.Free()
}

// committed reads as a read_committed consumer does: it leaves out what the answers say was aborted, and needs no more than what
// they say. It stops where there is nothing more.
func (w *world) committed(tp meta.TopicPartition, offset int64, maxBytes int) (values []string, next int64) {
	w.t.Helper()
	for {
		r := w.reader.Read(context.Background(), &fetch.Request{
			Partitions: []fetch.PartitionRead{{TopicPartition: tp, Offset: offset, MaxBytes: maxBytes, LeaderEpoch: -1}},
			MinBytes:   1, MaxBytes: maxBytes, Committed: true,
		})
		data := &r.Partitions[0]
		if data.Code != fetch.OK || len(data.Records) == 0 {
			if data.Code != fetch.OK || offset != data.LastStableOffset {
				w.t.Fatalf("%v at %d of %d", data.Code, offset, data.LastStableOffset)
			}
			r.Release()
			return values, offset
		}
		var some []string
		some, offset = w.consume(data, offset)
		values = append(values, some...)
		r.Release()
	}
}

// consume is what Kafka's consumer does with the records of an answer.
func (w *world) consume(data *fetch.PartitionData, from int64) (values []string, next int64) {
	aborting, aborted := map[int64]bool{}, slices.Clone(data.Aborted)
	for _, slice := range data.Records {
		for b, err := range recordbatch.Batches(slice) {
			if err != nil {
				w.t.Fatal(err)
			}
			aborted = slices.DeleteFunc(aborted, func(t meta.AbortedTransaction) bool {
				if t.FirstOffset <= b.LastOffset() {
					aborting[t.ProducerID] = true
				}
				return t.FirstOffset <= b.LastOffset()
			})
			if next = b.NextOffset(); b.IsControl() {
				delete(aborting, b.ProducerID)
				continue
			}
			if b.IsTransactional() && aborting[b.ProducerID] {
				continue
			}
			for record, err := range recordbatch.Records(b.Bytes, nil) {
				if err != nil {
					w.t.Fatal(err)
				}
				if record.Offset >= from {
					values = append(values, string(record.Value))
				}
			}
		}
	}
	return values, next
}

func TestCommittedReadsStopBeforeOpenTransactions(t *testing.T) {
	w := newWorld(t, fetch.Config{})
	tp := partition(w.cluster.CreateTopic(t, "a", "local", 1), 0)
	x := w.transactor("x")
	// One run, and the transaction begins in its middle.
	w.append(w.one(tp, "before"), x.batch(tp, "t0", "t1"), w.one(tp, "behind"))
	for _, limit := range []int{1, 100, 1 << 20} {
		got, next := w.committed(tp, 0, limit)
		if w.expect(got, []string{"before"}); next != 1 {
			t.Errorf("limit %d: stopped at %d", limit, next)
		}
	}
	w.expect(w.readAll(tp, 0, 1<<20), []string{"before", "t0", "t1", "behind"})
	x.end(true)
	got, next := w.committed(tp, 0, 1<<20)
	if w.expect(got, []string{"before", "t0", "t1", "behind"}); next != 5 {
		t.Errorf("stopped at %d", next)
	}
}

func TestAbortedTransactionsAreToldWhereverReadingBegins(t *testing.T) {
	w := newWorld(t, fetch.Config{})
	tp := partition(w.cluster.CreateTopic(t, "a", "local", 1), 0)
	x, y := w.transactor("x"), w.transactor("y")
	var offsets []int64 // of the values, in order
	var want []string
	keep := func(values ...string) {
		for _, v := range values {
			w.cluster.View(func(st *meta.State) { offsets = append(offsets, st.Partition(tp).HighWatermark()) })
			want = append(want, v)
		}
	}
	for i := range 6 {
		w.append(x.batch(tp, "aborted", "aborted"))
		keep("plain")
		w.append(w.one(tp, "plain"))
		keep("y")
		w.append(y.batch(tp, "y"))
		w.append(x.batch(tp, "aborted"))
		y.end(true)
		x.end(false)
		if i == 2 {
			w.ship()
		}
	}
	end := int64(-1)
	w.cluster.View(func(st *meta.State) { end = st.Partition(tp).HighWatermark() })
	for from := range end {
		first, _ := slices.BinarySearch(offsets, from)
		for _, limit := range []int{1, 200, 500, 1 << 20} {
			got, next := w.committed(tp, from, limit)
			if w.expect(got, want[first:]); next != end {
				t.Errorf("from %d, limit %d: stopped at %d of %d", from, limit, next, end)
			}
		}
	}
}

func TestTheEndOfATransactionWakesReaders(t *testing.T) {
	w := newWorld(t, fetch.Config{})
	tp := partition(w.cluster.CreateTopic(t, "a", "local", 1), 0)
	x := w.transactor("x")
	w.append(x.batch(tp, "t"))
	answer := make(chan *fetch.Response, 1)
	go func() {
		answer <- w.reader.Read(context.Background(), &fetch.Request{
			Partitions: []fetch.PartitionRead{{TopicPartition: tp, MaxBytes: 1 << 20, LeaderEpoch: -1}}, MinBytes: 1, MaxBytes: 1 << 20, MaxWait: time.Hour, Committed: true,
		})
	}()
	w.await("a long poll", func() bool { return w.cluster.Watching(tp) > 0 })
	x.end(true)
	r := <-answer
	defer r.Release()
	values, _ := w.consume(&r.Partitions[0], 0)
	w.expect(values, []string{"t"})
}
