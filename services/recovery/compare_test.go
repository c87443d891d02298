package recovery

import (
	"slices"

	"github.com/varvelog/varve/coordinator/meta"
)

// compare holds a recovered state against what was written.
func (h *history) compare(s *meta.State, report *Report) {
	h.t.Helper()
	got := readBack(h.t, h.store, s)
	seen := map[string]spot{}
	for at, value := range got {
		if other, twice := seen[value]; twice {
			h.t.Errorf("%q stands at %v and at %v", value, at, other)
		}
		seen[value] = at
	}
	byValue := map[string]spot{}
	for at, r := range h.written {
		byValue[r.value] = at
		there, ok := seen[r.value]
		_, stored := h.segments.records[at]
		if _, alive := h.alive[at]; alive && !ok && h.isDemanded(at) && !h.mayGo(at) {
			h.t.Errorf("%q at %v is in the bucket and not in the log", r.value, at)
		} else if ok && (h.known != nil || stored) && there != at {
			h.t.Errorf("%q was at %v and is at %v", r.value, at, there)
		} else if p := h.state.Partition(at.partition); ok && h.known != nil && (p == nil || at.offset < p.LogStartOffset()) {
			h.t.Errorf("%q at %v was deleted, and is there", r.value, at)
		}
	}
	for value, at := range seen {
		was, ok := byValue[value]
		if !ok {
			h.t.Errorf("%q at %v was never written", value, at)
		} else if _, end, _ := s.Partition(at.partition).EpochEnd(0); was != at && end > at.offset {
			h.t.Errorf("%q was at %v and is at %v: who has read others up to behind it, in epoch 0, is told that this ends at %d", value, was, at, end)
		}
	}
	h.compareLost(s, report, got)
	h.compareTransactions(s, seen, report)
	h.compareKeys(s, got)
	if h.known != nil {
		h.compareKnown(s)
	}
}

// compareLost demands that the report names the offsets that are neither records nor markers, and, where the state was known, all of them.
func (h *history) compareLost(s *meta.State, report *Report, got map[spot]string) {
	h.t.Helper()
	lost := map[spot]bool{}
	for _, l := range report.Lost {
		tp := meta.TopicPartition{Topic: s.TopicByName(l.Topic).ID, Partition: l.Partition}
		for offset := l.BaseOffset; offset < l.NextOffset; offset++ {
			lost[spot{tp, offset}] = true
			if value, there := got[spot{tp, offset}]; there {
				h.t.Errorf("%s-%d offset %d is reported as lost and holds %q", l.Topic, l.Partition, offset, value)
			}
		}
	}
	for at := range h.alive {
		if h.known == nil || h.mayGo(at) {
			continue
		}
		if _, there := got[at]; !there && !lost[at] {
			h.t.Errorf("%v is neither there nor reported", at)
		}
	}
}

// isHidden says whether readers of what is committed do not see a record.
func (h *history) isHidden(s *meta.State, at spot, transaction int) bool {
	p := s.Partition(at.partition)
	return transaction != 0 && slices.ContainsFunc(p.AbortedTransactions(nil, at.offset, at.offset+1), func(a meta.AbortedTransaction) bool {
		return a.FirstOffset <= at.offset && at.offset <= a.LastOffset && a.ProducerID == h.producerOf(transaction)
	})
}

// compareTransactions demands that nothing can be seen of what was aborted, and everything of what was committed and has its marker.
func (h *history) compareTransactions(s *meta.State, seen map[string]spot, report *Report) {
	h.t.Helper()
	type end struct {
		partition   meta.TopicPartition
		transaction int
	}
	stored := map[end]int64{} // where markers are that segments have
	for at, n := range h.markers {
		if h.segments.markers[at] {
			stored[end{at.partition, n}] = at.offset
		}
	}
	isEnded := func(was spot, transaction int) bool {
		marker, ok := stored[end{was.partition, transaction}]
		hole := func(l Lost) bool { // what was in it may have been a marker, too
			return s.TopicByName(l.Topic).ID == was.partition.Topic && l.Partition == was.partition.Partition && l.BaseOffset > was.offset && l.BaseOffset < marker
		}
		return ok && !slices.ContainsFunc(report.Lost, hole)
	}
	visible := map[string]bool{}
	for _, topic := range s.Topics() {
		for i := range topic.Partitions() {
			for _, value := range h.committedIn(s, topic.Partition(int32(i))) {
				visible[value] = true
			}
		}
	}
	for was, r := range h.written {
		at, there := seen[r.value]
		if !there {
			continue
		}
		if visible[r.value] == h.isHidden(s, at, r.transaction) {
			h.t.Errorf("%q at %v can be seen by a consumer: %v", r.value, at, visible[r.value])
		}
		if r.transaction == 0 {
			continue
		}
		if p := s.Partition(at.partition); p.LastStableOffset() != p.NextOffset() {
			h.t.Errorf("%s is stable below %d, and ends at %d", at.partition, p.LastStableOffset(), p.NextOffset())
		}
		committed, hidden := h.committed[r.transaction], h.isHidden(s, at, r.transaction)
		switch {
		case !committed && !hidden:
			h.t.Errorf("%q of transaction %d, which was not committed, can be seen at %v", r.value, r.transaction, at)
		case committed && hidden && h.isAlive(was) && (h.known != nil || h.shipped[was] && isEnded(was, r.transaction)):
			h.t.Errorf("%q of transaction %d, which was committed, cannot be seen at %v", r.value, r.transaction, at)
		}
	}
}

