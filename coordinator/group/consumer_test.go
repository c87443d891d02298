package group

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
)

// modern is a member of the consumer protocol as a client library would be one.
type modern struct {
	t         *testing.T
	c         *Coordinator
	id        string
	instance  *string
	topics    []string
	regex     *string
	assignor  *string
	epoch     int32
	has       assignment
	slow      bool // does not give up what it is told to
	told      bool // that its assignment is another, and has not said that it follows
	rebalance time.Duration
}

func newModern(t *testing.T, c *Coordinator, id string, topics ...string) *modern {
	return &modern{t: t, c: c, id: id, topics: topics, has: assignment{}, rebalance: time.Minute}
}

// beat heartbeats once, and takes over what it is told.
func (m *modern) beat() metapb.GroupCode {
	r := &metapb.ConsumerHeartbeatRequest{Group: "g", MemberId: m.id, MemberEpoch: m.epoch, InstanceId: m.instance, ClientId: "test", Version: 1, RebalanceTimeoutMillis: -1}
	if m.epoch == 0 {
		m.has = assignment{}
		r.RebalanceTimeoutMillis, r.Topics, r.TopicRegex = int32(m.rebalance.Milliseconds()), &metapb.ConsumerTopics{Names: m.topics}, m.regex
		r.ServerAssignor, r.Owned = m.assignor, m.has.proto()
	} else if m.told {
		r.Owned, m.told = m.has.proto(), false
	}
	answer, err := m.c.ConsumerHeartbeat(context.Background(), r)
	if err != nil {
		m.t.Error(err)
		return metapb.GroupCode_GROUP_UNAVAILABLE
	}
	if answer.Code != metapb.GroupCode_GROUP_OK {
		return answer.Code
	}
	m.epoch = answer.MemberEpoch
	if answer.Assignment != nil && !m.slow {
		m.has, m.told = assignmentOf(answer.Assignment), true
	}
	return answer.Code
}

func (m *modern) leave(epoch int32) metapb.GroupCode {
	answer, err := m.c.ConsumerHeartbeat(context.Background(), &metapb.ConsumerHeartbeatRequest{
		Group: "g", MemberId: m.id, MemberEpoch: epoch, InstanceId: m.instance, RebalanceTimeoutMillis: -1, Version: 1})
	if err != nil {
		m.t.Error(err)
	}
	m.epoch = 0
	return answer.GetCode()
}

// rounds lets all heartbeat in turn.
func rounds(t *testing.T, n int, members ...*modern) {
	t.Helper()
	for range n {
		for _, m := range members {
			if code := m.beat(); code != metapb.GroupCode_GROUP_OK {
				t.Fatalf("heartbeat of %s: %s", m.id, code)
			}
		}
	}
}

// covers checks that each partition of orders has one member.
func covers(t *testing.T, partitions int, members ...*modern) {
	t.Helper()
	seen := map[int32]string{}
	for _, m := range members {
		for _, p := range m.has[meta.TopicID(orders)] {
			if other, twice := seen[p]; twice {
				t.Errorf("partition %d is with %s and %s", p, other, m.id)
			}
			seen[p] = m.id
		}
	}
	if len(seen) != partitions {
		t.Errorf("assigned %v, want %d partitions", seen, partitions)
	}
}

func describeConsumer(t *testing.T, c *Coordinator) *metapb.ConsumerDescribed {
	t.Helper()
	r, err := c.ConsumerDescribe(context.Background(), &metapb.ConsumerDescribeRequest{Groups: []string{"g"}})
	if err != nil {
		t.Fatal(err)
	}
	return r.Groups[0]
}

func consumerGroup(t *testing.T, run func(t *testing.T, log *stateLog, c *Coordinator)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		log := newLog(t)
		c := newCoordinator(log)
		defer c.Close()
		run(t, log, c)
	})
}

