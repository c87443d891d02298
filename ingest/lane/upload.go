package lane

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/infra/objstore"
)

// upload is one chunk on its way into the bucket: a PUT under its first key, and another under a second one where the first is slow. Both have
// the same bytes. The first to succeed is what the chunk's command names; the other is given up, and whatever is left of it becomes
// garbage with that command.
type upload struct {
	lane     *objectLane
	id       meta.ChunkID
	body     []byte
	outcomes chan outcome
	racing   int
	hedges   uint32
	began    time.Time
}

// outcome is what became of the PUT under one key.
type outcome struct {
	hedge uint32
	err   error
}

// upload stores one chunk and marks its step, or ends the epoch. It returns when nothing uses body any more.
func (l *objectLane) upload(ctx context.Context, id meta.ChunkID, body []byte, s *step) {
	f := s.chunk
	entries, sizeBytes, built := len(f.entries), f.sizeBytes, f.built
	u := &upload{lane: l, id: id, body: body, outcomes: make(chan outcome, meta.MaxHedges+1)}
	putCtx, cancel := context.WithTimeout(ctx, l.set.config.UploadTimeout)
	defer cancel()
	won := u.race(putCtx)
	if won.err != nil {
		if ctx.Err() == nil {
			id.Hedge = won.hedge
			l.end(StorageFailed, fmt.Errorf("put chunk %q: %w", id.Key(), won.err), true)
		}
	} else {
		id.Hedge = won.hedge
		l.set.cache.Keep(id.Key(), body)
		l.set.observer.ChunkFlushed(Object, entries, sizeBytes, time.Since(built))
		commit := s.command.GetCommitChunk()
		commit.Hedge, commit.Hedges = won.hedge, u.hedges
		l.committer.ready(s)
	}
	cancel()
	u.awaitLosers()
	if won.err == nil && u.hedges == 0 { // what was given up may still be on its way out of body
		select {
		case l.bodies <- body:
		default:
		}
	}
	l.uploaded <- struct{}{}
}

// race returns the first success, or why there is none.
func (u *upload) race(ctx context.Context) outcome {
	hedging := u.lane.set.hedging
	delay := hedging.Begin(len(u.body))
	slow := time.NewTimer(delay)
	defer slow.Stop()
	u.began = time.Now()
	u.start(ctx, 0)
	for {
		select {
		case <-slow.C:
			if !hedging.Take() {
				slow.Reset(delay)
				continue
			}
			u.hedges++
			u.start(ctx, u.hedges)
		case o := <-u.outcomes:
			u.racing--
			switch {
			case o.err == nil:
				if o.hedge > 0 {
					hedging.Took(len(u.body), time.Since(u.began))
				}
				return o
			case u.racing == 0 || !objstore.Ambiguous(o.err) || errors.Is(o.err, errForeignObject):
				return o
			}
		}
	}
}

func (u *upload) start(ctx context.Context, hedge uint32) {
	id := u.id
	id.Hedge = hedge
	u.racing++
	u.lane.uploads.Go(func() { u.outcomes <- outcome{hedge, u.lane.put(ctx, id, u.body)} })
}

func (u *upload) awaitLosers() {
	for ; u.racing > 0; u.racing-- {
		<-u.outcomes
	}
}

// put stores body under the key of id, trying again until it is there or has failed for good. A PUT whose outcome is not known and
// that finds the key taken when repeated has to be told from a foreign object.
func (l *objectLane) put(ctx context.Context, id meta.ChunkID, body []byte) error {
	key := id.Key()
	retry := l.set.newRetry()
	for {
		err := l.putOnce(ctx, key, body, id.Hedge > 0)
		if errors.Is(err, objstore.ErrExists) {
			err = l.settle(ctx, key, body)
		}
		if err == nil || !objstore.Ambiguous(err) || errors.Is(err, errForeignObject) || ctx.Err() != nil {
			return err
		}
		l.set.observer.Trouble("put chunk", err)
		if !retry.wait(ctx) {
			return err
		}
	}
}

// putOnce is one PUT, which is charged for whatever becomes of it.
func (l *objectLane) putOnce(ctx context.Context, key string, body []byte, hedge bool) error {
	began := time.Now()
	l.set.puts.charge(began)
	_, err := l.set.store.PutIfAbsent(ctx, key, body)
	took := time.Since(began)
	l.set.observer.ObjectPut(hedge, len(body), took, err)
	switch {
	case err == nil:
		l.set.hedging.Took(len(body), took)
	case errors.Is(err, objstore.ErrThrottled):
		l.set.hedging.Throttled()
	}
	return err
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
