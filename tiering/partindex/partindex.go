// Package partindex finds batches inside parts of stored segments: it reads a part's index from the bucket, checks it, and keeps
// the most recently used ones parsed. Reads go through the block cache, so an index that lies behind its part's last
// batches usually comes with them.
package partindex

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/tiering/segment"
)

// Objects reads ranges of objects (blockcache.Cache). Fewer bytes than asked for come with io.EOF.
type Objects interface {
	ReadAt(ctx context.Context, key string, sizeHint, off int64, buf []byte) (n int, err error)
}

// maxIndexBytes bounds one index: 64 Mi batches of a part.
const maxIndexBytes = 1 << 30

// Finder is safe for concurrent use.
type Finder struct {
	objects  Objects
	capacity int // bytes of indexes kept

	mu struct {
		sync.Mutex
		kept  map[place]*list.Element // of *entry
		order *list.List              // most recently used first
		bytes int
	}
}

type place struct {
	object   meta.SegmentID
	position uint64
}

type entry struct {
	place place
	index segment.Index
	bytes int
}

// New returns a Finder that keeps up to capacityBytes of indexes.
func New(objects Objects, capacityBytes int) *Finder {
	f := &Finder{objects: objects, capacity: capacityBytes}
	f.mu.kept = map[place]*list.Element{}
	f.mu.order = list.New()
	return f
}

// Seek returns the position in the object, and the base offset, of the batch of the part that holds offset, or of the one next to it. Errors:
// segment.ErrCorrupt with the object's key, or those of the read.
func (f *Finder) Seek(ctx context.Context, part meta.Location, offset int64) (position uint64, baseOffset int64, err error) {
	index, err := f.index(ctx, part)
	if err != nil {
		return 0, 0, err
	}
	at := index.At(offset, 0)
	return part.Position + at.From, at.BaseOffset, nil
}

// SeekTime returns the position of the first batch whose maximum timestamp is at least millis, or of the part's last batch.
func (f *Finder) SeekTime(ctx context.Context, part meta.Location, millis int64) (position uint64, err error) {
	index, err := f.index(ctx, part)
	if err != nil {
		return 0, err
	}
	if r, found := index.AtTime(millis); found {
		return part.Position + r.From, nil
	}
	return part.Position + index.At(part.NextOffset, 0).From, nil
}

func (f *Finder) index(ctx context.Context, part meta.Location) (segment.Index, error) {
	at := place{part.Object, part.IndexPosition}
	if index, found := f.find(at); found {
		return index, nil
	}
	if part.IndexLength > maxIndexBytes {
		return segment.Index{}, fmt.Errorf("read index of %s at %d: %d bytes: %w", part.Key(), part.IndexPosition, part.IndexLength, segment.ErrCorrupt)
	}
	buf := make([]byte, part.IndexLength)
	n, err := f.objects.ReadAt(ctx, part.Key(), int64(part.ObjectBytes), int64(part.IndexPosition), buf)
	if err != nil && (!errors.Is(err, io.EOF) || n < len(buf)) {
		return segment.Index{}, fmt.Errorf("read index of %s at %d: %w", part.Key(), part.IndexPosition, err)
	}
	index, err := segment.ParseIndex(buf, part.BaseOffset, part.Length)
	if err != nil {
		return segment.Index{}, fmt.Errorf("read index of %s at %d: %w", part.Key(), part.IndexPosition, err)
	}
	f.keep(&entry{at, index, len(buf)})
	return index, nil
}

func (f *Finder) find(at place) (segment.Index, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	element, found := f.mu.kept[at]
	if !found {
		return segment.Index{}, false
	}
	f.mu.order.MoveToFront(element)
	return element.Value.(*entry).index, true //nolint:forcetypeassert // the list holds nothing else
}

func (f *Finder) keep(e *entry) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, found := f.mu.kept[e.place]; found || e.bytes > f.capacity {
		return
	}
	f.mu.kept[e.place] = f.mu.order.PushFront(e)
	f.mu.bytes += e.bytes
	for f.mu.bytes > f.capacity {
		oldest := f.mu.order.Remove(f.mu.order.Back()).(*entry) //nolint:forcetypeassert // the list holds nothing else
		delete(f.mu.kept, oldest.place)
		f.mu.bytes -= oldest.bytes
	}
}
