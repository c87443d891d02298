package kafka

import (
	"math/bits"
	"sync"
	"sync/atomic"
)

// frame is the bytes of one request after its length prefix, in a pooled buffer. Every holder calls release once; the last gives
// the buffer and its charge back.
type frame struct {
	bytes  []byte
	refs   atomic.Int32
	class  int8 // index of its pool, -1 if not pooled
	charge int64
	budget *byteBudget // nil if nothing was charged
	next   *frame      // adopted
}

const (
	minFrameClassBits = 9  // 512 bytes
	maxFrameClassBits = 23 // 8 MiB; larger frames are rare enough to be left to the garbage collector
)

// framePools hold buffers by size class, powers of two, as *frame so that putting one back allocates nothing.
var framePools [maxFrameClassBits - minFrameClassBits + 1]sync.Pool

// newFrame returns a frame of size bytes, at least 1, whose charge has already been taken from the budget.
func newFrame(size int, charge int64, budget *byteBudget) *frame {
	class := max(bits.Len(uint(size-1)), minFrameClassBits) - minFrameClassBits
	f := frameOfClass(class, size)
	f.bytes, f.charge, f.budget = f.bytes[:size], charge, budget
	f.refs.Store(1)
	return f
}

func frameOfClass(class, size int) *frame {
	if class >= len(framePools) {
		return &frame{bytes: make([]byte, size), class: -1}
	}
	if f, ok := framePools[class].Get().(*frame); ok {
		return f
	}
	return &frame{bytes: make([]byte, 1<<(class+minFrameClassBits)), class: int8(class)}
}

// chargeOnly gives back what of the charge is above charge. The only holder calls it.
func (f *frame) chargeOnly(charge int64) {
	if f.budget != nil && charge < f.charge {
		f.budget.release(f.charge - charge)
		f.charge = charge
	}
}

// retain adds a holder, who calls release once too.
func (f *frame) retain() { f.refs.Add(1) }

// adopt makes other's bytes live as long as f's.
func (f *frame) adopt(other *frame) {
	other.next = f.next
	f.next = other
}

func (f *frame) release() {
	if f.refs.Add(-1) > 0 {
		return
	}
	if f.budget != nil {
		f.budget.release(f.charge)
	}
	next := f.next
	f.budget, f.charge, f.next = nil, 0, nil
	if f.class >= 0 {
		framePools[f.class].Put(f)
	}
	if next != nil {
		next.release()
	}
}

// Release is release, for the lane.
func (f *frame) Release() { f.release() }
