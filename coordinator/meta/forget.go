package meta

import (
	"cmp"
	"slices"
	"sort"

	"github.com/varvelog/varve/coordinator/metapb"
)

// gap is a range of offsets whose records were declared lost. Readers pass over it.
type gap struct {
	base, next  int64
	sinceMillis int64 // state time; what retention counts from
}

// LostRange is a range of offsets that is declared lost.
type LostRange struct {
	Partition              TopicPartition
	BaseOffset, NextOffset int64 // half-open
	Records                uint64
}

// forgetNode gives up a node's disk. Its epoch ends, so that nothing it has not committed ever will be; what lies on it alone, or in no other
// place than on disks that were given up too, becomes gaps, and the partitions concerned take another leader epoch.
func (a *applier) forgetNode(c *metapb.ForgetNode) Verdict {
	n := a.Node(NodeID(c.NodeId))
	switch {
	case n == nil:
		return Verdict{Code: UnknownNode}
	case n.Live:
		return refuse(NodeLive, "node %d lives: stop it first", n.ID)
	case n.Epoch != c.NodeEpoch:
		return Verdict{Code: Fenced, NodeEpoch: n.Epoch}
	}
	n.Epoch++
	n.succeed()
	n.incarnation, n.lanes, n.released, n.Forgotten = nil, nil, nil, true
	a.depart(n)
	a.sealEpochsBelow(n)
	v := Verdict{NodeID: n.ID, NodeEpoch: n.Epoch}
	lost := a.onlyOn(n.ID)
	for _, p := range a.partitionsIn(lost) {
		v.Lost = append(v.Lost, a.lose(p, lost)...)
	}
	a.changed(ChangedNodes)
	return v
}

// WouldLose are the ranges that are lost where the node is forgotten now, by topic id, partition and offset.
func (s *State) WouldLose(id NodeID) (out []LostRange) {
	lost := s.onlyOn(id)
	for _, p := range s.partitionsIn(lost) {
		ranges, _ := p.lostIn(lost)
		out = append(out, ranges...)
	}
	return out
}

// onlyOn are the slots of the containers that are on the node's disk, and nowhere else but on disks that were given up.
func (s *State) onlyOn(id NodeID) map[uint32]*container {
	lost := map[uint32]*container{}
	for c := range s.byID {
		if c.isChunk() || c.node != id && c.copy.node != id {
			continue
		}
		given := func(node NodeID) bool { return node == id || node == 0 || s.Node(node).Forgotten }
		if given(c.node) && given(c.copy.node) {
			lost[c.slot] = c
		}
	}
	return lost
}

// partitionsIn are the partitions that may have runs in the containers, by topic id and number.
func (s *State) partitionsIn(containers map[uint32]*container) (out []*Partition) {
	for _, c := range containers {
		for _, slot := range c.partitions {
			if p := s.partitions[slot]; p != nil {
				out = append(out, p)
			}
		}
	}
	slices.SortFunc(out, func(x, y *Partition) int {
		return cmp.Or(slices.Compare(x.topic.ID[:], y.topic.ID[:]), cmp.Compare(x.index, y.index))
	})
	return slices.Compact(out)
}

// lostIn are the ranges of the partition's runs in the containers, and those runs.
func (p *Partition) lostIn(containers map[uint32]*container) (ranges []LostRange, runs []run) {
	for i := range p.runs {
		r := &p.runs[i]
		if containers[r.container] == nil {
			continue
		}
		runs = append(runs, *r)
		base := max(r.base, p.logStart)
		if n := len(ranges); n > 0 && ranges[n-1].NextOffset == base {
			ranges[n-1].NextOffset = r.next()
			ranges[n-1].Records += uint64(r.next() - base)
			continue
		}
		ranges = append(ranges, LostRange{TopicPartition{p.topic.ID, p.index}, base, r.next(), uint64(r.next() - base)})
	}
	return ranges, runs
}

