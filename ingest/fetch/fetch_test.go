package fetch_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/infra/objstore/faulty"
	"github.com/varvelog/varve/ingest/fetch"
	"github.com/varvelog/varve/ingest/hotlog"
)

func TestReadFromAnyOffsetWithAnyLimit(t *testing.T) {
	for _, durability := range []string{"local", "object"} {
		t.Run(durability, func(t *testing.T) {
			w := newWorld(t, fetch.Config{})
			tp := partition(w.cluster.CreateTopic(t, "a", durability, 2), 0)
			other := partition(tp.Topic, 1)
			want := numbered(0, 90)
			for i := 0; i < 90; i += 9 {
				// Two batches of one run, then one of the next, with another partition's between.
				w.produceAll(batchOf{tp, 1000, want[i : i+3]}, batchOf{other, 1000, []string{"x"}}, batchOf{tp, 1000, want[i+3 : i+6]})
				w.produce(tp, 1000, want[i+6:i+9]...)
			}
			for _, offset := range []int64{0, 1, 4, 5, 8, 9, 50, 89, 90} {
				for _, limit := range []int{1, 100, 150, 1000, 1 << 20} {
					w.expect(w.readAll(tp, offset, limit), want[offset:])
				}
			}
		})
	}
}

func TestLimitsHoldExceptForAFirstBatch(t *testing.T) {
	w := newWorld(t, fetch.Config{})
	topic := w.cluster.CreateTopic(t, "a", "local", 3)
	var size int
	for i := range int32(3) {
		for range 3 {
			size = w.produce(partition(topic, i), 1000, strings.Repeat("x", 1000))
		}
	}
	read := func(partitionMax, max int) (batches [3]int) {
		request := &fetch.Request{MinBytes: 1, MaxBytes: max}
		for i := range int32(3) {
			request.Partitions = append(request.Partitions, fetch.PartitionRead{TopicPartition: partition(topic, i), MaxBytes: partitionMax, LeaderEpoch: -1})
		}
		r := w.reader.Read(t.Context(), request)
		defer r.Release()
		for i := range r.Partitions {
			batches[i] = r.Partitions[i].Bytes / size
			if r.Partitions[i].Bytes%size != 0 {
				t.Errorf("%d bytes are not whole batches", r.Partitions[i].Bytes)
			}
		}
		return batches
	}
	for _, c := range []struct {
		partitionMax, max int
		want              [3]int
	}{
		{1, 1, [3]int{1, 0, 0}},
		{0, 0, [3]int{1, 0, 0}},
		{1, 1 << 20, [3]int{1, 0, 0}},
		{size, 1 << 20, [3]int{1, 1, 1}},
		{2*size + 5, 1 << 20, [3]int{2, 2, 2}},
		{1 << 20, 4*size + 5, [3]int{3, 1, 0}},
		{1 << 20, 1 << 20, [3]int{3, 3, 3}},
	} {
		if got := read(c.partitionMax, c.max); got != c.want {
			t.Errorf("partition max %d, max %d: batches %v, want %v", c.partitionMax, c.max, got, c.want)
		}
	}
}

func TestRotationLetsEveryPartitionComeFirst(t *testing.T) {
	w := newWorld(t, fetch.Config{})
	topic := w.cluster.CreateTopic(t, "a", "local", 5)
	request := &fetch.Request{MinBytes: 1, MaxBytes: 10}
	for i := range int32(5) {
		w.produce(partition(topic, i), 1000, "value")
		request.Partitions = append(request.Partitions, fetch.PartitionRead{TopicPartition: partition(topic, i), MaxBytes: 1 << 20, LeaderEpoch: -1})
	}
	for rotation := range uint32(10) {
		request.Rotation = rotation
		r := w.reader.Read(t.Context(), request)
		for i := range r.Partitions {
			if got, want := r.Partitions[i].Bytes > 0, uint32(i) == rotation%5; got != want {
				t.Errorf("rotation %d: partition %d has %d bytes", rotation, i, r.Partitions[i].Bytes)
			}
		}
		r.Release()
	}
}

