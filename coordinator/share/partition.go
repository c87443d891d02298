package share

import (
	"slices"
	"time"
)

// span is a run of offsets of which the same is to be said.
type span struct {
	base, next int64
	state      State
	count      int32  // how often they were given out, this time included
	member     string // of an acquired span
	ends       time.Time
}

func (s *span) says(o *span) bool {
	return s.state == o.state && s.count == o.count && s.member == o.member && s.ends.Equal(o.ends)
}

// Limits are the group's and the cluster's bounds as they are now.
type Limits struct {
	MaxDeliveries int32         // group.share.delivery.count.limit
	MaxInFlight   int64         // group.share.partition.max.record.locks
	Lock          time.Duration // share.record.lock.duration.ms
}

// Partition is one share partition. It is not safe for concurrent use.
type Partition struct {
	start, end int64
	spans      []span
	earliest   time.Time // no acquisition ends before this; zero where there is none

	changes []StateBatch // since Take
	moved   bool         // start has, since Take
}

// Restore makes a partition of what is durable of one: nothing is acquired. Batches are in order and apart.
func Restore(start int64, batches []StateBatch) *Partition {
	p := &Partition{start: start, end: start}
	for _, b := range batches {
		if b.Next <= p.end {
			continue
		}
		b.Base = max(b.Base, p.end)
		p.extend(b.Base)
		p.spans = append(p.spans, span{base: b.Base, next: b.Next, state: b.State, count: b.DeliveryCount})
		p.end = b.Next
	}
	p.settle()
	p.moved = p.start != start
	return p
}

// Start is the first offset that is not done with (SPSO), End the first that was never given out.
func (p *Partition) Start() int64 { return p.start }

// End is the first offset that was never given out.
func (p *Partition) End() int64 { return p.end }

// extend makes what was never given out, up to an offset, available.
func (p *Partition) extend(to int64) {
	if to > p.end {
		p.spans = append(p.spans, span{base: p.end, next: to, state: Available})
		p.end = to
	}
}

// at is the index of the span that holds an offset, or of the first one behind it.
func (p *Partition) at(offset int64) int {
	i, _ := slices.BinarySearchFunc(p.spans, offset, func(s span, offset int64) int {
		switch {
		case s.next <= offset:
			return -1
		case s.base > offset:
			return 1
		}
		return 0
	})
	return i
}

// cut makes an offset the beginning of a span, where it lies within one, and returns the index of that span.
func (p *Partition) cut(offset int64) int {
	i := p.at(offset)
	if i < len(p.spans) && p.spans[i].base < offset {
		rest := p.spans[i]
		p.spans[i].next, rest.base = offset, offset
		p.spans = slices.Insert(p.spans, i+1, rest)
		return i + 1
	}
	return i
}

// change runs do on the spans that make up [base, next).
func (p *Partition) change(base, next int64, do func(*span)) {
	if base >= next {
		return
	}
	from, to := p.cut(base), p.cut(next)
	for i := from; i < to; i++ {
		do(&p.spans[i])
	}
}

// put gives a span a state that is durable, and nobody.
func (p *Partition) put(s *span, state State) {
	s.state, s.member, s.ends = state, "", time.Time{}
	c := StateBatch{s.base, s.next, state, s.count}
	if n := len(p.changes); n > 0 && p.changes[n-1].Next == c.Base && p.changes[n-1].says(&c) {
		p.changes[n-1].Next = c.Next
		return
	}
	p.changes = append(p.changes, c)
}

// giveBack makes a span available again, or archives it where it was given out as often as it may be.
func (p *Partition) giveBack(s *span, limits Limits) {
	if s.count >= limits.MaxDeliveries {
		p.put(s, Archived)
		return
	}
	p.put(s, Available)
}

// settle moves the start past what is done, and joins neighbours that are alike.
func (p *Partition) settle() {
	out := p.spans[:0]
	for _, s := range p.spans {
		if len(out) == 0 && s.state.IsDone() {
			p.start, p.moved = s.next, true
			continue
		}
		if n := len(out); n > 0 && out[n-1].says(&s) {
			out[n-1].next = s.next
			continue
		}
		out = append(out, s)
	}
	clear(p.spans[len(out):])
	p.spans = out
}

// FetchOffset is the first offset that may be given out; false where as many are out as may be.
func (p *Partition) FetchOffset(limits Limits) (offset int64, ok bool) {
	for i := range p.spans {
		if p.spans[i].state == Available {
			return p.spans[i].base, true
		}
	}
	return p.end, p.end-p.start < limits.MaxInFlight
}

// RaiseStart lets go of what lies below the log's start.
func (p *Partition) RaiseStart(logStart int64) {
	if logStart <= p.start {
		return
	}
	p.spans = slices.Delete(p.spans, 0, p.cut(logStart))
	p.start, p.end, p.moved = logStart, max(p.end, logStart), true
	p.settle()
}

// Release takes back what a member has, as if it had never been given out; it tells whether there was any.
func (p *Partition) Release(member string) (any bool) {
	for i := range p.spans {
		if s := &p.spans[i]; s.state == Acquired && s.member == member {
			s.count--
			p.put(s, Available)
			any = true
		}
	}
	if any {
		p.settle()
	}
	return any
}

// Expire takes back what members have had for as long as they may; it tells whether there was any.
func (p *Partition) Expire(now time.Time, limits Limits) (any bool) {
	if p.earliest.IsZero() || now.Before(p.earliest) {
		return false
	}
	p.earliest = time.Time{}
	for i := range p.spans {
		s := &p.spans[i]
		switch {
		case s.state != Acquired:
		case now.Before(s.ends):
			p.endsBy(s.ends)
		default:
			p.giveBack(s, limits)
			any = true
		}
	}
	if any {
		p.settle()
	}
	return any
}

func (p *Partition) endsBy(t time.Time) {
	if p.earliest.IsZero() || t.Before(p.earliest) {
		p.earliest = t
	}
}

// NextDeadline is when Expire may have something to do; zero for never.
func (p *Partition) NextDeadline() time.Time { return p.earliest }

// HasAcquired says that somebody has a record.
func (p *Partition) HasAcquired() bool {
	return slices.ContainsFunc(p.spans, func(s span) bool { return s.state == Acquired })
}

// IsDirty says that Take has something to tell.
func (p *Partition) IsDirty() bool { return p.moved || len(p.changes) > 0 }

// MarkDirty has Take tell of the start, although it has not moved.
func (p *Partition) MarkDirty() { p.moved = true }

// Take is what has changed of what is durable since it was last called. The slice is the caller's.
func (p *Partition) Take() (start int64, changes []StateBatch) {
	changes, p.changes, p.moved = p.changes, nil, false
	return p.start, changes
}
