package fetch_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/coordinator/replica"
	"github.com/varvelog/varve/infra/objstore/faulty"
	"github.com/varvelog/varve/infra/objstore/mem"
	"github.com/varvelog/varve/infra/vfs"
	"github.com/varvelog/varve/ingest/fetch"
	"github.com/varvelog/varve/ingest/hotlog"
	"github.com/varvelog/varve/ingest/lane"
	"github.com/varvelog/varve/ingest/lane/lanetest"
	"github.com/varvelog/varve/ingest/recordbatch"
	"github.com/varvelog/varve/tiering/blockcache"
	"github.com/varvelog/varve/tiering/partindex"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds waits for what must happen; nothing that passes takes so long.
const patience = 20 * time.Second

// world is a node that produces through its lanes and fetches, over memory and a cluster reduced to its state.
type world struct {
	t       testing.TB
	cluster *lanetest.Cluster
	log     *hotlog.Log
	hot     *brokenLog
	bucket  *faulty.Store
	cache   *blockcache.Cache
	set     *lane.Set
	reader  *fetch.Reader
	damage  struct {
		sync.Mutex
		found []fetch.Damage
	}
}

// damaged is where damage was found since the last call.
func (w *world) damaged() []fetch.Damage {
	w.damage.Lock()
	defer w.damage.Unlock()
	found := w.damage.found
	w.damage.found = nil
	return found
}

func newWorld(t testing.TB, config fetch.Config) *world {
	t.Helper()
	w := &world{t: t, cluster: lanetest.NewCluster(), bucket: faulty.New(mem.New("test"), faulty.Config{})}
	var err error
	if w.log, _, err = hotlog.Open(vfs.NewMem(), "hot", hotlog.Config{SegmentBytes: 4 << 20, NoSpare: true}); err != nil {
		t.Fatal(err)
	}
	w.hot = &brokenLog{Log: w.log}
	w.cluster.DiskID = w.log.DiskUUID()
	w.set, err = lane.New(lane.Config{PutsPerSecond: 1e6, PutBurst: 1000, SealAge: time.Hour, RetryMin: time.Millisecond},
		lane.Dependencies{Log: w.log, Store: w.bucket, Replica: w.cluster, Epochs: w.cluster})
	if err != nil {
		t.Fatal(err)
	}
	if w.cache, err = blockcache.New(w.bucket, blockcache.Config{}); err != nil {
		t.Fatal(err)
	}
	w.reader = w.newReader(config, w.cluster.DiskID, nil)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := errors.Join(w.set.Close(ctx), w.log.Close(), w.cache.Close()); err != nil {
			t.Error(err)
		}
		if held := w.reader.HeldBytes(); held != 0 {
			t.Errorf("%d bytes of responses are held", held)
		}
	})
	return w
}

