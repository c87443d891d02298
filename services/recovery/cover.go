package recovery

import (
	"cmp"
	"maps"
	"slices"
	"sort"

	"github.com/varvelog/varve/coordinator/meta"
)

// covers chooses parts for each partition, in order of topic id and partition.
func covers(objects []*storedObject) (chosen [][]candidate) {
	partitions := map[meta.TopicPartition][]candidate{}
	for _, o := range objects {
		for _, c := range o.parts {
			tp := meta.TopicPartition{Topic: c.part.TopicID, Partition: c.part.Partition}
			partitions[tp] = append(partitions[tp], c)
		}
	}
	order := slices.SortedFunc(maps.Keys(partitions), func(x, y meta.TopicPartition) int {
		return cmp.Or(slices.Compare(x.Topic[:], y.Topic[:]), cmp.Compare(x.Partition, y.Partition))
	})
	for _, tp := range order {
		chosen = append(chosen, cover(partitions[tp]))
	}
	return chosen
}

// cover chooses, of parts of one partition that may overlap, those that cover most offsets without overlapping, and of equal choices the
// newest: what several objects hold of a range are the same records, perhaps fewer of them after compaction. The result is in order of offset.
func cover(parts []candidate) []candidate {
	parts = slices.Clone(parts)
	slices.SortStableFunc(parts, func(x, y candidate) int {
		return cmp.Or(cmp.Compare(x.part.NextOffset, y.part.NextOffset), cmp.Compare(x.part.BaseOffset, y.part.BaseOffset))
	})
	// best[i] is the value of the best choice among the first i parts; with[i] says that part i-1 is in it.
	best := make([]value, len(parts)+1)
	with := make([]bool, len(parts)+1)
	before := make([]int, len(parts)+1)
	for i := range parts {
		p := &parts[i].part
		before[i+1] = sort.Search(i, func(j int) bool { return parts[j].part.NextOffset > p.BaseOffset })
		taken := best[before[i+1]].plus(p.NextOffset-p.BaseOffset, uint64(parts[i].object.id.Job))
		if best[i+1] = best[i]; best[i].less(taken) {
			best[i+1], with[i+1] = taken, true
		}
	}
	var chosen []candidate
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

// value is how good a choice is: the offsets it covers, then how new the objects are that cover them.
type value struct {
	offsets int64
	newness float64
}

func (v value) plus(offsets int64, job uint64) value {
	return value{v.offsets + offsets, v.newness + float64(offsets)*float64(job)}
}

func (v value) less(w value) bool {
	return v.offsets < w.offsets || v.offsets == w.offsets && v.newness < w.newness
}
