package lane_test

import (
	"context"
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
	"github.com/varvelog/varve/ingest/hotlog"
	"github.com/varvelog/varve/ingest/lane"
	"github.com/varvelog/varve/ingest/lane/lanetest"
	"github.com/varvelog/varve/ingest/recordbatch"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds waits for what must happen; nothing that passes takes so long.
const patience = 20 * time.Second

// world is a node's lanes over a hot log in memory, a bucket in memory and a cluster reduced to its state.
type world struct {
	t       *testing.T
	cluster *lanetest.Cluster
	memory  *vfs.Mem
	disk    *vfs.Faulty
	log     *hotlog.Log
	bucket  *faulty.Store
	set     *lane.Set
	events  *events
}

func newWorld(t *testing.T, config lane.Config) *world {
	t.Helper()
	return newWorldThrough(t, config, func(c *lanetest.Cluster) lane.Replica { return c })
}

// newWorldThrough puts something between the lanes and the cluster.
func newWorldThrough(t *testing.T, config lane.Config, through func(*lanetest.Cluster) lane.Replica) *world {
	t.Helper()
	return newWorldWith(t, config, nil, through)
}

// newWorldWith gives the lanes other nodes, nil for none.
func newWorldWith(t *testing.T, config lane.Config, peers lane.Peers, through func(*lanetest.Cluster) lane.Replica) *world {
	t.Helper()
	w := &world{t: t, cluster: lanetest.NewCluster(), memory: vfs.NewMem(), bucket: faulty.New(mem.New("test"), faulty.Config{}), events: &events{}}
	w.disk = vfs.NewFaulty(w.memory, nil)
	var err error
	if w.log, _, err = hotlog.Open(w.disk, "hot", hotlog.Config{SegmentBytes: 1 << 20, NoSpare: true, Observer: w.events}); err != nil {
		t.Fatal(err)
	}
	if config.RetryMin == 0 {
		config.RetryMin, config.RetryMax = time.Millisecond, 4*time.Millisecond
	}
	if config.SealAge == 0 {
		config.SealAge = time.Hour
	}
	w.set, err = lane.New(config, lane.Dependencies{Log: w.log, Store: w.bucket, Replica: through(w.cluster), Epochs: w.cluster, Peers: peers, Observer: w.events})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := w.set.Close(ctx); err != nil {
			t.Errorf("close lanes: %v", err)
		}
		if stats := w.set.Stats(); stats != (lane.Stats{}) {
			t.Errorf("after close: %+v", stats)
		}
		if err := w.log.Close(); err != nil {
			t.Errorf("close hot log: %v", err)
		}
	})
	return w
}

// events counts what the lanes and the log tell.
type events struct {
	groups, flushed, failed, epochs, hedgesWon atomic.Int64
}

func (e *events) GroupAppended(int, int64, time.Duration, time.Duration) { e.groups.Add(1) }
func (e *events) ChunkFlushed(lane.Lane, int, int, time.Duration)        { e.flushed.Add(1) }
func (e *events) ChunkCommitted(lane.Lane, int, time.Duration)           {}
func (e *events) ObjectPut(hedge bool, _ int, _ time.Duration, err error) {
	if hedge && err == nil {
		e.hedgesWon.Add(1)
	}
}
func (e *events) BatchesFailed(_ lane.Lane, _ lane.Failure, n int) { e.failed.Add(int64(n)) }
func (e *events) Trouble(string, error)                            {}
func (e *events) EpochStarted(lane.Registration)                   { e.epochs.Add(1) }

// memory counts its releases.
type memory struct{ released atomic.Int64 }

func (m *memory) Release() { m.released.Add(1) }

func (w *world) batch(topic meta.TopicID, partition int32, class metapb.Durability, values ...string) lane.Batch {
	data, header := lanetest.RecordBatch(w.t, nil, 1000, values...)
	return lane.Batch{Topic: topic, Partition: partition, Durability: class, Header: header, Data: data}
}