func TestReadGoesFromTheBucketToTheHotLog(t *testing.T) {
	w := newWorld(t, fetch.Config{RemoteWait: patience})
	tp := partition(w.cluster.CreateTopic(t, "a", "local", 1), 0)
	want := numbered(0, 40)
	for i := 0; i < 40; i += 2 {
		w.produce(tp, 1000, want[i:i+2]...)
		if i == 10 || i == 28 {
			w.ship()
		}
	}
	for _, limit := range []int{1, 200, 1 << 20} {
		for _, offset := range []int64{0, 3, 12, 29, 30} {
			w.expect(w.readAll(tp, offset, limit), want[offset:])
		}
	}
}

func TestNeighbouringRunsAreReadTogether(t *testing.T) {
	w := newWorld(t, fetch.Config{})
	tp := partition(w.cluster.CreateTopic(t, "a", "local", 1), 0)
	for i := range 100 {
		w.produce(tp, 1000, fmt.Sprint(i))
	}
	before := w.hot.reads.Load()
	w.expect(w.readAll(tp, 0, 1<<20), numbered(0, 100))
	if reads := w.hot.reads.Load() - before; reads != 1 {
		t.Errorf("%d reads of the hot log for 100 neighbours, want 1", reads)
	}
}

func TestLongPollIsWokenByACommit(t *testing.T) {
	w := newWorld(t, fetch.Config{})
	tp := partition(w.cluster.CreateTopic(t, "a", "local", 1), 0)
	size := w.produce(tp, 1000, "before")
	answer := make(chan *fetch.Response)
	go func() {
		answer <- w.reader.Read(context.Background(), &fetch.Request{
			Partitions: []fetch.PartitionRead{{TopicPartition: tp, Offset: 1, MaxBytes: 1 << 20, LeaderEpoch: -1}},
			MinBytes:   2 * size, MaxBytes: 1 << 20, MaxWait: patience,
		})
	}()
	w.await("long poll", func() bool { return w.cluster.Watching(tp) == 1 })
	w.produce(tp, 1000, "first-")
	w.produce(tp, 1000, "second")
	r := <-answer
	values, _ := records(t, &r.Partitions[0], 1)
	w.expect(values, []string{"first-", "second"})
	if r.Partitions[0].HighWatermark != 3 || r.Partitions[0].LastStableOffset != 3 {
		t.Errorf("%+v", r.Partitions[0])
	}
	r.Release()
	if w.cluster.Watching(tp) != 0 {
		t.Error("the watch has outlived its poll")
	}
}

func TestLongPollEndsWithItsWait(t *testing.T) {
	w := newWorld(t, fetch.Config{})
	tp := partition(w.cluster.CreateTopic(t, "a", "local", 1), 0)
	w.produce(tp, 1000, "x")
	r := w.reader.Read(t.Context(), &fetch.Request{
		Partitions: []fetch.PartitionRead{{TopicPartition: tp, Offset: 0, MaxBytes: 1 << 20, LeaderEpoch: -1}},
		MinBytes:   1 << 20, MaxBytes: 1 << 20, MaxWait: 5 * time.Millisecond,
	})
	defer r.Release()
	if d := r.Partitions[0]; d.Code != fetch.OK || d.Bytes == 0 || d.HighWatermark != 1 {
		t.Errorf("%+v", d)
	}
}

func TestOffsetOutOfRangeIsSaidBehindABarrierOnly(t *testing.T) {
	w := newWorld(t, fetch.Config{})
	tp := partition(w.cluster.CreateTopic(t, "a", "local", 1), 0)
	w.produce(tp, 1000, "0", "1", "2")
	w.cluster.Apply(&metapb.Command{Kind: &metapb.Command_AdvanceLogStart{AdvanceLogStart: &metapb.AdvanceLogStart{TopicId: tp.Topic[:], Offset: 2}}})
	code := func(tp meta.TopicPartition, offset int64) fetch.Code {
		r := w.read(tp, offset, 1<<20)
		defer r.Release()
		return r.Partitions[0].Code
	}
	if got := code(tp, 1); got != fetch.OffsetOutOfRange {
		t.Errorf("below the log start: %v", got)
	}
	if n := w.cluster.Barriers(); n != 0 {
		t.Errorf("%d barriers for what cannot change", n)
	}
	if got := code(tp, 4); got != fetch.OffsetOutOfRange || w.cluster.Barriers() != 1 {
		t.Errorf("above the high watermark: %v after %d barriers", got, w.cluster.Barriers())
	}
	if got := code(partition(tp.Topic, 9), 0); got != fetch.UnknownTopic || w.cluster.Barriers() != 2 {
		t.Errorf("unknown partition: %v after %d barriers", got, w.cluster.Barriers())
	}
	// The barrier brings what the client has seen elsewhere.
	w.cluster.OnBarrier(func(context.Context) error { w.produce(tp, 1000, "3", "4"); return nil })
	r := w.read(tp, 4, 1<<20)
	defer r.Release()
	values, _ := records(t, &r.Partitions[0], 4)
	w.expect(values, []string{"4"})
}

