package fetch

import (
	"context"

	"github.com/varvelog/varve/coordinator/meta"
)

// Replica is the node's replica of the state; *replica.Replica is one.
type Replica interface {
	// View calls f with the state under a read lock. f does no I/O and keeps nothing of the state.
	View(f func(*meta.State))
	// Barrier returns when everything that was answered to anybody before the call is applied here.
	Barrier(ctx context.Context) error
	// Watch sends to ch, without waiting, when a high watermark of one of the partitions moves or its topic changes, until
	// cancel is called.
	Watch(partitions []meta.TopicPartition, ch chan<- struct{}) (cancel func())
}

// HotLog is the node's own log; *hotlog.Log is one.
type HotLog interface {
	// ReadAt fills buf from position of a segment.
	ReadAt(segment uint64, position uint32, buf []byte) error
}

// Peer reads the hot logs of other nodes.
type Peer interface {
	// ReadHot fills buf from position of a segment on the disk with diskID, which the node at address has. A node whose disk
	// is another one refuses. Fewer bytes come with an error, as when ctx ends; nothing is written to buf once it has returned.
	ReadHot(ctx context.Context, address string, diskID [16]byte, segment uint64, position uint32, buf []byte) (n int, err error)
}

// Objects reads objects of the bucket, through a cache; *blockcache.Cache is one.
type Objects interface {
	// ReadAt fills buf from byte off of the object, whose size is sizeHint, 0 where it is not known; fewer bytes come with an
	// error. When ctx ends it returns promptly, and what it has begun to get goes on into the cache.
	ReadAt(ctx context.Context, key string, sizeHint, off int64, buf []byte) (n int, err error)
	// Forget drops what is cached of a range, so that it comes from the store again.
	Forget(key string, off, length int64)
}

// PartIndex finds batches within a part of a stored segment; *partindex.Finder is one.
type PartIndex interface {
	// Seek returns the position in the object, and the base offset, of a batch of the part at or before the one that holds offset: the last such
	// that the index knows. The part's batches stand one behind the other up to part.Position+part.Length. The error is segment.ErrCorrupt
	// where the index is damaged.
	Seek(ctx context.Context, part meta.Location, offset int64) (position uint64, baseOffset int64, err error)
	// SeekTime does the same for the first batch whose maximum timestamp is at least millis.
	SeekTime(ctx context.Context, part meta.Location, millis int64) (position uint64, err error)
}
