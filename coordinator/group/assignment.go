package group

import (
	"maps"
	"slices"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
)

// assignment is partitions by topic: ascending, without repeats, no topic without any. It is never changed once it is made.
type assignment map[meta.TopicID][]int32

func (a assignment) has(topic meta.TopicID, partition int32) bool {
	_, found := slices.BinarySearch(a[topic], partition)
	return found
}

func (a assignment) equal(b assignment) bool {
	return maps.EqualFunc(a, b, func(x, y []int32) bool { return slices.Equal(x, y) })
}

// count is the number of partitions.
func (a assignment) count() (n int) {
	for _, partitions := range a {
		n += len(partitions)
	}
	return n
}

// filter is those partitions that keep says.
func (a assignment) filter(keep func(topic meta.TopicID, partition int32) bool) assignment {
	out := assignment{}
	for topic, partitions := range a {
		var kept []int32
		for _, p := range partitions {
			if keep(topic, p) {
				kept = append(kept, p)
			}
		}
		if len(kept) > 0 {
			out[topic] = kept
		}
	}
	return out
}

// and is what both have.
func (a assignment) and(b assignment) assignment { return a.filter(b.has) }

// minus is what a has and b has not.
func (a assignment) minus(b assignment) assignment {
	return a.filter(func(t meta.TopicID, p int32) bool { return !b.has(t, p) })
}

// plus is what either has.
func (a assignment) plus(b assignment) assignment {
	out := maps.Clone(a)
	if out == nil {
		out = assignment{}
	}
	for topic, partitions := range b {
		out[topic] = sortedSet(append(slices.Clone(out[topic]), partitions...))
	}
	return out
}

// within says whether b has all that a has.
func (a assignment) within(b assignment) bool {
	for topic, partitions := range a {
		for _, p := range partitions {
			if !b.has(topic, p) {
				return false
			}
		}
	}
	return true
}

func sortedSet(partitions []int32) []int32 {
	slices.Sort(partitions)
	return slices.Compact(partitions)
}

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
		out[id] = sortedSet(append(slices.Clone(t.Partitions), out[id]...))
	}
	return out
}