func TestWithoutABarrierOffsetsAreNotAvailable(t *testing.T) {
	w := newWorld(t, fetch.Config{RetryDelay: time.Millisecond})
	topic := w.cluster.CreateTopic(t, "a", "local", 2)
	w.produceAll(batchOf{partition(topic, 0), 1000, []string{"0"}}, batchOf{partition(topic, 1), 1000, []string{"0"}})
	w.cluster.OnBarrier(func(context.Context) error { return errors.New("no leader") })
	r := w.reader.Read(t.Context(), &fetch.Request{
		Partitions: []fetch.PartitionRead{{TopicPartition: partition(topic, 0), Offset: 7, MaxBytes: 1 << 20, LeaderEpoch: -1}},
		MinBytes:   1, MaxBytes: 1 << 20, MaxWait: 10 * time.Millisecond,
	})
	if d := r.Partitions[0]; d.Code != fetch.OffsetNotAvailable {
		t.Errorf("%+v", d)
	}
	r.Release()
	if w.cluster.Barriers() < 2 {
		t.Errorf("%d barriers were tried", w.cluster.Barriers())
	}
	// The first read of a partition on a connection is not answered either; others are.
	r = w.reader.Read(t.Context(), &fetch.Request{
		Partitions: []fetch.PartitionRead{
			{TopicPartition: partition(topic, 0), MaxBytes: 1 << 20, LeaderEpoch: -1, Open: true},
			{TopicPartition: partition(topic, 1), MaxBytes: 1 << 20, LeaderEpoch: -1},
		},
		MinBytes: 1, MaxBytes: 1 << 20, MaxWait: patience,
	})
	if r.Partitions[0].Code != fetch.OffsetNotAvailable || r.Partitions[1].Bytes == 0 {
		t.Errorf("%+v", r.Partitions)
	}
	r.Release()
}

func TestOpeningReadPassesABarrier(t *testing.T) {
	w := newWorld(t, fetch.Config{})
	tp := partition(w.cluster.CreateTopic(t, "a", "local", 1), 0)
	w.cluster.OnBarrier(func(context.Context) error { w.produce(tp, 1000, "seen elsewhere"); return nil })
	r := w.reader.Read(t.Context(), &fetch.Request{
		Partitions: []fetch.PartitionRead{{TopicPartition: tp, MaxBytes: 1 << 20, LeaderEpoch: -1, Open: true}},
		MinBytes:   1, MaxBytes: 1 << 20,
	})
	defer r.Release()
	if d := r.Partitions[0]; d.HighWatermark != 1 || d.Bytes == 0 {
		t.Errorf("%+v", d)
	}
}

func TestLeaderEpochs(t *testing.T) {
	w := newWorld(t, fetch.Config{})
	tp := partition(w.cluster.CreateTopic(t, "a", "local", 1), 0)
	r := w.reader.Read(t.Context(), &fetch.Request{
		Partitions: []fetch.PartitionRead{{TopicPartition: tp, LeaderEpoch: 5}}, MinBytes: 1, MaxBytes: 1 << 20, MaxWait: patience,
	})
	defer r.Release()
	if r.Partitions[0].Code != fetch.UnknownLeaderEpoch || w.cluster.Barriers() != 1 {
		t.Errorf("%+v after %d barriers", r.Partitions[0], w.cluster.Barriers())
	}
}

