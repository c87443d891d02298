package streamsgroup

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/varvelog/varve/coordinator/metapb"
)

type topics map[string]int32

func (t topics) partitions(name string) int32 { return t[name] }

func repartition(name string, partitions int32) *metapb.StreamsTopicInfo {
	return &metapb.StreamsTopicInfo{Name: name, Partitions: partitions}
}

// join has two inputs that are brought together by a repartition topic, and a count of what comes out.
func join() *metapb.StreamsTopology {
	return &metapb.StreamsTopology{Epoch: 1, Subtopologies: []*metapb.StreamsSubtopology{
		{Id: "2", RepartitionSourceTopics: []*metapb.StreamsTopicInfo{repartition("count-repartition", 0)}, ChangelogTopics: []*metapb.StreamsTopicInfo{{Name: "count-changelog"}}},
		{Id: "0", SourceTopics: []string{"clicks"}, RepartitionSinkTopics: []string{"clicks-repartition"}},
		{Id: "1", SourceTopics: []string{"users"}, RepartitionSourceTopics: []*metapb.StreamsTopicInfo{repartition("clicks-repartition", 0)},
			ChangelogTopics: []*metapb.StreamsTopicInfo{{Name: "users-changelog"}}, RepartitionSinkTopics: []string{"count-repartition"},
			CopartitionGroups: []*metapb.StreamsCopartitionGroup{{SourceTopics: []int32{0}, RepartitionSourceTopics: []int32{0}}}},
	}}
}

func TestPartitionsFollowFromTheTopicsThereAre(t *testing.T) {
	existing := topics{"clicks": 7, "users": 3}
	c, err := Configure(join(), existing.partitions)
	if err != nil {
		t.Fatal(err)
	}
	missing := map[string]int32{}
	for _, topic := range c.Missing {
		missing[topic.Name] = topic.Partitions
	}
	// What is joined has as many as the table; the count follows what is written to it.
	want := map[string]int32{"clicks-repartition": 3, "users-changelog": 3, "count-repartition": 7, "count-changelog": 7}
	for name, partitions := range want {
		if missing[name] != partitions {
			t.Errorf("%s has %d partitions, want %d", name, missing[name], partitions)
		}
	}
	if c.IsReady() || c.Problem.Code != metapb.StreamsStatusCode_STREAMS_MISSING_INTERNAL_TOPICS || len(c.Missing) != len(want) {
		t.Errorf("configured %+v", c)
	}
	for name, partitions := range missing {
		existing[name] = partitions
	}
	if c, err = Configure(join(), existing.partitions); err != nil || !c.IsReady() {
		t.Fatalf("with all topics: %+v %v", c, err)
	}
	if s := c.Subtopology("1"); s.Tasks != 3 || !s.IsStateful() || !s.Reads("clicks-repartition") || s.Reads("clicks") {
		t.Errorf("subtopology %+v", s)
	}
	if c.Subtopologies[0].ID != "0" || c.Subtopologies[0].Tasks != 7 || c.Subtopology("3") != nil {
		t.Errorf("subtopologies %+v", c.Subtopologies)
	}
	if got := RequiredTopics(join()); !slices.Equal(got, []string{"clicks", "clicks-repartition", "count-changelog", "count-repartition", "users", "users-changelog"}) {
		t.Errorf("required %v", got)
	}
}

