package share

import (
	"slices"
	"time"
)

// ReadBatch is a record batch that was read, [Base, Next). Withheld says that nobody is to have its offsets.
type ReadBatch struct {
	Base, Next int64
	Withheld   bool
}

// Read is what was read from the offset that FetchOffset told, and how much of it is wanted.
type Read struct {
	Offset     int64
	Batches    []ReadBatch // in order
	MaxRecords int64       // more may be given, so that whole batches are
	BatchSize  int64       // the size that runs of Given should have, which end where batches do
}

// Given is a run of offsets, [Base, Next), that a member has been given, for the DeliveryCount-th time.
type Given struct {
	Base, Next    int64
	DeliveryCount int32
}

// Acquire gives a member what is available of what was read. It takes offsets in order and, where fewer are wanted than there are, up to
// the end of the record batch in which the number is reached.
func (p *Partition) Acquire(now time.Time, member string, limits Limits, read Read) []Given {
	if len(read.Batches) == 0 || read.MaxRecords <= 0 {
		return nil
	}
	first, last := read.Batches[0].Base, read.Batches[len(read.Batches)-1].Next
	if last <= p.start || first >= last {
		return nil
	}
	known := p.end
	if last > p.end && p.end-p.start < limits.MaxInFlight {
		p.extend(last)
	}
	// What is not in the log, or in an aborted transaction, is nobody's.
	p.archive(max(read.Offset, p.start), min(first, p.end))
	for _, b := range read.Batches {
		if b.Withheld {
			p.archive(max(b.Base, p.start), min(b.Next, p.end))
		}
	}
	given, reached := p.give(now, member, limits, max(first, p.start), min(last, p.end), read)
	p.forget(max(known, reached))
	p.settle()
	return inBatches(given, read)
}

// archive makes what is available in [base, next) nobody's.
func (p *Partition) archive(base, next int64) {
	p.change(base, next, func(s *span) {
		if s.state == Available {
			p.put(s, Archived)
		}
	})
}

// give acquires what is available in [base, next), up to the end of the record batch in which the wanted number is reached; reached is how
// far it came.
func (p *Partition) give(now time.Time, member string, limits Limits, base, next int64, read Read) (given []Given, reached int64) {
	left, ends, stop := read.MaxRecords, now.Add(limits.Lock), next
	if base >= next {
		return nil, next
	}
	p.cut(base)
	for i := p.at(base); i < len(p.spans) && p.spans[i].base < stop; i++ {
		if p.spans[i].state != Available {
			continue
		}
		from, to := p.spans[i].base, min(p.spans[i].next, stop)
		if left > 0 && to-from >= left {
			stop = min(stop, endOfBatch(read.Batches, from+left))
			to = min(to, stop)
		}
		left -= to - from
		p.cut(to)
		s := &p.spans[i]
		s.state, s.count, s.member, s.ends = Acquired, s.count+1, member, ends
		given = append(given, Given{from, to, s.count})
	}
	if len(given) > 0 {
		p.endsBy(ends)
	}
	return given, stop
}

// endOfBatch is the end of the batch that holds the offset before next, or next where none does.
func endOfBatch(batches []ReadBatch, next int64) int64 {
	i, _ := slices.BinarySearchFunc(batches, next, func(b ReadBatch, next int64) int {
		if b.Next < next {
			return -1
		}
		return 1
	})
	if i < len(batches) && batches[i].Base < next {
		return batches[i].Next
	}
	return next
}

// forget takes back the end to where nothing behind it was given out.
func (p *Partition) forget(end int64) {
	if end >= p.end {
		return
	}
	p.spans = p.spans[:p.cut(end)]
	p.end = end
	p.changes = slices.DeleteFunc(p.changes, func(c StateBatch) bool { return c.Base >= end })
	if n := len(p.changes); n > 0 {
		p.changes[n-1].Next = min(p.changes[n-1].Next, end)
	}
}

// inBatches joins runs that were given out equally often, and parts them where a record batch begins once they have the wanted size.
func inBatches(given []Given, read Read) []Given {
	var joined []Given
	for _, g := range given {
		if n := len(joined); n > 0 && joined[n-1].Next == g.Base && joined[n-1].DeliveryCount == g.DeliveryCount {
			joined[n-1].Next = g.Next
			continue
		}
		joined = append(joined, g)
	}
	if read.BatchSize <= 0 {
		return joined
	}
	var out []Given
	for _, g := range joined {
		if g.Next-g.Base > read.BatchSize {
			for _, b := range read.Batches {
				if b.Base < g.Next && b.Base-g.Base >= read.BatchSize {
					out = append(out, Given{g.Base, b.Base, g.DeliveryCount})
					g.Base = b.Base
				}
			}
		}
		out = append(out, g)
	}
	return out
}
