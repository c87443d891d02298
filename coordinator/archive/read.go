package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"

	"github.com/varvelog/varve/coordinator/metalog"
	"github.com/varvelog/varve/infra/objstore"
)

const (
	prefix         = "meta/archive/"
	maxObjectBytes = 64 << 20
)

// Object names an object of the archive, which holds the entries [First, Next).
type Object struct {
	First, Next uint64
}

// Key is the object's key.
func (o Object) Key() string { return fmt.Sprintf("%s%020d-%020d", prefix, o.First, o.Next) }

func parseKey(key string) (o Object, ok bool) {
	n, err := fmt.Sscanf(strings.TrimPrefix(key, prefix), "%020d-%020d", &o.First, &o.Next)
	return o, err == nil && n == 2 && o.First < o.Next && o.Key() == key
}

// List returns the archive's objects by first sequence, ascending. Of those that begin alike the longest stands last.
func List(ctx context.Context, store objstore.Store) ([]Object, error) {
	var objects []Object
	for info, err := range store.List(ctx, prefix, "") {
		if err != nil {
			return nil, fmt.Errorf("list archive in %s: %w", store, err)
		}
		if o, ok := parseKey(info.Key); ok {
			objects = append(objects, o)
		}
	}
	return objects, nil
}

// Extent is from the first entry that is archived to behind the last, zero where nothing is. A hole within shows when it is read.
func Extent(ctx context.Context, store objstore.Store) (Object, error) {
	objects, err := List(ctx, store)
	if err != nil || len(objects) == 0 {
		return Object{}, err
	}
	return Object{First: objects[0].First, Next: end(objects)}, nil
}

// End is the sequence behind the last one that is archived, 0 where nothing is.
func End(ctx context.Context, store objstore.Store) (next uint64, err error) {
	objects, err := List(ctx, store)
	return end(objects), err
}

func end(objects []Object) (next uint64) {
	for _, o := range objects {
		next = max(next, o.Next)
	}
	return next
}

// Read yields the archived entries from seq on, in order, each once, to the archive's end. It stops at the first error, yielding
// it: metalog.ErrTruncated where an entry is missing before one that is there, metalog.ErrForeign for an object of another log.
// A record's Entry is valid until the next one is yielded.
func Read(ctx context.Context, store objstore.Store, logID [16]byte, seq uint64) iter.Seq2[metalog.Record, error] {
	return func(yield func(metalog.Record, error) bool) {
		objects, err := List(ctx, store)
		if err != nil {
			yield(metalog.Record{}, err)
			return
		}
		for i, o := range objects {
			covered := i+1 < len(objects) && objects[i+1].First == o.First // the next one holds as much and more
			if o.Next <= seq || covered {
				continue
			}
			batch, err := load(ctx, store, logID, o, seq)
			if err != nil {
				yield(metalog.Record{}, err)
				return
			}
			for ; seq < o.Next; seq++ {
				if !yield(metalog.Record{Seq: seq, Entry: batch.Entries[seq-o.First]}, nil) {
					return
				}
			}
		}
	}
}

// Load reads one object of the archive of a log, or of any where logID is zero. The error wraps metalog.ErrCorrupt, metalog.ErrForeign or ErrFormat where it is not what
// its key says.
func Load(ctx context.Context, store objstore.Store, logID [16]byte, o Object) (*Batch, error) {
	return load(ctx, store, logID, o, o.First)
}

// load reads an object that is to hold the entry at seq.
func load(ctx context.Context, store objstore.Store, logID [16]byte, o Object, seq uint64) (*Batch, error) {
	if o.First > seq {
		return nil, fmt.Errorf("archive has entries from %d on, not %d: %w", o.First, seq, metalog.ErrTruncated)
	}
	body, info, err := store.Get(ctx, o.Key(), 0, -1)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", o.Key(), err)
	}
	if info.SizeBytes > maxObjectBytes {
		return nil, errors.Join(fmt.Errorf("%s has %d bytes: %w", o.Key(), info.SizeBytes, metalog.ErrCorrupt), body.Close())
	}
	encoded := make([]byte, info.SizeBytes)
	_, err = io.ReadFull(body, encoded)
	if err := errors.Join(err, body.Close()); err != nil {
		return nil, fmt.Errorf("read %s: %w", o.Key(), err)
	}
	batch, err := Decode(encoded)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", o.Key(), err)
	case batch.First != o.First || batch.Next() != o.Next:
		return nil, fmt.Errorf("%s holds [%d, %d): %w", o.Key(), batch.First, batch.Next(), metalog.ErrCorrupt)
	case logID != [16]byte{} && batch.LogID != logID:
		return nil, fmt.Errorf("%s is of log %x, not of %x: %w", o.Key(), batch.LogID, logID, metalog.ErrForeign)
	}
	return batch, nil
}
