package lane_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/infra/vfs"
	"github.com/varvelog/varve/ingest/copies"
	"github.com/varvelog/varve/ingest/hotlog"
	"github.com/varvelog/varve/ingest/lane"
	"github.com/varvelog/varve/ingest/lane/lanetest"
)

// replicas is another node of the cluster, whose lanes take copies, and the way to it (lane.Peers).
type replicas struct {
	t       *testing.T
	cluster *lanetest.Cluster
	log     *hotlog.Log
	set     *lane.Set

	mu struct {
		sync.Mutex
		away  bool
		conns []net.Conn
	}
	serving sync.WaitGroup
}

// otherNode registers a node with a disk of its own in the same cluster.
type otherNode struct{ *lanetest.Cluster }

func (o otherNode) Renew(context.Context) (lane.Registration, error) {
	v := o.Propose(&metapb.Command{Kind: &metapb.Command_RegisterNode{RegisterNode: &metapb.RegisterNode{
		DiskId: append([]byte{0xd2}, make([]byte, 15)...), Incarnation: fmt.Append(nil, time.Now().UnixNano()), InternalAddress: "other:1",
	}}})
	if v.Code != meta.OK {
		return lane.Registration{}, fmt.Errorf("register: %v", v.Code)
	}
	return lane.Registration{Node: v.NodeID, Epoch: v.NodeEpoch}, nil
}

// newReplicas starts the other node; join gives it to the world's lanes.
func newReplicas(t *testing.T) *replicas { return &replicas{t: t} }

func (r *replicas) start(cluster *lanetest.Cluster) {
	r.mu.Lock()
	r.cluster = cluster
	r.mu.Unlock()
	var err error
	if r.log, _, err = hotlog.Open(vfs.NewMem(), "other", hotlog.Config{SegmentBytes: 1 << 20, NoSpare: true}); err != nil {
		r.t.Fatal(err)
	}
	if r.set, err = lane.New(lane.Config{SealAge: time.Hour}, lane.Dependencies{Log: r.log, Replica: cluster, Epochs: otherNode{cluster}, Peers: r}); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		r.leave()
		r.serving.Wait()
		if err := errors.Join(r.set.Close(context.Background()), r.log.Close()); err != nil {
			r.t.Error(err)
		}
	})
}

// Candidates implements lane.Peers.
func (r *replicas) Candidates(own meta.NodeID) (found []copies.Peer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cluster == nil || r.mu.away {
		return nil
	}
	r.cluster.View(func(s *meta.State) { found = copies.Candidates(s, own) })
	return found
}

// Dial implements lane.Peers.
func (r *replicas) Dial(context.Context, string) (net.Conn, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mu.away {
		return nil, errors.New("away")
	}
	here, there := net.Pipe()
	r.mu.conns = append(r.mu.conns, there)
	receiver := copies.NewReceiver(copies.ReceiverConfig{MaxChunkBytes: r.log.MaxChunkBytes()}, r.set)
	r.serving.Go(func() { receiver.Serve(there) })
	return here, nil
}

// Settled implements lane.Peers.
func (r *replicas) Settled(chunk copies.Header) (settled bool) {
	r.cluster.View(func(s *meta.State) {
		n := s.Node(chunk.Node)
		settled = n != nil && (n.Epoch > chunk.Epoch || n.Epoch == chunk.Epoch && s.NextSeq(chunk.Node, chunk.Lane) > chunk.Seq)
	})
	return settled
}

// leave takes the other node away, and return brings it back.
func (r *replicas) leave() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.away = true
	for _, c := range r.mu.conns {
		_ = c.Close()
	}
	r.mu.conns = nil
}

func (r *replicas) comeBack() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.away = false
}

// newReplicatedWorld is a world with another node.
func newReplicatedWorld(t *testing.T, config lane.Config) (*world, *replicas) {
	t.Helper()
	other := newReplicas(t)
	w := newWorldWith(t, config, other, func(c *lanetest.Cluster) lane.Replica { return c })
	other.start(w.cluster)
	w.await("the other node to register", func() bool { _, ok := other.set.Registration(); return ok && len(other.Candidates(1)) == 1 })
	return w, other
}

func (w *world) replicated(topic meta.TopicID, partition int32, values ...string) lane.Batch {
	return w.batch(topic, partition, metapb.Durability_DURABILITY_REPLICATED, values...)
}

// mustBeInBoth reads what a partition has from either log.
func (w *world) mustBeInBoth(other *replicas, topic meta.TopicID, records int64) {
	w.t.Helper()
	tp := meta.TopicPartition{Topic: topic, Partition: 0}
	for offset := int64(0); offset < records; {
		var l meta.Location
		var ok bool
		w.cluster.View(func(s *meta.State) { l, ok = s.Locate(tp, offset) })
		if !ok || l.Copy.Node == 0 {
			w.t.Fatalf("offset %d is at %+v", offset, l)
		}
		own, copied := make([]byte, l.Length), make([]byte, l.Length)
		if err := errors.Join(w.log.ReadAt(l.Segment, uint32(l.Position), own), other.log.ReadAt(l.Copy.Segment, uint32(l.Copy.Position), copied)); err != nil {
			w.t.Fatal(err)
		}
		if string(own) != string(copied) {
			w.t.Fatalf("the copy of offset %d is another", offset)
		}
		offset = l.NextOffset
	}
}

