package conformance

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// beating is a heartbeat of the consumer protocol that says nothing new.
func beating(group, member string, epoch int32) *kmsg.ConsumerGroupHeartbeatRequest {
	r := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	r.Group, r.MemberID, r.MemberEpoch, r.RebalanceTimeoutMillis = group, member, epoch, -1
	return r
}

// entering is the first heartbeat of a member.
func entering(group, member string, topics ...string) *kmsg.ConsumerGroupHeartbeatRequest {
	r := beating(group, member, 0)
	r.RebalanceTimeoutMillis, r.SubscribedTopicNames, r.Topics = 60_000, append([]string{}, topics...), []kmsg.ConsumerGroupHeartbeatRequestTopic{}
	return r
}

func owning(r *kmsg.ConsumerGroupHeartbeatRequest, topic target, partitions ...int32) *kmsg.ConsumerGroupHeartbeatRequest {
	r.Topics = []kmsg.ConsumerGroupHeartbeatRequestTopic{}
	if len(partitions) > 0 {
		r.Topics = append(r.Topics, kmsg.ConsumerGroupHeartbeatRequestTopic{TopicID: topic.id, Partitions: partitions})
	}
	return r
}

func (s *session) beat(label string, version int16, r *kmsg.ConsumerGroupHeartbeatRequest) *kmsg.ConsumerGroupHeartbeatResponse {
	s.t.Helper()
	return ask[*kmsg.ConsumerGroupHeartbeatResponse](s, label, version, r)
}

// assignable waits until the coordinator knows a topic.
func (s *session) assignable(topic target) {
	s.t.Helper()
	r := entering(s.name("ready"), "ready", topic.name)
	until(s, "", 1, r, func(r *kmsg.ConsumerGroupHeartbeatResponse) bool {
		return r.Assignment != nil && len(r.Assignment.Topics) > 0
	})
}

