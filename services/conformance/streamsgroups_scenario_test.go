package conformance

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/services/e2e/cluster"
)

// streaming is a heartbeat of the streams protocol that says nothing new.
func streaming(group, member string, epoch int32) *kmsg.StreamsGroupHeartbeatRequest {
	r := kmsg.NewPtrStreamsGroupHeartbeatRequest()
	r.Group, r.MemberID, r.MemberEpoch, r.EndpointInformationEpoch = group, member, epoch, -1
	return r
}

// starting is the first heartbeat of a member; each has a process of its own.
func starting(group, member string, subtopologies ...kmsg.StreamsGroupHeartbeatRequestTopologySubtopology) *kmsg.StreamsGroupHeartbeatRequest {
	r := streaming(group, member, 0)
	r.RebalanceTimeoutMillis, r.ProcessID = 60_000, kmsg.StringPtr("process of "+member)
	r.Topology = &kmsg.StreamsGroupHeartbeatRequestTopology{Epoch: 1, Subtopologies: subtopologies}
	return running(r)
}

// running says which active tasks of the only subtopology the member has.
func running(r *kmsg.StreamsGroupHeartbeatRequest, partitions ...int32) *kmsg.StreamsGroupHeartbeatRequest {
	r.ActiveTasks, r.StandbyTasks, r.WarmupTasks = []kmsg.TaskIDs{}, []kmsg.TaskIDs{}, []kmsg.TaskIDs{}
	if len(partitions) > 0 {
		r.ActiveTasks = []kmsg.TaskIDs{{SubtopologyID: "0", Partitions: partitions}}
	}
	return r
}

func readingFrom(id string, topics ...string) kmsg.StreamsGroupHeartbeatRequestTopologySubtopology {
	s := kmsg.NewStreamsGroupHeartbeatRequestTopologySubtopology()
	s.SubtopologyID, s.SourceTopics = id, topics
	return s
}

func internalTopic(name string, partitions int32, configs ...string) kmsg.TopicInfo {
	t := kmsg.NewTopicInfo()
	t.Topic, t.NumPartitions = name, partitions
	for i := 0; i < len(configs); i += 2 {
		c := kmsg.NewTopicInfoConfig()
		c.Key, c.Value = configs[i], configs[i+1]
		t.Configs = append(t.Configs, c)
	}
	return t
}

func (s *session) stream(label string, r *kmsg.StreamsGroupHeartbeatRequest) *kmsg.StreamsGroupHeartbeatResponse {
	s.t.Helper()
	return ask[*kmsg.StreamsGroupHeartbeatResponse](s, label, 0, r)
}

// streamable waits until the coordinator knows a topic.
func (s *session) streamable(topic string) {
	s.t.Helper()
	until(s, "", 0, starting(s.name("ready"), "ready", readingFrom("0", topic)), func(r *kmsg.StreamsGroupHeartbeatResponse) bool { return len(r.ActiveTasks) > 0 })
}

// describeStreamsGroups describes groups. Kafka shows what follows from a topology only once something has been written after it was found, which a
// stranger who comes and goes sees to.
func describeStreamsGroups(s *session, label string, groups ...string) {
	s.t.Helper()
	for _, group := range groups {
		if r := ask[*kmsg.StreamsGroupDescribeResponse](s, "", 0, describing(group)); len(r.Groups) > 0 && r.Groups[0].ErrorCode == 0 && r.Groups[0].State != "Empty" {
			stranger := starting(group, "stranger", readingFrom("0", "nothing"))
			stranger.Topology.Epoch = 0 // whatever it is, the group has a newer one
			ask[kmsg.Response](s, "", 0, stranger)
			ask[kmsg.Response](s, "", 0, streaming(group, "stranger", -1))
			ask[kmsg.Response](s, "", 0, streaming(group, "a", r.Groups[0].Members[0].MemberEpoch))
		}
	}
	ask[kmsg.Response](s, label, 0, describing(groups...))
}

func describing(groups ...string) *kmsg.StreamsGroupDescribeRequest {
	r := kmsg.NewPtrStreamsGroupDescribeRequest()
	r.Groups, r.IncludeAuthorizedOperations = groups, true
	return r
}