func TestMissingBytesAreLookedForAgain(t *testing.T) {
	w := newWorld(t, fetch.Config{RetryDelay: time.Millisecond})
	tp := partition(w.cluster.CreateTopic(t, "a", "local", 1), 0)
	w.produce(tp, 1000, "x")
	w.hot.failures.Store(3)
	r := w.reader.Read(t.Context(), &fetch.Request{
		Partitions: []fetch.PartitionRead{{TopicPartition: tp, MaxBytes: 1 << 20, LeaderEpoch: -1}},
		MinBytes:   1, MaxBytes: 1 << 20, MaxWait: patience,
	})
	defer r.Release()
	values, _ := records(t, &r.Partitions[0], 0)
	w.expect(values, []string{"x"})
	if w.cluster.Barriers() == 0 {
		t.Error("no barrier before the second look")
	}
}

func TestMissingBytesAreAnErrorOfTheirPartitionAlone(t *testing.T) {
	w := newWorld(t, fetch.Config{RetryDelay: time.Millisecond})
	topic := w.cluster.CreateTopic(t, "a", "local", 2)
	w.produce(partition(topic, 0), 1000, "lost")
	w.hot.segment.Store(w.log.Segments()[0].ID)
	if err := w.log.Roll(); err != nil {
		t.Fatal(err)
	}
	w.produce(partition(topic, 1), 1000, "there")
	w.hot.failures.Store(1 << 40)
	both := []fetch.PartitionRead{
		{TopicPartition: partition(topic, 0), MaxBytes: 1 << 20, LeaderEpoch: -1},
		{TopicPartition: partition(topic, 1), MaxBytes: 1 << 20, LeaderEpoch: -1},
	}
	for _, partitions := range [][]fetch.PartitionRead{both, both[:1]} {
		r := w.reader.Read(t.Context(), &fetch.Request{Partitions: partitions, MinBytes: 1, MaxBytes: 1 << 20, MaxWait: 20 * time.Millisecond})
		if r.Partitions[0].Code != fetch.StorageError {
			t.Errorf("lost partition: %+v", r.Partitions[0])
		}
		if len(partitions) == 2 && r.Partitions[1].Bytes == 0 {
			t.Errorf("the other: %+v", r.Partitions[1])
		}
		r.Release()
	}
}

func TestColdDataDoesNotHoldBackHotData(t *testing.T) {
	w := newWorld(t, fetch.Config{})
	topic := w.cluster.CreateTopic(t, "a", "local", 2)
	cold, hot := partition(topic, 0), partition(topic, 1)
	w.produce(cold, 1000, "cold")
	w.ship()
	w.produce(hot, 1000, "hot")
	hold := make(chan struct{})
	w.bucket.SetRules(faulty.Rule{Ops: faulty.Get, Hold: hold})
	request := &fetch.Request{
		Partitions: []fetch.PartitionRead{
			{TopicPartition: cold, MaxBytes: 1 << 20, LeaderEpoch: -1}, {TopicPartition: hot, MaxBytes: 1 << 20, LeaderEpoch: -1},
		},
		MinBytes: 1, MaxBytes: 1 << 20, MaxWait: time.Hour,
	}
	r := w.reader.Read(t.Context(), request)
	if r.Partitions[0].Bytes != 0 || r.Partitions[0].Code != fetch.OK || r.Partitions[1].Bytes == 0 {
		t.Errorf("%+v", r.Partitions)
	}
	r.Release()
	gets := w.bucket.Calls(faulty.Get)
	close(hold)
	// What was asked for goes on into the cache, so that the next request finds it.
	w.await("cold data", func() bool {
		r := w.reader.Read(t.Context(), request)
		defer r.Release()
		return r.Partitions[0].Bytes > 0
	})
	if again := w.bucket.Calls(faulty.Get); again != gets {
		t.Errorf("%d GETs, then %d", gets, again)
	}
}

func TestColdDataIsWaitedForWhenThereIsNothingElse(t *testing.T) {
	w := newWorld(t, fetch.Config{RemoteWait: patience})
	tp := partition(w.cluster.CreateTopic(t, "a", "local", 1), 0)
	w.produce(tp, 1000, "cold")
	w.ship()
	w.bucket.SetRules(faulty.Rule{Ops: faulty.Get, Latency: faulty.Latency{Median: 20 * time.Millisecond}})
	w.expect(w.readAll(tp, 0, 1<<20), []string{"cold"})
}

