package history

import (
	"cmp"
	"slices"
)

type groupPartition struct {
	group     string
	partition int32
}

// groupLog is what a group did with one partition.
type groupLog struct {
	commits  []stored
	reads    []stored
	given    map[int64]int32 // offsets that members were given, and by which event
	consumed map[int64]consumer
	start    int64 // the lowest offset that a member was given; -1
	isolate  int   // what its members see
}

// stored is an offset that was committed, or read as such.
type stored struct {
	offset, invoke, complete int64
	status                   Status
	txn                      *txn
	event                    int32
}

// consumer is a transaction that read an offset for a group.
type consumer struct {
	txn   *txn
	event int32
}

func (c *checker) group(name string, index int32) *groupLog {
	key := groupPartition{name, index}
	g := c.groups[key]
	if g == nil {
		g = &groupLog{given: map[int64]int32{}, consumed: map[int64]consumer{}, start: -1}
		c.groups[key] = g
	}
	return g
}

func (c *checker) learnGroup(e *Event, n int) {
	for _, p := range e.Parts {
		index, _ := c.partition(p.Partition)
		g := c.group(e.Group, index)
		s := stored{p.Offset, e.Invoke, e.Complete, e.Status, c.txn(e.Txn), int32(n)}
		switch {
		case e.Kind == Commit:
			g.commits = append(g.commits, s)
		case e.Status == OK:
			g.reads = append(g.reads, s)
		}
	}
}

// consumed notes what the member of a group was given.
func (c *checker) consumed(e *Event, index int32, got Part, n int) {
	if e.Group == "" {
		return
	}
	g := c.group(e.Group, index)
	if e.Committed {
		g.isolate = committed
	}
	t := c.txns[e.Txn]
	for _, r := range got.Records {
		g.given[r.Offset] = int32(n)
		if g.start < 0 || r.Offset < g.start {
			g.start = r.Offset
		}
		if t == nil || !c.took(t) {
			continue
		}
		if other, twice := g.consumed[r.Offset]; twice && other.txn != t {
			c.report.add(Duplicate, []int{int(other.event), other.txn.event, n, t.event}, "%s: group %s consumed offset %d in transactions %d and %d, both committed", c.parts[index].name, e.Group, r.Offset, other.txn.id, t.id)
		}
		g.consumed[r.Offset] = consumer{t, int32(n)}
	}
}

// took tells whether the transaction was committed: its process was told so, or something of it is visible.
func (c *checker) took(t *txn) bool {
	if t.committed() {
		return true
	}
	if t.aborted() {
		return false
	}
	return slices.ContainsFunc(t.sends, func(i int32) bool {
		s := &c.sends[i]
		p := c.parts[s.partition]
		return p.logs[committed].there && s.at >= 0 && p.has(committed, s.at)
	})
}

// checkGroups: a group's offset is never lower than one that was committed before it was asked for, and does not pass what no member was given.
func (c *checker) checkGroups() {
	for key, g := range c.groups {
		name := c.parts[key.partition].name
		// done are offsets that were in force from a time on.
		var done []stored
		for _, s := range g.commits {
			switch {
			case s.status != OK:
			case s.txn == nil:
				done = append(done, s)
			case s.txn.committed():
				s.complete = s.txn.complete
				done = append(done, s)
			}
		}
		done = append(done, g.reads...)
		slices.SortFunc(done, func(a, b stored) int { return cmp.Compare(a.complete, b.complete) })
		reads := slices.Clone(g.reads)
		slices.SortFunc(reads, func(a, b stored) int { return cmp.Compare(a.invoke, b.invoke) })
		highest, next := stored{offset: -1, event: -1}, 0
		for _, read := range reads {
			for ; next < len(done) && done[next].complete < read.invoke; next++ {
				if done[next].offset > highest.offset {
					highest = done[next]
				}
			}
			if read.offset < highest.offset {
				c.report.add(GroupOffsetWentBack, []int{int(highest.event), int(read.event)}, "%s: the offset of group %s is %d, and was %d", name, key.group, read.offset, highest.offset)
			}
		}
		for ; next < len(done); next++ {
			if done[next].offset > highest.offset {
				highest = done[next]
			}
		}
		c.checkGiven(key, g, highest)
	}
}

// checkGiven: everything below the group's highest offset was given to a member.
func (c *checker) checkGiven(key groupPartition, g *groupLog, highest stored) {
	p := c.parts[key.partition]
	if g.start < 0 {
		return
	}
	for offset := int64(0); offset < highest.offset; offset++ {
		if _, given := g.given[offset]; !given && p.has(g.isolate, offset) {
			c.report.add(GroupSkipped, []int{int(highest.event), int(p.claims[offset])}, "%s: the offset of group %s is %d, and nobody was given the record at %d", p.name, key.group, highest.offset, offset)
		}
	}
}
