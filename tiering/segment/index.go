package segment

import (
	"fmt"
	"hash/crc32"
	"sort"
)

// Index finds batches inside a part. It refers to the bytes it was parsed from and is safe for concurrent use.
type Index struct {
	entries     []byte
	baseOffset  int64
	lengthBytes uint64
}

// Range is a half-open range of bytes, counted from the part's first byte, that begins and ends between batches.
type Range struct {
	From, To uint64
	// BaseOffset is that of the first batch in the range.
	BaseOffset int64
}

// ParseIndex checks an index's bytes. baseOffset and lengthBytes are those of its part.
func ParseIndex(b []byte, baseOffset int64, lengthBytes uint64) (Index, error) {
	if len(b) < indexEntryBytes+crcBytes || (len(b)-crcBytes)%indexEntryBytes != 0 {
		return Index{}, fmt.Errorf("parse index: %d bytes: %w", len(b), ErrTruncated)
	}
	entries := b[:len(b)-crcBytes]
	if crc32.Checksum(entries, castagnoli) != order.Uint32(b[len(b)-crcBytes:]) {
		return Index{}, fmt.Errorf("parse index: checksum: %w", ErrCorrupt)
	}
	x := Index{entries: entries, baseOffset: baseOffset, lengthBytes: lengthBytes}
	for i := 1; i < x.Batches(); i++ {
		if x.position(i) <= x.position(i-1) || x.base(i) <= x.base(i-1) {
			return Index{}, fmt.Errorf("parse index: entry %d does not ascend: %w", i, ErrCorrupt)
		}
	}
	if x.position(0) != 0 || x.position(x.Batches()-1) >= lengthBytes {
		return Index{}, fmt.Errorf("parse index: positions outside the part: %w", ErrCorrupt)
	}
	return x, nil
}

// Batches is the number of batches in the part.
func (x Index) Batches() int { return len(x.entries) / indexEntryBytes }

func (x Index) base(i int) int64 {
	return x.baseOffset + int64(order.Uint32(x.entries[i*indexEntryBytes:]))
}

func (x Index) position(i int) uint64 {
	if i == x.Batches() {
		return x.lengthBytes
	}
	return uint64(order.Uint32(x.entries[i*indexEntryBytes+4:]))
}

func (x Index) maxTimestamp(i int) int64 {
	return int64(order.Uint64(x.entries[i*indexEntryBytes+8:]))
}

// At returns the range of batches to read from offset on: the batch that holds offset (or the first one above it) and as
// many after it as fit into maxBytes, at least one.
func (x Index) At(offset int64, maxBytes int) Range {
	first := sort.Search(x.Batches(), func(i int) bool { return x.base(i) > offset }) - 1
	first = max(first, 0)
	from := x.position(first)
	last := sort.Search(x.Batches(), func(i int) bool { return x.position(i+1) > from+uint64(max(maxBytes, 0)) })
	last = max(last, first+1)
	return Range{From: from, To: x.position(last), BaseOffset: x.base(first)}
}

// AtTime returns the first batch with a record at or after the time.
func (x Index) AtTime(timestampMillis int64) (Range, bool) {
	for i := range x.Batches() {
		if x.maxTimestamp(i) >= timestampMillis {
			return Range{From: x.position(i), To: x.position(i + 1), BaseOffset: x.base(i)}, true
		}
	}
	return Range{}, false
}