func askConsumerGroupHeartbeat(s *session, version int16) {
	s.warm()
	topic := s.create("topic", 4)
	s.assignable(topic)
	group := s.name("group")
	beat := func(label string, r *kmsg.ConsumerGroupHeartbeatRequest) *kmsg.ConsumerGroupHeartbeatResponse {
		s.t.Helper()
		return s.beat(label, version, r)
	}
	beat("to an unknown group", beating(group, "a", 1))
	beat("leaving an unknown group", beating(group, "a", -1))
	for _, wrong := range []struct {
		label  string
		change func(*kmsg.ConsumerGroupHeartbeatRequest)
	}{
		{"empty group", func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.Group = "" }},
		{"empty instance", func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.InstanceID = kmsg.StringPtr("") }},
		{"empty rack", func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.RackID = kmsg.StringPtr("") }},
		{"no rebalance timeout", func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.RebalanceTimeoutMillis = -1 }},
		{"no owned partitions", func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.Topics = nil }},
		{"some owned partitions", func(r *kmsg.ConsumerGroupHeartbeatRequest) { owning(r, topic, 1) }},
		{"no subscription", func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.SubscribedTopicNames = nil }},
		{"epoch -3", func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.MemberEpoch = -3 }},
		{"away, and not static", func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.MemberEpoch = -2 }},
		{"an unknown assignor", func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.ServerAssignor = kmsg.StringPtr("sticky") }},
		{"leaving without an id", func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.MemberID, r.MemberEpoch = "", -1 }},
		{"an epoch without an id", func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.MemberID, r.MemberEpoch = "", 3 }},
	} {
		r := entering(s.name("invalid"), "a", topic.name)
		wrong.change(r)
		beat(wrong.label, r)
	}
	beat("without an id", entering(s.name("named"), "", topic.name))
	if version >= 1 {
		for _, expression := range []string{"(", "[z-", "a{1,2000}", "(?=x)"} {
			r := entering(s.name("invalid"), "a")
			r.SubscribedTopicRegex = kmsg.StringPtr(expression)
			beat("expression "+expression, r)
		}
	}
	a := beat("the first", entering(group, "a", topic.name))
	beat("the first again", beating(group, "a", a.MemberEpoch))
	beat("the first, saying all", owning(func() *kmsg.ConsumerGroupHeartbeatRequest {
		r := entering(group, "a", topic.name)
		r.MemberEpoch = a.MemberEpoch
		return r
	}(), topic, 0, 1, 2, 3))
	beat("greater epoch", beating(group, "a", a.MemberEpoch+1))
	beat("epoch far ahead", beating(group, "a", 1000))
	b := beat("the second", entering(group, "b", topic.name))
	beat("the second again", beating(group, "b", b.MemberEpoch))
	given := beat("the first has to give up", owning(beating(group, "a", a.MemberEpoch), topic, 0, 1, 2, 3))
	describeConsumerGroups(s, 0, "while it does", group)
	beat("it does not say that it did", beating(group, "a", given.MemberEpoch))
	var kept []int32
	if given.Assignment != nil && len(given.Assignment.Topics) > 0 {
		kept = given.Assignment.Topics[0].Partitions
	}
	done := beat("it did", owning(beating(group, "a", given.MemberEpoch), topic, kept...))
	beat("its previous epoch, with what it has", owning(beating(group, "a", given.MemberEpoch), topic, kept...))
	beat("its previous epoch, without", beating(group, "a", given.MemberEpoch))
	got := beat("the second gets", beating(group, "b", b.MemberEpoch))
	beat("settled", beating(group, "a", done.MemberEpoch))
	describeConsumerGroups(s, 1, "settled", group)
	commit := committing(group, "b", got.MemberEpoch, commitOf(topic.name, 0, 5))
	ask[kmsg.Response](s, "of a member", 9, commit)
	ask[kmsg.Response](s, "of a member with an old version", 8, commit)
	ask[kmsg.Response](s, "of another epoch", 9, committing(group, "b", got.MemberEpoch+1, commitOf(topic.name, 0, 5)))
	ask[kmsg.Response](s, "of nobody", 9, committing(group, "x", got.MemberEpoch, commitOf(topic.name, 0, 5)))
	ask[kmsg.Response](s, "of a tool", 9, committing(group, "", -1, commitOf(topic.name, 0, 5)))
	for _, asked := range []struct {
		label string
		id    *string
		epoch int32
	}{{"by a member", kmsg.StringPtr("b"), got.MemberEpoch}, {"by another epoch", kmsg.StringPtr("b"), 1000}, {"by nobody", kmsg.StringPtr("x"), 1}, {"by a tool", nil, -1}} {
		f := kmsg.NewPtrOffsetFetchRequest()
		g := kmsg.NewOffsetFetchRequestGroup()
		g.Group, g.MemberID, g.MemberEpoch = group, asked.id, asked.epoch
		f.Groups = append(f.Groups, g)
		ask[kmsg.Response](s, asked.label, 9, f)
	}
	describe := kmsg.NewPtrDescribeGroupsRequest()
	describe.Groups = []string{group}
	ask[kmsg.Response](s, "of a consumer group", 5, describe)
	ask[kmsg.Response](s, "of a consumer group", 6, describe)
	remove := kmsg.NewPtrDeleteGroupsRequest()
	remove.Groups = []string{group}
	ask[kmsg.Response](s, "of a consumer group with members", 2, remove)
	forgetOffsets(s, "of a consumer group with members", group, topic.name, 0, 1)
	ask[kmsg.Response](s, "to a consumer group", 3, heartbeating(group, "b", got.MemberEpoch))
	ask[kmsg.Response](s, "to a consumer group", 5, syncing(group, "b", got.MemberEpoch))
	ask[kmsg.Response](s, "to a consumer group", 5, joining(group, "c"))
	beat("the second leaves", beating(group, "b", -1))
	beat("the second again, after leaving", beating(group, "b", got.MemberEpoch))
	beat("the first gets all", beating(group, "a", done.MemberEpoch))
	beat("a stranger leaves", beating(group, "x", -1))
	beat("the first leaves", beating(group, "a", -1))
	describeConsumerGroups(s, version, "empty", group)
	forgetOffsets(s, "of an empty consumer group", group, topic.name, 0, 7)
	ask[kmsg.Response](s, "of an empty consumer group", 2, remove)
}

