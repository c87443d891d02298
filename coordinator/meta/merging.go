package meta

import (
	"math"

	"github.com/varvelog/varve/coordinator/metapb"
)

const (
	// maxMergedBytes bounds a part that is merged, and half of it is large enough to be left alone.
	maxMergedBytes = 64 << 20
	// maxMergedParts bounds what is merged in one round.
	maxMergedParts = 4096
	// settledParts: behind so many parts in a row that are large enough nobody looks for others.
	settledParts = 64
	// mergedShare: what is merged is at most an eighth of what retention keeps, since retention takes whole parts.
	mergedShare = 8
)

// mergedBytes is about how large a part may become by merging.
func (t *Topic) mergedBytes() uint64 {
	n := min(maxMergedBytes, uint64(max(0, t.Config.SegmentBytes)))
	if t.Config.RetentionBytes >= 0 {
		n = min(n, uint64(t.Config.RetentionBytes)/mergedShare)
	}
	return n
}

// mergedMillis is how far the times of the last records of parts may lie apart that are merged.
func (t *Topic) mergedMillis() int64 {
	if t.Config.RetentionMillis < 0 {
		return math.MaxInt64
	}
	return t.Config.RetentionMillis / mergedShare
}

// toMerge finds a partition with a row of parts to merge, and the offsets of that; nil where there is none. It looks at them in their order from one on
// that the next job's number gives: where many have something to merge it looks at few, and none is left for ever. Below mergingLevel there is none.
func (s *State) toMerge(nowMillis int64, m *metapb.Merging) (p *Partition, from, to int64) {
	if m == nil || m.Parts < 2 || s.leader.featureLevel < mergingLevel {
		return nil, 0, 0
	}
	count := 0
	for _, t := range s.topicOrder {
		count += len(t.partitions)
	}
	if count == 0 {
		return nil, 0, 0
	}
	begin := int(scramble(uint64(s.nextJob)) % uint64(count))
	for _, skip := range []int{begin, 0} {
		for _, t := range s.topicOrder {
			if skip >= len(t.partitions) || t.Config.Compact {
				skip = max(0, skip-len(t.partitions))
				continue
			}
			for _, p := range t.partitions[skip:] {
				if first, last := p.scattered(nowMillis, m); first < last {
					return p, p.parts[first].base, p.parts[last-1].next
				}
			}
			skip = 0
		}
	}
	return nil, 0, 0
}

// scramble spreads numbers that follow each other.
func scramble(n uint64) uint64 { return n * 0x9e3779b97f4a7c15 >> 32 }

// scattered finds the first parts [first, last) of a partition that are to be merged: small, without gaps between them, old enough, and
// together at least twice the largest, so that a byte is stored anew no more often than its part can double. After a round that failed it finds the
// next such row, and so on: one part that cannot be read keeps no others from being merged.
func (p *Partition) scattered(nowMillis int64, m *metapb.Merging) (first, last int) {
	c := p.cleaning
	if len(p.parts) < int(m.Parts) || c != nil && (c.job != 0 || nowMillis < c.notBeforeMillis) {
		return 0, 0
	}
	end, target := min(p.LastStableOffset(), p.firstHot()), p.topic.mergedBytes()
	fits := func(t *part) bool {
		return t.length < target/2 && t.next <= end && t.object.createdMillis <= nowMillis-max(0, m.AgeMillis)
	}
	var rows [][2]int
	for row := p.unsettled(target); row < len(p.parts); {
		next := p.row(row, target, fits)
		if first := p.worthMerging(row, next, m); first < next {
			if c == nil || c.attempts == 0 {
				return first, next
			}
			rows = append(rows, [2]int{first, next})
		}
		row = max(next, row+1)
	}
	if len(rows) == 0 {
		return 0, 0
	}
	row := rows[int(c.attempts)%len(rows)]
	return row[0], row[1]
}

// unsettled is the first part behind the last row of large ones.
func (p *Partition) unsettled(target uint64) int {
	large := 0
	for i := len(p.parts) - 1; i >= 0; i-- {
		if large++; p.parts[i].length < target/2 {
			large = 0
		} else if large == settledParts {
			return i
		}
	}
	return 0
}

// row returns where the row of parts ends that begins with the given one: before one that does not fit, or that would make too much of it.
func (p *Partition) row(first int, target uint64, fits func(*part) bool) int {
	sum := uint64(0)
	oldest, newest := int64(math.MaxInt64), int64(math.MinInt64)
	for i := first; i < len(p.parts); i++ {
		t := &p.parts[i]
		oldest, newest = min(oldest, t.newest()), max(newest, t.newest())
		if !fits(t) || i > first && (t.base != p.parts[i-1].next || sum+t.length > target) || i-first == maxMergedParts || newest-oldest > p.topic.mergedMillis() {
			return i
		}
		sum += t.length
	}
	return len(p.parts)
}

// worthMerging is the first part of a row from which on it is worth merging, the row's end where there is none.
func (p *Partition) worthMerging(first, end int, m *metapb.Merging) int {
	best := end
	sum, largest := uint64(0), uint64(0)
	for i := end - 1; i >= first; i-- {
		sum, largest = sum+p.parts[i].length, max(largest, p.parts[i].length)
		if n := uint32(end - i); n >= m.Parts && sum >= 2*largest && (sum >= m.Bytes || n >= m.ManyParts) {
			best = i
		}
	}
	return best
}

// offsetOfTimestamp is the offset of the first record with the highest time in parts, -1 where it is not known.
func offsetOfTimestamp(parts []part, maxTimestamp int64) int64 {
	for i := range parts {
		if parts[i].maxTimestamp == maxTimestamp {
			return parts[i].maxTimestampOffset
		}
	}
	return -1
}

// newestObject is when the last of the parts' objects was stored: what retention counts from where records have no times.
func newestObject(parts []part) int64 {
	newest := int64(math.MinInt64)
	for i := range parts {
		newest = max(newest, parts[i].object.createdMillis)
	}
	return newest
}
