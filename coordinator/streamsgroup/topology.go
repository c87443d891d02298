package streamsgroup

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/varvelog/varve/coordinator/metapb"
)

// Subtopology is a subtopology with everything that follows from the topics there are.
type Subtopology struct {
	ID    string
	Tasks int32 // as many partitions as the largest topic it reads has
	// Topics by name, those that are made for the application with their partitions.
	Sources      []string
	Sinks        []string // repartition topics that it writes
	Repartitions []*metapb.StreamsTopicInfo
	Changelogs   []*metapb.StreamsTopicInfo
}

// IsStateful tells whether its tasks have state that can be restored.
func (s *Subtopology) IsStateful() bool { return len(s.Changelogs) > 0 }

// Reads tells whether it has a topic as its source.
func (s *Subtopology) Reads(topic string) bool {
	return slices.Contains(s.Sources, topic) ||
		slices.ContainsFunc(s.Repartitions, func(t *metapb.StreamsTopicInfo) bool { return t.Name == topic })
}

// Inputs are the topics it reads.
func (s *Subtopology) Inputs() []string {
	inputs := slices.Clone(s.Sources)
	for _, t := range s.Repartitions {
		inputs = append(inputs, t.Name)
	}
	return inputs
}

func (s *Subtopology) proto() *metapb.StreamsSubtopology {
	return &metapb.StreamsSubtopology{
		Id: s.ID, SourceTopics: s.Sources, RepartitionSinkTopics: s.Sinks, RepartitionSourceTopics: s.Repartitions, ChangelogTopics: s.Changelogs,
	}
}

// Configured is what follows from a topology and the topics there are.
type Configured struct {
	Epoch int32
	// Subtopologies in order of id; nil where source topics are missing or topics are incorrectly partitioned.
	Subtopologies []Subtopology
	// Missing are the internal topics that are not there, by name.
	Missing []*metapb.StreamsTopicInfo
	// Problem is why there can be no tasks; nil where there can.
	Problem *metapb.StreamsStatus
}

// IsReady says that tasks can be given out.
func (c *Configured) IsReady() bool { return c != nil && c.Problem == nil }

// Subtopology is one by id, nil where there is none.
func (c *Configured) Subtopology(id string) *Subtopology {
	i, found := slices.BinarySearchFunc(c.Subtopologies, id, func(s Subtopology, id string) int { return cmp.Compare(s.ID, id) })
	if !found {
		return nil
	}
	return &c.Subtopologies[i]
}

// Proto is what administrators see of it.
func (c *Configured) Proto() *metapb.StreamsConfigured {
	out := &metapb.StreamsConfigured{Epoch: c.Epoch}
	for i := range c.Subtopologies {
		out.Subtopologies = append(out.Subtopologies, c.Subtopologies[i].proto())
	}
	return out
}

// InvalidTopologyError is why a topology can never be run.
type InvalidTopologyError struct{ reason string }

func (e *InvalidTopologyError) Error() string { return e.reason }

func invalid(format string, args ...any) error {
	return &InvalidTopologyError{fmt.Sprintf(format, args...)}
}

// maxTasks bounds the tasks of an application.
const maxTasks = 1 << 20

// RequiredTopics are the topics that a topology reads or keeps state in, in order.
func RequiredTopics(t *metapb.StreamsTopology) []string {
	names := map[string]struct{}{}
	for _, s := range t.GetSubtopologies() {
		for _, name := range s.GetSourceTopics() {
			names[name] = struct{}{}
		}
		for _, topics := range [][]*metapb.StreamsTopicInfo{s.GetRepartitionSourceTopics(), s.GetChangelogTopics()} {
			for _, topic := range topics {
				names[topic.GetName()] = struct{}{}
			}
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// Configure finds the numbers of partitions and of tasks. partitions tells how many a topic has, 0 where there is none.
func Configure(t *metapb.StreamsTopology, partitions func(topic string) int32) (*Configured, error) {
	if err := validate(t); err != nil {
		return nil, err
	}
	c := &Configured{Epoch: t.Epoch}
	p := &planner{topology: t, existing: partitions, decided: map[string]int32{}}
	if c.Problem = p.missingSources(); c.Problem != nil {
		return c, nil
	}
	problem, err := p.decide()
	if c.Problem = problem; problem != nil || err != nil {
		return c, err
	}
	subtopologies := make([]Subtopology, 0, len(t.Subtopologies))
	tasks := 0
	for _, s := range t.Subtopologies {
		configured := p.configure(s)
		subtopologies = append(subtopologies, configured)
		tasks += int(configured.Tasks)
	}
	if tasks > maxTasks {
		return nil, invalid("The topology has %d tasks, which is more than %d.", tasks, maxTasks)
	}
	slices.SortFunc(subtopologies, func(x, y Subtopology) int { return cmp.Compare(x.ID, y.ID) })
	missing, problem := p.missingInternal(subtopologies)
	if c.Problem = problem; problem != nil {
		return c, nil
	}
	c.Subtopologies, c.Missing = subtopologies, missing
	if len(missing) > 0 {
		names := make([]string, len(missing))
		for i, topic := range missing {
			names[i] = topic.Name
		}
		c.Problem = status(metapb.StreamsStatusCode_STREAMS_MISSING_INTERNAL_TOPICS, "Internal topics are missing: [%s]", strings.Join(names, ", "))
	}
	return c, nil
}

func status(code metapb.StreamsStatusCode, format string, args ...any) *metapb.StreamsStatus {
	return &metapb.StreamsStatus{Code: code, Detail: fmt.Sprintf(format, args...)}
}

// validate refuses what does not hang together, whatever topics there are.
func validate(t *metapb.StreamsTopology) error {
	if t.Epoch < 0 {
		return invalid("Topology epoch must be non-negative.")
	}
	seen := make(map[string]bool, len(t.Subtopologies))
	for _, s := range t.Subtopologies {
		switch {
		case seen[s.Id]:
			return invalid("Subtopology %s is there more than once.", s.Id)
		case len(s.SourceTopics)+len(s.RepartitionSourceTopics) == 0:
			return invalid("No source topics found for subtopology %s", s.Id)
		}
		seen[s.Id] = true
		for _, topic := range s.RepartitionSourceTopics {
			if topic.Partitions < 0 {
				return invalid("Repartition topic %s has %d partitions.", topic.Name, topic.Partitions)
			}
		}
		for _, topic := range s.ChangelogTopics {
			if topic.Partitions != 0 {
				return invalid("Changelog topic %s must have an undefined partition count, but it is set to %d.", topic.Name, topic.Partitions)
			}
		}
		for _, g := range s.CopartitionGroups {
			if !within(g.SourceTopics, len(s.SourceTopics)) || !within(g.RepartitionSourceTopics, len(s.RepartitionSourceTopics)) {
				return invalid("A copartition group of subtopology %s names a topic that it does not read.", s.Id)
			}
		}
	}
	return nil
}

func within(places []int32, length int) bool {
	return !slices.ContainsFunc(places, func(i int32) bool { return i < 0 || int(i) >= length })
}
