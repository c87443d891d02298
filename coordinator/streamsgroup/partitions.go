package streamsgroup

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/varvelog/varve/coordinator/metapb"
)

// planner decides how many partitions internal topics have.
type planner struct {
	topology *metapb.StreamsTopology
	existing func(topic string) int32
	decided  map[string]int32 // of internal topics
}

// count is how many partitions a topic has, or is to have; 0 where that is not known.
func (p *planner) count(topic string) int32 { return cmp.Or(p.existing(topic), p.decided[topic]) }

func (p *planner) missingSources() *metapb.StreamsStatus {
	missing := map[string]struct{}{}
	for _, s := range p.topology.Subtopologies {
		for _, name := range s.SourceTopics {
			if p.existing(name) == 0 {
				missing[name] = struct{}{}
			}
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return status(metapb.StreamsStatusCode_STREAMS_MISSING_SOURCE_TOPICS, "Source topics %s are missing.", strings.Join(slices.Sorted(maps.Keys(missing)), ", "))
}

// decide settles repartition topics first, then what must be copartitioned, then changelogs, which follow from both.
func (p *planner) decide() (*metapb.StreamsStatus, error) {
	repartitions, err := p.repartitions()
	if err != nil {
		return nil, err
	}
	maps.Copy(p.decided, repartitions)
	for _, s := range p.topology.Subtopologies {
		for _, g := range s.CopartitionGroups {
			if problem := p.copartition(s, g); problem != nil {
				return problem, nil
			}
		}
	}
	for _, s := range p.topology.Subtopologies {
		tasks := p.tasks(s)
		for _, topic := range s.ChangelogTopics {
			p.decided[topic.Name] = tasks
		}
	}
	return nil, nil
}

// tasks is the most partitions that a topic has of those the subtopology reads.
func (p *planner) tasks(s *metapb.StreamsSubtopology) (most int32) {
	for _, name := range s.SourceTopics {
		most = max(most, p.count(name))
	}
	for _, topic := range s.RepartitionSourceTopics {
		most = max(most, p.count(topic.Name))
	}
	return most
}

// repartitions finds the partitions of repartition topics: those that are asked for, else as many as the largest topic has that the
// subtopology in front of it reads. That may be a repartition topic as well, so it goes round until everything is known.
func (p *planner) repartitions() (map[string]int32, error) {
	known := map[string]int32{}
	for _, s := range p.topology.Subtopologies {
		for _, topic := range s.RepartitionSourceTopics {
			if topic.Partitions != 0 {
				known[topic.Name] = topic.Partitions
			}
		}
	}
	for {
		progress, open := false, false
		for _, s := range p.topology.Subtopologies {
			for _, sink := range s.RepartitionSinkTopics {
				if known[sink] != 0 {
					continue
				}
				if n := p.inFront(s, known); n != 0 {
					known[sink], progress = n, true
				} else {
					open = true
				}
			}
		}
		if !open {
			break
		}
		if !progress {
			return nil, invalid("Failed to compute number of partitions for all repartition topics. There may be loops in the topology that cannot be resolved.")
		}
	}
	for _, s := range p.topology.Subtopologies {
		for _, topic := range s.RepartitionSourceTopics {
			if known[topic.Name] == 0 {
				return nil, invalid("Failed to compute number of partitions for all repartition topics, because a repartition source topic is never used as a sink topic.")
			}
		}
	}
	return known, nil
}

func (p *planner) inFront(s *metapb.StreamsSubtopology, known map[string]int32) (most int32) {
	for _, topic := range s.RepartitionSourceTopics {
		most = max(most, known[topic.Name])
	}
	for _, name := range s.SourceTopics {
		most = max(most, p.count(name))
	}
	return most
}

// copartition makes the repartition topics of a group follow its source topics, or else the largest of themselves, and finds what cannot.
func (p *planner) copartition(s *metapb.StreamsSubtopology, g *metapb.StreamsCopartitionGroup) *metapb.StreamsStatus {
	sources, fixed, free := map[string]int32{}, map[string]int32{}, map[string]int32{}
	for _, i := range g.SourceTopics {
		name := s.SourceTopics[i]
		sources[name] = p.count(name)
	}
	for _, i := range g.RepartitionSourceTopics {
		topic := s.RepartitionSourceTopics[i]
		if topic.Partitions != 0 {
			fixed[topic.Name] = p.count(topic.Name)
		} else {
			free[topic.Name] = p.count(topic.Name)
		}
	}
	var partitions int32
	for _, lead := range []map[string]int32{sources, fixed} {
		if len(lead) == 0 {
			continue
		}
		if partitions = same(lead); partitions == 0 {
			return status(metapb.StreamsStatusCode_STREAMS_INCORRECTLY_PARTITIONED_TOPICS, "Following topics do not have the same number of partitions: [%s]", listCounts(lead))
		}
		break
	}
	if partitions == 0 {
		for _, n := range free {
			partitions = max(partitions, n)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(fixed)) {
		if fixed[name] != partitions {
			return status(metapb.StreamsStatusCode_STREAMS_INCORRECTLY_PARTITIONED_TOPICS,
				"Number of partitions [%d] of repartition topic [%s] doesn't match number of partitions [%d] of the source topic.", fixed[name], name, partitions)
		}
	}
	for name := range free {
		p.decided[name] = partitions
	}
	return nil
}

// same is what all counts are, 0 where they differ.
func same(counts map[string]int32) (n int32) {
	for _, count := range counts {
		if n != 0 && count != n {
			return 0
		}
		n = count
	}
	return n
}

func listCounts(counts map[string]int32) string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		list = append(list, fmt.Sprintf("%s=%d", name, counts[name]))
	}
	return "{" + strings.Join(list, ", ") + "}"
}

func (p *planner) configure(s *metapb.StreamsSubtopology) Subtopology {
	return Subtopology{
		ID: s.Id, Tasks: p.tasks(s), Sources: sortedNames(s.SourceTopics), Sinks: sortedNames(s.RepartitionSinkTopics),
		Repartitions: p.internal(s.RepartitionSourceTopics), Changelogs: p.internal(s.ChangelogTopics),
	}
}

// internal is topics with their partitions, by name.
func (p *planner) internal(topics []*metapb.StreamsTopicInfo) []*metapb.StreamsTopicInfo {
	var out []*metapb.StreamsTopicInfo
	for _, t := range topics {
		out = append(out, &metapb.StreamsTopicInfo{
			Name: t.Name, Partitions: cmp.Or(t.Partitions, p.decided[t.Name]), ReplicationFactor: t.ReplicationFactor, Configs: t.Configs,
		})
	}
	slices.SortFunc(out, func(x, y *metapb.StreamsTopicInfo) int { return cmp.Compare(x.Name, y.Name) })
	return slices.CompactFunc(out, func(x, y *metapb.StreamsTopicInfo) bool { return x.Name == y.Name })
}

func sortedNames(names []string) []string {
	names = slices.Clone(names)
	slices.Sort(names)
	return slices.Compact(names)
}

// missingInternal are internal topics that are not there, by name; one that is there with another number of partitions is a problem.
func (p *planner) missingInternal(subtopologies []Subtopology) ([]*metapb.StreamsTopicInfo, *metapb.StreamsStatus) {
	wanted := map[string]*metapb.StreamsTopicInfo{}
	for i := range subtopologies {
		for _, topics := range [][]*metapb.StreamsTopicInfo{subtopologies[i].Repartitions, subtopologies[i].Changelogs} {
			for _, t := range topics {
				wanted[t.Name] = t
			}
		}
	}
	var missing []*metapb.StreamsTopicInfo
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		switch found := p.existing(name); found {
		case wanted[name].Partitions:
		case 0:
			missing = append(missing, wanted[name])
		default:
			return nil, status(metapb.StreamsStatusCode_STREAMS_INCORRECTLY_PARTITIONED_TOPICS,
				"Existing topic %s has different number of partitions: expected %d, found %d", name, wanted[name].Partitions, found)
		}
	}
	return missing, nil
}
