package meta

import (
	"math"
	"slices"

	"github.com/varvelog/varve/coordinator/metapb"
)

// Due tells whether a Tick has anything to do.
type Due struct {
	Tick      bool // leases, local copies, producers, offsets, nodes that have left
	Retention bool // only with Tick.retention set
	// NextMillis is when to ask again, if nothing changes before: state time, the end of time for never.
	NextMillis int64
}

// Due tells whether a Tick at a state time would do anything. A log whose leader ticks only then does not grow while idle.
func (s *State) Due(nowMillis int64) Due {
	if next := s.dueMillis.Load(); nowMillis < next {
		return Due{NextMillis: next}
	}
	tick, retention := s.nextTickMillis(), s.nextRetentionMillis()
	next := min(tick, retention)
	s.dueMillis.Store(next)
	return Due{Tick: tick <= nowMillis, Retention: retention <= nowMillis, NextMillis: next}
}

// dueBy notes that something may be due at a time.
func (s *State) dueBy(millis int64) {
	if millis < s.dueMillis.Load() {
		s.dueMillis.Store(millis)
	}
}

func (s *State) dueByRetention(p *Partition) {
	if at := s.retentionMillis(p); at < math.MaxInt64 {
		s.dueBy(s.nextRetentionCheck(at))
	}
}

// nextRetentionCheck is when retention that is due at a time may run.
func (s *State) nextRetentionCheck(at int64) int64 {
	if at == math.MaxInt64 {
		return at
	}
	return max(at, addMillis(s.lastRetentionMillis, s.cluster.RetentionCheckMillis))
}

func (s *State) nextRetentionMillis() int64 {
	next := int64(math.MaxInt64)
	for _, t := range s.topicOrder {
		for _, p := range t.partitions {
			next = min(next, s.retentionMillis(p))
		}
	}
	return s.nextRetentionCheck(next)
}

func (s *State) nextTickMillis() int64 {
	next := int64(math.MaxInt64)
	for _, j := range s.jobs {
		next = min(next, j.leaseUntilMillis)
	}
	for _, t := range s.topicOrder {
		for _, p := range t.partitions {
			for id, e := range p.producers {
				if s.transacts(id, p) {
					continue
				}
				next = min(next, addMillis(e.lastMillis, s.cluster.ProducerIDExpirationMillis))
			}
			if bound := t.Config.LocalRetentionBytes; bound >= 0 && p.localBytes > uint64(bound) {
				return 0
			}
			for i := range p.local {
				next = min(next, s.localUntilMillis(p, &p.local[i]))
			}
		}
	}
	for n := range s.departing {
		next = min(next, n.departsMillis())
	}
	for _, t := range s.transactions {
		next = min(next, t.dueMillis(&s.cluster))
	}
	for _, g := range s.groups {
		for tp, o := range g.offsets {
			next = min(next, s.expiresMillis(g, tp, o))
		}
		if g.forgettable() {
			next = min(next, s.emptyGroupExpiresMillis(g))
		}
	}
	return next
}

func (a *applier) tick(c *metapb.Tick) Verdict {
	for _, j := range a.Jobs() {
		if j.LeaseUntilMillis <= a.timeMillis {
			a.endJob(a.jobs[j.ID], true)
		}
	}
	a.tickTransactions()
	if c.GetRetention() {
		a.lastRetentionMillis = a.timeMillis
		for _, t := range a.topicOrder {
			for _, p := range t.partitions {
				a.raiseLogStart(p, a.retainedFrom(p))
			}
		}
	}
	for _, t := range a.topicOrder {
		for _, p := range t.partitions {
			if len(p.local) > 0 {
				a.releaseLocal(p)
			}
			a.expireProducers(p)
		}
	}
	a.expireOffsets()
	a.dropDeparted()
	a.dueMillis.Store(0)
	return Verdict{}
}

// extent is what retention sees of a run or a part.
type extent struct {
	next   int64
	fromMs int64 // what its age counts from
	length uint64
	empty  bool // it has no records, and goes with what is behind it
}

