package conformance

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func joining(group, member string, protocols ...string) *kmsg.JoinGroupRequest {
	r := kmsg.NewPtrJoinGroupRequest()
	r.Group, r.MemberID, r.ProtocolType, r.SessionTimeoutMillis, r.RebalanceTimeoutMillis = group, member, "consumer", 10_000, 10_000
	if len(protocols) == 0 {
		protocols = []string{"range"}
	}
	for _, name := range protocols {
		p := kmsg.NewJoinGroupRequestProtocol()
		p.Name, p.Metadata = name, subscription()
		r.Protocols = append(r.Protocols, p)
	}
	return r
}

// subscription is what a consumer tells its group's leader. Kafka reads it too, and leaves a join unanswered where it cannot.
func subscription() []byte {
	m := kmsg.NewConsumerMemberMetadata()
	m.Topics = []string{"topic"}
	return m.AppendTo(nil)
}

func assignment() []byte {
	a := kmsg.NewConsumerMemberAssignment()
	return a.AppendTo(nil)
}

// warm makes sure that the server can coordinate groups: Kafka makes its topic of offsets for the first.
func (s *session) warm() {
	s.t.Helper()
	r := kmsg.NewPtrFindCoordinatorRequest()
	r.CoordinatorKey = s.name("warm")
	until(s, "", 0, r, func(r *kmsg.FindCoordinatorResponse) bool { return r.ErrorCode == 0 })
	h := kmsg.NewPtrHeartbeatRequest()
	h.Group = s.name("warm")
	until(s, "", 0, h, func(r *kmsg.HeartbeatResponse) bool {
		return r.ErrorCode != 14 && r.ErrorCode != 15 && r.ErrorCode != 16
	})
}

// join makes a member of a group (the first, or after all others have joined again) and returns its id and generation.
func (s *session) join(label string, version int16, r *kmsg.JoinGroupRequest) *kmsg.JoinGroupResponse {
	s.t.Helper()
	answer := ask[*kmsg.JoinGroupResponse](s, label, version, r)
	if answer.ErrorCode == 79 { // MEMBER_ID_REQUIRED
		r.MemberID = answer.MemberID
		again := ""
		if label != "" {
			again = label + ", with its id"
		}
		answer = ask[*kmsg.JoinGroupResponse](s, again, version, r)
	}
	return answer
}

func syncing(group string, member string, generation int32, assignments ...string) *kmsg.SyncGroupRequest {
	r := kmsg.NewPtrSyncGroupRequest()
	r.Group, r.MemberID, r.Generation = group, member, generation
	r.ProtocolType, r.Protocol = kmsg.StringPtr("consumer"), kmsg.StringPtr("range")
	for _, id := range assignments {
		a := kmsg.NewSyncGroupRequestGroupAssignment()
		a.MemberID, a.MemberAssignment = id, assignment()
		r.GroupAssignment = append(r.GroupAssignment, a)
	}
	return r
}

// stable makes a group with one member that has its assignment.
func (s *session) stable(suffix string) (group, member string, generation int32) {
	s.t.Helper()
	s.warm()
	group = s.name(suffix)
	joined := s.join("", 5, joining(group, ""))
	ask[kmsg.Response](s, "", 3, syncing(group, joined.MemberID, joined.Generation, joined.MemberID))
	return group, joined.MemberID, joined.Generation
}

func (s *session) leave(group, member string) {
	s.t.Helper()
	r := kmsg.NewPtrLeaveGroupRequest()
	r.Group, r.MemberID = group, member
	ask[kmsg.Response](s, "", 1, r)
}

