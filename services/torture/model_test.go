package torture

import (
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/varvelog/varve/coordinator/meta"
)

// fate is what a producer knows of a batch.
type fate uint8

const (
	unknown fate = iota // may be there
	acked               // is there
	refused             // is not there and never will be
)

// sent is a batch that a producer has handed over.
type sent struct {
	values []string
	fate   fate
	base   int64 // where acked
}

// model is what may be read of one partition.
type model struct {
	mu      sync.Mutex
	batches map[string]*sent // by the value of the first record
	owner   map[string]*sent // by the value of any record
	seen    map[int64]string // what was read at an offset, once and for all
	// acknowledged is the offset after the highest acknowledged record: no high watermark read after that is lower.
	acknowledged int64
	logStart     int64
	fail         func(format string, args ...any)
}

func newModel(tp meta.TopicPartition, fail func(string, ...any)) *model {
	return &model{batches: map[string]*sent{}, owner: map[string]*sent{}, seen: map[int64]string{},
		fail: func(format string, args ...any) { fail("%v: %s", tp, fmt.Sprintf(format, args...)) }}
}

// send notes that a batch is about to be handed over.
func (m *model) send(values []string) *sent {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := &sent{values: values, base: -1}
	m.batches[values[0]] = s
	for _, v := range values {
		m.owner[v] = s
	}
	return s
}

// ack notes that the batch was acknowledged at base.
func (m *model) ack(s *sent, base int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s.fate == acked && s.base != base {
		m.fail("batch %q was acknowledged at %d, and now at %d", s.values[0], s.base, base)
	}
	s.fate, s.base = acked, base
	m.acknowledged = max(m.acknowledged, base+int64(len(s.values)))
	for i, v := range s.values {
		m.see(base+int64(i), v)
	}
}

func (m *model) refuse(s *sent) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s.fate == unknown {
		s.fate = refused
	}
}

// see is called with mu held.
func (m *model) see(offset int64, value string) {
	if before, ok := m.seen[offset]; ok && before != value {
		m.fail("offset %d was %q, and is %q", offset, before, value)
	}
	m.seen[offset] = value
}

func (m *model) floor() (logStart, highWatermark int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.logStart, m.acknowledged
}

// record is one that was read.
type record struct {
	offset int64
	value  string
}

// read checks what one read brought.
func (m *model) read(from int64, records []record, covered int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	next := from
	for i, r := range records {
		if i == 0 && r.offset < from {
			m.fail("read from %d brought %d", from, r.offset)
		}
		if r.offset != next {
			m.fail("read from %d: offset %d where %d comes next", from, r.offset, next)
		}
		next = r.offset + 1
		s := m.owner[r.value]
		switch {
		case s == nil:
			m.fail("offset %d holds %q, which nobody produced", r.offset, r.value)
		case s.fate == refused:
			m.fail("offset %d holds %q, which was refused", r.offset, r.value)
		}
		m.see(r.offset, r.value)
	}
	if covered != next {
		m.fail("read from %d covers offsets up to %d, but brings records up to %d", from, covered, next)
	}
}

// complete checks the partition as a whole: it was read from logStart to highWatermark.
func (m *model) complete(logStart, highWatermark int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if logStart < m.logStart {
		m.fail("log start %d, was %d", logStart, m.logStart)
	}
	m.logStart = logStart
	if highWatermark < m.acknowledged {
		m.fail("high watermark %d, acknowledged up to %d", highWatermark, m.acknowledged)
	}
	m.acknowledged = highWatermark
	once := map[string]int64{}
	last := map[string]int{} // of each producer, the number of its last batch
	for _, offset := range slices.Sorted(maps.Keys(m.seen)) {
		value := m.seen[offset]
		if offset >= highWatermark {
			m.fail("offset %d was read, the high watermark is %d", offset, highWatermark)
		}
		if at, twice := once[value]; twice {
			m.fail("%q stands at %d and at %d", value, at, offset)
		}
		once[value] = offset
		var producer string
		var number int
		if _, err := fmt.Sscanf(value, "%s %d", &producer, &number); err != nil {
			m.fail("value %q: %v", value, err)
		}
		if number < last[producer] {
			m.fail("offset %d: batch %d of %s behind %d", offset, number, producer, last[producer])
		}
		last[producer] = number
	}
}
