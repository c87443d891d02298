package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"strings"
	"sync"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metalog"
	"github.com/varvelog/varve/coordinator/metalog/bucket"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/coordinator/replica"
	"github.com/varvelog/varve/services/simulate/world"
)

// oracle is the state as the log has it, entry by entry, at the moment in which each becomes durable: what every replica comes to
// later. It looks at each entry for what must never be.
type oracle struct {
	c  *cluster
	mu struct {
		sync.Mutex
		state  *meta.State
		hash   [32]byte
		hashes map[uint64][32]byte // of the state, at sampled sequences
		chunks map[chunkKey]uint64 // the seq last accepted
		high   map[meta.TopicPartition]int64
		start  map[meta.TopicPartition]int64
		log    metalog.Log
		disks  map[[16]byte]*world.Disk
	}
}

type chunkKey struct {
	node, lane uint32
	epoch      uint64
}

// hashEvery is how many entries lie between two comparisons of replicas.
const hashEvery = 16

func newOracle(c *cluster) *oracle {
	o := &oracle{c: c}
	o.mu.state = meta.New(logID)
	o.mu.hashes, o.mu.chunks = map[uint64][32]byte{}, map[chunkKey]uint64{}
	o.mu.high, o.mu.start = map[meta.TopicPartition]int64{}, map[meta.TopicPartition]int64{}
	o.mu.disks = map[[16]byte]*world.Disk{}
	c.log.Appended = o.appended
	c.bucket.Stored = o.stored
	c.bucket.Deleted = o.deleted
	return o
}

func (o *oracle) view(read func(s *meta.State)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	read(o.mu.state)
}

// knowDisk tells by which name the log knows a disk.
func (o *oracle) knowDisk(id [16]byte, disk *world.Disk) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.mu.disks[id] = disk
}

// stored hears of objects; entries of the bucket's log are among them.
func (o *oracle) stored(key string) {
	if !o.c.w.Swarm.MetalogOnBucket || !strings.HasPrefix(key, "meta/log/") {
		return
	}
	o.mu.Lock()
	if o.mu.log == nil {
		log, err := bucket.Open(context.Background(), o.c.bucket.Inner)
		if err != nil {
			panic(err)
		}
		o.mu.log = log
	}
	log, next := o.mu.log, o.mu.state.Seq()+1
	o.mu.Unlock()
	for record, err := range log.Read(context.Background(), next) {
		if err != nil {
			o.c.w.Fail("1 one sequencer", "read the log: %v", err)
			return
		}
		o.appended(record.Seq, record.Entry)
	}
}

// appended applies an entry that has become durable.
func (o *oracle) appended(seq uint64, encoded []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	w, s := o.c.w, o.mu.state
	if seq <= s.Seq() {
		if !o.c.w.Swarm.MetalogOnBucket {
			w.Fail("1 one sequencer", "entry %d is appended again, the log is at %d", seq, s.Seq())
		}
		return
	}
	entry, err := meta.DecodeEntry(encoded)
	if err != nil {
		w.Fail("1 one sequencer", "entry %d: %v", seq, err)
		return
	}
	if seq > 1 && string(entry.PreviousHash) != string(o.mu.hash[:]) {
		w.Fail("10 ambiguity is settled", "entry %d does not follow the entry before it", seq)
	}
	before, void, epoch := s.TimeMillis(), s.VoidEntries(), s.LeaderEpoch()
	if err := s.Apply(seq, entry, o); err != nil {
		w.Fail("5 determinism", "entry %d cannot be applied: %v", seq, err)
		return
	}
	o.mu.hash = sha256.Sum256(encoded)
	if s.VoidEntries() > void {
		w.Count("void entry")
		// It names the entry before it, so its writer knew of the higher epoch.
		w.Fail("4 one writer", "entry %d of epoch %d is appended behind the start of epoch %d", seq, entry.LeaderEpoch, epoch)
	} else if entry.TimeMillis < before {
		w.Fail("16 time only moves forward", "entry %d has time %d, the one before %d", seq, entry.TimeMillis, before)
	}
	w.Trace("entry %d epoch %d commands %d hash %x", seq, entry.LeaderEpoch, len(entry.Commands), o.mu.hash[:4])
	o.inspect(seq)
}

// inspect compares the state with what it was before. It is called with mu held.
func (o *oracle) inspect(seq uint64) {
	w, s := o.c.w, o.mu.state
	for _, t := range s.Topics() {
		for i := range int32(t.Partitions()) {
			tp, p := meta.TopicPartition{Topic: t.ID, Partition: i}, t.Partition(i)
			if before, known := o.mu.high[tp]; known && p.HighWatermark() < before {
				w.Fail("9 monotonic views", "entry %d: high watermark of %s-%d goes from %d to %d", seq, t.Name, i, before, p.HighWatermark())
			}
			if p.LogStartOffset() < o.mu.start[tp] {
				w.Fail("9 monotonic views", "entry %d: log start of %s-%d goes from %d to %d", seq, t.Name, i, o.mu.start[tp], p.LogStartOffset())
			}
			if p.LastStableOffset() > p.HighWatermark() {
				w.Fail("8 atomic transactions", "entry %d: last stable offset %d of %s-%d above %d", seq, p.LastStableOffset(), t.Name, i, p.HighWatermark())
			}
			o.mu.high[tp], o.mu.start[tp] = p.HighWatermark(), p.LogStartOffset()
		}
	}
	if seq%hashEvery == 0 {
		o.mu.hashes[seq] = s.Hash()
	}
}

