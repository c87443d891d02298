package meta

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"slices"
	"testing"

	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/ingest/chunk"
)

// busyLog has a node and 4,096 partitions in 16 topics.
func busyLog(t failer) *testLog {
	l := newTestLog(t)
	l.lead(1)
	l.register("A")
	for i := range 16 {
		l.topic(fmt.Sprint("t", i), 256)
	}
	return l
}

// busyChunk has a run in each of the busy log's partitions; details where idempotent.
func busyChunk(seq, segment uint64, position uint32, idempotent bool) *metapb.CommitChunk {
	var batches []chunk.Batch
	for i := range 16 {
		for p := range int32(256) {
			b := chunk.Batch{Topic: topicID(fmt.Sprint("t", i)), Partition: p, Records: 10, ProducerID: -1, MaxTimestamp: 1}
			if idempotent {
				b.ProducerID, b.BaseSequence = 7, int32(seq-1)*10
			}
			batches = append(batches, b)
		}
	}
	return commitOf(1, 1, 0, seq, segment, position, batches...)
}

// BenchmarkCommitChunk applies chunks of 4,096 runs; retention keeps the state's size in bounds.
func BenchmarkCommitChunk(b *testing.B) {
	for _, idempotent := range []bool{false, true} {
		b.Run(fmt.Sprintf("idempotent=%v", idempotent), func(b *testing.B) {
			l := busyLog(b)
			c := busyChunk(1, 1, 0, idempotent)
			e := &metapb.Entry{Format: EntryFormat, LogId: testLogID[:], LeaderEpoch: 1, TimeMillis: l.now, Commands: []*metapb.Command{command(c)}}
			seq := uint64(0)
			b.ReportAllocs()
			for b.Loop() {
				seq++
				c.Seq = seq
				if seq%64 == 0 {
					b.StopTimer()
					for _, p := range l.s.partitions {
						(&applier{State: l.s}).raiseLogStart(p, p.next)
					}
					b.StartTimer()
				}
				if idempotent {
					for i := range chunk.MaxRuns {
						at := chunk.TableHeaderSize + chunk.MaxRuns*chunk.RunSize + i*chunk.DetailSize
						binary.LittleEndian.PutUint32(c.RunTable[at+20:], uint32(seq-1)*10)
					}
				}
				if err := l.s.Apply(l.s.Seq()+1, e, nil); err != nil {
					b.Fatal(err)
				}
			}
			if got, want := l.s.partitions[9].next, int64(seq)*10; got != want {
				b.Fatalf("%d records of %d", got, want)
			}
			b.ReportMetric(float64(b.N)*chunk.MaxRuns/b.Elapsed().Seconds(), "runs/s")
		})
	}
}

// TestMemoryPerRun holds the budget of 48 bytes per unshipped run, whether partitions have few of them or many.
func TestMemoryPerRun(t *testing.T) {
	l := busyLog(t)
	c := busyChunk(1, 1, 0, false)
	e := &metapb.Entry{Format: EntryFormat, LogId: testLogID[:], LeaderEpoch: 1, TimeMillis: l.now, Commands: []*metapb.Command{command(c)}}
	before, chunks := heap(), 0
	for _, upTo := range []int{10, 50, 150} {
		for ; chunks < upTo; chunks++ {
			c.Seq++
			if chunks == 0 {
				c.Seq = 1
			}
			if err := l.s.Apply(l.s.Seq()+1, e, nil); err != nil {
				t.Fatal(err)
			}
		}
		perRun := float64(heap()-before) / float64(chunks*chunk.MaxRuns)
		t.Logf("%d runs a partition: %.1f bytes per run", chunks, perRun)
		// A list of a few runs has slack and its chunks' scratch to carry.
		if perRun > 48 && chunks > 10 {
			t.Errorf("%d runs a partition: %.1f bytes per run, the budget is 48", chunks, perRun)
		}
	}
	runtime.KeepAlive(l)
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestCommitDoesNotAllocatePerRun: what is left is the growth of the partitions' lists.
func TestCommitDoesNotAllocatePerRun(t *testing.T) {
	l := busyLog(t)
	c := busyChunk(1, 1, 0, false)
	e := &metapb.Entry{Format: EntryFormat, LogId: testLogID[:], LeaderEpoch: 1, TimeMillis: l.now, Commands: []*metapb.Command{command(c)}}
	next := func() {
		c.Seq++
		if err := l.s.Apply(l.s.Seq()+1, e, nil); err != nil {
			t.Fatal(err)
		}
	}
	c.Seq = 0
	for range 2 {
		next()
	}
	for _, p := range l.s.partitions {
		p.runs = slices.Grow(p.runs, 100)
	}
	if n := testing.AllocsPerRun(20, next); n > 4 {
		t.Errorf("%v allocations for a chunk of %d runs", n, chunk.MaxRuns)
	}
}

func BenchmarkSnapshot(b *testing.B) {
	l := busyLog(b)
	for i := range uint64(100) {
		l.do(busyChunk(i+1, 1, 0, false))
	}
	b.Run("hash", func(b *testing.B) {
		for b.Loop() {
			l.s.Hash()
		}
	})
	b.Run("due", func(b *testing.B) {
		for b.Loop() {
			l.s.dueMillis.Store(0)
			l.s.Due(l.now)
		}
	})
	b.Run("locate", func(b *testing.B) {
		tp := TopicPartition{topicID("t3"), 100}
		for b.Loop() {
			l.s.Locate(tp, 500)
		}
	})
}

// BenchmarkDeleteTopic deletes a topic of many partitions beside many transactional ids. All replicas wait meanwhile.
func BenchmarkDeleteTopic(b *testing.B) {
	l := newTestLog(b)
	l.lead(1)
	for i := range 20_000 {
		l.do(&metapb.InitTransactionalProducer{TransactionalId: fmt.Sprint(i), TimeoutMillis: 60_000, ExpectedProducerId: -1, ExpectedProducerEpoch: -1})
	}
	for b.Loop() {
		b.StopTimer()
		l.topic("topic", 1000)
		id := topicID("topic")
		b.StartTimer()
		if v := l.do(&metapb.DeleteTopic{TopicId: id[:]}); v.Code != OK {
			b.Fatal(v)
		}
	}
}