func askFindCoordinator(s *session, version int16) {
	s.warm()
	find := func(label string, kind int8, keys ...string) {
		s.t.Helper()
		r := kmsg.NewPtrFindCoordinatorRequest()
		r.CoordinatorType, r.CoordinatorKeys = kind, keys
		if len(keys) > 0 {
			r.CoordinatorKey = keys[0]
		}
		ready := func(r *kmsg.FindCoordinatorResponse) bool {
			for _, c := range r.Coordinators {
				if c.ErrorCode == 15 {
					return false
				}
			}
			return r.ErrorCode != 15
		}
		until(s, label, version, r, ready)
	}
	find("of a group", 0, "group")
	find("of several", 0, "a", "b", "a")
	find("of an empty group", 0, "")
	find("of nothing", 0)
	find("of a transaction", 1, "transaction")
	for _, kind := range []int8{2, 3, -1} {
		find(fmt.Sprintf("of type %d", kind), kind, "group")
	}
	find("of a share group, well named", 2, "group:AAAAAAAAAAAAAAAAAAAAAQ:0")
}

func askJoinGroup(s *session, version int16) {
	s.warm()
	group := s.name("group")
	first := s.join("the first", version, joining(group, ""))
	ask[kmsg.Response](s, "unknown member", version, joining(group, "nobody"))
	ask[kmsg.Response](s, "unknown member of an unknown group", version, joining(s.name("other"), "nobody"))
	ask[kmsg.Response](s, "empty group", version, joining("", ""))
	for _, millis := range []int32{0, -1, 5999, 1_800_001} {
		r := joining(group, first.MemberID)
		r.SessionTimeoutMillis = millis
		ask[kmsg.Response](s, fmt.Sprintf("session timeout %d", millis), version, r)
	}
	wrong := joining(group, first.MemberID)
	wrong.ProtocolType = "connect"
	ask[kmsg.Response](s, "another protocol type", version, wrong)
	wrong.ProtocolType = ""
	ask[kmsg.Response](s, "no protocol type", version, wrong)
	none := joining(group, first.MemberID)
	none.Protocols = nil
	ask[kmsg.Response](s, "no protocols", version, none)
	none.Group, none.MemberID = s.name("none"), ""
	ask[kmsg.Response](s, "no protocols in a new group", version, none)
	none = joining(s.name("none"), "")
	none.ProtocolType = ""
	ask[kmsg.Response](s, "no protocol type in a new group", version, none)
	// Two members: the second's joining makes the first join again.
	ask[kmsg.Response](s, "the first's sync", min(version, 5), syncing(group, first.MemberID, first.Generation, first.MemberID))
	second := joining(group, "", "roundrobin", "range")
	w := dial(s.t, s.server.address)
	defer w.close()
	if version >= 4 {
		given := ask[*kmsg.JoinGroupResponse](s, "the second, without an id", version, second)
		second.MemberID = given.MemberID
	}
	waiting := s.start(w, version, second)
	until(s, "heartbeat in a rebalance", 3, heartbeating(group, first.MemberID, first.Generation), func(r *kmsg.HeartbeatResponse) bool { return r.ErrorCode != 0 })
	led := ask[*kmsg.JoinGroupResponse](s, "the first again", version, joining(group, first.MemberID, "range", "roundrobin"))
	followed := await[*kmsg.JoinGroupResponse](s, "the second", waiting)
	before := s.start(w, min(version, 5), syncing(group, followed.MemberID, followed.Generation))
	ask[kmsg.Response](s, "the leader's sync", min(version, 5), syncing(group, led.MemberID, led.Generation, led.MemberID, followed.MemberID))
	await[kmsg.Response](s, "the follower's sync", before)
	ask[kmsg.Response](s, "incompatible protocols", version, joining(group, "", "sticky"))
	ask[kmsg.Response](s, "the follower joins again unchanged", version, joining(group, followed.MemberID, "roundrobin", "range"))
	s.leave(group, first.MemberID)
	s.leave(group, followed.MemberID)
}

