package streamsgroup

import (
	"maps"
	"slices"

	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/coordinator/partset"
)

// Tasks are tasks by subtopology; see package partset.
type Tasks map[string][]int32

// TaskSets are what one member has, or is to have. It is not changed once it is made.
type TaskSets struct {
	Active  Tasks
	Standby Tasks
	Warmup  Tasks
}

// each makes task sets of the three kinds by themselves.
func each(a, b TaskSets, f func(x, y Tasks) Tasks) TaskSets {
	return TaskSets{f(a.Active, b.Active), f(a.Standby, b.Standby), f(a.Warmup, b.Warmup)}
}

// And is what both have, in the same role.
func (a TaskSets) And(b TaskSets) TaskSets { return each(a, b, partset.And) }

// Minus is what a has and b has not in the same role.
func (a TaskSets) Minus(b TaskSets) TaskSets { return each(a, b, partset.Minus) }

// Plus is what either has.
func (a TaskSets) Plus(b TaskSets) TaskSets { return each(a, b, partset.Plus) }

// Equal tells whether both have the same.
func (a TaskSets) Equal(b TaskSets) bool {
	return partset.Equal(a.Active, b.Active) && partset.Equal(a.Standby, b.Standby) && partset.Equal(a.Warmup, b.Warmup)
}

// Count is the number of tasks.
func (a TaskSets) Count() int {
	return partset.Count(a.Active) + partset.Count(a.Standby) + partset.Count(a.Warmup)
}

// Within tells whether b has all that a has, in the same role.
func (a TaskSets) Within(b TaskSets) bool {
	return partset.Within(a.Active, b.Active) && partset.Within(a.Standby, b.Standby) && partset.Within(a.Warmup, b.Warmup)
}

// Proto is the tasks as they are stored and sent: never nil, which would mean that nothing has changed.
func (a TaskSets) Proto() *metapb.StreamsTasks {
	return &metapb.StreamsTasks{Active: a.Active.proto(), Standby: a.Standby.proto(), Warmup: a.Warmup.proto()}
}

func (t Tasks) proto() (out []*metapb.StreamsTaskIds) {
	for _, subtopology := range slices.Sorted(maps.Keys(t)) {
		out = append(out, &metapb.StreamsTaskIds{Subtopology: subtopology, Partitions: t[subtopology]})
	}
	return out
}

// TaskSetsOf takes tasks as they came.
func TaskSetsOf(from *metapb.StreamsTasks) TaskSets {
	return TaskSets{tasksOf(from.GetActive()), tasksOf(from.GetStandby()), tasksOf(from.GetWarmup())}
}

func tasksOf(from []*metapb.StreamsTaskIds) Tasks {
	out := Tasks{}
	for _, t := range from {
		if len(t.GetPartitions()) > 0 {
			out[t.Subtopology] = partset.Sorted(append(slices.Clone(t.Partitions), out[t.Subtopology]...))
		}
	}
	return out
}