// remoteDisk is another node, whose log this is.
type remoteDisk struct {
	*hotlog.Log
	calls int
}

func (p *remoteDisk) ReadHot(_ context.Context, address string, disk [16]byte, segment uint64, position uint32, buf []byte) (int, error) {
	p.calls++
	if address != "node:1" || disk != p.DiskUUID() {
		return 0, errors.New("another disk")
	}
	return len(buf), p.ReadAt(segment, position, buf)
}

func TestPeersAreRead(t *testing.T) {
	w := newWorld(t, fetch.Config{})
	tp := partition(w.cluster.CreateTopic(t, "a", "local", 1), 0)
	w.produce(tp, 1000, "0", "1")
	peer := &remoteDisk{Log: w.log}
	w.reader = w.newReader(fetch.Config{}, [16]byte{0xff}, peer)
	w.expect(w.readAll(tp, 1, 1<<20), []string{"1"})
	if peer.calls == 0 {
		t.Error("the peer was not asked")
	}
}

func TestResponsesAreBoundedTogether(t *testing.T) {
	w := newWorld(t, fetch.Config{BudgetBytes: 1500, RemoteWait: 2 * time.Millisecond})
	tp := partition(w.cluster.CreateTopic(t, "a", "local", 1), 0)
	w.produce(tp, 1000, strings.Repeat("x", 1000))
	first := w.read(tp, 0, 1<<20)
	if first.Partitions[0].Bytes == 0 || w.reader.HeldBytes() == 0 {
		t.Fatalf("%+v, %d held", first.Partitions[0], w.reader.HeldBytes())
	}
	second := w.read(tp, 0, 1<<20)
	if d := second.Partitions[0]; d.Bytes != 0 || d.Code != fetch.OK {
		t.Errorf("above the budget: %+v", d)
	}
	second.Release()
	first.Release()
	w.expect(w.readAll(tp, 0, 1<<20), []string{strings.Repeat("x", 1000)})
}

func TestNoPartitionsNoAnswer(t *testing.T) {
	w := newWorld(t, fetch.Config{})
	r := w.reader.Read(t.Context(), &fetch.Request{MinBytes: 1, MaxBytes: 1 << 20, MaxWait: patience})
	defer r.Release()
	if len(r.Partitions) != 0 {
		t.Errorf("%v", r.Partitions)
	}
}

func TestOffsetsByTime(t *testing.T) {
	for _, shipped := range []bool{false, true} {
		t.Run(fmt.Sprintf("shipped=%v", shipped), func(t *testing.T) {
			w := newWorld(t, fetch.Config{})
			topic := w.cluster.CreateTopic(t, "a", "local", 2)
			tp := partition(topic, 0)
			w.produce(tp, 1000, "0", "1", "2") // 1000, 1001, 1002
			w.produceAll(batchOf{tp, 500, []string{"3", "4"}}, batchOf{tp, 3000, []string{"5", "6"}})
			w.produce(tp, 2000, "7")
			if shipped {
				w.ship()
			}
			for millis, want := range map[int64]int64{0: 0, 1001: 1, 1002: 2, 1003: 5, 3001: 6, 3002: -1} {
				got, found, err := w.reader.OffsetForTimestamp(t.Context(), tp, millis)
				if err != nil || found != (want >= 0) || found && got.Offset != want {
					t.Errorf("time %d: %+v %v %v, want offset %d", millis, got, found, err, want)
				}
			}
			if got, found, err := w.reader.OffsetOfMaxTimestamp(t.Context(), tp); err != nil || !found || got.Offset != 6 || got.Timestamp != 3001 {
				t.Errorf("max timestamp: %+v %v %v", got, found, err)
			}
			if _, found, err := w.reader.OffsetOfMaxTimestamp(t.Context(), partition(topic, 1)); err != nil || found {
				t.Errorf("empty partition: %v %v", found, err)
			}
			if _, _, err := w.reader.OffsetForTimestamp(t.Context(), partition(topic, 9), 0); !errors.Is(err, fetch.ErrUnknownPartition) {
				t.Errorf("unknown partition: %v", err)
			}
			// A log start within a batch hides what lies below.
			w.cluster.Apply(&metapb.Command{Kind: &metapb.Command_AdvanceLogStart{AdvanceLogStart: &metapb.AdvanceLogStart{TopicId: topic[:], Offset: 2}}})
			if got, found, err := w.reader.OffsetForTimestamp(t.Context(), tp, 1000); err != nil || !found || got.Offset != 2 {
				t.Errorf("behind the log start: %+v %v %v", got, found, err)
			}
		})
	}
}

