package replica

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"sync"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
)

// Applied tells listeners what an entry did. Its slices are valid during the call only.
type Applied struct {
	Seq uint64
	// Committed are the partitions with a new high watermark; a partition may stand in it more than once.
	Committed []meta.TopicPartition
	// Changes has bit 1<<k set for each meta.ChangeKind k.
	Changes uint32
}

// Has says whether k is among the changes.
func (a *Applied) Has(k meta.ChangeKind) bool { return a.Changes&(1<<k) != 0 }

// scratch collects what an entry does while it is applied; it is the state's Observer.
type scratch struct {
	replica *Replica
	applied Applied
}

func (s *scratch) Wants(id []byte) bool                     { return s.replica.verdicts.wants(id) }
func (s *scratch) Verdict(id []byte, v meta.Verdict)        { s.replica.verdicts.settle(id, v) }
func (s *scratch) WantsChunks(n meta.NodeID, e uint64) bool { return s.replica.sinks.find(n, e) != nil }
func (s *scratch) Changed(k meta.ChangeKind)                { s.applied.Changes |= 1 << k }

func (s *scratch) ChunkVerdict(c *metapb.CommitChunk, v *meta.ChunkVerdict) {
	if sink := s.replica.sinks.find(meta.NodeID(c.NodeId), c.NodeEpoch); sink != nil {
		sink.ChunkVerdict(c, v)
	}
}

func (s *scratch) Committed(p meta.TopicPartition, _ int64) {
	// Runs of one partition follow each other.
	if n := len(s.applied.Committed); n == 0 || s.applied.Committed[n-1] != p {
		s.applied.Committed = append(s.applied.Committed, p)
	}
}

// ApplyLocal applies the entry that the leader of this process has just made durable at seq. hash is that of its bytes. The
// entry must not be changed afterwards.
func (r *Replica) ApplyLocal(seq uint64, entry *metapb.Entry, hash [32]byte) error {
	r.applying.Lock()
	defer r.applying.Unlock()
	return r.apply(seq, entry, hash)
}

// ApplyEncoded applies the entry at seq unless it has been applied. encoded is not retained.
func (r *Replica) ApplyEncoded(seq uint64, encoded []byte) error {
	r.applying.Lock()
	defer r.applying.Unlock()
	if seq <= r.Seq() {
		return nil
	}
	entry, err := meta.DecodeEntry(encoded)
	if err != nil {
		return fmt.Errorf("metalog entry %d: %w", seq, err)
	}
	return r.apply(seq, entry, sha256.Sum256(encoded))
}

// apply is called with applying held.
func (r *Replica) apply(seq uint64, entry *metapb.Entry, hash [32]byte) error {
	s := &r.scratch
	s.replica = r
	s.applied = Applied{Seq: seq, Committed: s.applied.Committed[:0]}
	if err := r.applyLocked(seq, entry, hash); err != nil {
		return err
	}
	r.sequences.reached(seq)
	if s.applied.Has(meta.ChangedLeader) {
		r.View(func(state *meta.State) { r.leads.began(state.LeaderEpoch()) })
	}
	r.watchers.wake(s.applied.Committed)
	if s.applied.Has(meta.ChangedTopics) {
		r.watchers.wakeAll()
	}
	r.listeners.tell(&s.applied)
	return nil
}

func (r *Replica) applyLocked(seq uint64, entry *metapb.Entry, hash [32]byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	previous := r.mu.lastHash[:]
	if r.mu.state.Seq() == 0 {
		previous = nil
	}
	// Of a foreign log the state tells more than the hash.
	if bytes.Equal(entry.LogId, r.cfg.LogID[:]) && !bytes.Equal(entry.PreviousHash, previous) {
		return fmt.Errorf("entry %d names %x before it, not %x: %w", seq, entry.PreviousHash, previous, ErrForked)
	}
	if err := r.mu.state.Apply(seq, entry, &r.scratch); err != nil {
		return err
	}
	r.mu.lastHash = hash
	r.applied.Store(seq)
	return nil
}

// Listener hears of every entry, in order, after it can be read. It must be quick, and must not make the replica apply.
type Listener interface {
	Applied(a *Applied)
}

// Listen registers l until cancel, after whose return l is not called any more.
func (r *Replica) Listen(l Listener) (cancel func()) {
	r.listeners.Lock()
	defer r.listeners.Unlock()
	r.listeners.list = append(r.listeners.list, l)
	return func() {
		r.listeners.Lock()
		defer r.listeners.Unlock()
		kept := r.listeners.list[:0:0]
		for _, other := range r.listeners.list {
			if other != l {
				kept = append(kept, other)
			}
		}
		r.listeners.list = kept
	}
}

type listeners struct {
	sync.RWMutex
	list []Listener
}

func (l *listeners) tell(a *Applied) {
	l.RLock()
	defer l.RUnlock()
	for _, listener := range l.list {
		listener.Applied(a)
	}
}

// SubscribeChunks sends the verdicts on chunks of node's epoch to sink until cancel.
func (r *Replica) SubscribeChunks(node meta.NodeID, epoch uint64, sink ChunkSink) (cancel func()) {
	key := sinkKey{node: node, epoch: epoch}
	r.sinks.Lock()
	defer r.sinks.Unlock()
	if r.sinks.byEpoch == nil {
		r.sinks.byEpoch = map[sinkKey]ChunkSink{}
	}
	r.sinks.byEpoch[key] = sink
	return func() {
		r.sinks.Lock()
		defer r.sinks.Unlock()
		delete(r.sinks.byEpoch, key)
	}
}

type sinkKey struct {
	node  meta.NodeID
	epoch uint64
}

type sinks struct {
	sync.RWMutex
	byEpoch map[sinkKey]ChunkSink
}

func (s *sinks) find(node meta.NodeID, epoch uint64) ChunkSink {
	s.RLock()
	defer s.RUnlock()
	return s.byEpoch[sinkKey{node: node, epoch: epoch}]
}
