package recovery

import "github.com/varvelog/varve/coordinator/meta"

// begunEpoch is where the first of a log's leader epochs that is known began.
type begunEpoch struct {
	log    uint64
	offset int64
}

// knownEpochs are those of a partition that the state knows. However large their numbers are, none is of a log behind the state's.
func (p *Plan) knownEpochs(tp meta.TopicPartition) (begun []begunEpoch) {
	log := meta.LogOfJob(p.recovery.FirstJob())
	for _, e := range p.recovery.Epochs(tp) {
		begun = append(begun, begunEpoch{min(meta.LogOfEpoch(e.Epoch), log), e.Offset})
	}
	return begun
}

// validEnds says up to where each of a partition's parts is of this log. A part is of the log that has given its job's number: what it has behind the place
// where an epoch of a later log began it has stored when that was recovered from, and its offsets were given again. begun are the epochs that are known
// besides the parts'.
func validEnds(begun []begunEpoch, candidates []*candidate) []int64 {
	for _, c := range candidates {
		if log := meta.LogOfEpoch(c.begun.Epoch); c.begun.Epoch > 0 && log <= meta.LogOfJob(c.object.id.Job) { // else a bit has flipped
			begun = append(begun, begunEpoch{log, c.begun.Offset})
		}
	}
	firsts := map[uint64]int64{} // where the first epoch of each log began
	for _, b := range begun {
		if first, known := firsts[b.log]; !known || b.offset < first {
			firsts[b.log] = b.offset
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
	return ends
}
