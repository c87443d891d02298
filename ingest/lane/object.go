package lane

import (
	"context"
	"sync"
	"time"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
)

// objectLane stores chunks as objects: several PUTs at once, commits in order.
//
// A chunk leaves when it is full; otherwise when the token bucket allows a PUT. So the first writes after an idle spell leave at once, and
// under load a chunk holds what has come since the token before. Where tokens are scarce it waits for objectGather all the same: what a client sends
// when several of its requests have been answered comes one after the other. Every PUT is charged to the bucket, repeats and hedges too.
// Full chunks do not wait for it: there the chunk's size bounds the cost of a byte.
type objectLane struct {
	*session
	builder  builder
	slots    chan struct{} // chunks without a verdict
	timer    *time.Timer
	seq      uint64
	inFlight int
	uploaded chan struct{}
	uploads  sync.WaitGroup
	bodies   chan []byte // memory for the next bodies
	// waiting is since when something has been waiting to leave; zero where nothing is known to.
	waiting time.Time
}

// objectGather is little beside what a PUT takes, and much beside what lies between two requests of a pipeline.
const objectGather = 2 * time.Millisecond

func newObjectLane(s *session) *objectLane {
	config := &s.set.config
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	return &objectLane{
		session: s, slots: make(chan struct{}, config.UncommittedChunks), timer: timer,
		uploaded: make(chan struct{}, config.Uploads), bodies: make(chan []byte, config.Uploads),
	}
}

// run works until ctx ends or the epoch is over, and waits for its uploads.
func (l *objectLane) run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer l.timer.Stop()
	defer l.uploads.Wait()
	defer cancel()
	for l.await(ctx) {
		select {
		case l.slots <- struct{}{}:
		case <-l.over:
			return
		case <-ctx.Done():
			return
		}
		if !l.launch(ctx) {
			<-l.slots
		}
	}
}

// await waits until the next chunk may leave. False ends the lane.
func (l *objectLane) await(ctx context.Context) bool {
	for {
		var tokenComes <-chan time.Time
		some, full := l.set.queued(Object)
		switch {
		case ctx.Err() != nil || l.isOver():
			return false
		case l.inFlight == l.set.config.Uploads:
		case full:
			return true
		case some:
			wait := l.toLeave(time.Now())
			if wait <= 0 {
				return true
			}
			l.timer.Reset(wait)
			tokenComes = l.timer.C
		}
		select {
		case <-l.set.queues[Object].wake:
		case <-l.uploaded:
			l.inFlight--
		case <-tokenComes:
		case <-l.over:
		case <-ctx.Done():
		}
	}
}

// toLeave returns how long what is queued has to wait; nothing to leave now.
func (l *objectLane) toLeave(now time.Time) time.Duration {
	if l.waiting.IsZero() {
		l.waiting = now
	}
	wait := l.set.puts.wait(now)
	if l.set.puts.scarce(now) {
		wait = max(wait, l.waiting.Add(objectGather).Sub(now))
	}
	return wait
}

// launch takes the next chunk and begins its upload; false if there was none.
func (l *objectLane) launch(ctx context.Context) bool {
	l.waiting = time.Time{}
	f := l.builder.next(l.set, Object)
	if f == nil {
		return false
	}
	l.seq++
	f.seq, f.slot = l.seq, l.slots
	sealed := l.builder.seal(l.registration, f)
	body := append(l.memory(f.sizeBytes), sealed.Head...)
	for _, data := range sealed.Body {
		body = append(body, data...)
	}
	commit := commitCommand(l.registration, f, sealed.Table.Bytes())
	l.builder.Reset()
	s := &step{chunk: f, command: &metapb.Command{Kind: &metapb.Command_CommitChunk{CommitChunk: commit}}}
	l.committer.add(Object, s)
	l.inFlight++
	id := meta.ChunkID{Node: l.registration.Node, Epoch: l.registration.Epoch, Lane: uint32(Object), Seq: f.seq}
	l.uploads.Go(func() { l.upload(ctx, id, body, s) })
	return true
}

func (l *objectLane) memory(sizeBytes int) []byte {
	select {
	case body := <-l.bodies:
		if cap(body) >= sizeBytes {
			return body[:0]
		}
	default:
	}
	return make([]byte, 0, sizeBytes)
}
