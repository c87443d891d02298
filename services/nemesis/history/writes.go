package history

import (
	"cmp"
	"math"
	"slices"
)

// checkWrites looks for records that should be there at the end.
func (c *checker) checkWrites() {
	for _, p := range c.parts {
		for offset, value := range p.values {
			if value != 0 {
				c.checkSeen(p, int64(offset))
			}
		}
		for isolation := range p.logs {
			c.checkLogOrder(p, isolation)
		}
	}
	for i := range c.sends {
		s := &c.sends[i]
		if s.status != OK || (s.txn != nil && !s.txn.committed()) {
			continue
		}
		p := c.parts[s.partition]
		for isolation := range p.logs {
			c.checkAcknowledged(s, p, isolation)
		}
	}
}

// checkSeen: what anybody saw is in the log at the end.
func (c *checker) checkSeen(p *partition, offset int64) {
	log := &p.logs[everybody]
	if !log.there || p.has(everybody, offset) {
		return
	}
	i, known := c.values[p.values[offset]]
	if known && (c.sends[i].offset == offset && c.sends[i].txn == nil || p.gaveUp(offset, c.sends[i].invoke)) {
		return // checkAcknowledged tells of it, or the loss is known
	}
	c.report.add(LostWrite, []int{int(p.claims[offset]), log.event}, "%s: value %d was at offset %d, and is not in the log at the end, which reaches to %d", p.name, p.values[offset], offset, log.high)
}

func (c *checker) checkAcknowledged(s *send, p *partition, isolation int) {
	log := &p.logs[isolation]
	if !log.there {
		return
	}
	offset := s.offset
	if offset < 0 {
		offset = s.at
	}
	if offset >= 0 && (p.has(isolation, offset) || p.gaveUp(offset, s.invoke)) {
		return
	}
	who := "anybody"
	if isolation == committed {
		who = "read_committed readers"
	}
	refs := []int{int(s.event), log.event}
	if s.txn != nil {
		refs = append(refs, s.txn.event)
	}
	if offset >= log.high {
		c.report.add(UnseenWrite, refs, "%s: value %d was acknowledged at offset %d, and %s came to %d only", p.name, s.value, offset, who, log.high)
		return
	}
	c.report.add(LostWrite, refs, "%s: value %d was acknowledged at offset %d, and is not there for %s at the end (high watermark %d)", p.name, s.value, offset, who, log.high)
}

func (c *checker) checkLogOrder(p *partition, isolation int) {
	log := &p.logs[isolation]
	for i := 1; i < len(log.offsets); i++ {
		if log.offsets[i] <= log.offsets[i-1] {
			c.report.add(InternalNonMonotonic, []int{log.event}, "%s: the log at the end has offset %d behind %d", p.name, log.offsets[i], log.offsets[i-1])
		}
	}
}

// checkOrder: a record sent after another was acknowledged or seen stands behind it, and so does one that its producer sent later.
func (c *checker) checkOrder() {
	for _, p := range c.parts {
		known := slices.Clone(p.seen)
		for _, i := range p.acked {
			s := &c.sends[i]
			known = append(known, observed{s.complete, s.offset, s.event})
		}
		slices.SortFunc(known, func(a, b observed) int { return cmp.Compare(a.time, b.time) })
		sent := slices.Clone(p.acked)
		slices.SortFunc(sent, func(a, b int32) int { return cmp.Compare(c.sends[a].invoke, c.sends[b].invoke) })
		highest, next := observed{offset: -1, event: -1}, 0
		for _, i := range sent {
			s := &c.sends[i]
			for next < len(known) && known[next].time < s.invoke {
				if known[next].offset > highest.offset {
					highest = known[next]
				}
				next++
			}
			if s.offset <= highest.offset {
				c.report.add(NonMonotonicSend, []int{int(highest.event), int(s.event)}, "%s: value %d was sent when offset %d was known, and was given %d", p.name, s.value, highest.offset, s.offset)
			}
		}
		c.checkProducers(p)
	}
}

