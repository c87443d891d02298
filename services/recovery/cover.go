package recovery

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math/bits"
	"slices"
	"sort"

	"github.com/varvelog/varve/coordinator/meta"
)

// choice is a part that is in the log, or may become part of it.
type choice struct {
	base, next int64
	job        meta.JobID // that stored it
	candidate  *candidate // nil for one that is in the log already
}

// wanted says what of the objects' parts is to become part of the log.
type wanted struct {
	// fits says whether a part can, as a whole.
	fits func(*candidate) bool
	// missing are the offsets of a partition of which pieces of others are taken.
	missing func(meta.TopicPartition) []meta.OffsetRange
	adopt   func(*candidate)
	// starts: log starts are raised to what parts tell of them.
	starts bool
}

// choose has those of the objects' parts adopted, by partition in order of topic id and by offset, that fit and, with what the log has, cover most; and
// pieces of others that have what would be missing then.
func (p *Plan) choose(ctx context.Context, objects []*storedObject, w wanted) error {
	partitions := map[meta.TopicPartition][]*candidate{}
	for _, o := range objects {
		for i := range o.parts {
			c := &o.parts[i]
			tp := c.partition()
			partitions[tp] = append(partitions[tp], c)
		}
	}
	order := slices.SortedFunc(maps.Keys(partitions), func(x, y meta.TopicPartition) int {
		return cmp.Or(slices.Compare(x.Topic[:], y.Topic[:]), cmp.Compare(x.Partition, y.Partition))
	})
	for _, tp := range order {
		chosen, err := p.chooseOf(ctx, tp, partitions[tp], w)
		if err != nil {
			return err
		}
		for _, c := range chosen {
			w.adopt(c)
		}
	}
	return nil
}

// chooseOf chooses for one partition. The result is in order of offset.
func (p *Plan) chooseOf(ctx context.Context, tp meta.TopicPartition, candidates []*candidate, w wanted) (chosen []*candidate, err error) {
	var choices []choice
	ends := validEnds(p.knownEpochs(tp), candidates)
	if w.starts {
		p.raiseLogStart(tp, candidates, ends)
	}
	for i, c := range candidates {
		switch {
		case ends[i] < c.part.NextOffset:
			c.late = true
			p.notAdopted(c.object.id.Key()+": "+c.part.String(), fmt.Sprintf("offsets from %d on were given again after a recovery", ends[i]))
		case w.fits(c):
			choices = append(choices, choice{c.part.BaseOffset, c.part.NextOffset, c.object.id.Job, c})
		}
	}
	partition := p.recovery.State().Partition(tp)
	if partition == nil {
		return nil, nil
	}
	for _, known := range p.recovery.StoredRanges(tp) {
		choices = append(choices, choice{known.BaseOffset, known.NextOffset, known.Job, nil})
	}
	// Compaction drops tombstones when what they hide is gone. What it has stored anew is not to be mixed with what it was made of.
	newestFirst := p.recovery.State().Topic(tp.Topic).Config.Compact
	covered := cover(choices, partition.LogStartOffset(), newestFirst)
	taken := map[*candidate]bool{}
	for _, c := range covered {
		if c.candidate != nil {
			chosen = append(chosen, c.candidate)
			taken[c.candidate] = true
		}
	}
	var spare []choice
	for i, c := range candidates {
		if !taken[c] && c.part.BaseOffset < ends[i] {
			spare = append(spare, choice{c.part.BaseOffset, ends[i], c.object.id.Job, c})
		}
	}
	filled := uncovered(w.missing(tp), covered)
	for _, c := range spare {
		c.candidate.whole = !c.candidate.late && isFilled(max(c.base, partition.LogStartOffset()), c.next, covered, filled)
	}
	for _, missing := range filled {
		pieces, err := p.pieces(ctx, missing, spare, partition.LogStartOffset())
		if err != nil {
			return nil, err
		}
		chosen = append(chosen, pieces...)
	}
	slices.SortFunc(chosen, func(x, y *candidate) int { return cmp.Compare(x.part.BaseOffset, y.part.BaseOffset) })
	return chosen, nil
}

// isFilled says whether parts have all of [base, next) when pieces have filled some ranges.
func isFilled(base, next int64, covered []choice, filled []meta.OffsetRange) bool {
	for _, left := range uncovered([]meta.OffsetRange{{BaseOffset: base, NextOffset: next}}, covered) {
		if !slices.ContainsFunc(filled, func(r meta.OffsetRange) bool {
			return r.BaseOffset <= left.BaseOffset && left.NextOffset <= r.NextOffset
		}) {
			return false
		}
	}
	return true
}

