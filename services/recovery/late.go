package recovery

import (
	"cmp"
	"math"
	"slices"

	"github.com/varvelog/varve/coordinator/meta"
)

// begunEpoch says that a leader epoch had begun at an offset when a job was given.
type begunEpoch struct {
	meta.PartEpoch
	job meta.JobID
	log uint64 // that gave the epoch
}

// knownEpochs are those of a partition that the state knows. However large their numbers are, none is of a log behind the state's.
func (p *Plan) knownEpochs(tp meta.TopicPartition) (begun []begunEpoch) {
	job := p.recovery.FirstJob()
	for _, e := range p.recovery.Epochs(tp) {
		begun = append(begun, begunEpoch{e, job, min(meta.LogOfEpoch(e.Epoch), meta.LogOfJob(job))})
	}
	return begun
}

// validEnds says up to where each of a partition's parts is of this log. A part is of the log that has given its job's number: what it has behind the place
// where an epoch of a later log began it has stored when that was recovered from, and its offsets were given again. begun are the epochs that are known
// besides the parts'.
func validEnds(begun []begunEpoch, candidates []*candidate) []int64 {
	for _, c := range candidates {
		if log := meta.LogOfEpoch(c.begun.Epoch); c.begun.Epoch > 0 && log <= meta.LogOfJob(c.object.id.Job) { // else a bit has flipped
			begun = append(begun, begunEpoch{c.begun, c.object.id.Job, log})
		}
	}
	firsts := map[uint64]int64{} // where the first epoch of each log began
	for _, b := range begun {
		if first, known := firsts[b.log]; !known || b.Offset < first {
			firsts[b.log] = b.Offset
		}
	}
	ends := make([]int64, len(candidates))
	for i, c := range candidates {
		ends[i] = c.part.NextOffset
		for log, first := range firsts {
			if log > meta.LogOfJob(c.object.id.Job) {
				ends[i] = min(ends[i], max(c.part.BaseOffset, first))
			}
		}
	}
	cutEarlier(begun, candidates, ends)
	return ends
}

// cutEarlier does what validEnds does for what was recovered by builds whose logs had no ranges of their own. Those skipped numbers of jobs, and gave each
// partition the next leader epoch. A part of theirs is late where it has records behind the place where a higher epoch than its last began, if that is
// known from behind such a leap.
func cutEarlier(begun []begunEpoch, candidates []*candidate, ends []int64) {
	begun = slices.DeleteFunc(slices.Clone(begun), func(b begunEpoch) bool { return b.job < meta.EarlierLeap || b.log > 0 })
	if len(begun) == 0 {
		return
	}
	slices.SortFunc(begun, func(x, y begunEpoch) int { return cmp.Compare(y.job, x.job) })
	newestFirst := make([]int, len(candidates))
	for i := range newestFirst {
		newestFirst[i] = i
	}
	slices.SortFunc(newestFirst, func(x, y int) int { return cmp.Compare(candidates[y].object.id.Job, candidates[x].object.id.Job) })
	firsts := map[int32]int64{} // where epochs began that are known from behind a leap; there are few
	for _, i := range newestFirst {
		c := candidates[i]
		for ; len(begun) > 0 && begun[0].job-meta.EarlierLeap >= c.object.id.Job; begun = begun[1:] {
			if first, known := firsts[begun[0].Epoch]; !known || begun[0].Offset < first {
				firsts[begun[0].Epoch] = begun[0].Offset
			}
		}
		over := int64(math.MaxInt64)
		for epoch, first := range firsts {
			if epoch > c.last {
				over = min(over, first)
			}
		}
		if over < c.end && meta.LogOfJob(c.object.id.Job) == 0 {
			ends[i] = min(ends[i], max(c.part.BaseOffset, over))
		}
	}
}