func TestProblemsWithTopics(t *testing.T) {
	one := func(change func(*metapb.StreamsSubtopology)) *metapb.StreamsTopology {
		s := &metapb.StreamsSubtopology{Id: "0", SourceTopics: []string{"a", "b"}}
		change(s)
		return &metapb.StreamsTopology{Subtopologies: []*metapb.StreamsSubtopology{s}}
	}
	together := func(s *metapb.StreamsSubtopology) {
		s.CopartitionGroups = []*metapb.StreamsCopartitionGroup{{SourceTopics: []int32{0, 1}}}
	}
	for name, c := range map[string]struct {
		topology *metapb.StreamsTopology
		topics   topics
		code     metapb.StreamsStatusCode
		detail   string
	}{
		"missing sources": {one(func(*metapb.StreamsSubtopology) {}), topics{}, metapb.StreamsStatusCode_STREAMS_MISSING_SOURCE_TOPICS, "Source topics a, b are missing."},
		"copartitioned": {one(together), topics{"a": 1, "b": 2}, metapb.StreamsStatusCode_STREAMS_INCORRECTLY_PARTITIONED_TOPICS,
			"Following topics do not have the same number of partitions: [{a=1, b=2}]"},
		"fixed repartition": {one(func(s *metapb.StreamsSubtopology) {
			s.RepartitionSourceTopics = []*metapb.StreamsTopicInfo{repartition("r", 3)}
			s.CopartitionGroups = []*metapb.StreamsCopartitionGroup{{SourceTopics: []int32{0}, RepartitionSourceTopics: []int32{0}}}
		}), topics{"a": 2, "b": 2}, metapb.StreamsStatusCode_STREAMS_INCORRECTLY_PARTITIONED_TOPICS,
			"Number of partitions [3] of repartition topic [r] doesn't match number of partitions [2] of the source topic."},
		"two fixed": {one(func(s *metapb.StreamsSubtopology) {
			s.RepartitionSourceTopics = []*metapb.StreamsTopicInfo{repartition("r", 3), repartition("s", 4)}
			s.CopartitionGroups = []*metapb.StreamsCopartitionGroup{{RepartitionSourceTopics: []int32{0, 1}}}
		}), topics{"a": 2, "b": 2}, metapb.StreamsStatusCode_STREAMS_INCORRECTLY_PARTITIONED_TOPICS,
			"Following topics do not have the same number of partitions: [{r=3, s=4}]"},
		"a changelog that is another's": {one(func(s *metapb.StreamsSubtopology) { s.ChangelogTopics = []*metapb.StreamsTopicInfo{{Name: "c"}} }),
			topics{"a": 2, "b": 2, "c": 5}, metapb.StreamsStatusCode_STREAMS_INCORRECTLY_PARTITIONED_TOPICS,
			"Existing topic c has different number of partitions: expected 2, found 5"},
	} {
		configured, err := Configure(c.topology, c.topics.partitions)
		if err != nil || configured.IsReady() || configured.Problem.Code != c.code || configured.Problem.Detail != c.detail || configured.Subtopologies != nil {
			t.Errorf("%s: %+v %v", name, configured, err)
		}
	}
}

func TestTopologiesThatCanNeverRun(t *testing.T) {
	for reason, s := range map[string]*metapb.StreamsSubtopology{
		"No source topics":            {Id: "0"},
		"undefined partition count":   {Id: "0", SourceTopics: []string{"a"}, ChangelogTopics: []*metapb.StreamsTopicInfo{repartition("c", 1)}},
		"never used as a sink":        {Id: "0", RepartitionSourceTopics: []*metapb.StreamsTopicInfo{repartition("r", 0)}},
		"loops":                       {Id: "0", RepartitionSourceTopics: []*metapb.StreamsTopicInfo{repartition("r", 0)}, RepartitionSinkTopics: []string{"r"}},
		"names a topic":               {Id: "0", SourceTopics: []string{"a"}, CopartitionGroups: []*metapb.StreamsCopartitionGroup{{SourceTopics: []int32{1}}}},
		"has -1 partitions":           {Id: "0", RepartitionSourceTopics: []*metapb.StreamsTopicInfo{repartition("r", -1)}},
		"which is more than 1048576.": {Id: "0", SourceTopics: []string{"huge"}},
	} {
		_, err := Configure(&metapb.StreamsTopology{Subtopologies: []*metapb.StreamsSubtopology{s}}, topics{"a": 1, "huge": maxTasks + 1}.partitions)
		if invalid := (*InvalidTopologyError)(nil); !errors.As(err, &invalid) || !strings.Contains(err.Error(), reason) {
			t.Errorf("%s: %v", reason, err)
		}
	}
	twice := &metapb.StreamsSubtopology{Id: "0", SourceTopics: []string{"a"}}
	if _, err := Configure(&metapb.StreamsTopology{Subtopologies: []*metapb.StreamsSubtopology{twice, twice}}, topics{"a": 1}.partitions); err == nil {
		t.Error("a subtopology that is there twice is taken")
	}
	if _, err := Configure(&metapb.StreamsTopology{Epoch: -1}, topics{}.partitions); err == nil {
		t.Error("a negative epoch is taken")
	}
}

func TestTasksSurviveTheirEncoding(t *testing.T) {
	sets := TaskSets{Active: Tasks{"1": {0, 2}, "0": {1}}, Standby: Tasks{"0": {0}}, Warmup: Tasks{}}
	if got := TaskSetsOf(sets.Proto()); !got.Equal(sets) {
		t.Errorf("tasks %v", got)
	}
	if p := (TaskSets{}).Proto(); p == nil || !TaskSetsOf(p).Equal(TaskSets{}) {
		t.Errorf("no tasks: %v", p)
	}
}