func askStaticMembers(s *session, version int16) {
	if version < 5 {
		return
	}
	s.warm()
	group := s.name("group")
	static := func(member, instance string) *kmsg.JoinGroupRequest {
		r := joining(group, member)
		r.InstanceID = kmsg.StringPtr(instance)
		return r
	}
	first := ask[*kmsg.JoinGroupResponse](s, "the first", version, static("", "one"))
	sync := syncing(group, first.MemberID, first.Generation, first.MemberID)
	sync.InstanceID = kmsg.StringPtr("one")
	ask[kmsg.Response](s, "its sync", min(version, 5), sync)
	replaced := ask[*kmsg.JoinGroupResponse](s, "its return", version, static("", "one"))
	ask[kmsg.Response](s, "with the id it had", version, static(first.MemberID, "one"))
	ask[kmsg.Response](s, "unknown instance with a known id", version, static(replaced.MemberID, "two"))
	h := heartbeating(group, first.MemberID, replaced.Generation)
	h.InstanceID = kmsg.StringPtr("one")
	ask[kmsg.Response](s, "heartbeat with the id it had", 4, h)
	h.MemberID = replaced.MemberID
	ask[kmsg.Response](s, "heartbeat with its id", 4, h)
	h.InstanceID = kmsg.StringPtr("nobody")
	ask[kmsg.Response](s, "heartbeat of an unknown instance", 4, h)
	sync.MemberID = first.MemberID
	ask[kmsg.Response](s, "sync with the id it had", min(version, 5), sync)
	sync.MemberID, sync.GroupAssignment = replaced.MemberID, nil
	ask[kmsg.Response](s, "sync with its id", min(version, 5), sync)
	commit := kmsg.NewPtrOffsetCommitRequest()
	commit.Group, commit.MemberID, commit.Generation, commit.InstanceID = group, first.MemberID, replaced.Generation, kmsg.StringPtr("one")
	ask[kmsg.Response](s, "commit with the id it had", 7, commit)
	invalid := static("", "")
	ask[kmsg.Response](s, "empty instance", version, invalid)
	leave := kmsg.NewPtrLeaveGroupRequest()
	leave.Group = group
	leaver := kmsg.NewLeaveGroupRequestMember()
	leaver.InstanceID = kmsg.StringPtr("one")
	leave.Members = append(leave.Members, leaver)
	ask[kmsg.Response](s, "leave by instance", 4, leave)
}

func askSyncGroup(s *session, version int16) {
	s.warm()
	group := s.name("group")
	joined := s.join("", 5, joining(group, ""))
	try := func(label string, r *kmsg.SyncGroupRequest) { s.t.Helper(); ask[kmsg.Response](s, label, version, r) }
	try("unknown member", syncing(group, "nobody", joined.Generation))
	try("unknown group", syncing(s.name("other"), "nobody", 1))
	try("empty group", syncing("", "nobody", 1))
	try("wrong generation", syncing(group, joined.MemberID, joined.Generation+5))
	try("old generation", syncing(group, joined.MemberID, joined.Generation-1))
	wrong := syncing(group, joined.MemberID, joined.Generation)
	wrong.Protocol = kmsg.StringPtr("sticky")
	try("another protocol", wrong)
	if version >= 5 {
		wrong = syncing(group, joined.MemberID, joined.Generation)
		wrong.ProtocolType = kmsg.StringPtr("connect")
		try("another protocol type", wrong)
		wrong.ProtocolType = nil
		try("no protocol type", wrong)
		wrong.ProtocolType, wrong.Protocol = kmsg.StringPtr("consumer"), nil
		try("no protocol", wrong)
	}
	try("assigned to strangers too", syncing(group, joined.MemberID, joined.Generation, joined.MemberID, "stranger"))
	try("again", syncing(group, joined.MemberID, joined.Generation))
	s.leave(group, joined.MemberID)
	try("after leaving", syncing(group, joined.MemberID, joined.Generation))
}

func heartbeating(group, member string, generation int32) *kmsg.HeartbeatRequest {
	r := kmsg.NewPtrHeartbeatRequest()
	r.Group, r.MemberID, r.Generation = group, member, generation
	return r
}

