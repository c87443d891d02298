// Package mem is an object store in memory, for tests. Nothing outlives the process; everything else is as the contract
// says, strictly: versions never repeat, and a listing is a snapshot of the moment it began.
package mem

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/varvelog/varve/infra/objstore"
)

var _ objstore.Store = (*Store)(nil)

// Store holds objects in a map. The zero value is not usable; call New.
type Store struct {
	name string

	mu struct {
		sync.Mutex
		objects  map[string]object
		versions uint64
	}
}

// object's body is never written after it is stored, so readers need no lock.
type object struct {
	body []byte
	info objstore.Info
}

// New returns an empty store that names itself "mem://name".
func New(name string) *Store {
	s := &Store{name: name}
	s.mu.objects = make(map[string]object)
	return s
}

// PutIfAbsent implements objstore.Store.
func (s *Store) PutIfAbsent(ctx context.Context, key string, body []byte) (objstore.Version, error) {
	return s.put(ctx, key, body, func(_ object, found bool) error {
		if found {
			return objstore.ErrExists
		}
		return nil
	})
}

// PutIfMatch implements objstore.Store.
func (s *Store) PutIfMatch(ctx context.Context, key string, body []byte, old objstore.Version) (objstore.Version, error) {
	return s.put(ctx, key, body, func(present object, found bool) error {
		if !found || present.info.Version != old {
			return objstore.ErrConditionFailed
		}
		return nil
	})
}

// Put implements objstore.Store.
func (s *Store) Put(ctx context.Context, key string, body []byte) (objstore.Version, error) {
	return s.put(ctx, key, body, func(object, bool) error { return nil })
}

func (s *Store) put(ctx context.Context, key string, body []byte, allow func(present object, found bool) error) (objstore.Version, error) {
	if err := check(ctx, key); err != nil {
		return "", fmt.Errorf("put object: %w", err)
	}
	body = bytes.Clone(body)
	s.mu.Lock()
	defer s.mu.Unlock()
	present, found := s.mu.objects[key]
	if err := allow(present, found); err != nil {
		return "", fmt.Errorf("put object %q: %w", key, err)
	}
	s.mu.versions++
	version := objstore.Version(strconv.FormatUint(s.mu.versions, 10))
	s.mu.objects[key] = object{
		body: body,
		info: objstore.Info{Key: key, SizeBytes: int64(len(body)), Version: version, Modified: time.Now()},
	}
	return version, nil
}

// Get implements objstore.Store.
func (s *Store) Get(ctx context.Context, key string, offset, length int64) (io.ReadCloser, objstore.Info, error) {
	found, err := s.find(ctx, key)
	if err != nil {
		return nil, objstore.Info{}, fmt.Errorf("get object: %w", err)
	}
	length, err = objstore.CheckRange(key, found.info.SizeBytes, offset, length)
	if err != nil {
		return nil, objstore.Info{}, err
	}
	return &reader{ctx: ctx, rest: found.body[offset : offset+length]}, found.info, nil
}

// Head implements objstore.Store.
func (s *Store) Head(ctx context.Context, key string) (objstore.Info, error) {
	found, err := s.find(ctx, key)
	if err != nil {
		return objstore.Info{}, fmt.Errorf("head object: %w", err)
	}
	return found.info, nil
}

func (s *Store) find(ctx context.Context, key string) (object, error) {
	if err := check(ctx, key); err != nil {
		return object{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	present, found := s.mu.objects[key]
	if !found {
		return object{}, fmt.Errorf("%q: %w", key, objstore.ErrNotFound)
	}
	return present, nil
}

// Delete implements objstore.Store.
func (s *Store) Delete(ctx context.Context, key string) error {
	if err := check(ctx, key); err != nil {
		return fmt.Errorf("delete object: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.mu.objects, key)
	return nil
}

// List implements objstore.Store. It yields the objects present when the iteration began.
func (s *Store) List(ctx context.Context, prefix, startAfter string) func(yield func(objstore.Info, error) bool) {
	return func(yield func(objstore.Info, error) bool) {
		for _, info := range s.snapshot(prefix, startAfter) {
			if err := ctx.Err(); err != nil {
				yield(objstore.Info{}, fmt.Errorf("list objects %q: %w", prefix, err))
				return
			}
			if !yield(info, nil) {
				return
			}
		}
		if err := ctx.Err(); err != nil {
			yield(objstore.Info{}, fmt.Errorf("list objects %q: %w", prefix, err))
		}
	}
}

func (s *Store) snapshot(prefix, startAfter string) []objstore.Info {
	s.mu.Lock()
	var infos []objstore.Info
	for key, present := range s.mu.objects {
		if strings.HasPrefix(key, prefix) && key > startAfter {
			infos = append(infos, present.info)
		}
	}
	s.mu.Unlock()
	slices.SortFunc(infos, func(a, b objstore.Info) int { return strings.Compare(a.Key, b.Key) })
	return infos
}

// Now implements objstore.Store with the process's clock.
func (s *Store) Now(ctx context.Context) (time.Time, error) {
	return time.Now(), ctx.Err()
}

// String implements objstore.Store.
func (s *Store) String() string { return "mem://" + s.name }

// Close implements objstore.Store. The objects stay, as those of a bucket would.
func (s *Store) Close() error { return nil }

func check(ctx context.Context, key string) error {
	if err := objstore.ValidateKey(key); err != nil {
		return err
	}
	return ctx.Err()
}

// reader serves an immutable body.
type reader struct {
	ctx  context.Context
	rest []byte
}

func (r *reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, fmt.Errorf("read object: %w", err)
	}
	if len(r.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

func (r *reader) Close() error { return nil }
