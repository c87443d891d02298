package compact

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/infra/objstore"
	"github.com/varvelog/varve/ingest/recordbatch"
)

const (
	windowBytes  = 8 << 20
	readAttempts = 5
)

// source reads a part's batches in order, a window at a time.
type source struct {
	store objstore.Store
	part  *metapb.CompactionPart
	at    uint64 // how much of the part has been read
	from  int64  // the offset at which its next batch may begin
	buf   []byte // read and not yet given out
	room  []byte
}

// isDense tells whether a part's batches stand without gaps between their offsets, as they do unless it was compacted.
func isDense(p *metapb.CompactionPart) bool { return p.Records == uint64(p.NextOffset-p.BaseOffset) }

// open begins to read a part.
func (s *source) open(part *metapb.CompactionPart) {
	s.part, s.at, s.from, s.buf = part, 0, part.BaseOffset, s.buf[:0]
}

// next returns the next batch, valid until the next call; io.EOF at the end of the part. A batch that is not what was stored is an error: what is
// made of the part takes its place, and nobody could tell any more.
func (s *source) next(ctx context.Context) (recordbatch.Batch, error) {
	if len(s.buf) == 0 && s.at == s.part.Length {
		return recordbatch.Batch{}, io.EOF
	}
	if err := s.need(ctx, recordbatch.HeaderBytes); err != nil {
		return recordbatch.Batch{}, err
	}
	h, err := recordbatch.ParseHeader(s.buf)
	if err == nil {
		err = s.need(ctx, h.SizeBytes())
	}
	if err == nil && (h.LastOffsetDelta < 0 || h.BaseOffset < s.from || h.NextOffset() > s.part.NextOffset || h.BaseOffset > s.from && isDense(s.part)) {
		err = fmt.Errorf("%w: a batch of offsets [%d, %d) behind %d", recordbatch.ErrCorrupt, h.BaseOffset, h.NextOffset(), s.from-1)
	}
	if err == nil {
		err = recordbatch.CheckCRC(s.buf[:h.SizeBytes()])
	}
	if err != nil {
		return recordbatch.Batch{}, fmt.Errorf("read %s before %d of its part at %d: %w", s.part.ObjectKey, s.at, s.part.Position, err)
	}
	b := s.buf[:h.SizeBytes():h.SizeBytes()]
	s.buf, s.from = s.buf[h.SizeBytes():], h.NextOffset()
	return recordbatch.Batch{Header: h, Bytes: b}, nil
}

// need reads on until n bytes are there.
func (s *source) need(ctx context.Context, n int) error {
	if len(s.buf) >= n {
		return nil
	}
	left := s.part.Length - s.at
	if uint64(n-len(s.buf)) > left {
		return fmt.Errorf("%w: %d bytes wanted, %d left", recordbatch.ErrTruncated, n, uint64(len(s.buf))+left)
	}
	more := int(min(left, max(windowBytes, uint64(n-len(s.buf)))))
	if have := len(s.buf); cap(s.room) < have+more {
		s.room = make([]byte, have+more)
	}
	whole := s.room[:len(s.buf)+more]
	copy(whole, s.buf)
	if err := s.fill(ctx, whole[len(s.buf):]); err != nil {
		return err
	}
	s.at += uint64(more)
	s.buf = whole
	return nil
}

// fill reads what comes next.
func (s *source) fill(ctx context.Context, into []byte) error {
	return patiently(ctx, func() error { return s.get(ctx, into) })
}

// patiently reads, and tries again while the store fails in passing.
func patiently(ctx context.Context, read func() error) error {
	backOff := 100 * time.Millisecond
	for attempt := 1; ; attempt++ {
		err := read()
		if err == nil || ctx.Err() != nil || attempt == readAttempts || errors.Is(err, objstore.ErrNotFound) || errors.Is(err, objstore.ErrAccess) {
			return err
		}
		timer := time.NewTimer(backOff/2 + rand.N(backOff))
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
		backOff *= 2
	}
}

func (s *source) get(ctx context.Context, into []byte) (err error) {
	body, _, err := s.store.Get(ctx, s.part.ObjectKey, int64(s.part.Position+s.at), int64(len(into)))
	if err != nil {
		return err
	}
	_, err = io.ReadFull(body, into)
	return errors.Join(err, body.Close())
}
