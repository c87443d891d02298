package blockcache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"golang.org/x/sync/semaphore"

	"github.com/varvelog/varve/infra/objstore"
)

// ErrClosed: the cache was closed before the read was done.
var ErrClosed = errors.New("block cache closed")

// errPastEnd is the error of blocks that begin at or after the object's end.
var errPastEnd = errors.New("past the object's end")

// Cache reads immutable objects of one store through blocks in memory. All methods may be called concurrently.
type Cache struct {
	store  objstore.Store
	config Config

	// pending holds the room for blocks on their way, half of the capacity, so that what was just fetched is not evicted by
	// what comes next before anyone could read it.
	pending *semaphore.Weighted
	// gets holds a place for each GET that may be in progress.
	gets *semaphore.Weighted

	// life ends when the cache is closed. Fetches run under it, not under their readers' contexts.
	life    context.Context
	endLife context.CancelCauseFunc
	fetches sync.WaitGroup

	mu struct {
		sync.Mutex
		closed bool
		shelf  shelf
		stats  Stats
	}
}

// New returns an empty cache over store. Close must be called; it leaves the store open.
func New(store objstore.Store, config Config) (*Cache, error) {
	if err := config.Validate(); err != nil {
		return nil, fmt.Errorf("block cache: %w", err)
	}
	config = config.withDefaults()
	c := &Cache{
		store:   store,
		config:  config,
		pending: semaphore.NewWeighted(config.CapacityBytes / 2),
		gets:    semaphore.NewWeighted(int64(config.MaxGets)),
	}
	c.life, c.endLife = context.WithCancelCause(context.Background())
	c.mu.shelf = newShelf(config.CapacityBytes)
	return c, nil
}

// Close ends the fetches in progress, whose readers get ErrClosed, and waits for them.
func (c *Cache) Close() error {
	c.mu.Lock()
	c.mu.closed = true
	c.mu.Unlock()
	c.endLife(ErrClosed)
	c.fetches.Wait()
	return nil
}

// ReadAt fills buf from byte off of the object and returns how many bytes it had: fewer than len(buf) only with an error,
// which is io.EOF where the object ends. sizeHint is the object's size where the caller knows it, otherwise 0; it only
// keeps read-ahead from running past the end.
//
// When ctx ends first, the fetch goes on and its bytes are cached.
func (c *Cache) ReadAt(ctx context.Context, key string, sizeHint, off int64, buf []byte) (n int, err error) {
	err = c.read(ctx, key, sizeHint, off, int64(len(buf)), func(data []byte) { n += copy(buf[n:], data) })
	return n, err
}

// View appends to slices the length bytes from off of the object, as slices of the cached blocks: nothing is copied. They
// must not be written to, and stay valid for as long as they are held. Errors are as those of ReadAt, with what was
// there before the object's end appended.
func (c *Cache) View(ctx context.Context, key string, sizeHint, off, length int64, slices [][]byte) ([][]byte, error) {
	err := c.read(ctx, key, sizeHint, off, length, func(data []byte) { slices = append(slices, data) })
	return slices, err
}