func TestAMemberGivesUpBeforeAnotherGets(t *testing.T) {
	consumerGroup(t, func(t *testing.T, _ *stateLog, c *Coordinator) {
		a, b := newModern(t, c, "a", "orders"), newModern(t, c, "b", "orders")
		rounds(t, 1, a)
		if a.epoch != 1 || a.has.count() != 4 {
			t.Errorf("alone: epoch %d, %v", a.epoch, a.has)
		}
		rounds(t, 1, b)
		if b.epoch != 2 || b.has.count() != 0 {
			t.Errorf("the second gets nothing yet: epoch %d, %v", b.epoch, b.has)
		}
		if d := describeConsumer(t, c); d.State != "Reconciling" || d.Epoch != 2 {
			t.Errorf("described %v", d)
		}
		rounds(t, 1, a) // is told to give two up
		if a.epoch != 1 || a.has.count() != 2 {
			t.Errorf("the first while it gives up: epoch %d, %v", a.epoch, a.has)
		}
		rounds(t, 1, b)
		if b.has.count() != 0 {
			t.Errorf("given before the other has said that it gave up: %v", b.has)
		}
		rounds(t, 1, a, b)
		if a.epoch != 2 || b.epoch != 2 || a.has.count() != 2 || b.has.count() != 2 {
			t.Errorf("settled: %d %v, %d %v", a.epoch, a.has, b.epoch, b.has)
		}
		covers(t, 4, a, b)
		if d := describeConsumer(t, c); d.State != "Stable" || len(d.Members) != 2 || d.Assignor != "uniform" {
			t.Errorf("described %v", d)
		}
		b.leave(epochLeave)
		rounds(t, 1, a)
		covers(t, 4, a)
	})
}

func TestHeartbeatsThatChangeNothingWriteNothing(t *testing.T) {
	consumerGroup(t, func(t *testing.T, log *stateLog, c *Coordinator) {
		a, b := newModern(t, c, "a", "orders"), newModern(t, c, "b", "orders")
		rounds(t, 4, a, b)
		before := log.seq()
		for range 100 {
			time.Sleep(5 * time.Second)
			rounds(t, 1, a, b)
		}
		if log.seq() != before {
			t.Errorf("%d entries for heartbeats", log.seq()-before)
		}
	})
}

func TestASilentOrSlowConsumerIsTakenOut(t *testing.T) {
	consumerGroup(t, func(t *testing.T, _ *stateLog, c *Coordinator) {
		a, b := newModern(t, c, "a", "orders"), newModern(t, c, "b", "orders")
		a.rebalance = 20 * time.Second
		rounds(t, 1, a, b)
		a.slow = true
		for range 6 {
			time.Sleep(5 * time.Second)
			a.beat()
			rounds(t, 1, b)
		}
		if code := a.beat(); code != metapb.GroupCode_GROUP_UNKNOWN_MEMBER {
			t.Errorf("heartbeat of one that does not give up: %s", code)
		}
		covers(t, 4, b)
		time.Sleep(46 * time.Second)
		if code := b.beat(); code != metapb.GroupCode_GROUP_UNKNOWN_MEMBER {
			t.Errorf("heartbeat after the session: %s", code)
		}
		if d := describeConsumer(t, c); d.State != "Empty" {
			t.Errorf("described %v", d)
		}
	})
}

func TestATakeoverMakesNoConsumerRejoin(t *testing.T) {
	consumerGroup(t, func(t *testing.T, log *stateLog, first *Coordinator) {
		a, b, d := newModern(t, first, "a", "orders"), newModern(t, first, "b", "orders"), newModern(t, first, "d", "orders")
		rounds(t, 4, a, b)
		rounds(t, 1, d, a) // in the middle of a rebalance: a has been told to give up
		first.Close()
		if code := a.beat(); code != metapb.GroupCode_GROUP_UNAVAILABLE {
			t.Errorf("heartbeat at a closed coordinator: %s", code)
		}
		second := newCoordinator(log)
		defer second.Close()
		a.c, b.c, d.c, a.told = second, second, second, true
		epoch := describeConsumer(t, second).Epoch
		rounds(t, 4, a, b, d)
		covers(t, 4, a, b, d)
		if now := describeConsumer(t, second); now.Epoch != epoch || now.State != "Stable" {
			t.Errorf("described %v, epoch was %d", now, epoch)
		}
	})
}