func askHeartbeat(s *session, version int16) {
	group, member, generation := s.stable("group")
	try := func(label string, r *kmsg.HeartbeatRequest) { s.t.Helper(); ask[kmsg.Response](s, label, version, r) }
	try("plain", heartbeating(group, member, generation))
	try("wrong generation", heartbeating(group, member, generation+1))
	try("generation -1", heartbeating(group, member, -1))
	try("unknown member", heartbeating(group, "nobody", generation))
	try("no member", heartbeating(group, "", -1))
	try("unknown group", heartbeating(s.name("other"), member, generation))
	try("empty group", heartbeating("", member, generation))
	s.leave(group, member)
	try("after leaving", heartbeating(group, member, generation))
}

func askLeaveGroup(s *session, version int16) {
	group, member, _ := s.stable("group")
	leave := func(label, group string, ids ...string) {
		s.t.Helper()
		r := kmsg.NewPtrLeaveGroupRequest()
		r.Group = group
		for _, id := range ids {
			r.MemberID = id
			m := kmsg.NewLeaveGroupRequestMember()
			m.MemberID = id
			r.Members = append(r.Members, m)
		}
		ask[kmsg.Response](s, label, version, r)
	}
	leave("unknown member", group, "nobody")
	leave("unknown group", s.name("other"), "nobody")
	leave("empty group", "", "nobody")
	leave("nobody", group)
	if version >= 3 {
		r := kmsg.NewPtrLeaveGroupRequest()
		r.Group = group
		m := kmsg.NewLeaveGroupRequestMember()
		m.InstanceID, m.MemberID = kmsg.StringPtr("stranger"), ""
		r.Members = append(r.Members, m)
		ask[kmsg.Response](s, "unknown instance", version, r)
		leave("two, one unknown", group, "nobody", member)
	} else {
		leave("plain", group, member)
	}
	leave("again", group, member)
}

func commitOf(topic string, partition int32, offset int64) kmsg.OffsetCommitRequestTopic {
	t := kmsg.NewOffsetCommitRequestTopic()
	t.Topic = topic
	p := kmsg.NewOffsetCommitRequestTopicPartition()
	p.Partition, p.Offset, p.Metadata, p.LeaderEpoch = partition, offset, kmsg.StringPtr("note"), -1
	t.Partitions = append(t.Partitions, p)
	return t
}

func committing(group, member string, generation int32, topics ...kmsg.OffsetCommitRequestTopic) *kmsg.OffsetCommitRequest {
	r := kmsg.NewPtrOffsetCommitRequest()
	r.Group, r.MemberID, r.Generation, r.Topics, r.RetentionTimeMillis = group, member, generation, topics, -1
	return r
}

func askOffsetCommit(s *session, version int16) {
	topic := s.create("topic", 2)
	group, member, generation := s.stable("group")
	try := func(label string, r *kmsg.OffsetCommitRequest) {
		s.t.Helper()
		ask[kmsg.Response](s, label, version, r)
	}
	one := commitOf(topic.name, 0, 5)
	try("plain", committing(group, member, generation, one))
	try("wrong generation", committing(group, member, generation+1, one))
	try("generation -1 in a group with members", committing(group, "", -1, one))
	try("generation -1 of a member", committing(group, member, -1, one))
	try("unknown member", committing(group, "nobody", generation, one))
	try("unknown group with a generation", committing(s.name("other"), "nobody", 1, one))
	try("without a group's members", committing(s.name("simple"), "", -1, one))
	try("empty group", committing("", "", -1, one))
	try("unknown topic", committing(group, member, generation, commitOf(s.name("unknown"), 0, 5)))
	try("invalid topic name", committing(group, member, generation, commitOf("a b", 0, 5)))
	for _, partition := range []int32{2, -1} {
		try(fmt.Sprintf("partition %d", partition), committing(group, member, generation, commitOf(topic.name, partition, 5)))
	}
	for _, offset := range []int64{0, -1, -2, 1 << 60} {
		try(fmt.Sprintf("offset %d", offset), committing(s.name("offsets"), "", -1, commitOf(topic.name, 0, offset)))
	}
	long := commitOf(topic.name, 0, 5)
	long.Partitions[0].Metadata = kmsg.StringPtr(fmt.Sprintf("%5000d", 1))
	try("metadata too long", committing(group, member, generation, long))
	long.Partitions[0].Metadata = nil
	try("null metadata", committing(group, member, generation, long))
	try("known and unknown", committing(group, member, generation, one, commitOf(s.name("unknown"), 0, 5)))
	try("a topic twice", committing(group, member, generation, one, commitOf(topic.name, 0, 6)))
	try("nothing", committing(group, member, generation))
	fetch := kmsg.NewPtrOffsetFetchRequest()
	fetch.Group = group
	ask[kmsg.Response](s, "after all", 7, fetch)
	fetch.Group = s.name("offsets")
	ask[kmsg.Response](s, "after the strange offsets", 7, fetch)
	s.leave(group, member)
	try("after leaving", committing(group, member, generation, one))
	try("of the empty group", committing(group, "", -1, one))
}

