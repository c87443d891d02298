package s3wire

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"github.com/varvelog/varve/infra/objstore"
)

var _ objstore.Store = (*Store)(nil)

// Between tries of a write that met another in progress. The other takes as long as a PUT.
const (
	conflictAttempts = 6
	conflictWaitMin  = 20 * time.Millisecond
	conflictWaitMax  = 500 * time.Millisecond
)

// Config places a store in a bucket.
type Config struct {
	// Name is what String returns.
	Name string
	// Prefix stands before every key, with a slash between. It may be empty.
	Prefix string
	// CreateBucket makes the bucket where it is missing.
	CreateBucket bool
	// MultipartBytes is the size above which a body is uploaded in parts of PartBytes. Zero means DefaultMultipartBytes and
	// DefaultPartBytes.
	MultipartBytes int
	PartBytes      int
}

// Store is an objstore.Store over a Client.
type Store struct {
	client Client
	config Config
	prefix string
}

// Open checks that the bucket is there, or makes it, and returns the store.
func Open(ctx context.Context, client Client, config Config) (*Store, error) {
	if config.MultipartBytes == 0 {
		config.MultipartBytes = DefaultMultipartBytes
	}
	if config.PartBytes == 0 {
		config.PartBytes = DefaultPartBytes
	}
	s := &Store{client: client, config: config}
	if config.Prefix != "" {
		if err := objstore.ValidateKey(config.Prefix); err != nil {
			return nil, fmt.Errorf("open %s: prefix: %w", config.Name, err)
		}
		s.prefix = config.Prefix + "/"
	}
	if err := s.findBucket(ctx); err != nil {
		return nil, fmt.Errorf("open %s: %w", config.Name, err)
	}
	return s, nil
}

func (s *Store) findBucket(ctx context.Context) error {
	_, err := s.client.HeadBucket(ctx)
	if err == nil {
		return nil
	}
	switch status, _ := s.client.Failure(err); {
	case status == http.StatusNotFound && s.config.CreateBucket:
		err := s.client.CreateBucket(ctx)
		// Another process may have been quicker.
		if _, code := s.client.Failure(err); err != nil && code != "BucketAlreadyOwnedByYou" {
			return fmt.Errorf("create bucket: %w", err)
		}
		return nil
	case status == http.StatusNotFound:
		return fmt.Errorf("%w: create it, or say create=true where the store is not AWS", objstore.ErrNoBucket)
	case status == http.StatusMovedPermanently:
		return fmt.Errorf("the bucket is in another region: set region: %w", err)
	case status == http.StatusBadRequest:
		// HEAD has no body to say why; servers mean a wrong region or malformed credentials.
		return fmt.Errorf("the store did not understand: check region, endpoint and credentials: %w", err)
	}
	return s.wrap(ctx, err, "head bucket", s.config.Name, Condition{})
}

// PutIfAbsent implements objstore.Store. The SDK tries again after a lost answer, so ErrExists may report this very
// call's own write.
func (s *Store) PutIfAbsent(ctx context.Context, key string, body []byte) (objstore.Version, error) {
	return s.put(ctx, key, body, Condition{IfAbsent: true})
}

// PutIfMatch implements objstore.Store. As with PutIfAbsent, ErrConditionFailed may report the call's own write.
func (s *Store) PutIfMatch(ctx context.Context, key string, body []byte, old objstore.Version) (objstore.Version, error) {
	if old == "" {
		return "", fmt.Errorf("put object %q: no version: %w", key, objstore.ErrConditionFailed)
	}
	return s.put(ctx, key, body, Condition{IfMatch: string(old)})
}

// Put implements objstore.Store.
func (s *Store) Put(ctx context.Context, key string, body []byte) (objstore.Version, error) {
	return s.put(ctx, key, body, Condition{})
}

func (s *Store) put(ctx context.Context, key string, body []byte, condition Condition) (objstore.Version, error) {
	if err := check(ctx, key); err != nil {
		return "", fmt.Errorf("put object: %w", err)
	}
	write := func() (string, error) { return s.client.Put(ctx, s.prefix+key, body, condition) }
	if len(body) > s.config.MultipartBytes {
		write = func() (string, error) { return s.putMultipart(ctx, s.prefix+key, body, condition) }
	}
	etag, err := s.retryConflicts(ctx, write)
	if err != nil {
		return "", s.wrap(ctx, err, "put object", key, condition)
	}
	return objstore.Version(etag), nil
}

// retryConflicts repeats a write that the server gave up in favour of another.
func (s *Store) retryConflicts(ctx context.Context, write func() (string, error)) (string, error) {
	wait := conflictWaitMin
	for attempt := 1; ; attempt++ {
		etag, err := write()
		if err == nil || !s.conflicted(err) || attempt == conflictAttempts {
			return etag, err
		}
		// Full jitter: the writers that met must not meet again.
		timer := time.NewTimer(time.Duration(rand.Int64N(int64(wait))))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return "", errors.Join(ctx.Err(), err)
		}
		wait = min(2*wait, conflictWaitMax)
	}
}