func TestWhatIsNotInTheLogIsNotSaid(t *testing.T) {
	consumerGroup(t, func(t *testing.T, log *stateLog, c *Coordinator) {
		a, b := newModern(t, c, "a", "orders"), newModern(t, c, "b", "orders")
		rounds(t, 2, a)
		log.fail(true)
		if code := b.beat(); code != metapb.GroupCode_GROUP_UNAVAILABLE {
			t.Errorf("join without a log: %s", code)
		}
		rounds(t, 1, a) // changes nothing, and needs no log
		log.fail(false)
		rounds(t, 4, a, b)
		covers(t, 4, a, b)
	})
}

func TestACommandThatComesLateIsRefused(t *testing.T) {
	consumerGroup(t, func(t *testing.T, log *stateLog, c *Coordinator) {
		a, b := newModern(t, c, "a", "orders"), newModern(t, c, "b", "orders")
		rounds(t, 2, a)
		log.loseNext() // the answer is lost, and the command is in the log
		if code := b.beat(); code != metapb.GroupCode_GROUP_UNAVAILABLE {
			t.Errorf("join whose answer was lost: %s", code)
		}
		rounds(t, 1, a)
		for range 3 {
			b.beat()
			a.beat()
		}
		rounds(t, 3, a, b)
		covers(t, 4, a, b)
	})
}

func TestFencing(t *testing.T) {
	consumerGroup(t, func(t *testing.T, _ *stateLog, c *Coordinator) {
		a, b := newModern(t, c, "a", "orders"), newModern(t, c, "b", "orders")
		rounds(t, 4, a, b)
		name, nobody, foreign, wrong := "i", "x", "sticky", "("
		tests := []struct {
			what string
			r    *metapb.ConsumerHeartbeatRequest
			want metapb.GroupCode
		}{
			{"greater epoch", &metapb.ConsumerHeartbeatRequest{MemberId: "a", MemberEpoch: a.epoch + 1}, metapb.GroupCode_GROUP_FENCED_MEMBER_EPOCH},
			{"smaller epoch", &metapb.ConsumerHeartbeatRequest{MemberId: "a", MemberEpoch: a.epoch - 1}, metapb.GroupCode_GROUP_FENCED_MEMBER_EPOCH},
			{"previous epoch with what it has", &metapb.ConsumerHeartbeatRequest{MemberId: "a", MemberEpoch: a.epoch - 1, Owned: a.has.proto()}, metapb.GroupCode_GROUP_OK},
			{"unknown", &metapb.ConsumerHeartbeatRequest{MemberId: "x", MemberEpoch: 1}, metapb.GroupCode_GROUP_UNKNOWN_MEMBER},
			{"unknown leaves", &metapb.ConsumerHeartbeatRequest{MemberId: "x", MemberEpoch: -1}, metapb.GroupCode_GROUP_UNKNOWN_MEMBER},
			{"unknown instance", &metapb.ConsumerHeartbeatRequest{MemberId: "x", MemberEpoch: 1, InstanceId: &nobody}, metapb.GroupCode_GROUP_UNKNOWN_MEMBER},
			{"no id", &metapb.ConsumerHeartbeatRequest{MemberEpoch: 1}, metapb.GroupCode_GROUP_INVALID_REQUEST},
			{"away without an instance", &metapb.ConsumerHeartbeatRequest{MemberId: "a", MemberEpoch: -2}, metapb.GroupCode_GROUP_INVALID_REQUEST},
			{"epoch -3", &metapb.ConsumerHeartbeatRequest{MemberId: "a", MemberEpoch: -3, InstanceId: &name}, metapb.GroupCode_GROUP_INVALID_REQUEST},
			{"join that says too little", &metapb.ConsumerHeartbeatRequest{MemberId: "n"}, metapb.GroupCode_GROUP_INVALID_REQUEST},
			{"assignor", &metapb.ConsumerHeartbeatRequest{MemberId: "a", MemberEpoch: a.epoch, ServerAssignor: &foreign}, metapb.GroupCode_GROUP_UNSUPPORTED_ASSIGNOR},
			{"expression", &metapb.ConsumerHeartbeatRequest{MemberId: "a", MemberEpoch: a.epoch, TopicRegex: &wrong}, metapb.GroupCode_GROUP_INVALID_REGEX},
			{"other group", &metapb.ConsumerHeartbeatRequest{Group: "h", MemberId: "a", MemberEpoch: 1}, metapb.GroupCode_GROUP_NOT_FOUND},
		}
		for _, test := range tests {
			test.r.Version, test.r.RebalanceTimeoutMillis = 1, -1
			if test.r.Group == "" {
				test.r.Group = "g"
			}
			if r, err := c.ConsumerHeartbeat(context.Background(), test.r); err != nil || r.Code != test.want {
				t.Errorf("%s: %v, %v", test.what, r, err)
			}
		}
		if d := describe(t, c); d.Code != metapb.GroupCode_GROUP_NOT_FOUND {
			t.Errorf("described as classic: %v", d)
		}
	})
}