func askStaticConsumers(s *session, version int16) {
	s.warm()
	topic := s.create("topic", 2)
	s.assignable(topic)
	group := s.name("group")
	static := func(r *kmsg.ConsumerGroupHeartbeatRequest, instance string) *kmsg.ConsumerGroupHeartbeatRequest {
		r.InstanceID = kmsg.StringPtr(instance)
		return r
	}
	first := s.beat("the first", version, static(entering(group, "a", topic.name), "one"))
	s.beat("another process", version, static(entering(group, "b", topic.name), "one"))
	s.beat("an unknown instance", version, static(beating(group, "a", first.MemberEpoch), "two"))
	s.beat("another's id", version, static(beating(group, "b", first.MemberEpoch), "one"))
	s.beat("another's id leaves", version, static(beating(group, "b", -1), "one"))
	s.beat("away", version, static(beating(group, "a", -2), "one"))
	describeConsumerGroups(s, version, "away", group)
	back := s.beat("another process once it is away", version, static(entering(group, "b", topic.name), "one"))
	s.beat("the old process", version, static(beating(group, "a", first.MemberEpoch), "one"))
	s.beat("the new process", version, static(beating(group, "b", back.MemberEpoch), "one"))
	describeConsumerGroups(s, version, "back", group)
	s.beat("leaves for good", version, static(beating(group, "b", -1), "one"))
	s.beat("leaves again", version, static(beating(group, "b", -1), "one"))
}

func describeConsumerGroups(s *session, version int16, label string, groups ...string) {
	s.t.Helper()
	r := kmsg.NewPtrConsumerGroupDescribeRequest()
	r.Groups = groups
	ask[kmsg.Response](s, label, version, r)
}

func askConsumerGroupDescribe(s *session, version int16) {
	group, member, _ := s.stable("classic")
	describeConsumerGroups(s, version, "unknown", s.name("unknown"))
	describeConsumerGroups(s, version, "classic", group)
	describeConsumerGroups(s, version, "empty name", "")
	describeConsumerGroups(s, version, "none")
	s.beat("to a classic group", 1, beating(group, "a", 1))
	s.leave(group, member)
	describeConsumerGroups(s, version, "empty classic", group)
	group = s.name("fresh")
	joined := s.beat("to a topic that is not there", 1, entering(group, "a", s.name("topic")))
	describeConsumerGroups(s, version, "with a topic that is not there", group)
	r := kmsg.NewPtrConsumerGroupDescribeRequest()
	r.Groups, r.IncludeAuthorizedOperations = []string{group}, true
	ask[kmsg.Response](s, "with operations", version, r)
	s.beat("leaves", 1, beating(group, "a", -1))
	s.beat("an old epoch", 1, beating(group, "a", joined.MemberEpoch))
	other, _, _ := s.stable("other")
	s.beat("to a classic group of consumers", 1, entering(other, "a", s.name("topic")))
}

func forgetOffsets(s *session, label, group, topic string, partitions ...int32) {
	s.t.Helper()
	r := kmsg.NewPtrOffsetDeleteRequest()
	r.Group = group
	t := kmsg.NewOffsetDeleteRequestTopic()
	t.Topic = topic
	for _, p := range partitions {
		t.Partitions = append(t.Partitions, kmsg.OffsetDeleteRequestTopicPartition{Partition: p})
	}
	r.Topics = append(r.Topics, t)
	ask[kmsg.Response](s, label, 0, r)
}

func askOffsetDelete(s *session, version int16) {
	s.warm()
	topic := s.create("topic", 2)
	simple := s.name("simple")
	ask[kmsg.Response](s, "", 7, committing(simple, "", -1, commitOf(topic.name, 0, 5)))
	forgetOffsets(s, "unknown group", s.name("unknown"), topic.name, 0)
	forgetOffsets(s, "empty group", "", topic.name, 0)
	forgetOffsets(s, "unknown topic", simple, s.name("unknown"), 0)
	forgetOffsets(s, "partition without an offset, and one too many", simple, topic.name, 1, 2)
	forgetOffsets(s, "plain", simple, topic.name, 0)
	forgetOffsets(s, "again", simple, topic.name, 0)
	group, member, _ := s.stable("classic")
	forgetOffsets(s, fmt.Sprintf("of a group whose subscriptions cannot be read v%d", version), group, topic.name, 0)
	s.leave(group, member)
	forgetOffsets(s, "of an empty classic group", group, topic.name, 0)
}
