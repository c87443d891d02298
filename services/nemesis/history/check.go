package history

import (
	"fmt"
	"math"
	"slices"
)

// Check reads the history twice, and a third time where it has found something. The error is the source's, or says what is wrong with the
// history itself.
func Check(source Source) (*Report, error) {
	c := &checker{
		report: &Report{Sends: map[Status]int{}, Transactions: map[Status]int{}, Count: map[Anomaly]int{}},
		values: map[uint64]int32{}, partitions: map[string]int32{}, txns: map[int64]*txn{}, groups: map[groupPartition]*groupLog{},
	}
	n := 0
	for e, err := range source() {
		if err == nil {
			err = c.learn(e, n)
		}
		if err != nil {
			return nil, err
		}
		n++
	}
	c.report.Events = n
	c.settle()
	c.checkWrites()
	c.checkOrder()
	c.checkWatermarks()
	c.checkTransactions()
	n = 0
	reading := newReading(c)
	for e, err := range source() {
		if err != nil {
			return nil, err
		}
		reading.event(e, n)
		n++
	}
	c.checkStable()
	c.checkGroups()
	c.checkCycles()
	return c.report, c.report.fill(source)
}

// checker is what both passes over a history know.
type checker struct {
	report     *Report
	values     map[uint64]int32 // index in sends
	sends      []send
	partitions map[string]int32 // index in parts
	parts      []*partition
	txns       map[int64]*txn
	groups     map[groupPartition]*groupLog
}

// send is one record that a process sent.
type send struct {
	value            uint64
	offset           int64 // as acknowledged; -1
	at               int64 // where it was first seen, by anybody; -1
	invoke, complete int64
	txn              *txn
	partition        int32
	process          int32
	event            int32
	order            int32 // in its event
	status           Status
}

// txn is one transaction.
type txn struct {
	id               int64
	status           Status // Invoked: it was left open
	commit           bool
	invoke, complete int64 // of its End
	event            int
	sends            []int32
	reads            []readFrom
	node             int // in the graph of dependencies
}

// readFrom is a record that a transaction read.
type readFrom struct {
	partition int32
	offset    int64
	event     int32
}

// committed tells a transaction that was certainly committed.
func (t *txn) committed() bool { return t.commit && t.status == OK }

// aborted tells a transaction of which nothing may ever be seen: it was aborted, or nobody ever asked for its commit, or that was refused.
func (t *txn) aborted() bool {
	return !t.commit || t.status == Failed
}

// partition is what the history says of one partition, by offset.
type partition struct {
	name    string
	values  []uint64 // what stands at each offset; 0 is nothing that anybody saw
	claims  []int32  // the events that say so
	logs    [2]complete
	visible [2][]int32 // number of visible records below each offset: to everybody, and to read_committed readers
	acked   []int32    // sends with a known offset
	seen    []observed // highest offsets of answers, and when
	marks   []mark
	open    []span // of committed transactions
	polls   []span // of read_committed readers
	lost    []lost
}

// lost is a range of offsets that was declared lost.
type lost struct {
	base, next int64
	time       int64 // when that was known
}

// gaveUp tells whether an offset that was known at a time was declared lost after it.
func (p *partition) gaveUp(offset, known int64) bool {
	return slices.ContainsFunc(p.lost, func(l lost) bool { return l.base <= offset && offset < l.next && known < l.time })
}

const (
	everybody = 0
	committed = 1
)

// complete is the read of a whole log at the end.
type complete struct {
	there   bool
	high    int64
	offsets []int64
	values  []uint64
	event   int
}

// observed: after the time, the log is known to reach beyond the offset.
type observed struct {
	time, offset int64
	event        int32
}

// mark is an answer with watermarks.
type mark struct {
	invoke, complete  int64
	low, stable, high int64
	event             int32
}

// span is an offset that a transaction held, or a reader was given, from one time to another.
type span struct {
	offset, from, to int64
	event, last      int32
}

// maxOffset bounds what a history may claim, and so the checker's memory.
const maxOffset = 1 << 28

