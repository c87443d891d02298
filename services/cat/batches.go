package cat

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/varvelog/varve/infra/objstore"
	"github.com/varvelog/varve/ingest/recordbatch"
)

const (
	bufferBytes = 1 << 20
	attempts    = 5
	firstRetry  = 200 * time.Millisecond
)

// batches reads batch after batch of a range of an object, with one request where nothing fails.
type batches struct {
	ctx     context.Context //nolint:containedctx // of one call of Read
	store   objstore.Store
	key     string
	at, end uint64
	body    io.ReadCloser
	buffer  *bufio.Reader
	batch   []byte
}

// next returns the next batch, valid until the call after it; nil at the end.
func (s *batches) next() ([]byte, error) {
	if s.at == s.end {
		return nil, nil
	}
	wait := firstRetry
	for attempt := 1; ; attempt++ {
		b, err := s.read()
		if err == nil {
			s.at += uint64(len(b))
			return b, nil
		}
		s.close()
		if attempt == attempts || s.ctx.Err() != nil || errors.Is(err, objstore.ErrNotFound) || errors.Is(err, objstore.ErrAccess) || errors.Is(err, recordbatch.ErrCorrupt) {
			return nil, err
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-s.ctx.Done():
		}
		timer.Stop()
		wait *= 2
	}
}

// read reads the batch at s.at, going on in the answer that is open.
func (s *batches) read() ([]byte, error) {
	if s.body == nil {
		body, _, err := s.store.Get(s.ctx, s.key, int64(s.at), int64(s.end-s.at))
		if err != nil {
			return nil, err
		}
		s.body = body
		if s.buffer == nil {
			s.buffer = bufio.NewReaderSize(nil, bufferBytes)
		}
		s.buffer.Reset(body)
	}
	s.batch = append(s.batch[:0], make([]byte, recordbatch.HeaderBytes)...)
	if _, err := io.ReadFull(s.buffer, s.batch); err != nil {
		return nil, err
	}
	h, err := recordbatch.ParseHeader(s.batch)
	if err != nil {
		return nil, err
	}
	size := h.SizeBytes()
	if uint64(size) > s.end-s.at {
		return nil, fmt.Errorf("%w: a batch of %d bytes, where %d are left", recordbatch.ErrCorrupt, size, s.end-s.at)
	}
	s.batch = append(s.batch, make([]byte, size-recordbatch.HeaderBytes)...)
	_, err = io.ReadFull(s.buffer, s.batch[recordbatch.HeaderBytes:])
	return s.batch, err
}

func (s *batches) close() {
	if s.body != nil {
		_ = s.body.Close() // what was read is judged by itself
		s.body = nil
	}
}