func TestAStaticConsumerKeepsItsPlace(t *testing.T) {
	consumerGroup(t, func(t *testing.T, _ *stateLog, c *Coordinator) {
		name := "instance-1"
		a, b := newModern(t, c, "a", "orders"), newModern(t, c, "b", "orders")
		a.instance = &name
		rounds(t, 4, a, b)
		had, epoch := a.has, describeConsumer(t, c).Epoch
		second := newModern(t, c, "a2", "orders")
		second.instance = &name
		if code := second.beat(); code != metapb.GroupCode_GROUP_UNRELEASED_INSTANCE {
			t.Errorf("join while the instance is there: %s", code)
		}
		if code := a.leave(epochAwayStatic); code != metapb.GroupCode_GROUP_OK {
			t.Errorf("going away: %s", code)
		}
		rounds(t, 2, b)
		rounds(t, 1, second)
		if !second.has.equal(had) || second.epoch != epoch || describeConsumer(t, c).Epoch != epoch {
			t.Errorf("back with %v at %d, had %v at %d", second.has, second.epoch, had, epoch)
		}
		a.epoch = epoch
		if code := a.beat(); code != metapb.GroupCode_GROUP_FENCED_INSTANCE {
			t.Errorf("heartbeat of the old process: %s", code)
		}
		second.leave(epochAwayStatic)
		for range 10 {
			time.Sleep(5 * time.Second)
			rounds(t, 1, b)
		}
		covers(t, 4, b)
	})
}

func createTopic(t *testing.T, log *stateLog, name string, partitions int32) {
	t.Helper()
	log.apply(t, &metapb.Command{Kind: &metapb.Command_CreateTopic{CreateTopic: &metapb.CreateTopic{Name: name, TopicId: fmt.Appendf(nil, "%-16s", name), Partitions: partitions,
		Configs: []*metapb.ConfigEntry{{Name: "varve.durability", Value: "local"}}}}})
}

func TestTopicsThatChangeAreAssignedAnew(t *testing.T) {
	consumerGroup(t, func(t *testing.T, log *stateLog, c *Coordinator) {
		regex := "events\\..*"
		a, b := newModern(t, c, "a", "orders", "later"), newModern(t, c, "b")
		b.regex = &regex
		rounds(t, 3, a, b)
		if a.has.count() != 4 || b.has.count() != 0 {
			t.Errorf("before: %v, %v", a.has, b.has)
		}
		log.apply(t, &metapb.Command{Kind: &metapb.Command_CreatePartitions{CreatePartitions: &metapb.CreatePartitions{TopicId: orders, Count: 6}}})
		createTopic(t, log, "later", 2)
		createTopic(t, log, "events.eu", 3)
		createTopic(t, log, "my.events.eu", 3) // the expression has to match the whole name
		rounds(t, 3, a, b)
		if a.has.count() != 8 || b.has.count() != 3 {
			t.Errorf("after: %v, %v", a.has, b.has)
		}
		log.apply(t, &metapb.Command{Kind: &metapb.Command_DeleteTopic{DeleteTopic: &metapb.DeleteTopic{TopicId: fmt.Appendf(nil, "%-16s", "later")}}})
		rounds(t, 3, a, b)
		if a.has.count() != 6 {
			t.Errorf("after the end of a topic: %v", a.has)
		}
		epoch := describeConsumer(t, c).Epoch
		createTopic(t, log, "other", 3)
		rounds(t, 2, a, b)
		if describeConsumer(t, c).Epoch != epoch {
			t.Error("a topic that nobody wants moved the epoch")
		}
	})
}

