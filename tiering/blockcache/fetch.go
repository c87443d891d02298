package blockcache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"github.com/varvelog/varve/infra/objstore"
)

// ErrTimeout: a fetch did not succeed within FetchTimeout. Transient, as the errors of the store that led to it.
var ErrTimeout = errors.New("fetch timed out")

// errStalled ends an attempt that brings nothing.
var errStalled = errors.New("get stalled")

// fetch brings consecutive blocks of one object.
type fetch struct {
	cache  *Cache
	key    string
	blocks []*block

	// next is the first block not yet delivered, and partial what has come of it.
	next    int
	partial []byte
	// version is that of the first attempt; later ones must find the same.
	version objstore.Version
}

// start begins to fetch the blocks [first, end), for which room is reserved, and returns them. The mutex is held.
func (c *Cache) start(key string, first, end int64) []*block {
	f := &fetch{cache: c, key: key, blocks: make([]*block, 0, end-first)}
	for index := first; index < end; index++ {
		b := &block{id: blockID{key, index}, done: make(chan struct{})}
		c.mu.shelf.reserve(b, int64(c.config.BlockBytes))
		f.blocks = append(f.blocks, b)
	}
	c.mu.stats.Fetches++
	c.mu.stats.InFlight++
	c.fetches.Go(f.run)
	return f.blocks
}

// run fetches until all blocks are delivered or what is left has failed for good.
func (f *fetch) run() {
	err := f.cache.gets.Acquire(f.cache.life, 1)
	if err == nil {
		err = f.attempts()
		f.cache.gets.Release(1)
	}
	if err != nil && f.cache.life.Err() != nil {
		err = ErrClosed
	}
	f.count(err)
	for f.next < len(f.blocks) {
		f.settle(nil, 0, err)
	}
}

// count notes the outcome, before any reader learns of it.
func (f *fetch) count(err error) {
	f.cache.mu.Lock()
	defer f.cache.mu.Unlock()
	f.cache.mu.stats.InFlight--
	if err != nil && !errors.Is(err, errPastEnd) {
		f.cache.mu.stats.Failures++
	}
}

// attempts tries GETs until one is done or fails for good.
func (f *fetch) attempts() error {
	config := f.cache.config
	ctx, cancel := context.WithTimeout(f.cache.life, config.FetchTimeout)
	defer cancel()
	wait := config.RetryWaitMin
	for failures := 0; ; {
		delivered := f.next
		err := f.attempt(ctx)
		if err == nil || errors.Is(err, errPastEnd) || !retriable(err) {
			return err
		}
		if ctx.Err() != nil {
			return timedOut(err)
		}
		if f.next > delivered {
			failures, wait = 0, config.RetryWaitMin
		}
		if failures++; failures >= config.MaxAttempts {
			return err
		}
		f.cache.mu.Lock()
		f.cache.mu.stats.Retries++
		f.cache.mu.Unlock()
		// Between half and the whole of the wait, so that fetches which failed together come back apart.
		timer := time.NewTimer(wait/2 + rand.N(wait/2+1))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return timedOut(err)
		}
		wait = min(2*wait, config.RetryWaitMax)
	}
}

// timedOut hides that a context ended: it was the fetch's own, and a reader would take it for its own.
func timedOut(err error) error {
	return fmt.Errorf("%w: %v", ErrTimeout, err) //nolint:errorlint // see above
}

func retriable(err error) bool {
	return objstore.Ambiguous(err) && !errors.Is(err, errChanged)
}

// errChanged: an object that must not change has.
var errChanged = errors.New("immutable object changed")

// attempt does one GET for what is still missing.
func (f *fetch) attempt(ctx context.Context) (err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stall := time.AfterFunc(f.cache.config.StallTimeout, func() { cancel(errStalled) })
	defer stall.Stop()

	blockBytes := int64(f.cache.config.BlockBytes)
	offset := f.blocks[f.next].id.index*blockBytes + int64(len(f.partial))
	end := (f.blocks[len(f.blocks)-1].id.index + 1) * blockBytes
	body, info, err := f.cache.store.Get(ctx, f.key, offset, end-offset)
	if errors.Is(err, objstore.ErrRange) {
		return errPastEnd
	}
	if err != nil {
		return stalledOr(ctx, err)
	}
	defer func() {
		if closeErr := body.Close(); err == nil && closeErr != nil && f.next < len(f.blocks) {
			err = fmt.Errorf("close object %q: %w", f.key, closeErr)
		}
	}()
	if f.version == "" {
		f.version = info.Version
	}
	if f.version != info.Version {
		return fmt.Errorf("get object %q: %w: version %s, before %s", f.key, errChanged, info.Version, f.version)
	}
	for f.next < len(f.blocks) {
		if err := f.readBlock(body, info.SizeBytes); err != nil {
			return stalledOr(ctx, err)
		}
		stall.Reset(f.cache.config.StallTimeout)
	}
	return nil
}

// stalledOr returns the error that ended an attempt, naming a stall as such.
func stalledOr(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); errors.Is(cause, errStalled) {
		// Not the context's error: that would read as if somebody had given up.
		return fmt.Errorf("%w: %v", errStalled, err) //nolint:errorlint // see above
	}
	return err
}

// readBlock reads the rest of the next block and delivers it. What came before an error is kept for the next attempt.
func (f *fetch) readBlock(body io.Reader, objectBytes int64) error {
	b := f.blocks[f.next]
	blockBytes := int64(f.cache.config.BlockBytes)
	sizeBytes := min(objectBytes-b.id.index*blockBytes, blockBytes)
	if sizeBytes <= 0 {
		return errPastEnd
	}
	if f.partial == nil {
		f.partial = make([]byte, 0, sizeBytes)
	}
	n, err := io.ReadFull(body, f.partial[len(f.partial):sizeBytes])
	f.partial = f.partial[:len(f.partial)+n]
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		// Not io.EOF for a caller: the object goes on.
		return fmt.Errorf("read object %q: body ended after %d of %d bytes of a block: %w", f.key, len(f.partial), sizeBytes, io.ErrUnexpectedEOF)
	}
	if err != nil {
		return fmt.Errorf("read object %q: %w", f.key, err)
	}
	data := f.partial
	f.partial = nil
	f.settle(data, objectBytes, nil)
	return nil
}

// settle delivers the next block, or its failure, and gives back the room it had reserved.
func (f *fetch) settle(data []byte, objectBytes int64, err error) {
	b := f.blocks[f.next]
	f.next++
	blockBytes := int64(f.cache.config.BlockBytes)
	c := f.cache
	c.mu.Lock()
	b.data, b.objectBytes, b.err = data, objectBytes, err
	c.mu.shelf.settle(b, blockBytes)
	c.mu.stats.FetchedBytes += uint64(len(data))
	c.mu.Unlock()
	close(b.done)
	c.pending.Release(blockBytes)
}
