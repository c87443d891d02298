package lane

import (
	"context"
	"errors"
	"time"

	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/ingest/chunk"
	"github.com/varvelog/varve/ingest/hotlog"
)

// localLane writes chunks to the hot log: one at a time, each with one write and one fdatasync, while the next gathers in
// the queue and those before it are committed.
type localLane struct {
	*session
	builder builder
	slots   chan struct{} // chunks that are flushed and not committed
	seq     uint64
	append  hotAppend
	// Everything is refused until then without trying: the disk was full, or would not take a new segment.
	refuseUntil time.Time
	retry       retry
}

func newLocalLane(s *session) *localLane {
	return &localLane{session: s, slots: make(chan struct{}, s.set.config.UncommittedChunks), append: newHotAppend(), retry: s.set.newRetry()}
}

// run works until ctx ends or the epoch is over.
func (l *localLane) run(ctx context.Context) {
	for l.await(ctx) {
		select {
		case l.slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		if !l.flush() {
			<-l.slots
		}
	}
}

// await waits for batches. False ends the lane.
func (l *localLane) await(ctx context.Context) bool { return l.awaitBatches(ctx, Local) }

// awaitBatches waits until something is in lane's queue; false when the epoch or ctx ends.
func (s *session) awaitBatches(ctx context.Context, lane Lane) bool {
	for {
		select {
		case <-ctx.Done():
			return false
		case <-s.over:
			return false
		default:
		}
		if some, _ := s.set.queued(lane); some {
			return true
		}
		select {
		case <-s.set.queues[lane].wake:
		case <-s.over:
		case <-ctx.Done():
		}
	}
}

// flush writes the next chunk and hands it to the committer; false if there was none to hand over.
func (l *localLane) flush() bool {
	f := l.builder.next(l.set, Local)
	if f == nil {
		return false
	}
	if time.Now().Before(l.refuseUntil) {
		l.discard(f, StorageFailed)
		return false
	}
	f.seq = l.seq + 1
	sealed := l.builder.seal(l.registration, f)
	if l.refuseTooLarge(f) {
		l.builder.Reset()
		return false
	}
	place, err := l.write(sealed)
	if err != nil {
		l.failed(f, err)
		return false
	}
	l.retry.reset()
	l.seq++
	f.flushed = time.Now()
	f.slot = l.slots
	l.set.observer.ChunkFlushed(Local, len(f.entries), f.sizeBytes, f.flushed.Sub(f.built))
	l.placed(f, place, sealed)
	l.builder.Reset()
	return true
}

// write makes a chunk durable.
func (l *localLane) write(sealed chunk.Sealed) (hotlog.Place, error) {
	l.append.chunk = hotlog.Chunk{Buffers: append(append(l.append.chunk.Buffers[:0], sealed.Head), sealed.Body...), CRC: checksum(sealed)}
	defer clear(l.append.chunk.Buffers)
	return l.hot.append(&l.append)
}

// placed hands a durable chunk to the committer.
func (l *localLane) placed(f *flight, place hotlog.Place, sealed chunk.Sealed) {
	f.segment, f.segments = place.Segment, l.segments
	commit := commitCommand(l.registration, f, sealed.Table.Bytes())
	commit.Segment, commit.Position = place.Segment, place.Position
	l.committer.add(Local, &step{state: stepReady, chunk: f, command: &metapb.Command{Kind: &metapb.Command_CommitChunk{CommitChunk: commit}}})
}

// failed answers a chunk that was not written. Nothing of it counts; what becomes of the lane depends on why.
func (l *localLane) failed(f *flight, err error) {
	l.set.observer.Trouble("append to hot log", chunkError("append", f, err))
	switch {
	case errors.Is(err, hotlog.ErrNoSpace), !l.hot.fresh.Load():
		// The log is sound, or this epoch has put nothing into it: no need for another. The next append after the delay finds
		// out whether it is possible again.
		l.refuseUntil = time.Now().Add(l.retry.delay())
	default:
		l.end(StorageFailed, err, true)
	}
	l.discard(f, StorageFailed)
}

// discard answers a chunk's batches and those behind them, and takes the chunk apart.
func (l *localLane) discard(f *flight, failure Failure) {
	l.refuse(Local, f.entries, failure)
	f.abandon()
	l.builder.Reset()
}