// lose turns the partition's runs in the containers into gaps.
func (a *applier) lose(p *Partition, containers map[uint32]*container) []LostRange {
	ranges, gone := p.lostIn(containers)
	isLost := func(r run) bool { return containers[r.container] != nil }
	var localGone []run
	for _, r := range p.local {
		if isLost(r) {
			localGone = append(localGone, r)
		}
	}
	for i := range gone {
		if p.held(&gone[i]) {
			a.containerSlots[gone[i].container].heldRuns--
		}
	}
	p.runs = slices.Clip(slices.DeleteFunc(slices.Clone(p.runs), isLost))
	p.runBytes -= sumLengths(gone)
	p.local = slices.Clip(slices.DeleteFunc(slices.Clone(p.local), isLost))
	p.localBytes -= sumLengths(localGone)
	for _, r := range ranges {
		p.addGap(gap{r.BaseOffset, r.NextOffset, a.timeMillis})
	}
	a.dropLive(gone)
	a.dropLocal(localGone)
	if len(ranges) == 0 {
		return nil
	}
	p.raiseLeaderEpoch()
	a.dueByRetention(p)
	a.changed(ChangedTopics)
	if a.obs != nil {
		a.obs.Committed(TopicPartition{p.topic.ID, p.index}, p.next) // whoever waits for the bytes plans anew
	}
	return ranges
}

// addGap enters a gap, which overlaps no other.
func (p *Partition) addGap(g gap) {
	at := sort.Search(len(p.gaps), func(i int) bool { return p.gaps[i].base >= g.next })
	if at < len(p.gaps) && p.gaps[at].base == g.next {
		g.next = p.gaps[at].next
		p.gaps = slices.Delete(p.gaps, at, at+1)
	}
	if at > 0 && p.gaps[at-1].next == g.base {
		p.gaps[at-1].next, p.gaps[at-1].sinceMillis = g.next, g.sinceMillis
		return
	}
	p.gaps = slices.Insert(p.gaps, at, g)
}

// isGap says whether all of [base, next), which is not empty, was declared lost.
func (p *Partition) isGap(base, next int64) bool {
	i := sort.Search(len(p.gaps), func(i int) bool { return p.gaps[i].next > base })
	return base < next && i < len(p.gaps) && p.gaps[i].base <= base && p.gaps[i].next >= next
}

// dropGaps lets go of the gaps that end in (base, next].
func (p *Partition) dropGaps(base, next int64) {
	p.gaps = slices.DeleteFunc(p.gaps, func(g gap) bool { return g.next > base && g.next <= next })
	if len(p.gaps) == 0 {
		p.gaps = nil
	}
}

// Gaps calls yield for the ranges of the partition that were declared lost, in order, until it answers false.
func (p *Partition) Gaps(yield func(base, next int64) bool) {
	for _, g := range p.gaps {
		if !yield(g.base, g.next) {
			return
		}
	}
}

// LostOffsets counts the offsets of all partitions' gaps.
func (s *State) LostOffsets() (offsets int64) {
	for _, t := range s.topicOrder {
		for _, p := range t.partitions {
			for base, next := range p.Gaps {
				offsets += next - base
			}
		}
	}
	return offsets
}

const packedGapSize = 24

func packGaps(gaps []gap) []byte {
	b := make([]byte, 0, len(gaps)*packedGapSize)
	for _, g := range gaps {
		b = le.AppendUint64(b, uint64(g.base))
		b = le.AppendUint64(b, uint64(g.next))
		b = le.AppendUint64(b, uint64(g.sinceMillis))
	}
	return b
}

// unpackGaps answers false where b is not what packGaps writes.
func unpackGaps(b []byte) (gaps []gap, ok bool) {
	if len(b)%packedGapSize != 0 {
		return nil, false
	}
	for ; len(b) > 0; b = b[packedGapSize:] {
		gaps = append(gaps, gap{int64(le.Uint64(b)), int64(le.Uint64(b[8:])), int64(le.Uint64(b[16:]))})
	}
	return gaps, true
}