func askOffsetFetch(s *session, version int16) {
	topic := s.create("topic", 3)
	group, member, generation := s.stable("group")
	ask[kmsg.Response](s, "", 8, committing(group, member, generation, commitOf(topic.name, 0, 5), commitOf(topic.name, 1, 7)))
	fetch := func(label, group string, partitions []int32, names ...string) {
		s.t.Helper()
		r := kmsg.NewPtrOffsetFetchRequest()
		r.Group = group
		one := kmsg.NewOffsetFetchRequestGroup()
		one.Group = group
		if names != nil {
			r.Topics, one.Topics = []kmsg.OffsetFetchRequestTopic{}, []kmsg.OffsetFetchRequestGroupTopic{}
		}
		for _, name := range names {
			t := kmsg.NewOffsetFetchRequestTopic()
			t.Topic, t.Partitions = name, partitions
			r.Topics = append(r.Topics, t)
			g := kmsg.NewOffsetFetchRequestGroupTopic()
			g.Topic, g.Partitions = name, partitions
			one.Topics = append(one.Topics, g)
		}
		r.Groups = append(r.Groups, one)
		ask[kmsg.Response](s, label, version, r)
		r.RequireStable = true
		if version >= 7 {
			ask[kmsg.Response](s, label+", only what is stable", version, r)
		}
	}
	fetch("two of three", group, []int32{0, 1, 2}, topic.name)
	fetch("a partition that is not there", group, []int32{9, -1}, topic.name)
	fetch("unknown topic", group, []int32{0}, s.name("unknown"))
	fetch("invalid topic name", group, []int32{0}, "a b")
	fetch("no partitions", group, nil, topic.name)
	fetch("no topics", group, nil, []string{}...)
	fetch("empty list of topics", group, nil, make([]string, 0)...)
	fetch("of an unknown group", s.name("other"), []int32{0}, topic.name)
	fetch("of an empty group", "", []int32{0}, topic.name)
	fetch("a topic twice", group, []int32{0}, topic.name, topic.name)
	if version >= 2 {
		fetch("all topics", group, nil)
		fetch("all topics of an unknown group", s.name("other"), nil)
	}
	if version >= 8 {
		r := kmsg.NewPtrOffsetFetchRequest()
		for _, name := range []string{group, s.name("other"), group} {
			g := kmsg.NewOffsetFetchRequestGroup()
			g.Group = name
			r.Groups = append(r.Groups, g)
		}
		ask[kmsg.Response](s, "three groups", version, r)
		r.Groups = nil
		ask[kmsg.Response](s, "no groups", version, r)
	}
	if version >= 9 {
		for _, epoch := range []int32{0, generation, generation + 4} {
			r := kmsg.NewPtrOffsetFetchRequest()
			g := kmsg.NewOffsetFetchRequestGroup()
			g.Group, g.MemberID, g.MemberEpoch = group, kmsg.StringPtr(member), epoch
			r.Groups = append(r.Groups, g)
			ask[kmsg.Response](s, fmt.Sprintf("as a member at epoch %d", epoch), version, r)
		}
	}
}