// Get implements objstore.Store.
func (s *Store) Get(ctx context.Context, key string, offset, length int64) (io.ReadCloser, objstore.Info, error) {
	if err := check(ctx, key); err != nil {
		return nil, objstore.Info{}, fmt.Errorf("get object: %w", err)
	}
	if offset < 0 || length < -1 {
		return nil, objstore.Info{}, fmt.Errorf("get object %q: offset %d, length %d: %w", key, offset, length, objstore.ErrRange)
	}
	if length == 0 {
		// The protocol has no range of no bytes.
		return s.getNothing(ctx, key, offset)
	}
	body, object, err := s.client.Get(ctx, s.prefix+key, rangeHeader(offset, length))
	if err != nil {
		if status, _ := s.client.Failure(err); status == http.StatusRequestedRangeNotSatisfiable && offset == 0 {
			// Any range is outside an empty object.
			return s.getNothing(ctx, key, offset)
		}
		return nil, objstore.Info{}, s.wrap(ctx, err, "get object", key, Condition{})
	}
	return &reader{ctx: ctx, store: s, key: key, body: body}, s.describe(object), nil
}

func (s *Store) getNothing(ctx context.Context, key string, offset int64) (io.ReadCloser, objstore.Info, error) {
	info, err := s.Head(ctx, key)
	if err != nil {
		return nil, objstore.Info{}, err
	}
	if _, err := objstore.CheckRange(key, info.SizeBytes, offset, 0); err != nil {
		return nil, objstore.Info{}, err
	}
	return io.NopCloser(bytes.NewReader(nil)), info, nil
}

// Head implements objstore.Store.
func (s *Store) Head(ctx context.Context, key string) (objstore.Info, error) {
	if err := check(ctx, key); err != nil {
		return objstore.Info{}, fmt.Errorf("head object: %w", err)
	}
	object, err := s.client.Head(ctx, s.prefix+key)
	if err != nil {
		return objstore.Info{}, s.wrap(ctx, err, "head object", key, Condition{})
	}
	return s.describe(object), nil
}

// Delete implements objstore.Store.
func (s *Store) Delete(ctx context.Context, key string) error {
	if err := check(ctx, key); err != nil {
		return fmt.Errorf("delete object: %w", err)
	}
	err := s.wrap(ctx, s.client.Delete(ctx, s.prefix+key), "delete object", key, Condition{})
	if errors.Is(err, objstore.ErrNotFound) {
		return nil
	}
	return err
}

// List implements objstore.Store, a page of 1,000 keys per request.
func (s *Store) List(ctx context.Context, prefix, startAfter string) func(yield func(objstore.Info, error) bool) {
	return func(yield func(objstore.Info, error) bool) {
		fail := func(err error) { yield(objstore.Info{}, s.wrap(ctx, err, "list objects", prefix, Condition{})) }
		if err := ctx.Err(); err != nil {
			fail(err)
			return
		}
		if startAfter != "" {
			startAfter = s.prefix + startAfter
		}
		for object, err := range s.client.List(ctx, s.prefix+prefix, startAfter) {
			if err != nil {
				fail(err)
				return
			}
			// Folder markers that consoles make, and the prefix's own, are not ours.
			if strings.HasSuffix(object.Key, "/") || len(object.Key) <= len(s.prefix) {
				continue
			}
			if !yield(s.describe(object), nil) {
				return
			}
		}
	}
}

// Now implements objstore.Store by the Date of an answer, which has a resolution of one second.
func (s *Store) Now(ctx context.Context) (time.Time, error) {
	now, err := s.client.HeadBucket(ctx)
	if err != nil {
		return time.Time{}, s.wrap(ctx, err, "head bucket", s.config.Name, Condition{})
	}
	if now.IsZero() {
		return time.Time{}, fmt.Errorf("head bucket %s: the answer has no date", s.config.Name)
	}
	return now, nil
}

// String implements objstore.Store.
func (s *Store) String() string { return s.config.Name }

// Close implements objstore.Store.
func (s *Store) Close() error {
	s.client.Close()
	return nil
}

func (s *Store) describe(object Object) objstore.Info {
	return objstore.Info{
		Key:       strings.TrimPrefix(object.Key, s.prefix),
		SizeBytes: object.SizeBytes,
		Version:   objstore.Version(object.ETag),
		Modified:  object.Modified,
	}
}

func check(ctx context.Context, key string) error {
	if err := objstore.ValidateKey(key); err != nil {
		return err
	}
	return ctx.Err()
}

// reader adds the key, and the context's error where that is why, to errors of reading.
type reader struct {
	ctx   context.Context
	store *Store
	key   string
	body  io.ReadCloser
}

func (r *reader) Read(p []byte) (int, error) {
	// What the transport has buffered must not hide that the context ended.
	if err := r.ctx.Err(); err != nil {
		return 0, fmt.Errorf("read object %q: %w", r.key, err)
	}
	n, err := r.body.Read(p)
	if err != nil && err != io.EOF { //nolint:errorlint // io.Reader returns io.EOF itself.
		err = r.store.wrap(r.ctx, err, "read object", r.key, Condition{})
	}
	return n, err
}

func (r *reader) Close() error { return r.body.Close() }