func TestOnlyTheMembersEpochCommits(t *testing.T) {
	consumerGroup(t, func(t *testing.T, _ *stateLog, c *Coordinator) {
		a := newModern(t, c, "a", "orders")
		rounds(t, 2, a)
		for _, test := range []struct {
			what    string
			id      string
			epoch   int32
			version int32
			want    metapb.GroupCode
		}{
			{"its epoch", "a", a.epoch, 9, metapb.GroupCode_GROUP_OK},
			{"another epoch", "a", a.epoch - 1, 9, metapb.GroupCode_GROUP_STALE_MEMBER_EPOCH},
			{"an old version", "a", a.epoch, 8, metapb.GroupCode_GROUP_UNSUPPORTED_VERSION},
			{"another member", "b", a.epoch, 9, metapb.GroupCode_GROUP_UNKNOWN_MEMBER},
			{"a tool", "", -1, 9, metapb.GroupCode_GROUP_UNKNOWN_MEMBER},
		} {
			r, err := c.Commit(context.Background(), &metapb.GroupCommitRequest{Group: "g", MemberId: test.id, Generation: test.epoch, Version: test.version,
				Offsets: []*metapb.CommittedOffset{{TopicId: orders, Offset: 1}}})
			if err != nil || r.Codes[0] != test.want {
				t.Errorf("%s: %v, %v", test.what, r, err)
			}
		}
		r, err := c.DeleteOffsets(context.Background(), &metapb.GroupDeleteOffsetsRequest{Group: "g", Offsets: []*metapb.CommittedOffset{{TopicId: orders}}})
		if err != nil || r.Codes[0] != metapb.GroupCode_GROUP_SUBSCRIBED_TO_TOPIC {
			t.Errorf("delete offsets: %v, %v", r, err)
		}
		if r, _ := c.Delete(context.Background(), &metapb.GroupDeleteRequest{Groups: []string{"g"}}); r.Codes[0] != metapb.GroupCode_GROUP_NOT_EMPTY {
			t.Errorf("delete: %v", r)
		}
		a.leave(epochLeave)
		if r, _ := c.Delete(context.Background(), &metapb.GroupDeleteRequest{Groups: []string{"g"}}); r.Codes[0] != metapb.GroupCode_GROUP_OK {
			t.Errorf("delete once empty: %v", r)
		}
		rounds(t, 1, a) // and again from the start
	})
}

