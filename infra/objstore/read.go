package objstore

import (
	"context"
	"fmt"
	"io"
)

// ReadAll returns the whole object under key, which must not be larger than limitBytes: what is stored is not trusted to
// fit in memory.
func ReadAll(ctx context.Context, store Store, key string, limitBytes int64) (body []byte, info Info, err error) {
	reader, info, err := store.Get(ctx, key, 0, -1)
	if err != nil {
		return nil, Info{}, err
	}
	defer func() {
		if closeErr := reader.Close(); err == nil && closeErr != nil {
			body, err = nil, fmt.Errorf("close object %q: %w", key, closeErr)
		}
	}()
	if info.SizeBytes > limitBytes {
		return nil, info, fmt.Errorf("read object %q: %d bytes, at most %d are expected", key, info.SizeBytes, limitBytes)
	}
	body = make([]byte, info.SizeBytes)
	if _, err := io.ReadFull(reader, body); err != nil {
		return nil, info, fmt.Errorf("read object %q: %w", key, err)
	}
	return body, info, nil
}

// ReadRange fills buf from offset of the object under key and returns how many bytes the object had there: fewer than
// len(buf) only where it ends.
func ReadRange(ctx context.Context, store Store, key string, offset int64, buf []byte) (n int, info Info, err error) {
	reader, info, err := store.Get(ctx, key, offset, int64(len(buf)))
	if err != nil {
		return 0, Info{}, err
	}
	want := min(int64(len(buf)), max(0, info.SizeBytes-offset))
	n, err = io.ReadFull(reader, buf[:want])
	if closeErr := reader.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return n, info, fmt.Errorf("read %d bytes at %d of object %q: %w", want, offset, key, err)
	}
	return n, info, nil
}

// CheckRange applies the contract's rules for Get to an object's size: it returns how many bytes to serve from offset,
// or ErrRange.
func CheckRange(key string, sizeBytes, offset, length int64) (int64, error) {
	if offset < 0 || length < -1 {
		return 0, fmt.Errorf("get object %q: offset %d, length %d: %w", key, offset, length, ErrRange)
	}
	if offset > 0 && offset >= sizeBytes {
		return 0, fmt.Errorf("get object %q at %d of %d bytes: %w", key, offset, sizeBytes, ErrRange)
	}
	if rest := sizeBytes - offset; length < 0 || length > rest {
		length = rest
	}
	return length, nil
}
