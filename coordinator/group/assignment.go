package group

import (
	"maps"
	"slices"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/coordinator/partset"
)

// assignment is partitions by topic: ascending, without repeats, no topic without any. It is never changed once it is made.
type assignment map[meta.TopicID][]int32

func (a assignment) has(topic meta.TopicID, partition int32) bool {
	return partset.Has(a, topic, partition)
}

func (a assignment) equal(b assignment) bool { return partset.Equal(a, b) }

// count is the number of partitions.
func (a assignment) count() (n int) { return partset.Count(a) }

// filter is those partitions that keep says.
func (a assignment) filter(keep func(topic meta.TopicID, partition int32) bool) assignment {
	return partset.Filter(a, keep)
}

// and is what both have.
func (a assignment) and(b assignment) assignment { return partset.And(a, b) }

// minus is what a has and b has not.
func (a assignment) minus(b assignment) assignment { return partset.Minus(a, b) }

// plus is what either has.
func (a assignment) plus(b assignment) assignment { return partset.Plus(a, b) }

// within says whether b has all that a has.
func (a assignment) within(b assignment) bool { return partset.Within(a, b) }

// topicIDs are the topics in order.
func (a assignment) topicIDs() []meta.TopicID {
	return slices.SortedFunc(maps.Keys(a), compareTopicID)
}

func compareTopicID(x, y meta.TopicID) int { return slices.Compare(x[:], y[:]) }

// proto is the assignment as it is stored and sent: never nil, which would mean that nothing has changed.
func (a assignment) proto() *metapb.ConsumerAssignment {
	out := &metapb.ConsumerAssignment{}
	for _, id := range a.topicIDs() {
		out.Topics = append(out.Topics, &metapb.AssignedTopic{TopicId: id[:], Partitions: a[id]})
	}
	return out
}

// assignmentOf takes an assignment as it came. What is no topic's id is left out.
func assignmentOf(from *metapb.ConsumerAssignment) assignment {
	out := assignment{}
	for _, t := range from.GetTopics() {
		if len(t.GetTopicId()) != len(meta.TopicID{}) || len(t.Partitions) == 0 {
			continue
		}
		id := meta.TopicID(t.TopicId)
		out[id] = partset.Sorted(append(slices.Clone(t.Partitions), out[id]...))
	}
	return out
}