func TestTimeLookUpTellsOfMissingBytes(t *testing.T) {
	w := newWorld(t, fetch.Config{})
	tp := partition(w.cluster.CreateTopic(t, "a", "local", 1), 0)
	w.produce(tp, 1000, "x")
	w.hot.failures.Store(1)
	if got, found, err := w.reader.OffsetForTimestamp(t.Context(), tp, 1000); err != nil || !found || got.Offset != 0 {
		t.Errorf("second look: %+v %v %v", got, found, err)
	}
	w.hot.failures.Store(100)
	if _, _, err := w.reader.OffsetForTimestamp(t.Context(), tp, 1000); !errors.Is(err, fetch.ErrStorage) {
		t.Errorf("missing for good: %v", err)
	}
}

// A round reads a bounded number of extents. What was left out was looked for only when the high watermark moved, so a consumer that
// asks for much at least waited out its time with the records there.
func TestAReadGoesOnUntilItHasEnough(t *testing.T) {
	for _, durability := range []string{"object", "local"} {
		t.Run(durability, func(t *testing.T) {
			w := newWorld(t, fetch.Config{})
			tp := partition(w.cluster.CreateTopic(t, "a", durability, 1), 0)
			total := 0
			for i := range 30 {
				total += w.produce(tp, 1000, numbered(i, i+1)...)
				if i == 15 && durability == "local" {
					w.ship() // stored parts first, then hot runs: two kinds
				}
			}
			began := time.Now()
			r := w.reader.Read(t.Context(), &fetch.Request{
				Partitions: []fetch.PartitionRead{{TopicPartition: tp, MaxBytes: 1 << 20, LeaderEpoch: -1}},
				MinBytes:   total, MaxBytes: 1 << 20, MaxWait: 10 * time.Second,
			})
			defer r.Release()
			if r.Partitions[0].Bytes != total || time.Since(began) > 5*time.Second {
				t.Errorf("%d of %d bytes after %v", r.Partitions[0].Bytes, total, time.Since(began))
			}
		})
	}
}

func TestResponsesThatAreNotReleasedLeaveRoomForOthers(t *testing.T) {
	w := newWorld(t, fetch.Config{BudgetBytes: 8 << 20})
	tp := partition(w.cluster.CreateTopic(t, "a", "local", 1), 0)
	large := strings.Repeat("x", 900<<10)
	for range 9 {
		w.produce(tp, 1000, large)
	}
	for held := range 4 {
		r := w.read(tp, 0, 64<<20)
		defer r.Release()
		if r.Partitions[0].Bytes == 0 {
			t.Fatalf("while %d responses are held there is nothing for another", held)
		}
	}
}

func TestWhatComesBeforeIsWaitedForThoughLaterBytesAreThere(t *testing.T) {
	w := newWorld(t, fetch.Config{})
	tp := partition(w.cluster.CreateTopic(t, "a", "local", 1), 0)
	w.produce(tp, 1000, "first")
	w.ship()
	w.produce(tp, 1000, "second")
	w.ship()
	first, _ := w.locate(tp, 0)
	// Much longer than the grace that others get once something has arrived.
	w.bucket.SetRules(faulty.Rule{Ops: faulty.Get, Key: func(key string) bool { return key == first.Key() }, Latency: faulty.Latency{Median: 50 * time.Millisecond}})
	r := w.reader.Read(t.Context(), &fetch.Request{
		Partitions: []fetch.PartitionRead{{TopicPartition: tp, MaxBytes: 1 << 20, LeaderEpoch: -1}}, MinBytes: 1, MaxBytes: 1 << 20, MaxWait: patience,
	})
	defer r.Release()
	values, _ := records(t, &r.Partitions[0], 0)
	w.expect(values, []string{"first", "second"})
}