func (h *history) isAlive(at spot) bool {
	_, alive := h.alive[at]
	return alive
}

func (h *history) producerOf(transaction int) int64 { return h.txns[transaction/1000-1].pid }

// compareKeys demands that no record can be seen whose key has a later one that was compacted away: it would be the key's last.
func (h *history) compareKeys(s *meta.State, got map[spot]string) {
	h.t.Helper()
	type place struct {
		partition meta.TopicPartition
		key       string
	}
	last := map[place]int64{}    // that can be seen
	hidden := map[place]int64{}  // the last that is there and cannot be seen
	dropped := map[place]int64{} // the last of those that were committed, and are compacted away
	for at, r := range h.written {
		t := h.state.Topic(at.partition.Topic)
		if t == nil || !t.Config.Compact {
			continue
		}
		k := place{at.partition, r.key}
		_, there := got[at]
		switch _, alive := h.alive[at]; {
		case there && h.isHidden(s, at, r.transaction):
			hidden[k] = max(hidden[k], at.offset)
		case there && at.offset >= h.state.Partition(at.partition).LogStartOffset(): // deleted ones are back where the log start is not known
			last[k] = max(last[k], at.offset)
		case !alive && (r.transaction == 0 || h.committed[r.transaction]) && at.offset >= h.state.Partition(at.partition).LogStartOffset():
			dropped[k] = max(dropped[k], at.offset)
		}
	}
	for k, at := range last {
		if at < dropped[k] && hidden[k] < at {
			h.t.Errorf("of %s in %s the record at %d can be seen again, that at %d was compacted away", k.key, k.partition, at, dropped[k])
		}
	}
}

// compareKnown demands that what does not depend on records is as it was.
func (h *history) compareKnown(s *meta.State) {
	h.t.Helper()
	for _, t := range h.known.Topics() {
		now := s.Topic(t.ID)
		if now == nil || now.Name != t.Name || now.Partitions() != t.Partitions() || now.Overrides["max.message.bytes"] != t.Overrides["max.message.bytes"] {
			h.t.Errorf("topic %s has become %+v", t.Name, now)
			continue
		}
		for i := range t.Partitions() {
			p, q := t.Partition(int32(i)), now.Partition(int32(i))
			if q.NextOffset() < p.NextOffset() || q.LogStartOffset() != p.LogStartOffset() || q.LeaderEpoch() <= p.LeaderEpoch()+100 {
				h.t.Errorf("%s-%d was [%d, %d) in epoch %d and is [%d, %d) in %d", t.Name, i, p.LogStartOffset(), p.NextOffset(), p.LeaderEpoch(),
					q.LogStartOffset(), q.NextOffset(), q.LeaderEpoch())
			}
			if _, end, ok := q.EpochEnd(p.LeaderEpoch()); !ok || end < p.NextOffset() {
				h.t.Errorf("%s-%d: its epoch ended at %d, %v", t.Name, i, end, ok)
			}
		}
	}
	if len(s.Topics()) != len(h.known.Topics()) {
		h.t.Errorf("%d topics have become %d", len(h.known.Topics()), len(s.Topics()))
	}
	if g := h.known.Group("group"); g != nil {
		for _, tp := range g.Partitions() {
			want, _ := g.Offset(tp)
			if got, ok := s.Group("group").Offset(tp); !ok || got.Offset != want.Offset {
				h.t.Errorf("the group's offset of %s was %d and is %d", tp, want.Offset, got.Offset)
			}
		}
	}
}