func askInvalidStreamsHeartbeats(s *session, _ int16) {
	s.warm()
	topic := s.create("topic", 4)
	s.streamable(topic.name)
	s.stream("to an unknown group", streaming(s.name("unknown"), "a", 1))
	s.stream("leaving an unknown group", streaming(s.name("unknown"), "a", -1))
	type request = *kmsg.StreamsGroupHeartbeatRequest
	for _, wrong := range []struct {
		label  string
		change func(r request)
	}{
		{"empty group", func(r request) { r.Group = "" }},
		{"no member id", func(r request) { r.MemberID = "" }},
		{"blank member id", func(r request) { r.MemberID = " " }},
		{"static", func(r request) { r.InstanceID = kmsg.StringPtr("instance") }},
		{"empty rack", func(r request) { r.RackID = kmsg.StringPtr("") }},
		{"no rebalance timeout", func(r request) { r.RebalanceTimeoutMillis = -1 }},
		{"no tasks", func(r request) { r.ActiveTasks, r.StandbyTasks, r.WarmupTasks = nil, nil, nil }},
		{"no active tasks", func(r request) { r.ActiveTasks = nil }},
		{"no standby tasks", func(r request) { r.StandbyTasks = nil }},
		{"no warm-up tasks", func(r request) { r.WarmupTasks = nil }},
		{"some active tasks", func(r request) { running(r, 1) }},
		{"some standby tasks", func(r request) { r.StandbyTasks = []kmsg.TaskIDs{{SubtopologyID: "0", Partitions: []int32{0}}} }},
		{"some warm-up tasks", func(r request) { r.WarmupTasks = []kmsg.TaskIDs{{SubtopologyID: "0", Partitions: []int32{0}}} }},
		{"task offsets", func(r request) { r.TaskOffsets = []kmsg.TaskOffset{} }},
		{"task end offsets", func(r request) { r.TaskEndOffsets = []kmsg.TaskOffset{} }},
		{"no topology", func(r request) { r.Topology = nil }},
		{"a topology later on", func(r request) { r.MemberEpoch = 1 }},
		{"epoch -3", func(r request) { r.MemberEpoch = -3 }},
		{"away, and not static", func(r request) { r.MemberEpoch, r.Topology = -2, nil }},
		{"an expression", func(r request) { r.Topology.Subtopologies[0].SourceTopicRegex = []string{"t.*"} }},
		{"an internal topic", func(r request) { r.Topology.Subtopologies[0].SourceTopics = []string{"__consumer_offsets"} }},
		{"a malformed topic", func(r request) { r.Topology.Subtopologies[0].RepartitionSinkTopics = []string{"a b"} }},
		{"a changelog with partitions", func(r request) {
			r.Topology.Subtopologies[0].StateChangelogTopics = []kmsg.TopicInfo{internalTopic("changelog", 3)}
		}},
		{"a subtopology without topics", func(r request) { r.Topology.Subtopologies[0].SourceTopics = nil }},
		{"a repartition topic that nobody writes", func(r request) {
			r.Topology.Subtopologies[0].RepartitionSourceTopics = []kmsg.TopicInfo{internalTopic("nobody-repartition", 0)}
		}},
		{"a loop of repartition topics", func(r request) {
			loop := readingFrom("1")
			loop.RepartitionSourceTopics, loop.RepartitionSinkTopics = []kmsg.TopicInfo{internalTopic("loop-repartition", 0)}, []string{"loop-repartition"}
			r.Topology.Subtopologies = append(r.Topology.Subtopologies, loop)
		}},
	} {
		r := starting(s.name("invalid"), "a", readingFrom("0", topic.name))
		wrong.change(r)
		s.stream(wrong.label, r)
	}
	describeStreamsGroups(s, "of groups that there are not", s.name("invalid"), s.name("unknown"), "")
}