func TestGroupConfigurationHolds(t *testing.T) {
	consumerGroup(t, func(t *testing.T, log *stateLog, c *Coordinator) {
		alter := func(resource metapb.AlterConfig_Resource, name, config, value string) {
			log.apply(t, &metapb.Command{Kind: &metapb.Command_AlterConfig{AlterConfig: &metapb.AlterConfig{Resource: resource, Name: name,
				Entries: []*metapb.ConfigEntry{{Name: config, Value: value}}}}})
		}
		alter(metapb.AlterConfig_GROUP, "g", "consumer.session.timeout.ms", "60000")
		alter(metapb.AlterConfig_GROUP, "g", "consumer.heartbeat.interval.ms", "7000")
		alter(metapb.AlterConfig_BROKER, "", "group.consumer.max.size", "1")
		r, err := c.ConsumerHeartbeat(context.Background(), &metapb.ConsumerHeartbeatRequest{Group: "g", MemberId: "a", RebalanceTimeoutMillis: 1000, Version: 1,
			Topics: &metapb.ConsumerTopics{}, Owned: &metapb.ConsumerAssignment{}})
		if err != nil || r.HeartbeatIntervalMillis != 7000 || r.MemberEpoch != 1 {
			t.Errorf("joined %v, %v", r, err)
		}
		if code := newModern(t, c, "b", "orders").beat(); code != metapb.GroupCode_GROUP_MAX_SIZE_REACHED {
			t.Errorf("join of one too many: %s", code)
		}
		a := newModern(t, c, "a", "orders")
		a.epoch = 1
		time.Sleep(59 * time.Second)
		rounds(t, 1, a)
		time.Sleep(61 * time.Second)
		if code := a.beat(); code != metapb.GroupCode_GROUP_UNKNOWN_MEMBER {
			t.Errorf("heartbeat after the session: %s", code)
		}
	})
}

// The figure asked for: a hundred members, a thousand partitions, settled within two heartbeat intervals of a leave.
func TestALargeGroupSettlesWithinTwoIntervals(t *testing.T) {
	consumerGroup(t, func(t *testing.T, log *stateLog, c *Coordinator) {
		createTopic(t, log, "wide", 1000)
		members := make([]*modern, 100)
		for i := range members {
			members[i] = newModern(t, c, fmt.Sprintf("m%02d", i), "wide")
		}
		rounds(t, 4, members...)
		if d := describeConsumer(t, c); d.State != "Stable" {
			t.Fatalf("state %s", d.State)
		}
		members[7].leave(epochLeave)
		rest := slices.Delete(slices.Clone(members), 7, 8)
		rounds(t, 2, rest...)
		total, most, least := 0, 0, 1000
		for _, m := range rest {
			n := m.has.count()
			total, most, least = total+n, max(most, n), min(least, n)
		}
		if d := describeConsumer(t, c); d.State != "Stable" || total != 1000 || most-least > 1 {
			t.Errorf("state %s, %d partitions, %d to %d each", d.State, total, least, most)
		}
	})
}

func TestClassicMembersMoveToTheConsumerProtocolAndBack(t *testing.T) {
	consumerGroup(t, func(t *testing.T, log *stateLog, c *Coordinator) {
		a := &consumer{t: t, c: c, metadata: embedded("orders")}
		joinAll(t, a)
		b := newModern(t, c, "b", "orders")
		rounds(t, 1, b)
		listed, err := c.List(context.Background(), &metapb.GroupListRequest{Types: []string{"Consumer"}})
		if err != nil || len(listed.Groups) != 1 {
			t.Errorf("listed %v, %v", listed, err)
		}
		if code := a.heartbeat(); code != metapb.GroupCode_GROUP_REBALANCE_IN_PROGRESS {
			t.Errorf("heartbeat of the classic member: %s", code)
		}
		follow := func() assignment {
			t.Helper()
			if code := a.join(); code != metapb.GroupCode_GROUP_OK {
				t.Fatalf("join of the classic member: %s", code)
			}
			var has assignment
			log.View(func(s *meta.State) { has, _ = readAssignment(newCatalog(s), []byte(a.assignment)) })
			return has
		}
		if has := follow(); has.count() != 2 {
			t.Errorf("the classic member has %v", has)
		}
		rounds(t, 2, b)
		if b.has.count() != 2 {
			t.Errorf("the other has %v", b.has)
		}
		if code := a.heartbeat(); code != metapb.GroupCode_GROUP_OK {
			t.Errorf("heartbeat once settled: %s", code)
		}
		if code := a.commit(3); code != metapb.GroupCode_GROUP_OK {
			t.Errorf("commit of the classic member: %s", code)
		}
		if code := b.leave(epochLeave); code != metapb.GroupCode_GROUP_OK {
			t.Errorf("leave: %s", code)
		}
		synctest.Wait()
		if code := a.heartbeat(); code != metapb.GroupCode_GROUP_REBALANCE_IN_PROGRESS {
			t.Errorf("heartbeat after the other left: %s", code)
		}
		joinAll(t, a)
		if d := describe(t, c); d.State != "Stable" || len(d.Members) != 1 {
			t.Errorf("described %v", d)
		}
		log.View(func(s *meta.State) {
			if g := s.Group("g"); g.Consumer != nil || g.Stored == nil {
				t.Errorf("the state has %+v", g)
			}
		})
	})
}