func (c *checker) partition(name string) (int32, *partition) {
	i, ok := c.partitions[name]
	if !ok {
		i = int32(len(c.parts))
		c.partitions[name] = i
		c.parts = append(c.parts, &partition{name: name})
	}
	return i, c.parts[i]
}

func (c *checker) txn(id int64) *txn {
	if id == 0 {
		return nil
	}
	t := c.txns[id]
	if t == nil {
		t = &txn{id: id, status: Invoked, event: -1, invoke: math.MaxInt64, complete: math.MaxInt64, node: -1}
		c.txns[id] = t
	}
	return t
}

// learn takes in an event of the first pass.
func (c *checker) learn(e *Event, n int) error {
	if e.Status != Invoked && e.Complete < e.Invoke {
		return fmt.Errorf("event %d is complete at %d, before its call at %d", n, e.Complete, e.Invoke)
	}
	switch e.Kind {
	case Send:
		return c.learnSend(e, n)
	case End:
		c.learnEnd(e, n)
	case Poll, Log:
		return c.learnRecords(e, n)
	case Commit, Committed:
		c.learnGroup(e, n)
	case Watermarks:
		for _, p := range e.Parts {
			if e.Status == OK {
				_, part := c.partition(p.Partition)
				part.marks = append(part.marks, mark{e.Invoke, e.Complete, p.Low, p.Stable, p.High, int32(n)})
			}
		}
	case Lost:
		for _, p := range e.Parts {
			_, part := c.partition(p.Partition)
			part.lost = append(part.lost, lost{p.Low, p.High, e.Complete})
		}
	case Assign, Revoke:
	default:
		return fmt.Errorf("event %d has kind %q", n, e.Kind)
	}
	return nil
}

func (c *checker) learnSend(e *Event, n int) error {
	order := int32(0)
	for _, p := range e.Parts {
		index, _ := c.partition(p.Partition)
		for _, r := range p.Records {
			i, known := c.values[r.Value]
			if !known {
				i = int32(len(c.sends))
				c.values[r.Value] = i
				t := c.txn(e.Txn)
				c.sends = append(c.sends, send{value: r.Value, at: -1, invoke: e.Invoke, txn: t, partition: index, process: int32(e.Process), order: order})
				if t != nil {
					t.sends = append(t.sends, i)
				}
			}
			s := &c.sends[i]
			if known && (s.status != Invoked || s.partition != index || r.Value == 0) {
				return fmt.Errorf("event %d sends value %d, which is not unique", n, r.Value)
			}
			s.offset, s.status, s.event, s.complete = -1, e.Status, int32(n), e.Complete
			if e.Status == OK && r.Offset >= 0 {
				if err := c.claim(index, r, n); err != nil {
					return err
				}
				s.offset = r.Offset
			}
			order++
		}
	}
	return nil
}

func (c *checker) learnEnd(e *Event, n int) {
	t := c.txn(e.Txn)
	if t == nil {
		return
	}
	if t.event < 0 {
		t.invoke = e.Invoke
	}
	t.event, t.commit, t.status = n, e.Commit, e.Status
	if e.Status == Invoked {
		t.status = Unknown
	} else {
		t.complete = e.Complete
	}
}

func (c *checker) learnRecords(e *Event, n int) error {
	if e.Status != OK {
		return nil
	}
	isolation := everybody
	if e.Committed {
		isolation = committed
	}
	for _, p := range e.Parts {
		index, part := c.partition(p.Partition)
		highest := int64(-1)
		for _, r := range p.Records {
			if err := c.claim(index, r, n); err != nil {
				return err
			}
			highest = max(highest, r.Offset)
		}
		if e.Kind == Log {
			highest = max(highest, p.High-1)
		}
		if highest >= 0 {
			part.seen = append(part.seen, observed{e.Complete, highest, int32(n)})
		}
		if e.Kind == Log {
			log := &part.logs[isolation]
			log.there, log.high, log.event = true, max(log.high, p.High), n
			for _, r := range p.Records {
				log.offsets, log.values = append(log.offsets, r.Offset), append(log.values, r.Value)
			}
		}
	}
	return nil
}