// Wants implements meta.Observer.
func (o *oracle) Wants([]byte) bool { return false }

// Verdict implements meta.Observer.
func (o *oracle) Verdict([]byte, meta.Verdict) {}

// WantsChunks implements meta.Observer.
func (o *oracle) WantsChunks(meta.NodeID, uint64) bool { return true }

// Committed implements meta.Observer.
func (o *oracle) Committed(meta.TopicPartition, int64) {}

// Changed implements meta.Observer.
func (o *oracle) Changed(meta.ChangeKind) {}

// ChunkVerdict implements meta.Observer: each chunk is accepted once, in order, under the node's present epoch, and is there.
func (o *oracle) ChunkVerdict(c *metapb.CommitChunk, v *meta.ChunkVerdict) {
	if v.Code != meta.OK {
		o.c.w.Count("chunk " + v.Code.String())
		return
	}
	o.c.w.Count("chunk accepted")
	w, s := o.c.w, o.mu.state
	key := chunkKey{uint32(c.NodeId), c.Lane, c.NodeEpoch}
	if c.Seq != o.mu.chunks[key]+1 {
		w.Fail("1 one sequencer", "chunk %d of %+v is accepted after %d", c.Seq, key, o.mu.chunks[key])
	}
	o.mu.chunks[key] = c.Seq
	if n := s.Node(meta.NodeID(c.NodeId)); n == nil || n.Epoch != c.NodeEpoch {
		w.Fail("1 one sequencer", "chunk %d of %+v is accepted under another epoch", c.Seq, key)
	}
	switch {
	case c.VoidChunk:
	case c.Lane != 1:
		o.inspectDisk(c, c.NodeId, c.Segment, c.Position)
		if c.Copy != nil {
			o.inspectDisk(c, c.Copy.NodeId, c.Copy.Segment, c.Copy.Position)
		}
	default:
		id := meta.ChunkID{Node: meta.NodeID(c.NodeId), Epoch: c.NodeEpoch, Lane: c.Lane, Seq: c.Seq, Hedge: c.Hedge}
		if _, err := o.c.bucket.Inner.Head(context.Background(), id.Key()); err != nil {
			w.Fail("2 bytes before metadata", "chunk %s is committed and not stored", id.Key())
		}
	}
}

// inspectDisk checks that a committed chunk would survive a loss of power where it is said to be. It is called with mu held.
func (o *oracle) inspectDisk(c *metapb.CommitChunk, id int32, segment uint64, position uint32) {
	n := o.mu.state.Node(meta.NodeID(id))
	if n == nil || o.mu.disks[n.DiskID] == nil {
		o.c.w.Fail("2 bytes before metadata", "chunk %d of lane %d is committed on a disk that nobody has: node %d", c.Seq, c.Lane, id)
		return
	}
	disk, file := o.mu.disks[n.DiskID], fmt.Sprintf("%s/%020d.seg", hotLogDir, segment)
	if disk.Durable(file, int64(position), int64(position)+int64(c.ChunkBytes)) {
		return
	}
	broken := "2 bytes before metadata"
	if disk.SyncFailed(file) {
		broken = "12 failed fsync poisons"
	}
	o.c.w.Fail(broken, "chunk %d of lane %d is committed at %d of %s of node %d, and is not synced there", c.Seq, c.Lane, position, file, id)
}

// deleted hears of an object that is about to go.
func (o *oracle) deleted(key string) {
	if !strings.HasPrefix(key, "chunk/") && !strings.HasPrefix(key, "segment/") {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.mu.state.Referenced(key) {
		o.c.w.Fail("3 fence before delete", "%s is deleted and may be referred to", key)
	}
	o.c.w.Trace("delete %s", key)
}

// follow compares a replica with the oracle as it applies entries.
func (o *oracle) follow(p *world.Process, r *replica.Replica) { r.Listen(&comparison{o, p, r}) }

type comparison struct {
	oracle  *oracle
	process *world.Process
	replica *replica.Replica
}

// Applied implements replica.Listener.
func (l *comparison) Applied(a *replica.Applied) {
	if a.Seq%hashEvery != 0 || l.process.Dead() {
		return
	}
	var hash [32]byte
	l.replica.View(func(s *meta.State) { hash = s.Hash() })
	l.oracle.mu.Lock()
	defer l.oracle.mu.Unlock()
	if want, known := l.oracle.mu.hashes[a.Seq]; !known {
		l.oracle.c.w.Fail("1 one sequencer", "%s applies entry %d, which the log does not have", l.process.Name, a.Seq)
	} else if hash != want {
		l.oracle.c.w.Fail("5 determinism", "%s differs from the log's state at entry %d", l.process.Name, a.Seq)
	}
}
