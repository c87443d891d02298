package hotlog

import (
	"errors"
	"fmt"
	"io"
)

// ReadAt fills buf from a segment, beginning at position. It reads durable frames only (ErrNotDurable), and may run
// alongside appends and Remove. The bytes are not checked against the frames' checksums: a range need not be a whole
// payload, and chunks carry their own.
func (l *Log) ReadAt(id uint64, position uint32, buf []byte) (err error) {
	s, err := l.acquire(id)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.release()) }()
	if end := int64(position) + int64(len(buf)); position < segmentHeaderBytes || end > int64(s.end.Load()) {
		return fmt.Errorf("read segment %d at [%d,%d): %w", id, position, end, ErrNotDurable)
	}
	if err := readFull(s.file, buf, int64(position)); err != nil {
		return fmt.Errorf("read segment %d at %d: %w", id, position, err)
	}
	return nil
}

// Reader reads a segment's chunks in order. It is used by one goroutine, and keeps the segment readable after Remove.
type Reader struct {
	segment *segment
	scanner *scanner
	end     int64
}

// OpenReader opens a segment. It sees the chunks that are durable now; of a sealed segment that is all of them.
func (l *Log) OpenReader(id uint64) (*Reader, error) {
	s, err := l.acquire(id)
	if err != nil {
		return nil, err
	}
	end := int64(s.end.Load())
	return &Reader{segment: s, scanner: newScanner(s.file, s.header, s.path, end), end: end}, nil
}

// Next returns the next chunk's frame, whose payload has been checked and is valid until the call after, or io.EOF. Anything else
// that stands where a frame should is a *CorruptionError.
func (r *Reader) Next() (Frame, error) {
	for r.scanner.position < r.end {
		frame, ok, err := r.scanner.next(true)
		if err != nil {
			return Frame{}, err
		}
		if !ok {
			return Frame{}, r.scanner.corrupt(r.scanner.position, r.scanner.reason)
		}
		if frame.Kind == KindChunk {
			return frame, nil
		}
	}
	return Frame{}, io.EOF
}

// Close lets the segment go.
func (r *Reader) Close() error { return r.segment.release() }
