package fetch

import (
	"math/bits"
	"sync"
)

const (
	minBufferShift = 12 // 4 KiB
	maxBufferShift = 24 // 16 MiB; what is larger is left to the garbage collector
)

// buffer is pooled memory. data has the length asked for.
type buffer struct {
	data  []byte
	class int // -1: not pooled
}

// bufferPools holds buffers by the power of two of their capacity.
var bufferPools [maxBufferShift + 1]sync.Pool

func getBuffer(size int) *buffer {
	class := max(minBufferShift, bits.Len(uint(max(size, 1)-1)))
	if class > maxBufferShift {
		return &buffer{data: make([]byte, size), class: -1}
	}
	if b, ok := bufferPools[class].Get().(*buffer); ok {
		b.data = b.data[:size]
		return b
	}
	return &buffer{data: make([]byte, size, 1<<class), class: class}
}

func (b *buffer) free() {
	if b.class >= 0 {
		bufferPools[b.class].Put(b)
	}
}
