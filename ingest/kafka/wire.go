package kafka

import (
	"encoding/binary"
	"errors"
	"math"
	"unsafe"
)

// Kafka's primitive types (https://kafka.apache.org/protocol#protocol_types). kmsg encodes and decodes every message but two: the
// Produce request and the Fetch response, whose records must be neither copied nor allowed to make us allocate by what they claim.

var errShort = errors.New("bytes end before the message does")

// wireReader takes primitive types off a byte slice. After the first failure every method returns zero and failed stays set.
type wireReader struct {
	b      []byte
	failed bool
}

func (r *wireReader) fail() {
	r.failed = true
	r.b = nil
}

// span takes n bytes, which alias the reader's slice.
func (r *wireReader) span(n int) []byte {
	if n < 0 || n > len(r.b) {
		r.fail()
		return nil
	}
	s := r.b[:n:n]
	r.b = r.b[n:]
	return s
}

func (r *wireReader) int16() int16 {
	if s := r.span(2); s != nil {
		return int16(binary.BigEndian.Uint16(s))
	}
	return 0
}

func (r *wireReader) int32() int32 {
	if s := r.span(4); s != nil {
		return int32(binary.BigEndian.Uint32(s))
	}
	return 0
}

func (r *wireReader) uvarint() uint32 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || n > 5 || v > math.MaxUint32 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return uint32(v)
}

// nullableString takes a STRING or NULLABLE_STRING; null reads as nil.
func (r *wireReader) nullableString(flexible bool) []byte {
	if flexible {
		return r.compact()
	}
	n := r.int16()
	if n == -1 {
		return nil
	}
	return r.span(int(n))
}

// nullableBytes takes BYTES or NULLABLE_BYTES; null reads as nil.
func (r *wireReader) nullableBytes(flexible bool) []byte {
	if flexible {
		return r.compact()
	}
	n := r.int32()
	if n == -1 {
		return nil
	}
	return r.span(int(n))
}

func (r *wireReader) compact() []byte {
	n := r.uvarint()
	if n == 0 {
		return nil
	}
	if int64(n)-1 > int64(len(r.b)) {
		r.fail()
		return nil
	}
	return r.span(int(n - 1))
}

// arrayLen takes an array's length; an array whose elements of at least minElementBytes cannot be in the bytes that are left is refused.
func (r *wireReader) arrayLen(flexible bool, minElementBytes int) int {
	var n int64
	if flexible {
		n = int64(r.uvarint()) - 1
	} else {
		n = int64(r.int32())
	}
	if n <= 0 {
		return 0
	}
	if n*int64(minElementBytes) > int64(len(r.b)) {
		r.fail()
		return 0
	}
	return int(n)
}

// tags skips a tagged field section.
func (r *wireReader) tags() {
	for n := r.uvarint(); n > 0 && !r.failed; n-- {
		r.uvarint()
		size := r.uvarint()
		if int64(size) > int64(len(r.b)) {
			r.fail()
			return
		}
		r.span(int(size))
	}
}

// unsafeString views b as a string; it is valid for as long as b is unchanged.
func unsafeString(b []byte) string {
	return unsafe.String(unsafe.SliceData(b), len(b))
}

func appendInt16(dst []byte, v int16) []byte { return binary.BigEndian.AppendUint16(dst, uint16(v)) }
func appendInt32(dst []byte, v int32) []byte { return binary.BigEndian.AppendUint32(dst, uint32(v)) }
func appendInt64(dst []byte, v int64) []byte { return binary.BigEndian.AppendUint64(dst, uint64(v)) }

func appendUvarint(dst []byte, v uint32) []byte { return binary.AppendUvarint(dst, uint64(v)) }

func appendArrayLen(dst []byte, flexible bool, n int) []byte {
	if flexible {
		return appendUvarint(dst, uint32(n)+1)
	}
	return appendInt32(dst, int32(n))
}

func appendString[S string | []byte](dst []byte, flexible bool, s S) []byte {
	if flexible {
		dst = appendUvarint(dst, uint32(len(s))+1)
	} else {
		dst = appendInt16(dst, int16(len(s)))
	}
	return append(dst, s...)
}

func appendNullableString(dst []byte, flexible bool, s string) []byte {
	if s != "" {
		return appendString(dst, flexible, s)
	}
	if flexible {
		return append(dst, 0)
	}
	return appendInt16(dst, -1)
}

// appendBytesLen is the length before BYTES that the caller splices in.
func appendBytesLen(dst []byte, flexible bool, n int) []byte {
	if flexible {
		return appendUvarint(dst, uint32(n)+1)
	}
	return appendInt32(dst, int32(n))
}

// appendNoTags ends a structure of a flexible version without tagged fields.
func appendNoTags(dst []byte, flexible bool) []byte {
	if flexible {
		return append(dst, 0)
	}
	return dst
}