func (c *checker) checkProducers(p *partition) {
	byProducer := slices.Clone(p.acked)
	slices.SortFunc(byProducer, func(a, b int32) int {
		x, y := &c.sends[a], &c.sends[b]
		return cmp.Or(cmp.Compare(x.process, y.process), cmp.Compare(x.invoke, y.invoke), cmp.Compare(x.order, y.order))
	})
	for k := 1; k < len(byProducer); k++ {
		x, y := &c.sends[byProducer[k-1]], &c.sends[byProducer[k]]
		if x.process == y.process && y.offset <= x.offset {
			c.report.add(NonMonotonicSend, []int{int(x.event), int(y.event)}, "%s: process %d sent value %d, which was given offset %d, and then %d, which was given %d", p.name, x.process, x.value, x.offset, y.value, y.offset)
		}
	}
}

// checkWatermarks: what was known of a log when watermarks were asked for is below them.
func (c *checker) checkWatermarks() {
	for _, p := range c.parts {
		if len(p.marks) == 0 {
			continue
		}
		type bound struct {
			time, low, stable, high int64
			event                   int32
		}
		var bounds []bound
		for _, m := range p.marks {
			bounds = append(bounds, bound{m.complete, m.low, m.stable, m.high, m.event})
			if m.stable > m.high || m.low > m.stable {
				c.report.add(WatermarkWentBack, []int{int(m.event)}, "%s: log start %d, last stable offset %d, high watermark %d", p.name, m.low, m.stable, m.high)
			}
		}
		for _, o := range p.seen {
			bounds = append(bounds, bound{o.time, -1, -1, o.offset + 1, o.event})
		}
		for _, i := range p.acked {
			bounds = append(bounds, bound{c.sends[i].complete, -1, -1, c.sends[i].offset + 1, c.sends[i].event})
		}
		slices.SortFunc(bounds, func(a, b bound) int { return cmp.Compare(a.time, b.time) })
		asked := slices.Clone(p.marks)
		slices.SortFunc(asked, func(a, b mark) int { return cmp.Compare(a.invoke, b.invoke) })
		low, stable, high := bound{low: math.MinInt64, event: -1}, bound{stable: math.MinInt64, event: -1}, bound{high: math.MinInt64, event: -1}
		next := 0
		for _, m := range asked {
			for ; next < len(bounds) && bounds[next].time < m.invoke; next++ {
				b := bounds[next]
				if b.low > low.low {
					low = b
				}
				if b.stable > stable.stable {
					stable = b
				}
				if b.high > high.high {
					high = b
				}
			}
			if m.low < low.low {
				c.report.add(WatermarkWentBack, []int{int(low.event), int(m.event)}, "%s: the log start is %d, and was %d", p.name, m.low, low.low)
			}
			if m.stable < stable.stable {
				c.report.add(WatermarkWentBack, []int{int(stable.event), int(m.event)}, "%s: the last stable offset is %d, and was %d", p.name, m.stable, stable.stable)
			}
			if m.high < high.high {
				c.report.add(WatermarkWentBack, []int{int(high.event), int(m.event)}, "%s: the high watermark is %d, and was %d", p.name, m.high, high.high)
			}
		}
	}
}

// checkTransactions: of each transaction everything is visible, or nothing.
func (c *checker) checkTransactions() {
	for _, t := range c.txns {
		var there, missing *send
		for _, i := range t.sends {
			s := &c.sends[i]
			p := c.parts[s.partition]
			if !p.logs[committed].there {
				continue
			}
			switch {
			case s.at >= 0 && p.has(committed, s.at):
				there = s
				if t.aborted() {
					c.report.add(AbortedRead, []int{int(s.event), t.event, p.logs[committed].event}, "%s: value %d at offset %d is of transaction %d, which was not committed, and is there for read_committed readers at the end", p.name, s.value, s.at, t.id)
				}
			case s.status == OK && !p.gaveUp(s.offset, s.invoke):
				missing = s
			}
		}
		if there != nil && missing != nil {
			c.report.add(TornTransaction, []int{int(there.event), int(missing.event), t.event}, "transaction %d: value %d of %s is there for read_committed readers, value %d of %s (offset %d) is not",
				t.id, there.value, c.parts[there.partition].name, missing.value, c.parts[missing.partition].name, missing.offset)
		}
		for _, i := range t.sends {
			s := &c.sends[i]
			if t.committed() && s.status == OK && s.offset >= 0 {
				c.parts[s.partition].open = append(c.parts[s.partition].open, span{s.offset, s.complete, t.invoke, s.event, int32(t.event)})
			}
		}
	}
}
