package compact

import (
	"crypto/sha256"
	"encoding/binary"
	"math/bits"
)

// slot is the last offset of one key, plus one; 0 is a free slot. Keys are known by 128 bits of their SHA-256: two keys with the same would
// cost a record, and nobody can find such a pair.
type slot struct {
	high, low uint64
	offset    int64
}

const slotBytes = 24

// offsets are the last offsets of keys, in memory that is bounded from the start.
type offsets struct {
	slots []slot
	used  int
	limit int // of used: a table that is too full is slow
}

// newOffsets returns a table with room for records, as far as maxBytes go.
func newOffsets(records uint64, maxBytes int) *offsets {
	n := max(min(records+records/4+2, uint64(maxBytes/slotBytes)), 2)
	return &offsets{slots: make([]slot, n), limit: max(int(n-n/8)-1, 1)}
}

func hashKey(key []byte) (high, low uint64) {
	sum := sha256.Sum256(key)
	return binary.LittleEndian.Uint64(sum[:]), binary.LittleEndian.Uint64(sum[8:])
}

// find returns the key's slot, or the free one where it would be.
func (o *offsets) find(high, low uint64) *slot {
	at, _ := bits.Mul64(high, uint64(len(o.slots)))
	for {
		s := &o.slots[at]
		if s.offset == 0 || s.high == high && s.low == low {
			return s
		}
		if at++; at == uint64(len(o.slots)) {
			at = 0
		}
	}
}

// put notes a record of the key; false where the table is full. Offsets come in ascending order.
func (o *offsets) put(key []byte, offset int64) bool {
	high, low := hashKey(key)
	s := o.find(high, low)
	if s.offset == 0 {
		if o.used == o.limit {
			return false
		}
		o.used++
	}
	*s = slot{high, low, offset + 1}
	return true
}

// supersedes tells whether a later record of the key than that at offset is known.
func (o *offsets) supersedes(key []byte, offset int64) bool {
	if o.used == 0 {
		return false
	}
	return o.find(hashKey(key)).offset > offset+1
}
