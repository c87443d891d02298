package history

import (
	"cmp"
	"slices"
)

// reading is the second pass: what each process was given, in order.
type reading struct {
	c         *checker
	positions map[processPartition]*position
	byProcess map[int]map[int32]bool
}

type processPartition struct {
	process   int
	partition int32
}

// position is up to where a process has read a partition.
type position struct {
	next  int64 // the lowest offset that may come; -1 where it is not known
	last  int64 // the offset read last; -1
	event int   // that says so
}

func newReading(c *checker) *reading {
	return &reading{c: c, positions: map[processPartition]*position{}, byProcess: map[int]map[int32]bool{}}
}

func (r *reading) event(e *Event, n int) {
	switch {
	case e.Kind == Assign && e.Status == OK:
		for _, p := range e.Parts {
			index, _ := r.c.partition(p.Partition)
			r.place(e.Process, index, &position{next: p.Offset, last: -1, event: n})
		}
	case e.Kind == Revoke:
		r.revoke(e)
	case e.Kind == Poll && e.Status == OK:
		for _, p := range e.Parts {
			r.poll(e, p, n)
		}
	}
}

func (r *reading) place(process int, index int32, at *position) {
	r.positions[processPartition{process, index}] = at
	if r.byProcess[process] == nil {
		r.byProcess[process] = map[int32]bool{}
	}
	r.byProcess[process][index] = true
}

func (r *reading) revoke(e *Event) {
	if len(e.Parts) == 0 {
		for index := range r.byProcess[e.Process] {
			delete(r.positions, processPartition{e.Process, index})
		}
		delete(r.byProcess, e.Process)
		return
	}
	for _, p := range e.Parts {
		index, _ := r.c.partition(p.Partition)
		delete(r.positions, processPartition{e.Process, index})
		delete(r.byProcess[e.Process], index)
	}
}

// poll checks what one answer brought of one partition.
func (r *reading) poll(e *Event, got Part, n int) {
	if len(got.Records) == 0 {
		return
	}
	c := r.c
	c.report.Polled += len(got.Records)
	index, p := c.partition(got.Partition)
	isolation := everybody
	if e.Committed {
		isolation = committed
	}
	first, last := got.Records[0].Offset, got.Records[len(got.Records)-1].Offset
	at := r.positions[processPartition{e.Process, index}]
	if at == nil {
		at = &position{next: -1, last: -1}
		r.place(e.Process, index, at)
	}
	switch {
	case at.next < 0:
	case first < at.next:
		c.report.add(ExternalNonMonotonic, []int{at.event, n}, "%s: process %d was at offset %d, and was given %d", p.name, e.Process, at.next, first)
	case p.between(isolation, at.next, first) > 0:
		c.report.add(ExternalSkip, []int{at.event, n}, "%s: process %d was at offset %d, and was given %d: %d records between them were passed over", p.name, e.Process, at.next, first, p.between(isolation, at.next, first))
	}
	before := first - 1
	highest := first
	for _, record := range got.Records {
		switch {
		case record.Offset <= before:
			c.report.add(InternalNonMonotonic, []int{n}, "%s: one answer brought offset %d behind %d", p.name, record.Offset, before)
		case p.between(isolation, before+1, record.Offset) > 0:
			c.report.add(InternalSkip, []int{n}, "%s: one answer brought offset %d behind %d: %d records between them were passed over", p.name, record.Offset, before, p.between(isolation, before+1, record.Offset))
		}
		before, highest = record.Offset, max(highest, record.Offset)
		r.record(e, n, index, record)
	}
	at.next, at.last, at.event = last+1, last, n
	if e.Committed {
		p.polls = append(p.polls, span{highest, e.Invoke, e.Complete, int32(n), -1})
	}
	c.consumed(e, index, got, n)
}

// record checks whether the record may have been given to the reader.
func (r *reading) record(e *Event, n int, index int32, record Record) {
	c := r.c
	i, known := c.values[record.Value]
	if !known {
		return // a foreign read, as the first pass has said
	}
	s := &c.sends[i]
	p := c.parts[index]
	if s.status == Failed {
		c.report.add(AbortedRead, []int{int(s.event), n}, "%s: value %d at offset %d had been refused", p.name, s.value, record.Offset)
	}
	if s.txn == nil || !e.Committed {
		return
	}
	switch {
	case s.txn.aborted():
		c.report.add(AbortedRead, []int{int(s.event), s.txn.event, n}, "%s: value %d at offset %d is of transaction %d, which was not committed, and was given to a read_committed reader", p.name, s.value, record.Offset, s.txn.id)
	case e.Complete < s.txn.invoke:
		c.report.add(LastStableOffset, []int{int(s.event), n, s.txn.event}, "%s: value %d at offset %d was given to a read_committed reader while transaction %d was open", p.name, s.value, record.Offset, s.txn.id)
	}
	if t := c.txns[e.Txn]; t != nil && t != s.txn {
		t.reads = append(t.reads, readFrom{index, record.Offset, int32(n)})
	}
}

// checkStable: while a transaction is open, nothing behind its first record is given to read_committed readers, and no last stable
// offset lies behind it.
func (c *checker) checkStable() {
	for _, p := range c.parts {
		reads := p.polls
		for _, m := range p.marks {
			reads = append(reads, span{m.stable, m.invoke, m.complete, m.event, -1})
		}
		slices.SortFunc(reads, func(a, b span) int { return cmp.Compare(a.from, b.from) })
		slices.SortFunc(p.open, func(a, b span) int { return cmp.Compare(a.from, b.from) })
		var held []span
		next := 0
		for _, read := range reads {
			for ; next < len(p.open) && p.open[next].from < read.from; next++ {
				held = append(held, p.open[next])
			}
			held = slices.DeleteFunc(held, func(s span) bool { return s.to <= read.from })
			for _, s := range held {
				// The record itself is judged where it was read; a last stable offset is the first that is not given.
				if s.to > read.to && read.offset > s.offset {
					c.report.add(LastStableOffset, []int{int(s.event), int(read.event), int(s.last)}, "%s: a read_committed reader came to offset %d while a transaction was open that holds %d", p.name, read.offset, s.offset)
					break
				}
			}
		}
	}
}