func (w *world) newReader(config fetch.Config, disk [16]byte, peer fetch.Peer) *fetch.Reader {
	w.t.Helper()
	r, err := fetch.New(config, fetch.Dependencies{
		Replica: w.cluster, Log: w.hot, DiskID: disk, Peer: peer, Objects: w.cache, Index: startOfPart{w.cache},
		Damaged: func(d fetch.Damage) {
			w.damage.Lock()
			defer w.damage.Unlock()
			w.damage.found = append(w.damage.found, d)
		},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// brokenLog fails as many reads as it is told to.
type brokenLog struct {
	*hotlog.Log
	failures atomic.Int64
	reads    atomic.Int64
	segment  atomic.Uint64 // only this one fails; 0 for all
	flipped  atomic.Pointer[flippedBit]
}

// flippedBit is what has become of a disk.
type flippedBit struct {
	segment  uint64
	position int
	mask     byte
}

func (l *brokenLog) ReadAt(segment uint64, position uint32, buf []byte) error {
	l.reads.Add(1)
	if only := l.segment.Load(); (only == 0 || only == segment) && l.failures.Load() > 0 {
		l.failures.Add(-1)
		return hotlog.ErrSegmentGone
	}
	err := l.Log.ReadAt(segment, position, buf)
	if f := l.flipped.Load(); f != nil && f.segment == segment && f.position >= int(position) && f.position < int(position)+len(buf) {
		buf[f.position-int(position)] ^= f.mask
	}
	return err
}

// startOfPart is an index that knows nothing but where a part begins.
type startOfPart struct{ fetch.Objects }

func (s startOfPart) Seek(ctx context.Context, part meta.Location, _ int64) (uint64, int64, error) {
	var base [8]byte
	_, err := s.ReadAt(ctx, part.Key(), 0, int64(part.Position), base[:])
	return part.Position, int64(binary.BigEndian.Uint64(base[:])), err
}

func (startOfPart) SeekTime(_ context.Context, part meta.Location, _ int64) (uint64, error) {
	return part.Position, nil
}

func partition(topic meta.TopicID, index int32) meta.TopicPartition {
	return meta.TopicPartition{Topic: topic, Partition: index}
}

// produce commits one batch and returns its size.
func (w *world) produce(tp meta.TopicPartition, millis int64, values ...string) int {
	w.t.Helper()
	return w.produceAll(batchOf{tp, millis, values})
}

type batchOf struct {
	tp     meta.TopicPartition
	millis int64
	values []string
}

// produceEach produces a batch for each of count values of width bytes, all at once.
func (w *world) produceEach(tp meta.TopicPartition, count, width int) (values []string) {
	w.t.Helper()
	batches := make([]batchOf, count)
	for i := range batches {
		values = append(values, fmt.Sprintf("%0*d", width, i))
		batches[i] = batchOf{tp, 1000, values[i : i+1]}
	}
	w.produceAll(batches...)
	return values
}

// produceAll commits batches as one request, and so as one chunk as a rule, and returns the size of the last.
func (w *world) produceAll(batches ...batchOf) (size int) {
	w.t.Helper()
	var request lane.Request
	for _, b := range batches {
		data, header := lanetest.RecordBatch(w.t, nil, b.millis, b.values...)
		durability := metapb.Durability_DURABILITY_LOCAL
		w.cluster.View(func(st *meta.State) { durability = st.Topic(b.tp.Topic).Config.Durability })
		request.Batches = append(request.Batches, lane.Batch{Topic: b.tp.Topic, Partition: b.tp.Partition, Durability: durability, Header: header, Data: data})
		size = len(data)
	}
	p, err := w.set.Append(context.Background(), request)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, r := range p.Wait(context.Background(), patience) {
		if r.Failure != lane.NoFailure || r.Code != meta.OK {
			w.t.Fatalf("produce: %+v", r)
		}
	}
	p.Free()
	return size
}

// ship does a tiering job on everything that is sealed: one object with one part per run of offsets.
func (w *world) ship() {
	w.t.Helper()
	if err := w.log.Roll(); err != nil {
		w.t.Fatal(err)
	}
	registration, _ := w.set.Registration()
	for _, s := range w.log.Segments() {
		if s.Sealed {
			w.cluster.Apply(&metapb.Command{Kind: &metapb.Command_SealContainer{SealContainer: &metapb.SealContainer{
				NodeId: int32(registration.Node), NodeEpoch: registration.Epoch, Segment: s.ID, SizeBytes: uint64(s.SizeBytes),
			}}})
		}
	}
	job := w.cluster.Propose(&metapb.Command{Kind: &metapb.Command_LeaseJob{LeaseJob: &metapb.LeaseJob{
		Worker: "w", LeaseMillis: 60_000, MaxContainers: 1000, MaxBytes: 1 << 40,
	}}})
	if job.Code != meta.OK {
		w.t.Fatalf("lease: %v", job.Code)
	}
	object := &metapb.SegmentObject{JobId: uint64(job.JobID)}
	var body []byte
	for _, c := range w.leased(job.JobID) {
		for _, run := range c.runs {
			buf := make([]byte, run.Length)
			w.readRun(c.container, run, buf)
			if _, err := recordbatch.AssignOffsets(buf, run.BaseOffset, 0); err != nil {
				w.t.Fatal(err)
			}
			part := &metapb.Part{
				TopicId: run.Partition.Topic[:], Partition: run.Partition.Partition, BaseOffset: run.BaseOffset,
				NextOffset: run.BaseOffset + int64(run.Records), Position: uint64(len(body)), Length: uint64(run.Length),
				Records: uint64(run.Records), MaxTimestamp: -1,
			}
			for b, err := range recordbatch.Batches(buf) {
				if err != nil {
					w.t.Fatal(err)
				}
				part.MaxTimestamp = max(part.MaxTimestamp, b.MaxTimestamp)
			}
			object.Parts = append(object.Parts, part)
			body = append(body, buf...)
		}
	}
	object.SizeBytes = uint64(len(body))
	if _, err := w.bucket.PutIfAbsent(context.Background(), meta.SegmentKey(job.JobID, 0), body); err != nil {
		w.t.Fatal(err)
	}
	v := w.cluster.Propose(&metapb.Command{Kind: &metapb.Command_FinishJob{FinishJob: &metapb.FinishJob{
		JobId: uint64(job.JobID), Objects: []*metapb.SegmentObject{object},
	}}})
	if v.Code != meta.OK || v.PartsDropped > 0 || int(v.PartsTaken) != len(object.Parts) {
		w.t.Fatalf("finish: %+v of %d parts", v, len(object.Parts))
	}
}

type leasedContainer struct {
	container meta.Container
	runs      []meta.ContainerRun
}

func (w *world) leased(job meta.JobID) (leased []leasedContainer) {
	w.cluster.View(func(st *meta.State) {
		st.Containers(func(c meta.Container) bool {
			if c.Job == job {
				leased = append(leased, leasedContainer{c, st.ContainerRuns(c.ID)})
			}
			return true
		})
	})
	return leased
}

func (w *world) readRun(c meta.Container, run meta.ContainerRun, buf []byte) {
	w.t.Helper()
	var err error
	if c.IsChunk() {
		_, err = w.cache.ReadAt(context.Background(), c.Chunk.Key(), 0, int64(run.Position), buf)
	} else {
		err = w.log.ReadAt(c.Segment, run.Position, buf)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// read asks for one partition, waiting for nothing.
func (w *world) read(tp meta.TopicPartition, offset int64, maxBytes int) *fetch.Response {
	w.t.Helper()
	return w.reader.Read(context.Background(), &fetch.Request{
		Partitions: []fetch.PartitionRead{{TopicPartition: tp, Offset: offset, MaxBytes: maxBytes, LeaderEpoch: -1}},
		MinBytes:   1, MaxBytes: maxBytes,
	})
}

// records decodes a partition's answer, checking that it is whole batches whose offsets ascend from first on, and returns
// the values from offset on and the offset to go on from.
func records(t testing.TB, data *fetch.PartitionData, from int64) (values []string, next int64) {
	t.Helper()
	next = from
	var all []byte
	for _, slice := range data.Records {
		all = append(all, slice...)
	}
	if len(all) != data.Bytes {
		t.Fatalf("%d bytes, Bytes says %d", len(all), data.Bytes)
	}
	for b, err := range recordbatch.Batches(all) {
		if err != nil {
			t.Fatal(err)
		}
		if err := recordbatch.CheckCRC(b.Bytes); err != nil {
			t.Fatal(err)
		}
		if b.NextOffset() <= next || b.LeaderEpoch != data.LeaderEpoch {
			t.Fatalf("batch [%d,%d) of epoch %d at offset %d", b.BaseOffset, b.NextOffset(), b.LeaderEpoch, next)
		}
		for record, err := range recordbatch.Records(b.Bytes, nil) {
			if err != nil {
				t.Fatal(err)
			}
			if record.Offset >= from {
				values = append(values, string(record.Value))
			}
		}
		next = b.NextOffset()
	}
	return values, next
}

// readAll reads a partition from offset to its end in responses of at most maxBytes.
func (w *world) readAll(tp meta.TopicPartition, offset int64, maxBytes int) (values []string) {
	w.t.Helper()
	for {
		r := w.read(tp, offset, maxBytes)
		data := &r.Partitions[0]
		if data.Code != fetch.OK {
			w.t.Fatalf("offset %d: %v", offset, data.Code)
		}
		some, next := records(w.t, data, offset)
		end := data.HighWatermark
		r.Release()
		if next == offset && offset < end {
			w.t.Fatalf("nothing at offset %d of %d", offset, end)
		}
		values = append(values, some...)
		if offset = next; offset >= end {
			return values
		}
	}
}

func numbered(from, to int) (values []string) {
	for i := from; i < to; i++ {
		values = append(values, fmt.Sprint(i))
	}
	return values
}

func (w *world) expect(got, want []string) {
	w.t.Helper()
	if !slices.Equal(got, want) {
		w.t.Fatalf("read %d values %.200q, want %d", len(got), got, len(want))
	}
}

// await polls for a condition that other goroutines bring about.
func (w *world) await(what string, condition func() bool) {
	w.t.Helper()
	deadline := time.Now().Add(patience)
	for !condition() {
		if time.Now().After(deadline) {
			w.t.Fatalf("waited in vain: %s", what)
		}
		time.Sleep(100 * time.Microsecond)
	}
}

// What services put in the interfaces' places.
var (
	_ fetch.HotLog    = (*hotlog.Log)(nil)
	_ fetch.Replica   = (*replica.Replica)(nil)
	_ fetch.Objects   = (*blockcache.Cache)(nil)
	_ fetch.PartIndex = (*partindex.Finder)(nil)
)
