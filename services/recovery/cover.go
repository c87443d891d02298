package recovery

import (
	"cmp"
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

// choose calls adopt, by partition in order of topic id and by offset, for those of the objects' parts that are to become part of the log: parts that fit
// and, with what the log has, cover most.
func (p *Plan) choose(objects []*storedObject, fits func(*candidate) bool, adopt func(*candidate)) {
	partitions := map[meta.TopicPartition][]choice{}
	for _, o := range objects {
		for i := range o.parts {
			if c := &o.parts[i]; fits(c) {
				tp := meta.TopicPartition{Topic: c.part.TopicID, Partition: c.part.Partition}
				partitions[tp] = append(partitions[tp], choice{c.part.BaseOffset, c.part.NextOffset, o.id.Job, c})
			}
		}
	}
	order := slices.SortedFunc(maps.Keys(partitions), func(x, y meta.TopicPartition) int {
		return cmp.Or(slices.Compare(x.Topic[:], y.Topic[:]), cmp.Compare(x.Partition, y.Partition))
	})
	for _, tp := range order {
		choices := partitions[tp]
		for _, known := range p.recovery.StoredRanges(tp) {
			choices = append(choices, choice{known.BaseOffset, known.NextOffset, known.Job, nil})
		}
		for _, c := range cover(choices, p.recovery.State().Partition(tp).LogStartOffset()) {
			if c.candidate != nil {
				adopt(c.candidate)
			}
		}
	}
}

// cover chooses, of parts of one partition that may overlap, those that cover most offsets from logStart on without overlapping; of equal choices those
// that are in the log, and else the newest. What several objects hold of a range are the same records, perhaps fewer of them after compaction.
// The result is in order of offset.
func cover(parts []choice, logStart int64) []choice {
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
		if best[i+1] = best[i]; best[i].less(taken) {
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

func (v value) less(w value) bool {
	return cmp.Or(cmp.Compare(v.offsets, w.offsets), cmp.Compare(v.known, w.known), v.newness.compare(w.newness)) < 0
}