// askStreamsTasks takes a group of two members through a rebalance. Which tasks go where is an assignor's affair where they are equal, so
// answers are compared up to there.
func askStreamsTasks(s *session, _ int16) {
	s.warm()
	topic := s.create("topic", 4)
	s.streamable(topic.name)
	group, copies := s.name("group"), readingFrom("0", topic.name)
	a := s.stream("the first", starting(group, "a", copies))
	s.stream("the first again", streaming(group, "a", a.MemberEpoch))
	s.stream("the first as if it had not been answered", starting(group, "a", copies))
	s.stream("its previous epoch, with all", running(streaming(group, "a", 0), 0, 1, 2, 3))
	s.stream("greater epoch", streaming(group, "a", a.MemberEpoch+1))
	s.stream("another topology", starting(group, "z", readingFrom("1", topic.name)))
	newer := starting(group, "z", copies)
	newer.Topology.Epoch = 2
	s.stream("a newer topology", newer)
	s.stream("a task that there is not", running(streaming(group, "a", a.MemberEpoch), 4))
	unknown := running(streaming(group, "a", a.MemberEpoch), 0)
	unknown.ActiveTasks[0].SubtopologyID = "7"
	s.stream("a subtopology that there is not", unknown)
	b := s.stream("the second", starting(group, "b", copies))
	s.stream("the second again", streaming(group, "b", b.MemberEpoch))
	given := ask[*kmsg.StreamsGroupHeartbeatResponse](s, "", 0, running(streaming(group, "a", a.MemberEpoch), 0, 1, 2, 3))
	kept := tasksOf(given)
	note := map[string]string{"epoch": fmt.Sprint(given.MemberEpoch), "tasks": fmt.Sprint(len(kept))}
	s.note(streaming("", "", 0), "the first has to give up", note)
	s.stream("it does not say that it did", streaming(group, "a", given.MemberEpoch))
	done := s.stream("it did", running(streaming(group, "a", given.MemberEpoch), kept...))
	s.stream("its previous epoch, with what it has", running(streaming(group, "a", given.MemberEpoch), kept...))
	s.stream("its previous epoch, without", streaming(group, "a", given.MemberEpoch))
	got := ask[*kmsg.StreamsGroupHeartbeatResponse](s, "", 0, streaming(group, "b", b.MemberEpoch))
	s.note(streaming("", "", 0), "the second gets", map[string]string{"epoch": fmt.Sprint(got.MemberEpoch), "tasks": fmt.Sprint(len(tasksOf(got)))})
	s.stream("settled", streaming(group, "a", done.MemberEpoch))
	s.stream("rejoining while it is there", starting(group, "b", copies))
	askStreamsOffsets(s, group, topic, got.MemberEpoch)
	askStreamsAsOtherGroup(s, group, topic, got.MemberEpoch)
	s.stream("the second leaves", streaming(group, "b", -1))
	s.stream("the second again, after leaving", streaming(group, "b", got.MemberEpoch))
	s.stream("the first gets all", streaming(group, "a", done.MemberEpoch))
	s.stream("a stranger leaves", streaming(group, "x", -1))
	s.stream("the first leaves", streaming(group, "a", -1))
	describeStreamsGroups(s, "empty", group)
	ask[kmsg.Response](s, "to an empty streams group", 5, joining(group, "c"))
	s.stream("another topology for the empty group", starting(group, "z", readingFrom("1", topic.name)))
	remove := kmsg.NewPtrDeleteGroupsRequest()
	remove.Groups = []string{group}
	ask[kmsg.Response](s, "of an empty streams group", 2, remove)
	s.stream("another topology for the new group", starting(group, "z", readingFrom("1", topic.name)))
}

func tasksOf(r *kmsg.StreamsGroupHeartbeatResponse) (partitions []int32) {
	for _, t := range r.ActiveTasks {
		partitions = append(partitions, t.Partitions...)
	}
	return partitions
}

func askStreamsOffsets(s *session, group string, topic target, epoch int32) {
	commit := committing(group, "b", epoch, commitOf(topic.name, 0, 5))
	ask[kmsg.Response](s, "of a streams member", 9, commit)
	ask[kmsg.Response](s, "of a streams member with an old version", 8, commit)
	ask[kmsg.Response](s, "of another epoch of it", 9, committing(group, "b", epoch+1, commitOf(topic.name, 0, 5)))
	ask[kmsg.Response](s, "of nobody in a streams group", 9, committing(group, "x", epoch, commitOf(topic.name, 0, 5)))
	ask[kmsg.Response](s, "of a tool for a streams group", 9, committing(group, "", -1, commitOf(topic.name, 0, 5)))
	for _, asked := range []struct {
		label string
		id    *string
		epoch int32
	}{{"by a streams member", kmsg.StringPtr("b"), epoch}, {"by another epoch of it", kmsg.StringPtr("b"), 1000}, {"by nobody in a streams group", kmsg.StringPtr("x"), 1}, {"of a streams group by a tool", nil, -1}} {
		f := kmsg.NewPtrOffsetFetchRequest()
		g := kmsg.NewOffsetFetchRequestGroup()
		g.Group, g.MemberID, g.MemberEpoch = group, asked.id, asked.epoch
		f.Groups = append(f.Groups, g)
		ask[kmsg.Response](s, asked.label, 9, f)
	}
}