func (w *world) local(topic meta.TopicID, partition int32, values ...string) lane.Batch {
	return w.batch(topic, partition, metapb.Durability_DURABILITY_LOCAL, values...)
}

func (w *world) object(topic meta.TopicID, partition int32, values ...string) lane.Batch {
	return w.batch(topic, partition, metapb.Durability_DURABILITY_OBJECT, values...)
}

func (w *world) append(batches ...lane.Batch) *lane.Pending {
	w.t.Helper()
	p, err := w.set.Append(w.t.Context(), lane.Request{Batches: batches})
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

// results waits for all of a request's results.
func (w *world) results(p *lane.Pending) []lane.Result {
	w.t.Helper()
	results := append([]lane.Result(nil), p.Wait(w.t.Context(), patience)...)
	p.Free()
	return results
}

// mustCommit appends and expects every batch to be committed from offsets on.
func (w *world) mustCommit(offsets []int64, batches ...lane.Batch) {
	w.t.Helper()
	w.expect(w.append(batches...), offsets...)
}

func (w *world) expect(p *lane.Pending, offsets ...int64) {
	w.t.Helper()
	results := w.results(p)
	for i, r := range results {
		if r.Failure != lane.NoFailure || r.Code != meta.OK || r.BaseOffset != offsets[i] {
			w.t.Fatalf("batch %d: %+v, want offset %d", i, r, offsets[i])
		}
	}
}

func (w *world) expectFailure(p *lane.Pending, failure lane.Failure) {
	w.t.Helper()
	for i, r := range w.results(p) {
		if r.Failure != failure {
			w.t.Fatalf("batch %d: %+v, want %v", i, r, failure)
		}
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

func (w *world) nextOffset(topic meta.TopicID, partition int32) (offset int64) {
	w.cluster.View(func(st *meta.State) {
		offset = st.Partition(meta.TopicPartition{Topic: topic, Partition: partition}).NextOffset()
	})
	return offset
}

// values reads all records of a partition that stands in the local hot log or in chunks.
func (w *world) values(topic meta.TopicID, partition int32) []string {
	w.t.Helper()
	var values []string
	tp := meta.TopicPartition{Topic: topic, Partition: partition}
	for offset := int64(0); ; {
		var loc meta.Location
		var ok bool
		w.cluster.View(func(st *meta.State) { loc, ok = st.Locate(tp, offset) })
		if !ok {
			return values
		}
		buf := make([]byte, loc.Length)
		if loc.Tier == meta.TierHot {
			if err := w.log.ReadAt(loc.Segment, uint32(loc.Position), buf); err != nil {
				w.t.Fatal(err)
			}
		} else {
			reader, _, err := w.bucket.Get(w.t.Context(), loc.Key(), int64(loc.Position), int64(loc.Length))
			if err != nil {
				w.t.Fatal(err)
			}
			if _, err := readFull(reader, buf); err != nil {
				w.t.Fatal(err)
			}
		}
		for batch, err := range recordbatch.Batches(buf) {
			if err != nil {
				w.t.Fatal(err)
			}
			for record, err := range recordbatch.Records(batch.Bytes, nil) {
				if err != nil {
					w.t.Fatal(err)
				}
				values = append(values, string(record.Value))
			}
		}
		offset = loc.NextOffset
	}
}

// gate holds whoever passes it until it is opened.
type gate struct {
	entered chan struct{}
	open    chan struct{}
	once    sync.Once
}

func newGate() *gate { return &gate{entered: make(chan struct{}, 1000), open: make(chan struct{})} }

func (g *gate) pass() {
	g.entered <- struct{}{}
	<-g.open
}

func (g *gate) release() { g.once.Do(func() { close(g.open) }) }

// What services put in the interfaces' places.
var (
	_ lane.HotLog         = (*hotlog.Log)(nil)
	_ lane.SegmentRemover = (*hotlog.Log)(nil)
	_ lane.Replica        = (*replica.Replica)(nil)
)
