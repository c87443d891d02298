package kafka

import (
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/coordinator/meta"
)

// counting is the first heartbeat of an application that counts what is in the topic.
func counting(topic string) *kmsg.StreamsGroupHeartbeatRequest {
	r := kmsg.NewPtrStreamsGroupHeartbeatRequest()
	r.Group, r.MemberID, r.RebalanceTimeoutMillis, r.ProcessID, r.EndpointInformationEpoch = "app", "thread", 60_000, kmsg.StringPtr("process"), -1
	r.ActiveTasks, r.StandbyTasks, r.WarmupTasks = []kmsg.TaskIDs{}, []kmsg.TaskIDs{}, []kmsg.TaskIDs{}
	s := kmsg.NewStreamsGroupHeartbeatRequestTopologySubtopology()
	s.SubtopologyID, s.SourceTopics = "0", []string{topic}
	s.StateChangelogTopics = []kmsg.TopicInfo{{Topic: "app-count-changelog", Configs: []kmsg.TopicInfoConfig{{Key: "cleanup.policy", Value: "compact"}}}}
	r.Topology = &kmsg.StreamsGroupHeartbeatRequestTopology{Subtopologies: []kmsg.StreamsGroupHeartbeatRequestTopologySubtopology{s}}
	return r
}

func further(r *kmsg.StreamsGroupHeartbeatRequest, epoch int32) *kmsg.StreamsGroupHeartbeatRequest {
	next := *r
	next.MemberEpoch, next.Topology, next.RebalanceTimeoutMillis = epoch, nil, -1
	next.ActiveTasks, next.StandbyTasks, next.WarmupTasks = nil, nil, nil
	return &next
}

func TestAnApplicationHasItsInternalTopicsCreated(t *testing.T) {
	c := newCluster(t)
	_, addr := start(t, c, Config{})
	c.createTopic(t, "lines", 3)
	client := dial(t, addr)
	join := counting("lines")
	first := client.request(join).(*kmsg.StreamsGroupHeartbeatResponse)
	if first.ErrorCode != 0 || len(first.Status) != 1 || first.Status[0].StatusCode != 3 || first.ActiveTasks == nil || len(first.ActiveTasks) != 0 {
		t.Fatalf("first %+v", first)
	}
	c.View(func(s *meta.State) {
		topic := s.TopicByName("app-count-changelog")
		if topic == nil || topic.Partitions() != 3 || topic.Overrides["cleanup.policy"] != "compact" {
			t.Errorf("changelog %+v", topic)
		}
	})
	second := client.request(further(join, first.MemberEpoch)).(*kmsg.StreamsGroupHeartbeatResponse)
	if second.ErrorCode != 0 || second.Status != nil || len(second.ActiveTasks) != 1 || len(second.ActiveTasks[0].Partitions) != 3 {
		t.Fatalf("second %+v", second)
	}
	third := client.request(further(join, second.MemberEpoch)).(*kmsg.StreamsGroupHeartbeatResponse)
	if third.ErrorCode != 0 || third.ActiveTasks != nil {
		t.Errorf("what has not changed is told again: %+v", third)
	}
	describe := kmsg.NewPtrStreamsGroupDescribeRequest()
	describe.Groups = []string{"app", "nobody"}
	described := client.request(describe).(*kmsg.StreamsGroupDescribeResponse).Groups
	if g := described[0]; g.State != "Stable" || g.Topology.Subtopologies[0].StateChangelogTopics[0].NumPartitions != 3 || g.Members[0].ProcessID != "process" {
		t.Errorf("described %+v", g)
	}
	if described[1].ErrorCode != kerr.GroupIDNotFound.Code {
		t.Errorf("described %+v", described[1])
	}
}

func TestAnInternalTopicThatCannotBeCreatedIsNamed(t *testing.T) {
	c := newCluster(t)
	_, addr := start(t, c, Config{})
	c.createTopic(t, "lines", 3)
	join := counting("lines")
	join.Topology.Subtopologies[0].StateChangelogTopics[0].Configs[0].Value = "shred"
	answer := dial(t, addr).request(join).(*kmsg.StreamsGroupHeartbeatResponse)
	if len(answer.Status) != 1 || !strings.Contains(answer.Status[0].StatusDetail, "Creation of topic app-count-changelog failed") {
		t.Errorf("answer %+v", answer)
	}
}

// mayRead allows everything but to create.
type mayRead struct{}

func (mayRead) Allowed(a Access) bool { return a.Operation != Create }

func TestWhoMayNotCreateTopicsIsTold(t *testing.T) {
	c := newCluster(t)
	_, addr := start(t, c, Config{Authorizer: mayRead{}})
	c.createTopic(t, "lines", 3)
	answer := dial(t, addr).request(counting("lines")).(*kmsg.StreamsGroupHeartbeatResponse)
	if len(answer.Status) != 1 || !strings.HasSuffix(answer.Status[0].StatusDetail, "; Unauthorized to CREATE on topics app-count-changelog.") {
		t.Errorf("answer %+v", answer)
	}
	c.View(func(s *meta.State) {
		if s.TopicByName("app-count-changelog") != nil {
			t.Error("the topic is there")
		}
	})
}