func askStreamsAsOtherGroup(s *session, group string, topic target, epoch int32) {
	describe := kmsg.NewPtrDescribeGroupsRequest()
	describe.Groups = []string{group}
	ask[kmsg.Response](s, "of a streams group", 5, describe)
	ask[kmsg.Response](s, "of a streams group", 6, describe)
	describeConsumerGroups(s, 1, "of a streams group", group)
	remove := kmsg.NewPtrDeleteGroupsRequest()
	remove.Groups = []string{group}
	ask[kmsg.Response](s, "of a streams group with members", 2, remove)
	forgetOffsets(s, "of a streams group with members", group, topic.name, 0, 1)
	ask[kmsg.Response](s, "to a streams group", 3, heartbeating(group, "b", epoch))
	ask[kmsg.Response](s, "to a streams group", 5, syncing(group, "b", epoch))
	ask[kmsg.Response](s, "to a streams group", 5, joining(group, "c"))
	s.beat("to a streams group", 1, entering(group, "c", topic.name))
	list := kmsg.NewPtrListGroupsRequest()
	list.TypesFilter, list.StatesFilter = []string{"streams"}, []string{"reconciling", "stable"}
	listed := ask[*kmsg.ListGroupsResponse](s, "", 5, list)
	for _, g := range listed.Groups {
		if g.Group == group {
			s.note(list, "a streams group", map[string]string{"type": g.GroupType, "protocol": g.ProtocolType, "state": g.GroupState})
		}
	}
	s.stream("to a classic group", starting(s.classic(topic), "a", readingFrom("0", topic.name)))
}

// classic is a group that has committed offsets alone.
func (s *session) classic(topic target) string {
	group := s.name("classic")
	ask[kmsg.Response](s, "", 8, committing(group, "", -1, commitOf(topic.name, 0, 5)))
	return group
}