func askDescribeGroups(s *session, version int16) {
	group, member, _ := s.stable("group")
	for _, operations := range []bool{false, true} {
		r := kmsg.NewPtrDescribeGroupsRequest()
		r.IncludeAuthorizedOperations = operations
		r.Groups = []string{group}
		label := fmt.Sprintf(", operations %t", operations)
		ask[kmsg.Response](s, "stable"+label, version, r)
		r.Groups = []string{s.name("unknown"), "", group, group}
		ask[kmsg.Response](s, "unknown, empty, twice"+label, version, r)
	}
	r := kmsg.NewPtrDescribeGroupsRequest()
	ask[kmsg.Response](s, "nothing", version, r)
	s.join("", 3, joining(group, member)) // the generation is not synced
	r.Groups = []string{group}
	ask[kmsg.Response](s, "completing", version, r)
	s.leave(group, member)
	ask[kmsg.Response](s, "left", version, r)
	topic := s.create("topic", 1)
	ask[kmsg.Response](s, "", 7, committing(s.name("simple"), "", -1, commitOf(topic.name, 0, 1)))
	r.Groups = []string{s.name("simple")}
	ask[kmsg.Response](s, "of offsets alone", version, r)
}

func askNoGroups(s *session, version int16) {
	until(s, "none", version, kmsg.NewPtrListGroupsRequest(), func(r *kmsg.ListGroupsResponse) bool { return r.ErrorCode == 0 })
}

// askListGroups records only the groups of its own.
func askListGroups(s *session, version int16) {
	group, member, _ := s.stable("group")
	list := func(label string, states, types []string) {
		s.t.Helper()
		r := kmsg.NewPtrListGroupsRequest()
		r.StatesFilter, r.TypesFilter = states, types
		answer := ask[*kmsg.ListGroupsResponse](s, "", version, r)
		var own []kmsg.ListGroupsResponseGroup
		for _, g := range answer.Groups {
			if len(g.Group) > len(s.prefix) && g.Group[:len(s.prefix)] == s.prefix {
				own = append(own, g)
			}
		}
		answer.Groups = own
		s.note(r, label, s.symbols.flatten(answer))
	}
	list("stable", nil, nil)
	for _, state := range []string{"Stable", "stable", "Empty", "PreparingRebalance", "NoSuchState", ""} {
		list("in state "+state, []string{state}, nil)
	}
	for _, kind := range []string{"classic", "Classic", "consumer", "share", "nonsense", ""} {
		list("of type "+kind, nil, []string{kind})
	}
	list("of state and type", []string{"Stable", "Empty"}, []string{"classic", "consumer"})
	s.leave(group, member)
	list("left", nil, nil)
	list("left, by state", []string{"Empty"}, nil)
}

func askDeleteGroups(s *session, version int16) {
	group, member, _ := s.stable("group")
	remove := func(label string, names ...string) {
		s.t.Helper()
		r := kmsg.NewPtrDeleteGroupsRequest()
		r.Groups = names
		ask[kmsg.Response](s, label, version, r)
	}
	remove("with a member", group)
	remove("unknown", s.name("unknown"))
	remove("empty name", "")
	remove("nothing")
	s.leave(group, member)
	topic := s.create("topic", 1)
	ask[kmsg.Response](s, "", 7, committing(s.name("simple"), "", -1, commitOf(topic.name, 0, 1)))
	remove("two, and an unknown one", group, s.name("simple"), s.name("unknown"))
	remove("again", group)
	twice, other, _ := s.stable("twice")
	s.leave(twice, other)
	remove("twice in one request", twice, twice)
	fetch := kmsg.NewPtrOffsetFetchRequest()
	fetch.Group = s.name("simple")
	ask[kmsg.Response](s, "offsets of a group that was deleted", 7, fetch)
}
