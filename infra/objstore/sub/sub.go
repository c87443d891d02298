// Package sub shows the part of a store whose keys have one prefix as a store of its own.
package sub

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/varvelog/varve/infra/objstore"
)

// Store is a view of another store: the key k of the view is prefix+k there.
type Store struct {
	of     objstore.Store
	prefix string
}

var _ objstore.Store = (*Store)(nil)

// New returns the view of store under prefix, which ends in a slash. Closing the view leaves the store open.
func New(store objstore.Store, prefix string) *Store {
	if !strings.HasSuffix(prefix, "/") {
		panic(fmt.Sprintf("sub: prefix %q does not end in a slash", prefix))
	}
	return &Store{of: store, prefix: prefix}
}

// key is the key in the store below. One that would be no key of its own is none behind a prefix either.
func (s *Store) key(key string) (string, error) {
	if err := objstore.ValidateKey(key); err != nil {
		return "", err
	}
	return s.prefix + key, nil
}

// PutIfAbsent implements objstore.Store.
func (s *Store) PutIfAbsent(ctx context.Context, key string, body []byte) (objstore.Version, error) {
	full, err := s.key(key)
	if err != nil {
		return "", err
	}
	return s.of.PutIfAbsent(ctx, full, body)
}

// PutIfMatch implements objstore.Store.
func (s *Store) PutIfMatch(ctx context.Context, key string, body []byte, old objstore.Version) (objstore.Version, error) {
	full, err := s.key(key)
	if err != nil {
		return "", err
	}
	return s.of.PutIfMatch(ctx, full, body, old)
}

// Put implements objstore.Store.
func (s *Store) Put(ctx context.Context, key string, body []byte) (objstore.Version, error) {
	full, err := s.key(key)
	if err != nil {
		return "", err
	}
	return s.of.Put(ctx, full, body)
}

// Get implements objstore.Store.
func (s *Store) Get(ctx context.Context, key string, offset, length int64) (io.ReadCloser, objstore.Info, error) {
	full, err := s.key(key)
	if err != nil {
		return nil, objstore.Info{}, err
	}
	body, info, err := s.of.Get(ctx, full, offset, length)
	return body, s.info(info), err
}

// Head implements objstore.Store.
func (s *Store) Head(ctx context.Context, key string) (objstore.Info, error) {
	full, err := s.key(key)
	if err != nil {
		return objstore.Info{}, err
	}
	info, err := s.of.Head(ctx, full)
	return s.info(info), err
}

// Delete implements objstore.Store.
func (s *Store) Delete(ctx context.Context, key string) error {
	full, err := s.key(key)
	if err != nil {
		return err
	}
	return s.of.Delete(ctx, full)
}

// List implements objstore.Store.
func (s *Store) List(ctx context.Context, prefix, startAfter string) func(yield func(objstore.Info, error) bool) {
	if startAfter != "" {
		startAfter = s.prefix + startAfter
	}
	return func(yield func(objstore.Info, error) bool) {
		for info, err := range s.of.List(ctx, s.prefix+prefix, startAfter) {
			if !yield(s.info(info), err) {
				return
			}
		}
	}
}

// Now implements objstore.Store.
func (s *Store) Now(ctx context.Context) (time.Time, error) { return s.of.Now(ctx) }

// String names the store below and the prefix.
func (s *Store) String() string {
	return strings.TrimSuffix(s.of.String(), "/") + "/" + strings.TrimSuffix(s.prefix, "/")
}

// Close does nothing: the store below is its owner's.
func (s *Store) Close() error { return nil }

func (s *Store) info(info objstore.Info) objstore.Info {
	info.Key = strings.TrimPrefix(info.Key, s.prefix)
	return info
}
