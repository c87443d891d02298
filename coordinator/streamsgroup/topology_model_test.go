package streamsgroup

import (
	"errors"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/varvelog/varve/coordinator/metapb"
)

// anyTopology draws subtopologies that read and write a handful of topics, in ways that make sense and in ways that do not. A repartition topic
// is read by one subtopology, as Kafka Streams makes them.
func anyTopology(t *rapid.T) *metapb.StreamsTopology {
	name := func(kind string, n int) string {
		return fmt.Sprintf("%s%d", kind, rapid.IntRange(0, n-1).Draw(t, kind))
	}
	topology := &metapb.StreamsTopology{}
	count := rapid.IntRange(1, 4).Draw(t, "subtopologies")
	readers := rapid.SliceOfN(rapid.IntRange(0, count), 3, 3).Draw(t, "readers")
	for i := range count {
		s := &metapb.StreamsSubtopology{Id: fmt.Sprint(i)}
		for range rapid.IntRange(0, 2).Draw(t, "sources") {
			s.SourceTopics = append(s.SourceTopics, name("source", 4))
		}
		for r, reader := range readers {
			if reader != i {
				continue
			}
			topic := &metapb.StreamsTopicInfo{Name: fmt.Sprint("repartition", r)}
			if rapid.IntRange(0, 3).Draw(t, "fixed") == 0 {
				topic.Partitions = int32(rapid.IntRange(1, 4).Draw(t, "partitions"))
			}
			s.RepartitionSourceTopics = append(s.RepartitionSourceTopics, topic)
		}
		for range rapid.IntRange(0, 2).Draw(t, "sinks") {
			s.RepartitionSinkTopics = append(s.RepartitionSinkTopics, name("repartition", 3))
		}
		if rapid.Bool().Draw(t, "stateful") {
			s.ChangelogTopics = []*metapb.StreamsTopicInfo{{Name: fmt.Sprint("changelog", i)}}
		}
		if rapid.Bool().Draw(t, "copartitioned") {
			g := &metapb.StreamsCopartitionGroup{}
			for place := range s.SourceTopics {
				g.SourceTopics = append(g.SourceTopics, int32(place))
			}
			for place := range s.RepartitionSourceTopics {
				g.RepartitionSourceTopics = append(g.RepartitionSourceTopics, int32(place))
			}
			s.CopartitionGroups = append(s.CopartitionGroups, g)
		}
		topology.Subtopologies = append(topology.Subtopologies, s)
	}
	return topology
}

// What is missing is enough: with it the topology is ready, and what follows from it is what followed before.
func TestATopologyIsReadyOnceWhatItMissesIsThere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		topology := anyTopology(t)
		existing := topics{}
		for i := range 4 {
			existing[fmt.Sprint("source", i)] = int32(rapid.IntRange(0, 3).Draw(t, "partitions"))
		}
		before, err := Configure(topology, existing.partitions)
		if err != nil {
			if invalid := (*InvalidTopologyError)(nil); !errors.As(err, &invalid) {
				t.Fatal(err)
			}
			return
		}
		if before.Problem != nil && before.Problem.Code != metapb.StreamsStatusCode_STREAMS_MISSING_INTERNAL_TOPICS {
			return
		}
		for _, topic := range before.Missing {
			if topic.Partitions < 1 {
				t.Fatalf("%s is to have %d partitions", topic.Name, topic.Partitions)
			}
			existing[topic.Name] = topic.Partitions
		}
		after, err := Configure(topology, existing.partitions)
		if err != nil || !after.IsReady() || len(after.Subtopologies) != len(before.Subtopologies) {
			t.Fatalf("with all topics: %v %v", after, err)
		}
		for i := range after.Subtopologies {
			if s, was := &after.Subtopologies[i], &before.Subtopologies[i]; s.ID != was.ID || s.Tasks != was.Tasks || s.Tasks < 1 {
				t.Fatalf("subtopology %s has %d tasks, had %d", s.ID, s.Tasks, was.Tasks)
			}
		}
	})
}
