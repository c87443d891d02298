package fetch_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/ingest/chunk"
	"github.com/varvelog/varve/ingest/fetch"
	"github.com/varvelog/varve/ingest/hotlog"
	"github.com/varvelog/varve/ingest/lane/lanetest"
)

// twoDisks are the hot logs of two nodes with the same chunks at different places.
type twoDisks struct {
	mu struct {
		sync.Mutex
		segments map[string][]byte                      // by address
		fail     map[string]func(context.Context) error // by address
		asked    []string
	}
}

// ReadHot implements fetch.Peer.
func (d *twoDisks) ReadHot(ctx context.Context, address string, _ [16]byte, _ uint64, position uint32, buf []byte) (int, error) {
	d.mu.Lock()
	d.mu.asked = append(d.mu.asked, address)
	segment, fail := d.mu.segments[address], d.mu.fail[address]
	d.mu.Unlock()
	if fail != nil {
		return 0, fail(ctx)
	}
	if int(position)+len(buf) > len(segment) {
		return 0, errors.New("nothing there")
	}
	return copy(buf, segment[position:]), nil
}

func (d *twoDisks) set(address string, fail func(context.Context) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mu.fail, d.mu.asked = map[string]func(context.Context) error{address: fail}, nil
}

func (d *twoDisks) wasAsked() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.mu.asked)
}

const (
	sourceAddress = "node:1"
	copyAddress   = "other:1"
)

// newTwoDisks commits chunks of the class replicated, of a value each, and returns a reader that has neither disk.
func newTwoDisks(t *testing.T, values ...string) (*world, *twoDisks, meta.TopicPartition, meta.NodeID) {
	t.Helper()
	w := newWorld(t, fetch.Config{})
	w.await("registration", func() bool { _, registered := w.set.Registration(); return registered })
	own, _ := w.set.Registration()
	other := w.cluster.Propose(&metapb.Command{Kind: &metapb.Command_RegisterNode{RegisterNode: &metapb.RegisterNode{
		DiskId: append([]byte{0xd2}, make([]byte, 15)...), Incarnation: []byte{1}, InternalAddress: copyAddress,
	}}})
	tp := partition(w.cluster.CreateTopic(t, "twice", "replicated", 1), 0)
	disks := &twoDisks{}
	disks.mu.segments = map[string][]byte{sourceAddress: make([]byte, 64), copyAddress: make([]byte, 500)}
	for i, value := range values {
		data, header := lanetest.RecordBatch(t, nil, 1000, value)
		var b chunk.Builder
		b.Add(chunk.Batch{Topic: tp.Topic, Partition: 0, Data: data, Records: uint32(header.LastOffsetDelta) + 1, ProducerID: -1, MaxTimestamp: header.MaxTimestamp})
		sealed := b.Seal(chunk.Header{NodeID: int32(own.Node), NodeEpoch: own.Epoch, Lane: 2, Seq: uint64(i) + 1})
		commit := &metapb.CommitChunk{
			NodeId: int32(own.Node), NodeEpoch: own.Epoch, Lane: 2, Seq: uint64(i) + 1, Durability: metapb.Durability_DURABILITY_REPLICATED,
			Segment: 900, Position: uint32(len(disks.mu.segments[sourceAddress])), ChunkBytes: uint64(sealed.Header.ChunkBytes()), RunTable: slices.Clone(sealed.Table.Bytes()),
			Copy: &metapb.ChunkCopy{NodeId: int32(other.NodeID), NodeEpoch: other.NodeEpoch, Segment: 7, Position: uint32(len(disks.mu.segments[copyAddress]))},
		}
		whole := slices.Clone(sealed.Head)
		for _, body := range sealed.Body {
			whole = append(whole, body...)
		}
		for address, gap := range map[string]int{sourceAddress: 32, copyAddress: 96} {
			disks.mu.segments[address] = append(append(disks.mu.segments[address], whole...), make([]byte, gap)...)
		}
		w.cluster.Apply(&metapb.Command{Kind: &metapb.Command_CommitChunk{CommitChunk: commit}})
	}
	w.reader = w.newReader(fetch.Config{}, [16]byte{0xff}, disks)
	return w, disks, tp, own.Node
}