// raiseLogStart lets go of what was deleted, as far as parts of this log tell of it.
func (p *Plan) raiseLogStart(tp meta.TopicPartition, candidates []*candidate, ends []int64) {
	start := int64(0)
	var events []meta.PartEvent
	for i, c := range candidates {
		if ends[i] == c.part.NextOffset {
			start = max(start, min(c.part.LogStart, c.part.NextOffset)) // what is wholly below its log's start is not stored
			events = append(events, c.events...)
		}
	}
	slices.SortStableFunc(events, func(x, y meta.PartEvent) int { return cmp.Compare(x.Offset, y.Offset) })
	events = slices.CompactFunc(events, func(x, y meta.PartEvent) bool { return x.Offset == y.Offset }) // parts overlap
	if before, raised := p.recovery.RaiseLogStart(tp, start, events); raised {
		p.Report.LogStarts = append(p.Report.LogStarts, LogStart{
			Topic: p.recovery.State().Topic(tp.Topic).Name, Partition: tp.Partition, From: before, To: start,
		})
	}
}

// uncovered is what parts leave of some ranges. Both are in order, and so is the result.
func uncovered(ranges []meta.OffsetRange, parts []choice) (out []meta.OffsetRange) {
	for _, r := range ranges {
		for len(parts) > 0 && parts[0].next <= r.BaseOffset {
			parts = parts[1:]
		}
		at := r.BaseOffset
		for _, c := range parts {
			if c.base >= r.NextOffset {
				break
			}
			if at < c.base {
				out = append(out, meta.OffsetRange{BaseOffset: at, NextOffset: c.base})
			}
			at = c.next
		}
		if at < r.NextOffset {
			out = append(out, meta.OffsetRange{BaseOffset: at, NextOffset: r.NextOffset})
		}
	}
	return out
}

// cover chooses, of parts of one partition that may overlap, those that cover most offsets from logStart on without overlapping; of equal choices those
// that are in the log, and else the newest, or, with newestFirst, the newest. What several objects hold of a range are the same records, perhaps fewer of them after compaction.
// The result is in order of offset.
func cover(parts []choice, logStart int64, newestFirst bool) []choice {
	parts = slices.Clone(parts)
	slices.SortStableFunc(parts, func(x, y choice) int {
		return cmp.Or(cmp.Compare(x.next, y.next), cmp.Compare(x.base, y.base))
	})
	// best[i] is the value of the best choice among the first i parts; with[i] says that part i-1 is in it.
	best := make([]value, len(parts)+1)
	with := make([]bool, len(parts)+1)
	before := make([]int, len(parts)+1)
	for i := range parts {
		p := &parts[i]
		before[i+1] = sort.Search(i, func(j int) bool { return parts[j].next > p.base })
		taken := best[before[i+1]].plus(p, max(0, p.next-max(p.base, logStart)))
		if best[i+1] = best[i]; best[i].less(taken, newestFirst) {
			best[i+1], with[i+1] = taken, true
		}
	}
	var chosen []choice
	for i := len(parts); i > 0; {
		if !with[i] {
			i--
			continue
		}
		chosen = append(chosen, parts[i-1])
		i = before[i]
	}
	slices.Reverse(chosen)
	return chosen
}

// value is how good a choice is: the offsets it covers, those of them that are in the log already, then how new the objects are that cover them.
type value struct {
	offsets, known int64
	newness        newness
}

// newness is the sum of the numbers of jobs over the offsets that their parts cover. It has 128 bits: the newest object of a few offsets decides
// behind any number of others.
type newness struct{ high, low uint64 }

func (n newness) plus(offsets int64, job meta.JobID) newness {
	high, low := bits.Mul64(uint64(offsets), uint64(job))
	var carry uint64
	n.low, carry = bits.Add64(n.low, low, 0)
	n.high, _ = bits.Add64(n.high, high, carry) // parts do not overlap, so that their offsets add up to less than 2^63
	return n
}

func (n newness) compare(m newness) int {
	return cmp.Or(cmp.Compare(n.high, m.high), cmp.Compare(n.low, m.low))
}

func (v value) plus(c *choice, offsets int64) value {
	v.offsets += offsets
	if c.candidate == nil {
		v.known += offsets
	}
	v.newness = v.newness.plus(offsets, c.job)
	return v
}

func (v value) less(w value, newestFirst bool) bool {
	known, newest := cmp.Compare(v.known, w.known), v.newness.compare(w.newness)
	if newestFirst {
		known, newest = newest, known
	}
	return cmp.Or(cmp.Compare(v.offsets, w.offsets), known, newest) < 0
}