func TestAGroupWithoutMembersChangesItsProtocolFreely(t *testing.T) {
	consumerGroup(t, func(t *testing.T, _ *stateLog, c *Coordinator) {
		a := &consumer{t: t, c: c}
		joinAll(t, a)
		b := newModern(t, c, "b", "orders")
		if code := b.beat(); code != metapb.GroupCode_GROUP_NOT_FOUND { // its metadata is not a consumer's
			t.Errorf("join to a classic group: %s", code)
		}
		if _, err := c.Leave(context.Background(), &metapb.GroupLeaveRequest{Group: "g", Members: []*metapb.GroupLeaver{{MemberId: a.id}}}); err != nil {
			t.Fatal(err)
		}
		rounds(t, 2, b)
		b.leave(epochLeave)
		a.id = ""
		joinAll(t, a)
	})
}

func TestConcurrentJoinsShareCommands(t *testing.T) {
	consumerGroup(t, func(t *testing.T, log *stateLog, c *Coordinator) {
		createTopic(t, log, "wide", 1000)
		var members []*modern
		var done sync.WaitGroup
		for i := range 100 {
			members = append(members, newModern(t, c, fmt.Sprintf("m%02d", i), "wide"))
		}
		for range 5 {
			for _, m := range members {
				done.Go(func() { m.beat() })
			}
			done.Wait()
		}
		if d := describeConsumer(t, c); d.State != "Stable" || len(d.Members) != 100 {
			t.Errorf("state %s, %d members", d.State, len(d.Members))
		}
	})
}

func TestAConsumersHeartbeatWithEarlierTopicsTakesNothingBack(t *testing.T) {
	view := func(seq uint64, topics map[string]topicInfo) cluster {
		byID := map[meta.TopicID]topicInfo{}
		for _, topic := range topics {
			byID[topic.id] = topic
		}
		return cluster{&catalog{seq: seq, byName: topics, byID: byID}, meta.GroupConfig{ConsumerMaxSize: 10, ConsumerSessionMillis: 45_000}}
	}
	before, after := view(1, nil), view(2, map[string]topicInfo{"orders": {id: meta.TopicID{1}, name: "orders", partitions: 2}})
	now := time.Unix(0, 0)
	g := newConsumerGroup("app")
	beat := func(c cluster, r *metapb.ConsumerHeartbeatRequest) *metapb.ConsumerHeartbeatResponse {
		t.Helper()
		r.Group, r.MemberId = "app", "a"
		answer, wrong := g.Heartbeat(now, c, r, nil)
		if wrong != nil {
			t.Fatal(wrong)
		}
		return answer
	}
	joined := beat(before, &metapb.ConsumerHeartbeatRequest{Topics: &metapb.ConsumerTopics{Names: []string{"orders"}}, RebalanceTimeoutMillis: 1000, Owned: &metapb.ConsumerAssignment{}})
	first := beat(after, &metapb.ConsumerHeartbeatRequest{MemberEpoch: joined.MemberEpoch, RebalanceTimeoutMillis: -1})
	if first.MemberEpoch == joined.MemberEpoch || first.Assignment == nil {
		t.Fatalf("with the topic: %v", first)
	}
	if second := beat(before, &metapb.ConsumerHeartbeatRequest{MemberEpoch: first.MemberEpoch, RebalanceTimeoutMillis: -1}); second.MemberEpoch != first.MemberEpoch || second.Assignment != nil {
		t.Errorf("behind the topic: %v", second)
	}
}
