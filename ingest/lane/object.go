package lane

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/infra/objstore"
)

// objectLane stores chunks as objects: several PUTs at once, commits in order.
//
// A chunk leaves when it is full; otherwise when no PUT is in flight and the token bucket allows one. So the first write
// after an idle spell leaves at once, and while PUTs are in flight or tokens lacking, the next chunk fills. Full chunks are
// charged to the bucket and do not wait for it: there the chunk's size bounds the cost of a byte.
type objectLane struct {
	*session
	builder  builder
	slots    chan struct{} // chunks without a verdict
	tokens   *tokens
	timer    *time.Timer
	seq      uint64
	inFlight int
	uploaded chan struct{}
	uploads  sync.WaitGroup
	bodies   chan []byte // memory for the next bodies
}

func newObjectLane(s *session) *objectLane {
	config := &s.set.config
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	return &objectLane{
		session: s, slots: make(chan struct{}, config.UncommittedChunks), timer: timer,
		tokens:   newTokens(config.PutsPerSecond, config.PutBurst),
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
		case full && l.inFlight < l.set.config.Uploads:
			return true
		case some && l.inFlight == 0:
			wait := l.tokens.wait(time.Now())
			if wait == 0 {
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

// launch takes the next chunk and begins its upload; false if there was none.
func (l *objectLane) launch(ctx context.Context) bool {
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
	l.tokens.charge(time.Now())
	l.inFlight++
	key := meta.ChunkKey(l.registration.Node, l.registration.Epoch, uint32(Object), f.seq)
	l.uploads.Go(func() { l.upload(ctx, key, body, s) })
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

// upload stores one chunk and marks its step, or ends the epoch.
func (l *objectLane) upload(ctx context.Context, key string, body []byte, s *step) {
	f := s.chunk
	entries, sizeBytes, built := len(f.entries), f.sizeBytes, f.built
	err := l.put(ctx, key, body)
	select {
	case l.bodies <- body:
	default:
	}
	if err != nil {
		if ctx.Err() == nil {
			l.end(StorageFailed, fmt.Errorf("put chunk %q: %w", key, err), true)
		}
	} else {
		l.set.observer.ChunkFlushed(Object, entries, sizeBytes, time.Since(built))
		l.committer.ready(s)
	}
	l.uploaded <- struct{}{}
}

// put stores body under key, trying again until it is there or has failed for good. A PUT whose outcome is not known and
// that finds the key taken when repeated has to be told from a foreign object.
func (l *objectLane) put(ctx context.Context, key string, body []byte) error {
	ctx, cancel := context.WithTimeout(ctx, l.set.config.UploadTimeout)
	defer cancel()
	retry := l.set.newRetry()
	for {
		_, err := l.set.store.PutIfAbsent(ctx, key, body)
		if errors.Is(err, objstore.ErrExists) {
			err = l.settle(ctx, key, body)
		}
		if err == nil || !objstore.Ambiguous(err) || errors.Is(err, errForeignObject) {
			return err
		}
		l.set.observer.Trouble("put chunk", err)
		if !retry.wait(ctx) {
			return err
		}
	}
}

var errForeignObject = errors.New("the key holds another object")

// settle reads the object under key: what is equal to body is this chunk.
func (l *objectLane) settle(ctx context.Context, key string, body []byte) error {
	stored, _, err := objstore.ReadAll(ctx, l.set.store, key, int64(len(body)))
	if err != nil {
		return fmt.Errorf("read back chunk: %w", err)
	}
	if string(stored) != string(body) {
		return errForeignObject
	}
	return nil
}