// extents calls yield for runs, parts, markers and gaps in order of offsets until it answers false.
func (s *State) extents(p *Partition, yield func(extent) bool) {
	runs, parts, markers, gaps := p.runs, p.parts, p.markers, p.gaps
	for len(runs)+len(parts)+len(markers)+len(gaps) > 0 {
		var e extent
		switch earliest(runs, parts, markers, gaps) {
		case earliestGap:
			e = extent{next: gaps[0].next, fromMs: gaps[0].sinceMillis, empty: true}
			gaps = gaps[1:]
		case earliestMarker:
			e = extent{next: markers[0].Offset + 1, fromMs: markers[0].TimestampMillis}
			markers = markers[1:]
		case earliestRun:
			r := &runs[0]
			e = extent{next: r.next(), fromMs: r.maxTimestamp, length: uint64(r.length)}
			if e.fromMs < 0 {
				e.fromMs = s.containerSlots[r.container].createdMillis
			}
			runs = runs[1:]
		case earliestPart:
			t := &parts[0]
			e = extent{next: t.next, fromMs: t.maxTimestamp, length: t.length, empty: t.records == 0}
			if e.fromMs < 0 {
				e.fromMs = t.object.createdMillis
			}
			parts = parts[1:]
		}
		if !yield(e) {
			return
		}
	}
}

// passesEmpty says whether an extent without records does not keep what is behind it.
func (s *State) passesEmpty() bool { return s.leader.featureLevel >= retentionLevel }

// retentionMillis is when retention next has something to drop in the partition.
func (s *State) retentionMillis(p *Partition) int64 {
	at := int64(math.MaxInt64)
	config := &p.topic.Config
	bytes := p.runBytes + p.partBytes
	s.extents(p, func(head extent) bool {
		bytes -= head.length
		if config.Delete && config.RetentionMillis >= 0 {
			at = min(at, addMillis(addMillis(head.fromMs, config.RetentionMillis), 1))
		}
		if config.Delete && config.RetentionBytes >= 0 && bytes >= uint64(config.RetentionBytes) {
			at = 0
		}
		return head.empty && s.passesEmpty()
	})
	return at
}

// retainedFrom is the log start that the topic's retention asks for: whole extents go from the head, by Kafka's rules.
func (s *State) retainedFrom(p *Partition) int64 {
	from := p.logStart
	config := &p.topic.Config
	bytes := p.runBytes + p.partBytes
	if !config.Delete {
		return from
	}
	s.extents(p, func(head extent) bool {
		bytes -= head.length
		old := config.RetentionMillis >= 0 && addMillis(head.fromMs, config.RetentionMillis) < s.timeMillis
		much := config.RetentionBytes >= 0 && bytes >= uint64(config.RetentionBytes)
		if !old && !much {
			return head.empty && s.passesEmpty()
		}
		from = head.next
		return true
	})
	return from
}

// releaseLocal lets go of local copies that local retention no longer keeps.
func (a *applier) releaseLocal(p *Partition) {
	config := &p.topic.Config
	var gone []run
	kept := p.local[:0]
	bytes := p.localBytes
	for _, r := range p.local {
		if a.localUntilMillis(p, &r) <= a.timeMillis || config.LocalRetentionBytes >= 0 && bytes > uint64(config.LocalRetentionBytes) {
			bytes -= uint64(r.length)
			gone = append(gone, r)
		} else {
			kept = append(kept, r)
		}
	}
	p.local, p.localBytes = slices.Clip(kept), bytes
	a.dropLocal(gone)
}

func (a *applier) expireProducers(p *Partition) {
	for id, e := range p.producers {
		if !a.transacts(id, p) && addMillis(e.lastMillis, a.cluster.ProducerIDExpirationMillis) <= a.timeMillis {
			delete(p.producers, id)
		}
	}
	if len(p.producers) == 0 {
		p.producers = nil
	}
}

// transacts says whether the producer has an open transaction in the partition: its sequences are kept as long.
func (s *State) transacts(producerID int64, p *Partition) bool {
	if len(p.open) == 0 {
		return false
	}
	_, open := p.OpenSince(producerID)
	return open
}
