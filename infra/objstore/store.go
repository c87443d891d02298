package objstore

import (
	"context"
	"errors"
	"io"
	"time"
)

// The errors on which callers branch. Every implementation wraps its own errors so that errors.Is finds one of these
// or none; an error that matches none is transient: the operation may or may not have happened, and may be tried again.
var (
	// ErrNotFound: the key names no object.
	ErrNotFound = errors.New("object not found")
	// ErrExists: PutIfAbsent found an object under the key. After an ambiguous failure it may be the caller's own.
	ErrExists = errors.New("object exists")
	// ErrConditionFailed: PutIfMatch found another version, or none.
	ErrConditionFailed = errors.New("object changed")
	// ErrRange: the range begins at or after the object's end.
	ErrRange = errors.New("range outside object")
	// ErrThrottled: the store asked to be called less often (S3's SlowDown, HTTP 429). Transient.
	ErrThrottled = errors.New("store throttles")
	// ErrAccess: credentials are missing, wrong, or lack the right. Not transient.
	ErrAccess = errors.New("store refused access")
)

// Version identifies one content of one key, as the store tells it (an ETag on S3). It is opaque and comparable.
type Version string

// Info describes a stored object.
type Info struct {
	Key       string
	SizeBytes int64
	Version   Version
	// Modified is the store's time of the write, at the store's resolution (a second on S3).
	Modified time.Time
}

// Store is a flat, strongly consistent map from keys to immutable or conditionally replaced objects: read-after-write
// and listing are strong, as on S3 since 2020. Keys are relative to the bucket's prefix, use '/' as separator, never
// begin or end with it, and no key is another key's folder. All methods may be called concurrently and respect ctx.
type Store interface {
	// PutIfAbsent stores body under key unless the key is taken (ErrExists). The object is durable on return. The body is
	// not retained; it must not change until return.
	PutIfAbsent(ctx context.Context, key string, body []byte) (Version, error)
	// PutIfMatch replaces the object whose version is old (ErrConditionFailed otherwise).
	PutIfMatch(ctx context.Context, key string, body []byte, old Version) (Version, error)
	// Put stores body unconditionally.
	Put(ctx context.Context, key string, body []byte) (Version, error)
	// Get opens length bytes from offset; length -1 means to the end. The reader must be closed. Fewer bytes come where the
	// object ends earlier; offset at or past the end of a non-empty object is ErrRange. Info describes the whole object.
	Get(ctx context.Context, key string, offset, length int64) (io.ReadCloser, Info, error)
	// Head returns the object's description.
	Head(ctx context.Context, key string) (Info, error)
	// Delete removes the object; a key that names none is no error.
	Delete(ctx context.Context, key string) error
	// List yields the objects whose keys begin with prefix and are greater than startAfter, in ascending byte order of
	// keys. It stops at the first error, yielding it.
	List(ctx context.Context, prefix, startAfter string) func(yield func(Info, error) bool)
	// Now returns the store's clock (S3's Date header), or an error where it cannot be asked.
	Now(ctx context.Context) (time.Time, error)
	// String names the store for messages, without credentials: "s3://bucket/prefix".
	String() string
	// Close releases what the store holds. Objects remain.
	Close() error
}