// askStreamsTopologies has topologies of all shapes, and waits for the internal topics of those that can be run.
func askStreamsTopologies(s *session, _ int16) {
	s.warm()
	four, two := s.create("four", 4), s.create("two", 2)
	s.streamable(four.name)
	s.streamable(two.name)

	missing := starting(s.name("missing"), "a", readingFrom("0", s.name("nowhere"), s.name("elsewhere")), readingFrom("1", four.name))
	told := s.stream("source topics that are not there", missing)
	s.stream("source topics that are still not there", streaming(s.name("missing"), "a", told.MemberEpoch))
	describeStreamsGroups(s, "without its source topics", s.name("missing"))

	counting := func() []kmsg.StreamsGroupHeartbeatRequestTopologySubtopology {
		words, count := readingFrom("0", four.name), readingFrom("1")
		words.RepartitionSinkTopics = []string{s.name("words-repartition")}
		count.RepartitionSourceTopics = []kmsg.TopicInfo{internalTopic(s.name("words-repartition"), 0, "cleanup.policy", "delete", "retention.ms", "-1")}
		count.StateChangelogTopics = []kmsg.TopicInfo{internalTopic(s.name("counts-changelog"), 0, "cleanup.policy", "compact")}
		return []kmsg.StreamsGroupHeartbeatRequestTopologySubtopology{words, count}
	}
	group := s.name("counting")
	first := s.stream("internal topics that are not there", starting(group, "a", counting()...))
	ready := until(s, "", 0, streaming(group, "a", first.MemberEpoch), func(r *kmsg.StreamsGroupHeartbeatResponse) bool { return len(r.ActiveTasks) > 0 })
	s.note(streaming("", "", 0), "internal topics that are there", map[string]string{"tasks": fmt.Sprint(len(tasksOf(ready))), "status": fmt.Sprint(ready.Status)})
	describeStreamsGroups(s, "with its internal topics", group)
	for _, name := range []string{s.name("words-repartition"), s.name("counts-changelog")} {
		configs := kmsg.NewPtrDescribeConfigsRequest()
		resource := kmsg.NewDescribeConfigsRequestResource()
		resource.ResourceType, resource.ResourceName, resource.ConfigNames = kmsg.ConfigResourceTypeTopic, name, []string{"cleanup.policy", "retention.ms"}
		configs.Resources = append(configs.Resources, resource)
		answer := ask[*kmsg.DescribeConfigsResponse](s, "", 4, configs)
		found := map[string]string{}
		for _, r := range answer.Resources {
			for _, c := range r.Configs {
				found[c.Name] = *c.Value
			}
		}
		s.note(configs, "of "+name, found)
	}

	together := readingFrom("0", four.name, two.name)
	together.CopartitionGroups = []kmsg.StreamsGroupHeartbeatRequestTopologySubtopologyCopartitionGroup{{SourceTopics: []int16{0, 1}}}
	told = s.stream("copartitioned topics that differ", starting(s.name("together"), "a", together))
	s.stream("copartitioned topics that still differ", streaming(s.name("together"), "a", told.MemberEpoch))
	describeStreamsGroups(s, "with copartitioned topics that differ", s.name("together"))

	fixed := readingFrom("0", four.name)
	fixed.RepartitionSourceTopics, fixed.RepartitionSinkTopics = []kmsg.TopicInfo{internalTopic(s.name("fixed-repartition"), 3)}, []string{s.name("fixed-repartition")}
	fixed.CopartitionGroups = []kmsg.StreamsGroupHeartbeatRequestTopologySubtopologyCopartitionGroup{{SourceTopics: []int16{0}, RepartitionSourceTopics: []int16{0}}}
	s.stream("a repartition topic that cannot be copartitioned", starting(s.name("fixed"), "a", fixed))

	stateful := readingFrom("0", four.name)
	stateful.StateChangelogTopics = []kmsg.TopicInfo{internalTopic(two.name, 0)}
	s.stream("a changelog with other partitions", starting(s.name("stateful"), "a", stateful))

	up := s.stream("before a shutdown", starting(s.name("shutdown"), "a", readingFrom("0", four.name)))
	shutdown := streaming(s.name("shutdown"), "a", up.MemberEpoch)
	shutdown.ShutdownApplication = true
	s.stream("a shutdown of the application", shutdown)
	s.stream("after the shutdown was asked for", streaming(s.name("shutdown"), "a", up.MemberEpoch))

	stale := starting(s.name("stale"), "a", readingFrom("0", four.name))
	stale.Topology.Epoch = 2
	s.stream("a topology of epoch 2", stale)
	s.stream("a topology of epoch 1", starting(s.name("stale"), "b", readingFrom("0", four.name)))

	served := starting(s.name("served"), "a", readingFrom("0", four.name))
	served.UserEndpoint = &kmsg.StreamsGroupHeartbeatRequestUserEndpoint{Host: "host", Port: 7}
	served.ClientTags = []kmsg.StreamsGroupHeartbeatRequestClientTag{{Key: "zone", Value: "a"}}
	served.RackID = kmsg.StringPtr("rack")
	with := s.stream("with an endpoint", served)
	again := s.stream("to hear of endpoints", streaming(s.name("served"), "a", with.MemberEpoch))
	known := streaming(s.name("served"), "a", with.MemberEpoch)
	known.EndpointInformationEpoch = again.EndpointInformationEpoch
	s.stream("having heard of endpoints", known)
	describeStreamsGroups(s, "with an endpoint", s.name("served"))
}

func streamsScenarios() []scenario {
	return []scenario{
		{"streamsinvalid", 88, askInvalidStreamsHeartbeats},
		{"streamstasks", 88, askStreamsTasks},
		{"streamstopologies", 88, askStreamsTopologies},
	}
}

// TestStreamsConformance asks both servers the same under the streams protocol, which a broker of Kafka 4.1 speaks when it is told to.
func TestStreamsConformance(t *testing.T) {
	needGate(t)
	kafka := startKafkaWith(t, unstableKafka, "streams.version=1")
	varve := startVarve(t)
	report := newReport(t, filepath.Join(cluster.Root(), ".cache", "kafka", "conformance-streams.txt"))
	now := time.Now().UnixMilli()
	for _, sc := range streamsScenarios() {
		var seen [2][]*observation
		for i, server := range []*server{kafka, varve} {
			s := &session{t: t, server: server, now: now, prefix: sc.name + "-", symbols: symbols{}}
			s.dialAgain()
			sc.run(s, 0)
			s.conn.close()
			seen[i] = s.seen
		}
		report.compare(seen[0], seen[1])
	}
	report.finish(false)
}
