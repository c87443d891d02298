package lane

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/ingest/copies"
	"github.com/varvelog/varve/ingest/hotlog"
)

// replicatedLane makes chunks durable in two places at once: it sends each to a peer, writes it to the hot log meanwhile, and goes on
// with the next without waiting for the peer's answer. A chunk is committed when both have it, in order.
type replicatedLane struct {
	*session
	builder builder
	slots   chan struct{} // chunks without a verdict
	sender  *copies.Sender
	seq     uint64
	append  hotAppend
	// Everything is refused until then without trying: the disk was full, or would not take a new segment.
	refuseUntil time.Time
	retry       retry
}

func newReplicatedLane(s *session) *replicatedLane {
	return &replicatedLane{
		session: s, slots: make(chan struct{}, s.set.config.UncommittedChunks), append: newHotAppend(), retry: s.set.newRetry(),
		sender: copies.NewSender(copies.Config{
			Peers: func() []copies.Peer { return s.set.peers.Candidates(s.registration.Node) },
			Dial:  s.set.peers.Dial, GiveUp: s.set.config.CopyTimeout, Trouble: s.set.observer.Trouble,
		}),
	}
}

// run works until ctx ends or the epoch is over, and waits for what it has sent.
func (l *replicatedLane) run(ctx context.Context) {
	defer l.sender.Close()
	for l.awaitBatches(ctx, Replicated) {
		select {
		case l.slots <- struct{}{}:
		case <-l.over:
			return
		case <-ctx.Done():
			return
		}
		if !l.flush() {
			<-l.slots
		}
	}
}

// flush sends and writes the next chunk; false if there was none to hand over.
func (l *replicatedLane) flush() bool {
	f := l.builder.next(l.set, Replicated)
	switch {
	case f == nil:
		return false
	case len(l.set.peers.Candidates(l.registration.Node)) == 0:
		l.discard(f, NotEnoughReplicas)
		return false
	case time.Now().Before(l.refuseUntil):
		l.discard(f, StorageFailed)
		return false
	}
	f.seq = l.seq + 1
	sealed := l.builder.seal(l.registration, f)
	if l.refuseTooLarge(f) { // before it is sent: no other node can take it either, and everything behind it would wait for that
		l.builder.Reset()
		return false
	}
	m := &mirrored{lane: l, body: bodies.get(f.sizeBytes), built: f.built}
	*m.body = append(*m.body, sealed.Head...)
	for _, data := range sealed.Body {
		*m.body = append(*m.body, data...)
	}
	crc := checksum(sealed)
	l.sender.Send(copies.Chunk{
		Header: copies.Header{Node: l.registration.Node, Epoch: l.registration.Epoch, Lane: uint32(Replicated), Seq: f.seq},
		Body:   *m.body, CRC: crc, Done: m.copied,
	})
	l.append.chunk = hotlog.Chunk{Buffers: append(l.append.chunk.Buffers[:0], *m.body), CRC: crc}
	place, err := l.hot.append(&l.append)
	if err != nil {
		m.drop()
		l.failed(f, err)
		return false
	}
	l.retry.reset()
	l.seq++
	f.slot, f.segment, f.segments = l.slots, place.Segment, l.segments
	m.commit = commitCommand(l.registration, f, sealed.Table.Bytes())
	m.commit.Segment, m.commit.Position = place.Segment, place.Position
	l.builder.Reset()
	s := &step{chunk: f, command: &metapb.Command{Kind: &metapb.Command_CommitChunk{CommitChunk: m.commit}}}
	l.committer.add(Replicated, s)
	m.placed(s)
	return true
}

// failed answers a chunk that was not written here; a copy of it is garbage.
func (l *replicatedLane) failed(f *flight, err error) {
	l.set.observer.Trouble("append to hot log", chunkError("append", f, err))
	switch {
	case errors.Is(err, hotlog.ErrNoSpace), !l.hot.fresh.Load():
		l.refuseUntil = time.Now().Add(l.retry.delay())
	default:
		l.end(StorageFailed, err, true)
	}
	l.discard(f, StorageFailed)
}

// discard answers a chunk's batches and those behind them, and takes the chunk apart.
func (l *replicatedLane) discard(f *flight, failure Failure) {
	l.refuse(Replicated, f.entries, failure)
	f.abandon()
	l.builder.Reset()
}

// mirrored is a chunk on its way to two places.
type mirrored struct {
	lane   *replicatedLane
	body   *[]byte
	built  time.Time
	commit *metapb.CommitChunk

	mu struct {
		sync.Mutex
		step    *step // set when it is durable here
		dropped bool  // it is not, and never will be
		made    *metapb.ChunkCopy
		err     error
		done    bool // it is durable there, or will not be
	}
}

// placed says that the chunk is durable here.
func (m *mirrored) placed(s *step) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.step = s
	m.settle()
}

// drop says that it is not.
func (m *mirrored) drop() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.dropped = true
	if m.mu.done {
		bodies.put(m.body)
	}
}

// copied says what became of it elsewhere.
func (m *mirrored) copied(made *metapb.ChunkCopy, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.made, m.mu.err, m.mu.done = made, err, true
	if m.mu.dropped {
		bodies.put(m.body)
		return
	}
	m.settle()
}

// settle lets a chunk be committed that is in both places, or voids one that is not: whatever its number, nothing of it is committed. With
// mu held.
func (m *mirrored) settle() {
	if m.mu.step == nil || !m.mu.done {
		return
	}
	bodies.put(m.body)
	f := m.mu.step.chunk
	switch {
	case errors.Is(m.mu.err, copies.ErrClosed):
		return // the epoch is over
	case m.mu.err != nil:
		f.voided = true
		m.commit.VoidChunk = true
	default:
		m.commit.Copy = m.mu.made
		m.lane.set.observer.ChunkFlushed(Replicated, len(f.entries), f.sizeBytes, time.Since(m.built))
	}
	m.lane.committer.ready(m.mu.step)
}

// bodyPool keeps the memory of chunks that were sent.
type bodyPool struct{ pool sync.Pool }

var bodies bodyPool

func (p *bodyPool) get(sizeBytes int) *[]byte {
	if b, ok := p.pool.Get().(*[]byte); ok && cap(*b) >= sizeBytes {
		*b = (*b)[:0]
		return b
	}
	b := make([]byte, 0, sizeBytes)
	return &b
}

func (p *bodyPool) put(b *[]byte) { p.pool.Put(b) }
