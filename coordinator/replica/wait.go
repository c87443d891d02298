package replica

import (
	"context"
	"encoding/binary"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/varvelog/varve/coordinator/meta"
)

// WaitSeq returns when the entry at seq is applied here.
func (r *Replica) WaitSeq(ctx context.Context, seq uint64) error {
	if r.Seq() >= seq {
		return nil
	}
	reached, forget := r.sequences.add(seq)
	defer forget()
	if r.Seq() >= seq {
		return nil
	}
	r.Expect(seq)
	select {
	case <-reached:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-r.ctx.Done():
		return ErrClosed
	}
}

type seqWaiter struct {
	seq     uint64
	reached chan struct{}
}

type seqWaiters struct {
	count atomic.Int32 // len(list), so that applying costs nothing when nobody waits
	mu    struct {
		sync.Mutex
		list []*seqWaiter
	}
}

func (s *seqWaiters) add(seq uint64) (reached <-chan struct{}, forget func()) {
	w := &seqWaiter{seq: seq, reached: make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.list = append(s.mu.list, w)
	s.count.Store(int32(len(s.mu.list)))
	return w.reached, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if i := slices.Index(s.mu.list, w); i >= 0 {
			s.mu.list = slices.Delete(s.mu.list, i, i+1)
			s.count.Store(int32(len(s.mu.list)))
		}
	}
}

func (s *seqWaiters) reached(seq uint64) {
	if s.count.Load() == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.list = slices.DeleteFunc(s.mu.list, func(w *seqWaiter) bool {
		if w.seq > seq {
			return false
		}
		close(w.reached)
		return true
	})
	s.count.Store(int32(len(s.mu.list)))
}

// commandID is a random prefix of the replica and a counter: unique for ever.
type commandID [16]byte

type commandIDs struct {
	prefix  [8]byte
	counter atomic.Uint64
}

func (c *commandIDs) next() commandID {
	var id commandID
	copy(id[:], c.prefix[:])
	binary.BigEndian.PutUint64(id[8:], c.counter.Add(1))
	return id
}

type verdictWaiters struct {
	sync.Mutex
	waiting map[commandID]chan meta.Verdict // each with room for one
}

func (w *verdictWaiters) wants(id []byte) bool {
	if len(id) != len(commandID{}) {
		return false
	}
	w.Lock()
	defer w.Unlock()
	return w.waiting[commandID(id)] != nil
}

func (w *verdictWaiters) settle(id []byte, v meta.Verdict) {
	v.UnreferencedSegments = slices.Clone(v.UnreferencedSegments)
	v.MissingSegments = slices.Clone(v.MissingSegments)
	v.Codes = slices.Clone(v.Codes)
	w.Lock()
	defer w.Unlock()
	select {
	case w.waiting[commandID(id)] <- v:
	default: // the first verdict counts; a nil channel has nobody waiting
	}
}

func (w *verdictWaiters) add(id commandID) (verdict <-chan meta.Verdict, forget func()) {
	c := make(chan meta.Verdict, 1)
	w.Lock()
	defer w.Unlock()
	w.waiting[id] = c
	return c, func() {
		w.Lock()
		defer w.Unlock()
		delete(w.waiting, id)
	}
}