func TestReplicatedChunksAreOnTwoDisksBeforeTheyAreCommitted(t *testing.T) {
	w, other := newReplicatedWorld(t, lane.Config{})
	topic := w.cluster.CreateTopic(t, "twice", "replicated", 1)
	for i := range int64(50) {
		w.mustCommit([]int64{i}, w.replicated(topic, 0, fmt.Sprint(i)))
	}
	w.mustBeInBoth(other, topic, 50)
}

func TestWithoutAnotherNodeReplicatedBatchesAreRefusedAndOthersAreNot(t *testing.T) {
	w, other := newReplicatedWorld(t, lane.Config{})
	twice, once := w.cluster.CreateTopic(t, "twice", "replicated", 1), w.cluster.CreateTopic(t, "once", "local", 1)
	w.mustCommit([]int64{0}, w.replicated(twice, 0, "a"))
	other.leave()
	w.expectFailure(w.append(w.replicated(twice, 0, "b")), lane.NotEnoughReplicas)
	w.mustCommit([]int64{0}, w.local(once, 0, "x"))
	other.comeBack()
	w.mustCommit([]int64{1}, w.replicated(twice, 0, "c"))
	w.mustBeInBoth(other, twice, 2)
	if n := w.events.epochs.Load(); n != 1 {
		t.Errorf("%d epochs", n)
	}
}

// TestAChunkWithoutACopyIsVoidAndTheLaneGoesOn: the other node dies with a chunk on its way, and no other is to be had.
func TestAChunkWithoutACopyIsVoidAndTheLaneGoesOn(t *testing.T) {
	w, other := newReplicatedWorld(t, lane.Config{CopyTimeout: 400 * time.Millisecond})
	topic := w.cluster.CreateTopic(t, "twice", "replicated", 1)
	w.mustCommit([]int64{0}, w.replicated(topic, 0, "a"))
	syncing := newGate()
	w.disk.SetDecide(func(c vfs.Call) *vfs.Fault {
		if c.Op == vfs.OpSyncData {
			syncing.pass()
		}
		return nil
	})
	p := w.append(w.replicated(topic, 0, "b")) // it is sent, and not written here yet
	<-syncing.entered
	other.leave()
	syncing.release()
	w.disk.SetDecide(nil)
	results := w.results(p)
	// The other node may have had it before it died: then it is committed, as it should be.
	next := int64(1)
	if results[0].Failure == lane.NoFailure && results[0].Code == meta.OK {
		next = 2
	} else if results[0].Failure != lane.NotEnoughReplicas {
		t.Fatalf("result %+v", results[0])
	}
	other.comeBack()
	w.mustCommit([]int64{next}, w.replicated(topic, 0, "c"))
	w.mustBeInBoth(other, topic, next+1)
	if n := w.events.epochs.Load(); n != 1 {
		t.Errorf("%d epochs", n)
	}
}

// TestASegmentWithCopiesIsSealedWhenTheirChunksAreJudged: else state would refuse them.
func TestASegmentWithCopiesIsSealedWhenTheirChunksAreJudged(t *testing.T) {
	w, other := newReplicatedWorld(t, lane.Config{})
	topic := w.cluster.CreateTopic(t, "twice", "replicated", 1)
	own, _ := w.set.Registration()
	held := newGate()
	w.cluster.OnSubmit(func(_ int, commands []*metapb.Command) (bool, error) {
		for _, c := range commands {
			if chunk := c.GetCommitChunk(); chunk != nil && meta.NodeID(chunk.NodeId) == own.Node {
				held.pass()
				break
			}
		}
		return true, nil
	})
	p := w.append(w.replicated(topic, 0, "a"))
	<-held.entered
	// The other node's log begins another segment: its own chunks fill this one.
	large := string(make([]byte, 300<<10))
	local := w.cluster.CreateTopic(t, "once", "local", 1)
	for range 4 {
		q, err := other.set.Append(t.Context(), lane.Request{Batches: []lane.Batch{w.local(local, 0, large)}})
		if err != nil {
			t.Fatal(err)
		}
		if r := q.Wait(t.Context(), patience); r[0].Code != meta.OK || r[0].Failure != lane.NoFailure {
			t.Fatalf("%+v", r[0])
		}
		q.Free()
	}
	seals := func() (n int) {
		for _, c := range w.cluster.Commands() {
			if seal := c.GetSealContainer(); seal != nil && meta.NodeID(seal.NodeId) != own.Node {
				n++
			}
		}
		return n
	}
	if n := seals(); n > 0 {
		t.Errorf("%d segments are sealed, with a copy whose chunk is not judged", n)
	}
	held.release()
	w.expect(p, 0)
	w.await("the other node's segment to be sealed", func() bool { return seals() == 1 })
	w.mustBeInBoth(other, topic, 1)
}

func TestABatchThatNoSegmentCanHoldKeepsTheReplicatedLaneFromNothing(t *testing.T) {
	w, other := newReplicatedWorld(t, lane.Config{CopyTimeout: 2 * patience}) // so long a large one on its way to the other node would hold up what comes behind
	topic := w.cluster.CreateTopic(t, "events", "replicated", 1)
	w.expectFailure(w.append(w.replicated(topic, 0, strings.Repeat("x", 2<<20))), lane.TooLarge)
	w.mustCommit([]int64{0}, w.replicated(topic, 0, "behind it"))
	w.mustBeInBoth(other, topic, 1)
}
