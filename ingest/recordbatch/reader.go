package recordbatch

import (
	"fmt"
	"iter"
	"math"
)

// Reader iterates over the records of a batch without allocating. The zero value has no records; Reset gives it some.
type Reader struct {
	header Header
	record Record
	rest   []byte
	left   int32
	last   int32 // the previous record's offsetDelta
	err    error
}

// Reset begins reading the batch that b begins with. It inflates the records into scratch, which must not be nil, if they
// are compressed. The CRC is not checked.
func (r *Reader) Reset(b []byte, scratch *Scratch) error {
	h, records, err := scratch.open(b)
	if err != nil {
		*r = Reader{err: err}
		return err
	}
	r.start(h, records)
	return nil
}

// start begins reading records that are inflated already.
func (r *Reader) start(h Header, records []byte) {
	*r = Reader{header: h, rest: records, left: h.RecordCount, last: -1}
}

// Header is the batch's header.
func (r *Reader) Header() *Header { return &r.header }

// Next goes to the next record; false at the end or at an error.
func (r *Reader) Next() bool {
	if r.left == 0 {
		if r.err == nil && len(r.rest) != 0 {
			r.err = fmt.Errorf("%w: %d bytes behind the last record", ErrInvalidRecord, len(r.rest))
			r.rest = nil
		}
		return false
	}
	n, err := r.record.parse(r.rest)
	if err == nil {
		err = r.place()
	}
	if err != nil {
		r.err = fmt.Errorf("record %d of %d: %w", r.header.RecordCount-r.left, r.header.RecordCount, err)
		r.left, r.rest = 0, nil
		return false
	}
	r.rest = r.rest[n:]
	r.left--
	return true
}

// place computes the record's absolute offset and timestamp.
func (r *Reader) place() error {
	rec := &r.record
	if rec.OffsetDelta <= r.last || rec.OffsetDelta > r.header.LastOffsetDelta {
		return fmt.Errorf("%w: offsetDelta %d after %d in a batch that ends at %d", ErrInvalidRecord, rec.OffsetDelta, r.last, r.header.LastOffsetDelta)
	}
	r.last = rec.OffsetDelta
	rec.Offset = r.header.BaseOffset + int64(rec.OffsetDelta)
	if r.header.IsLogAppendTime() {
		rec.Timestamp = r.header.MaxTimestamp
		return nil
	}
	base, delta := r.header.BaseTimestamp, rec.timestampDelta
	if (delta > 0 && base > math.MaxInt64-delta) || (delta < 0 && base < math.MinInt64-delta) {
		return fmt.Errorf("%w: timestamp %d + %d", ErrInvalidRecord, base, delta)
	}
	rec.Timestamp = base + delta
	return nil
}

// Record is the current record, valid until the next call of Next; its slices are valid as long as the batch and the
// scratch are.
func (r *Reader) Record() *Record { return &r.record }

// Err is what ended the iteration early, nil if it came to the end.
func (r *Reader) Err() error { return r.err }

// Records walks the records of the batch that b begins with, inflating them into scratch (nil for one of its own) if
// they are compressed. An error is yielded once, last. The CRC is not checked. Reader does the same for loops that range
// over RecordHeaders inside: the compiler puts the state of one such loop within another on the heap.
func Records(b []byte, scratch *Scratch) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) { eachRecord(b, scratch, yield) }
}

func eachRecord(b []byte, scratch *Scratch, yield func(Record, error) bool) {
	if scratch == nil {
		scratch = new(Scratch)
	}
	var r Reader
	if err := r.Reset(b, scratch); err != nil {
		yield(Record{}, err)
		return
	}
	for r.Next() {
		if !yield(r.record, nil) {
			return
		}
	}
	if r.err != nil {
		yield(Record{}, r.err)
	}
}
