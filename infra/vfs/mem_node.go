package vfs

import (
	"math/rand/v2"
)

// memNode is a file's contents, or a directory.
type memNode struct {
	isDir    bool
	unlinked bool
	// live is what a reader sees, durable what the last sync made certain; pending leads from the latter to the former.
	live, durable []byte
	pending       []dataOp
}

// dataOp is one unsynced change of contents: data written at off, or, where truncates is set, everything from off on
// becoming zero. sizeBytes is the file's size after it.
type dataOp struct {
	off       int
	data      []byte
	truncates bool
	sizeBytes int
}

// touches reports whether the change can be seen in bytes [from, to).
func (op dataOp) touches(from, to int) bool {
	if op.truncates {
		return op.off < to
	}
	return op.off < to && op.off+len(op.data) > from
}

// apply makes the change in window, which holds the file's bytes from position from on.
func (op dataOp) apply(window []byte, from int) {
	if op.truncates {
		clear(window[min(len(window), max(0, op.off-from)):])
		return
	}
	if op.off >= from {
		if op.off-from < len(window) {
			copy(window[op.off-from:], op.data)
		}
	} else if from-op.off < len(op.data) {
		copy(window, op.data[from-op.off:])
	}
}

func (n *memNode) write(data []byte, off int) {
	n.resize(max(len(n.live), off+len(data)))
	copy(n.live[off:], data)
	n.pending = append(n.pending, dataOp{off: off, data: data, sizeBytes: len(n.live)})
}

func (n *memNode) truncate(size int) {
	n.resize(size)
	n.pending = append(n.pending, dataOp{off: size, truncates: true, sizeBytes: size})
}

func (n *memNode) resize(size int) { n.live = resized(n.live, size) }

// resized returns b with the given length; what is added is zero.
func resized(b []byte, size int) []byte {
	if size <= len(b) {
		clear(b[size:])
		return b[:size]
	}
	if size <= cap(b) {
		return b[:size]
	}
	grown := make([]byte, size, max(size, 2*cap(b)))
	copy(grown, b)
	return grown
}

// sync makes everything durable.
func (n *memNode) sync() {
	n.durable = resized(n.durable, len(n.live))
	for _, op := range n.pending {
		op.apply(n.durable, 0)
	}
	n.pending = nil
}

// crash replaces the contents by what a power failure leaves. The size and truncations are metadata, which a file system
// journals in order: a prefix of them survives. Of the writes to a sector, each sector by itself keeps a prefix as well; so a
// write can be torn between sectors, and a later one can survive an earlier one elsewhere in the file.
func (n *memNode) crash(rng *rand.Rand, survive float64) {
	if n.isDir {
		return
	}
	metadata := survivors(rng, survive, len(n.pending))
	size := len(n.durable)
	if metadata > 0 {
		size = n.pending[metadata-1].sizeBytes
	}
	left := make([]byte, size)
	copy(left, n.durable)
	for from := 0; from < size; from += SectorBytes {
		n.crashSector(rng, survive, left[from:min(size, from+SectorBytes)], from, metadata)
	}
	n.live = left
	n.durable = append([]byte(nil), left...)
	n.pending = nil
}

// crashSector applies to one sector some prefix of the pending changes that includes every truncation that survived and
// none that did not.
func (n *memNode) crashSector(rng *rand.Rand, survive float64, sector []byte, from, metadata int) {
	touched, least, most := false, 0, len(n.pending)
	for i, op := range n.pending {
		if !op.touches(from, from+len(sector)) {
			continue
		}
		touched = true
		if op.truncates && i < metadata {
			least = i + 1
		}
		if op.truncates && i >= metadata {
			most = i
			break
		}
	}
	if !touched {
		return
	}
	keep := least + survivors(rng, survive, most-least)
	for _, op := range n.pending[:keep] {
		op.apply(sector, from)
	}
}

// survivors draws how many of n changes survive: all with probability survive, else any lesser number.
func survivors(rng *rand.Rand, survive float64, n int) int {
	if n == 0 || rng.Float64() < survive {
		return n
	}
	return rng.IntN(n)
}