// Prefetch starts fetching a range that will be read soon, as far as there is room for it now. It never waits.
func (c *Cache) Prefetch(key string, sizeHint, off, length int64) {
	if off < 0 || length <= 0 {
		return
	}
	blockBytes := int64(c.config.BlockBytes)
	first, last := off/blockBytes, (off+length-1)/blockBytes
	if sizeHint > 0 {
		last = min(last, (sizeHint-1)/blockBytes)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.mu.closed && first <= last {
		next := min(first+c.maxFetchBlocks(), last+1)
		c.fetchAhead(key, first, next)
		first = next
	}
}

// Keep caches an object that its writer has just stored, so that whoever reads it next needs no GET. The body is copied. Blocks that there is
// no room for beside what is on its way are left out.
func (c *Cache) Keep(key string, body []byte) {
	blockBytes := c.config.BlockBytes
	var kept []*block
	for at := 0; at < len(body); at += blockBytes {
		b := &block{
			id: blockID{key, int64(at / blockBytes)}, done: closed, data: bytes.Clone(body[at:min(at+blockBytes, len(body))]),
			objectBytes: int64(len(body)), stored: true,
		}
		kept = append(kept, b)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.closed {
		return
	}
	for _, b := range kept {
		c.mu.shelf.keep(b)
	}
	c.mu.stats.KeptBytes += uint64(len(body))
}

// closed is the done channel of blocks that never were on their way.
var closed = func() chan struct{} {
	done := make(chan struct{})
	close(done)
	return done
}()

// Forget drops what is cached of a range of an object, so that it comes from the store again.
func (c *Cache) Forget(key string, off, length int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for index := off / int64(c.config.BlockBytes); index*int64(c.config.BlockBytes) < off+length; index++ {
		if b, found := c.mu.shelf.blocks[blockID{key, index}]; found {
			c.mu.shelf.remove(b)
		}
	}
}

// maxFetchBlocks bounds the blocks of one fetch, and those a reader waits for at once.
func (c *Cache) maxFetchBlocks() int64 {
	room := c.config.CapacityBytes / 4 / int64(c.config.BlockBytes)
	if c.config.ReadAheadBlocks < 0 {
		return min(room, DefaultReadAheadBlocks)
	}
	return min(room, max(int64(c.config.ReadAheadBlocks), 4))
}

// read hands out the bytes of a range, block by block.
func (c *Cache) read(ctx context.Context, key string, sizeHint, off, length int64, use func(data []byte)) error {
	if off < 0 || length < 0 {
		return fmt.Errorf("read %q: offset %d, length %d: %w", key, off, length, objstore.ErrRange)
	}
	blockBytes := int64(c.config.BlockBytes)
	// A long read goes in windows, each no longer than a fetch, so that no reader needs more room than there is.
	var window [DefaultReadAheadBlocks]*block
	for length > 0 {
		first := off / blockBytes
		end := min((off+length-1)/blockBytes+1, first+c.maxFetchBlocks())
		windowBytes := min(length, end*blockBytes-off)
		blocks, err := c.acquire(ctx, key, sizeHint, off, windowBytes, window[:0])
		if err != nil {
			return fmt.Errorf("read %d bytes at %d of %q: %w", length, off, key, err)
		}
		if len(blocks) == 0 {
			return io.EOF
		}
		for _, b := range blocks {
			data, err := c.await(ctx, b)
			if errors.Is(err, errPastEnd) {
				return io.EOF
			}
			if err != nil {
				return fmt.Errorf("read %d bytes at %d of %q: %w", length, off, key, err)
			}
			start := off - b.id.index*blockBytes
			if start >= int64(len(data)) {
				return io.EOF
			}
			data = data[start:min(start+length, int64(len(data)))]
			use(data[:len(data):len(data)])
			off, length = off+int64(len(data)), length-int64(len(data))
			if length > 0 && off%blockBytes != 0 {
				return io.EOF // A block that is not full is the last.
			}
		}
	}
	return nil
}

// await returns a block's data once it is there.
func (c *Cache) await(ctx context.Context, b *block) ([]byte, error) {
	select {
	case <-b.done:
		// What has arrived is given out also to those whose time is up: they had it in the cache.
		return b.data, b.err
	default:
	}
	select {
	case <-b.done:
		return b.data, b.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// acquire appends to blocks those that hold the range [off, off+length), cached or on their way, having started fetches
// for the missing ones and for what is worth reading ahead. It appends none where off is known to be past the end.
func (c *Cache) acquire(ctx context.Context, key string, sizeHint, off, length int64, blocks []*block) ([]*block, error) {
	blockBytes := int64(c.config.BlockBytes)
	first, end := off/blockBytes, (off+length-1)/blockBytes+1
	c.mu.Lock()
	if c.mu.closed {
		c.mu.Unlock()
		return nil, ErrClosed
	}
	if objectBytes := c.objectBytes(key, first, end); objectBytes > 0 {
		// Blocks past the end are not cached: without this each read across it would ask the store again.
		if off >= objectBytes {
			c.mu.Unlock()
			return blocks, nil
		}
		length = min(length, objectBytes-off)
		end = (off+length-1)/blockBytes + 1
	}
	if missing := c.missing(key, first, end); missing == 0 || c.pending.TryAcquire(missing*blockBytes) {
		blocks = c.take(key, sizeHint, off, length, blocks)
		c.mu.Unlock()
		return blocks, nil
	}
	c.mu.Unlock()

	// Waiting for room happens outside the lock, while others fetch and evict. So it is room for the whole range: to wait
	// for more while holding some could be waiting for each other.
	if err := c.acquireRoom(ctx, (end-first)*blockBytes); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.closed {
		c.pending.Release((end - first) * blockBytes)
		return nil, ErrClosed
	}
	c.pending.Release((end - first - c.missing(key, first, end)) * blockBytes)
	return c.take(key, sizeHint, off, length, blocks), nil
}

// acquireRoom waits for room for blocks on their way, until ctx ends or the cache is closed.
func (c *Cache) acquireRoom(ctx context.Context, sizeBytes int64) error {
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.life, cancel)()
	if err := c.pending.Acquire(waiting, sizeBytes); err != nil {
		if c.life.Err() != nil {
			return ErrClosed
		}
		return fmt.Errorf("wait for room: %w", err)
	}
	return nil
}

// objectBytes returns the object's size where a cached block of [first, end), or the one before, tells it; otherwise 0.
// The mutex is held.
func (c *Cache) objectBytes(key string, first, end int64) int64 {
	for index := first - 1; index < end; index++ {
		if b, found := c.mu.shelf.blocks[blockID{key, index}]; found && b.objectBytes > 0 {
			return b.objectBytes
		}
	}
	return 0
}

// missing counts the blocks of [first, end) that are neither cached nor on their way. The mutex is held.
func (c *Cache) missing(key string, first, end int64) (missing int64) {
	for index := first; index < end; index++ {
		if _, found := c.mu.shelf.blocks[blockID{key, index}]; !found {
			missing++
		}
	}
	return missing
}
