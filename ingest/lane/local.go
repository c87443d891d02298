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
	bufs    [][]byte
	places  []hotlog.Place
	active  activeSegment
	// fresh: the log's active segment is not an earlier epoch's.
	fresh bool
	// Everything is refused until then without trying: the disk was full, or would not take a new segment.
	refuseUntil time.Time
	retry       retry
	age         *time.Timer
}

// activeSegment is the hot segment to which the epoch's last chunk went; the zero value is none.
type activeSegment struct {
	id        uint64
	sizeBytes uint64
	since     time.Time
}

func newLocalLane(s *session) *localLane {
	age := time.NewTimer(s.set.config.SealAge)
	age.Stop()
	return &localLane{session: s, slots: make(chan struct{}, s.set.config.UncommittedChunks), retry: s.set.newRetry(), age: age}
}

// run works until ctx ends or the epoch is over.
func (l *localLane) run(ctx context.Context) {
	defer l.age.Stop()
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

// await waits for batches; meanwhile it seals the active segment when it has become old. False ends the lane.
func (l *localLane) await(ctx context.Context) bool {
	queue := l.set.queues[Local]
	for {
		select {
		case <-ctx.Done():
			return false
		case <-l.over:
			return false
		default:
		}
		l.sealOld()
		if some, _ := l.set.queued(Local); some {
			return true
		}
		var old <-chan time.Time
		if l.active.id != 0 {
			l.age.Reset(time.Until(l.active.since.Add(l.set.config.SealAge)))
			old = l.age.C
		}
		select {
		case <-queue.wake:
		case <-old:
		case <-l.over:
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

// write makes a chunk durable. An epoch begins with a segment of its own, since state seals those of earlier epochs.
func (l *localLane) write(sealed chunk.Sealed) (hotlog.Place, error) {
	if !l.fresh {
		if err := l.set.log.Abandon(); err != nil {
			return hotlog.Place{}, err
		}
		if err := l.set.log.Roll(); err != nil {
			return hotlog.Place{}, err
		}
		l.fresh = true
	}
	l.bufs = append(append(l.bufs[:0], sealed.Head), sealed.Body...)
	defer clear(l.bufs)
	var err error
	l.places, err = l.set.log.Append(l.places[:0], l.bufs)
	if err != nil {
		return hotlog.Place{}, err
	}
	return l.places[0], nil
}

// placed hands a durable chunk to the committer, behind the seal of the segment before if the log has begun another.
func (l *localLane) placed(f *flight, place hotlog.Place, sealed chunk.Sealed) {
	if l.active.id != place.Segment {
		l.seal()
		l.active = activeSegment{id: place.Segment, since: f.flushed}
	}
	l.active.sizeBytes = uint64(place.Position) + uint64(f.sizeBytes)
	commit := commitCommand(l.registration, f, sealed.Table.Bytes())
	commit.Segment, commit.Position = place.Segment, place.Position
	l.committer.add(Local, &step{state: stepReady, chunk: f, command: &metapb.Command{Kind: &metapb.Command_CommitChunk{CommitChunk: commit}}})
}

// failed answers a chunk that was not written. Nothing of it counts; what becomes of the lane depends on why.
func (l *localLane) failed(f *flight, err error) {
	l.set.observer.Trouble("append to hot log", chunkError("append", f, err))
	var large *hotlog.ChunkTooLargeError
	switch {
	case errors.As(err, &large):
	case errors.Is(err, hotlog.ErrNoSpace), !l.fresh:
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

// sealOld rolls the log when the active segment has reached its age.
func (l *localLane) sealOld() {
	if l.active.id == 0 || time.Since(l.active.since) < l.set.config.SealAge {
		return
	}
	if err := l.set.log.Roll(); err != nil {
		if errors.Is(err, hotlog.ErrPoisoned) || errors.Is(err, hotlog.ErrClosed) {
			l.end(StorageFailed, err, true)
			return
		}
		l.set.observer.Trouble("roll hot log", err)
		l.active.since = time.Now() // try again after another age
		return
	}
	l.seal()
}

// seal lets state know that the active segment takes no more chunks of this epoch.
func (l *localLane) seal() {
	if l.active.id == 0 {
		return
	}
	l.committer.add(Local, &step{state: stepReady, command: &metapb.Command{Kind: &metapb.Command_SealContainer{
		SealContainer: &metapb.SealContainer{
			NodeId: int32(l.registration.Node), NodeEpoch: l.registration.Epoch,
			Segment: l.active.id, SizeBytes: l.active.sizeBytes,
		},
	}}})
	l.active = activeSegment{}
}
