package recordbatch

import (
	"encoding/binary"
	"fmt"
	"iter"
	"math"
)

// minRecordBytes is the smallest encoded record: length, attributes, timestampDelta, offsetDelta, key and value lengths
// and the header count, a byte each.
const minRecordBytes = 7

// Record is one record of a batch. Its slices are parts of the batch, or of the Scratch it was inflated into.
type Record struct {
	Offset    int64
	Timestamp int64 // milliseconds since 1970, -1 for none
	// Key and Value are nil where the record has none; an empty one is not nil.
	Key, Value []byte
	// Headers is the record's header section as encoded: the count, then keys and values. RecordHeaders walks it.
	Headers     []byte
	Attributes  int8 // Kafka defines no bit of it
	OffsetDelta int32

	tail           []byte // everything behind offsetDelta, as encoded
	timestampDelta int64
}

// RecordHeader is one header of a record. Value is nil where it has none.
type RecordHeader struct {
	Key, Value []byte
}

// parse decodes the record that b begins with and returns its encoded size. Every length is checked against the record's
// own, and the record's against b.
func (r *Record) parse(b []byte) (sizeBytes int, err error) {
	length, n := varint32(b)
	if n <= 0 || length < minRecordBytes-1 || int(length) > len(b)-n {
		return 0, fmt.Errorf("%w: record length %d with %d bytes left", ErrInvalidRecord, length, len(b))
	}
	sizeBytes = n + int(length)
	b = b[n:sizeBytes:sizeBytes]
	r.Attributes = int8(b[0])
	b = b[1:]
	r.timestampDelta, n = varint64(b)
	if n <= 0 {
		return 0, fmt.Errorf("%w: timestampDelta", ErrInvalidRecord)
	}
	b = b[n:]
	if r.OffsetDelta, n = varint32(b); n <= 0 {
		return 0, fmt.Errorf("%w: offsetDelta", ErrInvalidRecord)
	}
	b = b[n:]
	r.tail = b
	var ok bool
	if r.Key, b, ok = cutBytes(b); !ok {
		return 0, fmt.Errorf("%w: key length exceeds the record", ErrInvalidRecord)
	}
	if r.Value, b, ok = cutBytes(b); !ok {
		return 0, fmt.Errorf("%w: value length exceeds the record", ErrInvalidRecord)
	}
	r.Headers = b
	return sizeBytes, checkHeaders(b)
}

// checkHeaders verifies that b is a header section and nothing else.
func checkHeaders(b []byte) error {
	count, n := varint32(b)
	if n <= 0 || count < 0 || int(count) > (len(b)-n)/2 {
		return fmt.Errorf("%w: %d headers in %d bytes", ErrInvalidRecord, count, len(b))
	}
	b = b[n:]
	for range count {
		var key []byte
		var ok bool
		if key, b, ok = cutBytes(b); !ok || key == nil {
			return fmt.Errorf("%w: header key", ErrInvalidRecord)
		}
		if _, b, ok = cutBytes(b); !ok {
			return fmt.Errorf("%w: header value", ErrInvalidRecord)
		}
	}
	if len(b) != 0 {
		return fmt.Errorf("%w: %d bytes behind the last header", ErrInvalidRecord, len(b))
	}
	return nil
}

// RecordHeaders walks the header section of a Record. It stops where the section is malformed, which that of a Record
// from this package never is.
func RecordHeaders(section []byte) iter.Seq[RecordHeader] {
	return func(yield func(RecordHeader) bool) { eachHeader(section, yield) }
}

// eachHeader stands apart so that RecordHeaders is inlined and a caller's loop body stays on its stack.
func eachHeader(b []byte, yield func(RecordHeader) bool) {
	count, n := varint32(b)
	if n <= 0 {
		return
	}
	b = b[n:]
	for range count {
		var h RecordHeader
		var ok bool
		if h.Key, b, ok = cutBytes(b); !ok {
			return
		}
		if h.Value, b, ok = cutBytes(b); !ok {
			return
		}
		if !yield(h) {
			return
		}
	}
}

// AppendRecordHeaders appends the header section that says headers to dst, as Builder.Append takes it.
func AppendRecordHeaders(dst []byte, headers ...RecordHeader) []byte {
	dst = binary.AppendVarint(dst, int64(len(headers)))
	for _, h := range headers {
		dst = binary.AppendVarint(dst, int64(len(h.Key)))
		dst = append(dst, h.Key...)
		dst = appendBytes(dst, h.Value)
	}
	return dst
}

// cutBytes cuts a length-prefixed, nullable byte string off b.
func cutBytes(b []byte) (field, rest []byte, ok bool) {
	length, n := varint32(b)
	switch {
	case n <= 0 || length < -1 || int(length) > len(b)-n:
		return nil, nil, false
	case length == -1:
		return nil, b[n:], true
	}
	end := n + int(length)
	return b[n:end:end], b[end:], true
}

func appendBytes(dst, field []byte) []byte {
	if field == nil {
		return append(dst, 1) // -1 in zigzag
	}
	return append(binary.AppendVarint(dst, int64(len(field))), field...)
}

func bytesSize(field []byte) int {
	if field == nil {
		return 1
	}
	return varintSize(int64(len(field))) + len(field)
}

// varint32 decodes a zigzag varint that must fit an int32; n <= 0 where it does not.
func varint32(b []byte) (v int32, n int) {
	if len(b) > 0 && b[0] < 0x80 { // most lengths and deltas
		return int32(b[0]>>1) ^ -int32(b[0]&1), 1
	}
	if len(b) > 1 && b[1] < 0x80 { // most of the others
		u := int32(b[0]&0x7f) | int32(b[1])<<7
		return u>>1 ^ -(u & 1), 2
	}
	v64, n := binary.Varint(b)
	if v64 < math.MinInt32 || v64 > math.MaxInt32 {
		return 0, -1
	}
	return int32(v64), n
}

func varint64(b []byte) (v int64, n int) {
	if len(b) > 0 && b[0] < 0x80 {
		return int64(b[0]>>1) ^ -int64(b[0]&1), 1
	}
	if len(b) > 1 && b[1] < 0x80 {
		u := int64(b[0]&0x7f) | int64(b[1])<<7
		return u>>1 ^ -(u & 1), 2
	}
	return binary.Varint(b)
}

// varintSize is the number of bytes of v as a zigzag varint.
func varintSize(v int64) int {
	u := uint64(v)<<1 ^ uint64(v>>63)
	n := 1
	for u >= 0x80 {
		u >>= 7
		n++
	}
	return n
}
