package ship

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"

	"github.com/varvelog/varve/coordinator/metapb"
)

// run is one live run of a job, and which of the job's containers holds it.
type run struct {
	*metapb.JobRun
	container int
}

func (r run) nextOffset() int64 { return r.BaseOffset + int64(r.Records) }

// samePartition tells whether both are runs of one partition.
func (r run) samePartition(other run) bool {
	return r.Partition == other.Partition && bytes.Equal(r.TopicId, other.TopicId)
}

// sortRuns returns the job's runs by topic id, partition and offset: the order in which a segment object holds them.
func sortRuns(job *metapb.Job) []run {
	var n int
	for _, c := range job.Containers {
		n += len(c.Runs)
	}
	runs := make([]run, 0, n)
	for i, c := range job.Containers {
		for _, r := range c.Runs {
			runs = append(runs, run{r, i})
		}
	}
	slices.SortFunc(runs, func(a, b run) int {
		return cmp.Or(bytes.Compare(a.TopicId, b.TopicId), cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.BaseOffset, b.BaseOffset))
	})
	return runs
}

// topics finds a job's topics by id.
type topics map[[16]byte]*metapb.JobTopic

func newTopics(job *metapb.Job) (topics, error) {
	found := make(topics, len(job.Topics))
	for _, t := range job.Topics {
		id, err := topicID(t.TopicId)
		if err != nil {
			return nil, fmt.Errorf("read job %d: %w", job.Id, err)
		}
		found[id] = t
	}
	for _, c := range job.Containers {
		for _, r := range c.Runs {
			id, err := topicID(r.TopicId)
			if err != nil {
				return nil, fmt.Errorf("read job %d: %w", job.Id, err)
			}
			if found[id] == nil {
				return nil, fmt.Errorf("read job %d: a run of topic %x, which it does not describe", job.Id, id)
			}
		}
	}
	return found, nil
}

func topicID(b []byte) (id [16]byte, err error) {
	if len(b) != len(id) {
		return id, fmt.Errorf("topic id of %d bytes", len(b))
	}
	return [16]byte(b), nil
}
