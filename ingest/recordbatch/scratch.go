package recordbatch

import (
	"errors"
	"sync"
	"time"
)

// DefaultMaxInflatedBytes bounds what one batch may inflate to where nothing else is said.
const DefaultMaxInflatedBytes = 64 << 20

// maxSmallBytes is the most that batches may inflate to with many others at once. What inflates further takes turns.
const maxSmallBytes = 4 << 20

// Scratch is the memory that inflating batches needs, reused from batch to batch. The zero value is ready to use; GetScratch is for
// those who have many callers at once. It must not be used by two goroutines at once, nor for a second batch while records
// of the first are in use.
type Scratch struct {
	// MaxInflatedBytes bounds what a batch may inflate to; 0 means DefaultMaxInflatedBytes.
	MaxInflatedBytes int

	inflated []byte
	pooled   bool
	small    []byte // the pooled scratch's own memory, while it has the large one
	hasLarge bool
}

var scratchPool = sync.Pool{New: func() any { return &Scratch{pooled: true} }}

// keepLargeFor is how long the memory of large batches is kept without use.
const keepLargeFor = 10 * time.Second

// large is the memory for batches that inflate beyond maxSmallBytes, one at a time in the process: a batch of a megabyte may stand for
// 64, and a client, who sends many of them on many connections, must not multiply that. Whoever has put a value into turn
// owns the rest. The memory is kept for a while, for the collector would keep up with many batches in a row only at a multiple of it.
var large = struct {
	turn   chan struct{}
	memory []byte
	idle   *time.Timer
}{turn: make(chan struct{}, 1)}

// dropLarge gives the memory up. Who has it now sets the timer anew.
func dropLarge() {
	select {
	case large.turn <- struct{}{}:
		large.memory = nil
		<-large.turn
	default:
	}
}

// GetScratch returns a Scratch from a pool, for one goroutine until Put. A batch that inflates to more than 4 MiB waits within until no other
// such Scratch holds one, so a goroutine may have one at a time.
func GetScratch(maxInflatedBytes int) *Scratch {
	s := scratchPool.Get().(*Scratch) //nolint:forcetypeassert // the pool holds nothing else
	s.MaxInflatedBytes = maxInflatedBytes
	return s
}

// Put gives a Scratch from GetScratch back. Nothing that was inflated into it may be used any more.
func (s *Scratch) Put() {
	if s.hasLarge {
		large.memory = s.inflated
		s.inflated, s.small, s.hasLarge = s.small, nil, false
		if large.idle == nil {
			large.idle = time.AfterFunc(keepLargeFor, dropLarge)
		} else {
			large.idle.Reset(keepLargeFor)
		}
		<-large.turn
	}
	scratchPool.Put(s)
}

// open returns the header and the inflated records of the one batch that b holds.
func (s *Scratch) open(b []byte) (h Header, records []byte, err error) {
	batch, err := first(b)
	if err != nil {
		return Header{}, nil, err
	}
	records = batch.Bytes[HeaderBytes:]
	if batch.Codec() == None {
		return batch.Header, records, nil
	}
	limit := s.MaxInflatedBytes
	if limit == 0 {
		limit = DefaultMaxInflatedBytes
	}
	bound := limit
	if s.pooled && !s.hasLarge {
		bound = min(limit, maxSmallBytes)
	}
	s.inflated, err = inflate(s.inflated, batch.Codec(), records, bound)
	if bound < limit && errors.Is(err, ErrTooLarge) {
		s.takeLarge(limit)
		s.inflated, err = inflate(s.inflated, batch.Codec(), records, limit)
	}
	return batch.Header, s.inflated, err
}

// takeLarge waits for the large memory. Where there is none it is made as large as it may have to be: what is never written to is never
// there, and growing step by step would leave garbage of the same size.
func (s *Scratch) takeLarge(limit int) {
	large.turn <- struct{}{}
	s.small, s.inflated, s.hasLarge = s.inflated, large.memory, true
	large.memory = nil
	if cap(s.inflated) < limit {
		s.inflated = make([]byte, 0, limit+zstdSpareBytes)
	}
}