func TestAReplicatedRunIsReadFromTheOtherNodeWhereOneFails(t *testing.T) {
	values := []string{"0", "1", "2", "3"}
	w, disks, tp, _ := newTwoDisks(t, values...)
	w.expect(w.readAll(tp, 0, 1<<20), values)
	if slices.Contains(disks.wasAsked(), copyAddress) {
		t.Error("the copy was read, though the source is well")
	}
	disks.set(sourceAddress, func(context.Context) error { return errors.New("it is gone") })
	w.expect(w.readAll(tp, 0, 1<<20), values)
	w.expect(w.readAll(tp, 2, 1<<20), values[2:])
	disks.set(copyAddress, func(context.Context) error { return errors.New("it is gone") })
	w.expect(w.readAll(tp, 1, 1<<20), values[1:])
}

func TestANodeThatDoesNotAnswerHoldsUpNoReaderOfReplicatedRuns(t *testing.T) {
	values := []string{"0", "1", "2"}
	w, disks, tp, _ := newTwoDisks(t, values...)
	disks.set(sourceAddress, func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
	w.expect(w.readAll(tp, 0, 1<<20), values)
}

func TestOfTwoCopiesTheOneWhoseNodeLivesIsReadFirst(t *testing.T) {
	w, disks, tp, source := newTwoDisks(t, "0")
	w.cluster.Apply(&metapb.Command{Kind: &metapb.Command_SetNodeLive{SetNodeLive: &metapb.SetNodeLive{NodeId: int32(source), NodeEpoch: 1, Live: false}}})
	w.expect(w.readAll(tp, 0, 1<<20), []string{"0"})
	if slices.Contains(disks.wasAsked(), sourceAddress) {
		t.Error("a dead node was asked first")
	}
}

// oneDisk is a node's hot log as other nodes read it.
type oneDisk struct {
	log   *hotlog.Log
	reads atomic.Int64
	mute  atomic.Bool // it does not answer
}

// ReadHot implements fetch.Peer.
func (d *oneDisk) ReadHot(ctx context.Context, _ string, _ [16]byte, segment uint64, position uint32, buf []byte) (int, error) {
	d.reads.Add(1)
	if d.mute.Load() {
		<-ctx.Done()
		return 0, ctx.Err()
	}
	return len(buf), d.log.ReadAt(segment, position, buf)
}

func TestABatchInTheMiddleOfALargeRunElsewhereIsFoundWithFewRequests(t *testing.T) {
	w := newWorld(t, fetch.Config{})
	tp := partition(w.cluster.CreateTopic(t, "a", "local", 1), 0)
	values := w.produceEach(tp, 3000, 900)
	disk := &oneDisk{log: w.log}
	w.reader = w.newReader(fetch.Config{}, [16]byte{0xff}, disk)
	r := w.read(tp, 2900, 1<<20)
	defer r.Release()
	got, _ := records(t, &r.Partitions[0], 2900)
	w.expect(got, values[2900:])
	if reads := disk.reads.Load(); reads > 30 {
		t.Errorf("%d requests to the other node", reads)
	}
}

func TestANodeThatDoesNotAnswerKeepsNobodyFromTheBucketAndIsTold(t *testing.T) {
	w := newWorld(t, fetch.Config{})
	stored, hot := partition(w.cluster.CreateTopic(t, "stored", "local", 1), 0), partition(w.cluster.CreateTopic(t, "hot", "local", 1), 0)
	w.produce(stored, 1000, "stored")
	w.ship()
	w.produce(hot, 1000, "hot")
	disk := &oneDisk{log: w.log}
	disk.mute.Store(true)
	w.reader = w.newReader(fetch.Config{RemoteReads: 1}, [16]byte{0xff}, disk)
	waits := make(chan fetch.Code)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		r := w.reader.Read(ctx, &fetch.Request{
			Partitions: []fetch.PartitionRead{{TopicPartition: hot, MaxBytes: 1 << 20, LeaderEpoch: -1}}, MinBytes: 1, MaxBytes: 1 << 20, MaxWait: patience,
		})
		defer r.Release()
		waits <- r.Partitions[0].Code
	}()
	w.await("the node is asked", func() bool { return disk.reads.Load() == 1 })
	w.expect(w.readAll(stored, 0, 1<<20), []string{"stored"})
	cancel()
	if code := <-waits; code != fetch.OK {
		t.Errorf("a client that has gone: %v", code)
	}
	r := w.read(hot, 0, 1<<20)
	defer r.Release()
	if code := r.Partitions[0].Code; code != fetch.StorageError {
		t.Errorf("a client that has waited in vain: %v", code)
	}
}