// claim notes that the record stands at its offset, as event n says.
func (c *checker) claim(index int32, r Record, n int) error {
	if r.Offset < 0 || r.Offset > maxOffset {
		return fmt.Errorf("event %d: offset %d", n, r.Offset)
	}
	p := c.parts[index]
	for int64(len(p.values)) <= r.Offset {
		p.values, p.claims = append(p.values, 0), append(p.claims, 0)
	}
	before, by := p.values[r.Offset], int(p.claims[r.Offset])
	switch {
	case r.Value == 0:
		c.report.add(ForeignRead, []int{n}, "%s: what was read at offset %d was sent by nobody", p.name, r.Offset)
		return nil
	case before == 0:
		p.values[r.Offset], p.claims[r.Offset] = r.Value, int32(n)
	case before != r.Value:
		c.report.add(InconsistentOffset, []int{by, n}, "%s: offset %d held value %d, and then %d", p.name, r.Offset, before, r.Value)
	}
	return nil
}

// settle derives, when the first pass is over, what is visible.
func (c *checker) settle() {
	for i := range c.sends {
		s := &c.sends[i]
		if s.status == Invoked {
			s.status = Unknown
		}
		c.report.Sends[s.status]++
		if s.status == OK && s.offset >= 0 {
			p := c.parts[s.partition]
			p.acked = append(p.acked, int32(i))
		}
	}
	for _, t := range c.txns {
		c.report.Transactions[t.status]++
	}
	for index, p := range c.parts {
		c.locate(int32(index), p)
		for isolation := range p.logs {
			p.count(c, isolation)
		}
	}
}

// locate finds where each value stands, and those that stand twice.
func (c *checker) locate(index int32, p *partition) {
	for offset, value := range p.values {
		if value == 0 {
			continue
		}
		i, known := c.values[value]
		if !known {
			c.report.add(ForeignRead, []int{int(p.claims[offset])}, "%s: value %d at offset %d was sent by nobody", p.name, value, offset)
			continue
		}
		s := &c.sends[i]
		if s.partition != index {
			c.report.add(ForeignRead, []int{int(p.claims[offset]), int(s.event)}, "%s: value %d at offset %d was sent to %s", p.name, value, offset, c.parts[s.partition].name)
			continue
		}
		if s.at >= 0 {
			c.report.add(Duplicate, []int{int(p.claims[s.at]), int(p.claims[offset]), int(s.event)}, "%s: value %d stands at offsets %d and %d", p.name, value, s.at, offset)
			continue
		}
		s.at = int64(offset)
	}
}

// count makes the sums of visible records by offset.
func (p *partition) count(c *checker, isolation int) {
	there := make([]bool, len(p.values))
	if log := &p.logs[isolation]; log.there {
		for _, offset := range log.offsets {
			there[offset] = true
		}
	} else {
		for offset, value := range p.values {
			if value == 0 {
				continue
			}
			i, known := c.values[value]
			t := (*txn)(nil)
			if known {
				t = c.sends[i].txn
			}
			there[offset] = isolation == everybody || t == nil || t.committed()
		}
	}
	sums := make([]int32, len(p.values)+1)
	for offset, visible := range there {
		sums[offset+1] = sums[offset]
		if visible {
			sums[offset+1]++
		}
	}
	p.visible[isolation] = sums
}

// between counts the visible records in [from, to).
func (p *partition) between(isolation int, from, to int64) int32 {
	sums := p.visible[isolation]
	last := int64(len(sums) - 1)
	from, to = min(max(from, 0), last), min(max(to, 0), last)
	if to <= from {
		return 0
	}
	return sums[to] - sums[from]
}

// has tells whether offset is visible.
func (p *partition) has(isolation int, offset int64) bool {
	return offset >= 0 && p.between(isolation, offset, offset+1) > 0
}
