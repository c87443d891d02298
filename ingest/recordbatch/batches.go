package recordbatch

import (
	"encoding/binary"
	"fmt"
	"iter"
	"math"
)

// Batch is one batch within a larger slice.
type Batch struct {
	Header
	// Bytes is the whole batch. It is part of the slice that was walked, capped at the batch's end.
	Bytes []byte
}

// Batches walks the consecutive batches in b. At the first thing that is not a whole batch it yields an error and stops:
// ErrTruncated where b ends within a batch, ErrCorrupt, ErrMagic or ErrInvalidRecord where no batch can begin. CRCs are
// not checked.
func Batches(b []byte) iter.Seq2[Batch, error] {
	return func(yield func(Batch, error) bool) {
		for len(b) > 0 {
			batch, err := first(b)
			if !yield(batch, err) || err != nil {
				return
			}
			b = b[len(batch.Bytes):]
		}
	}
}

// first returns the batch that b begins with.
func first(b []byte) (Batch, error) {
	h, err := ParseHeader(b)
	if err != nil {
		return Batch{}, err
	}
	if err := h.checkRanges(); err != nil {
		return Batch{}, err
	}
	size := h.SizeBytes()
	if size > len(b) {
		return Batch{}, fmt.Errorf("%w: %d of %d bytes", ErrTruncated, len(b), size)
	}
	return Batch{Header: h, Bytes: b[:size:size]}, nil
}

// AssignOffsets walks the consecutive batches in b and gives them, in place, consecutive base offsets from base on, and
// leaderEpoch. It returns the offset after the last. It touches only the headers, and none of what a CRC covers. On error
// (ErrTruncated, ErrCorrupt, ErrMagic, ErrInvalidRecord) the batches before the bad one are patched, and next is the
// offset after them.
func AssignOffsets(b []byte, base int64, leaderEpoch int32) (next int64, err error) {
	next = base
	for len(b) > 0 {
		if len(b) < HeaderBytes || b[posMagic] != Magic {
			_, err := ParseHeader(b)
			return next, err
		}
		size := LengthEnd + int(int32(binary.BigEndian.Uint32(b[posLength:])))
		lastOffsetDelta := int64(int32(binary.BigEndian.Uint32(b[posLastOffsetDelta:])))
		switch {
		case size < HeaderBytes:
			return next, fmt.Errorf("%w: length field %d is below %d", ErrCorrupt, size-LengthEnd, minLength)
		case size > len(b):
			return next, fmt.Errorf("%w: %d of %d bytes", ErrTruncated, len(b), size)
		case lastOffsetDelta < 0 || next < 0 || next >= math.MaxInt64-lastOffsetDelta:
			return next, fmt.Errorf("%w: baseOffset %d with lastOffsetDelta %d", ErrInvalidRecord, next, lastOffsetDelta)
		}
		SetBaseOffset(b, next)
		SetLeaderEpoch(b, leaderEpoch)
		next += lastOffsetDelta + 1
		b = b[size:]
	}
	return next, nil
}

// EmptyBatch returns a batch without records that covers the offsets from baseOffset to lastOffset, as Kafka's compaction
// leaves one where nothing else of a range is left: consumers skip it and go on behind it. A batch spans at most 2^31
// offsets; a longer gap is cut there, and the reader's next request brings the rest.
func EmptyBatch(baseOffset, lastOffset int64, leaderEpoch int32) []byte {
	h := Header{
		BaseOffset:      baseOffset,
		Length:          minLength,
		LeaderEpoch:     leaderEpoch,
		LastOffsetDelta: int32(min(max(lastOffset-baseOffset, 0), math.MaxInt32)),
		BaseTimestamp:   NoTimestamp,
		MaxTimestamp:    NoTimestamp,
		ProducerID:      NoProducerID,
		ProducerEpoch:   NoProducerEpoch,
		BaseSequence:    NoSequence,
	}
	b := make([]byte, HeaderBytes)
	h.put(b)
	sealCRC(b)
	return b
}
