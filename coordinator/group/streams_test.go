package group

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/coordinator/streamsgroup"
)

// thread is a member of a streams group as a client library would be one.
type thread struct {
	t         *testing.T
	c         *Coordinator
	id        string
	process   string
	topology  *metapb.StreamsTopology
	endpoint  *metapb.StreamsEndpoint
	epoch     int32
	endpoints int32 // the epoch of those it knows
	has       streamsgroup.TaskSets
	told      bool // that its tasks are others, and has not said that it follows
	slow      bool // does not give up what it is told to
	shutdown  bool
	last      *metapb.StreamsHeartbeatResponse
}

// wordCount counts words of orders: a subtopology that writes a repartition topic, and one that counts what comes from there.
func wordCount() *metapb.StreamsTopology {
	compact := []*metapb.StreamsKeyValue{{Key: "cleanup.policy", Value: "compact"}}
	return &metapb.StreamsTopology{Subtopologies: []*metapb.StreamsSubtopology{
		{Id: "0", SourceTopics: []string{"orders"}, RepartitionSinkTopics: []string{"app-words-repartition"}},
		{Id: "1", RepartitionSourceTopics: []*metapb.StreamsTopicInfo{{Name: "app-words-repartition"}},
			ChangelogTopics: []*metapb.StreamsTopicInfo{{Name: "app-counts-changelog", Configs: compact}}},
	}}
}

// copyOf has a subtopology alone, whose tasks follow orders' partitions.
func copyOf(topic string) *metapb.StreamsTopology {
	return &metapb.StreamsTopology{Subtopologies: []*metapb.StreamsSubtopology{{Id: "0", SourceTopics: []string{topic}}}}
}

func newThread(t *testing.T, c *Coordinator, id, process string, topology *metapb.StreamsTopology) *thread {
	return &thread{t: t, c: c, id: id, process: process, topology: topology, endpoints: -1}
}

// beat heartbeats once, and takes over what it is told.
func (m *thread) beat() metapb.GroupCode {
	r := &metapb.StreamsHeartbeatRequest{
		Group: "app", MemberId: m.id, MemberEpoch: m.epoch, EndpointEpoch: m.endpoints, RebalanceTimeoutMillis: -1, ClientId: "test",
		ShutdownApplication: m.shutdown,
	}
	if m.epoch == 0 {
		m.has = streamsgroup.TaskSets{}
		r.RebalanceTimeoutMillis, r.Topology, r.ProcessId, r.Endpoint, r.Owned = 60_000, m.topology, &m.process, m.endpoint, m.has.Proto()
	} else if m.told {
		r.Owned, m.told = m.has.Proto(), false
	}
	answer, err := m.c.StreamsHeartbeat(context.Background(), r)
	if err != nil {
		m.t.Error(err)
		return metapb.GroupCode_GROUP_UNAVAILABLE
	}
	if m.last = answer; answer.Code != metapb.GroupCode_GROUP_OK {
		return answer.Code
	}
	m.epoch, m.endpoints = answer.MemberEpoch, answer.EndpointEpoch
	if answer.Assigned != nil && !m.slow {
		m.has, m.told = streamsgroup.TaskSetsOf(answer.Assigned), true
	}
	return answer.Code
}

func (m *thread) leave() {
	_, err := m.c.StreamsHeartbeat(context.Background(), &metapb.StreamsHeartbeatRequest{Group: "app", MemberId: m.id, MemberEpoch: epochLeave, RebalanceTimeoutMillis: -1})
	if err != nil {
		m.t.Error(err)
	}
	m.epoch = 0
}

func (m *thread) statuses() (codes []metapb.StreamsStatusCode) {
	for _, s := range m.last.Status {
		codes = append(codes, s.Code)
	}
	return codes
}

// streamRounds lets all heartbeat in turn. No active task may ever be with two.
func streamRounds(t *testing.T, n int, threads ...*thread) {
	t.Helper()
	for range n {
		for _, m := range threads {
			if code := m.beat(); code != metapb.GroupCode_GROUP_OK {
				t.Fatalf("heartbeat of %s: %s %s", m.id, code, m.last.Message)
			}
			checkExclusive(t, threads)
		}
	}
}

func checkExclusive(t *testing.T, threads []*thread) {
	t.Helper()
	var all streamsgroup.TaskSets
	for _, m := range threads {
		if twice := (streamsgroup.TaskSets{Active: all.Active}).And(streamsgroup.TaskSets{Active: m.has.Active}); twice.Count() > 0 {
			t.Fatalf("%v is active with %s and another", twice.Active, m.id)
		}
		all = all.Plus(m.has)
	}
}

func activeTasks(threads ...*thread) (n int) {
	for _, m := range threads {
		n += streamsgroup.TaskSets{Active: m.has.Active}.Count()
	}
	return n
}

// createMissing creates what the thread was told that is missing, as the node does that it speaks to.
func (l *stateLog) createMissing(m *thread) {
	m.t.Helper()
	for _, topic := range m.last.Missing {
		l.createTopic(m.t, topic.Name, topic.Partitions)
	}
}

func (l *stateLog) createTopic(t *testing.T, name string, partitions int32) {
	t.Helper()
	id := make([]byte, 16)
	copy(id, name)
	id[15] = byte(len(name))
	l.apply(t, &metapb.Command{Kind: &metapb.Command_CreateTopic{CreateTopic: &metapb.CreateTopic{Name: name, TopicId: id, Partitions: partitions,
		Configs: []*metapb.ConfigEntry{{Name: "varve.durability", Value: "local"}}}}})
}

func describeStreams(t *testing.T, c *Coordinator) *metapb.StreamsDescribed {
	t.Helper()
	r, err := c.StreamsDescribe(context.Background(), &metapb.StreamsDescribeRequest{Groups: []string{"app"}})
	if err != nil {
		t.Fatal(err)
	}
	return r.Groups[0]
}

func streamsGroup(t *testing.T, run func(t *testing.T, log *stateLog, c *Coordinator)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		log := newLog(t)
		c := newCoordinator(log)
		defer func() { c.Close() }()
		run(t, log, c)
	})
}

func TestAnApplicationGetsItsTasksOnceItsTopicsAreThere(t *testing.T) {
	streamsGroup(t, func(t *testing.T, log *stateLog, c *Coordinator) {
		a := newThread(t, c, "a", "p", wordCount())
		streamRounds(t, 1, a)
		if !slices.Equal(a.statuses(), []metapb.StreamsStatusCode{metapb.StreamsStatusCode_STREAMS_MISSING_INTERNAL_TOPICS}) || len(a.last.Missing) != 2 {
			t.Fatalf("before there are topics: %v", a.last)
		}
		if d := describeStreams(t, c); d.State != "NotReady" || len(d.Topology.Subtopologies) != 2 {
			t.Errorf("described %v", d)
		}
		log.createMissing(a)
		streamRounds(t, 1, a)
		if len(a.last.Status) != 0 || activeTasks(a) != 8 || a.epoch != 2 {
			t.Errorf("with topics: epoch %d, %v", a.epoch, a.has)
		}
		if d := describeStreams(t, c); d.State != "Stable" || d.Topology.Subtopologies[1].ChangelogTopics[0].Partitions != 4 {
			t.Errorf("described %v", d)
		}
		before := log.seq()
		for range 20 {
			time.Sleep(5 * time.Second)
			streamRounds(t, 1, a)
		}
		if log.seq() != before {
			t.Errorf("%d entries for heartbeats that change nothing", log.seq()-before)
		}
	})
}

func TestATaskIsGivenUpBeforeAnotherGetsIt(t *testing.T) {
	streamsGroup(t, func(t *testing.T, _ *stateLog, c *Coordinator) {
		a, b := newThread(t, c, "a", "p", copyOf("orders")), newThread(t, c, "b", "q", copyOf("orders"))
		streamRounds(t, 1, a)
		if activeTasks(a) != 4 || a.epoch != 1 {
			t.Fatalf("alone: epoch %d, %v", a.epoch, a.has)
		}
		streamRounds(t, 1, b)
		if activeTasks(b) != 0 || b.epoch != 2 {
			t.Errorf("the second gets nothing yet: epoch %d, %v", b.epoch, b.has)
		}
		if d := describeStreams(t, c); d.State != "Reconciling" {
			t.Errorf("described %v", d)
		}
		streamRounds(t, 1, a) // is told to give two up
		streamRounds(t, 1, b)
		if activeTasks(b) != 0 {
			t.Errorf("given before the other has said that it gave up: %v", b.has)
		}
		streamRounds(t, 1, a, b)
		if a.epoch != 2 || b.epoch != 2 || activeTasks(a) != 2 || activeTasks(b) != 2 {
			t.Errorf("settled: %d %v, %d %v", a.epoch, a.has, b.epoch, b.has)
		}
		b.leave()
		streamRounds(t, 1, a)
		if activeTasks(a) != 4 {
			t.Errorf("alone again: %v", a.has)
		}
	})
}

func TestAStreamsGroupGoesOnUnderAnotherLeader(t *testing.T) {
	streamsGroup(t, func(t *testing.T, log *stateLog, c *Coordinator) {
		a, b := newThread(t, c, "a", "p", copyOf("orders")), newThread(t, c, "b", "q", copyOf("orders"))
		streamRounds(t, 1, a, b)
		streamRounds(t, 1, a) // a has been told to give up two, and has not said that it did
		c.Close()
		next := newCoordinator(log)
		defer next.Close()
		a.c, b.c = next, next
		streamRounds(t, 2, b, a)
		streamRounds(t, 1, b)
		if activeTasks(a) != 2 || activeTasks(b) != 2 || a.epoch != 2 || b.epoch != 2 {
			t.Errorf("settled: %d %v, %d %v", a.epoch, a.has, b.epoch, b.has)
		}
		if d := describeStreams(t, next); d.State != "Stable" || d.Epoch != 2 {
			t.Errorf("described %v", d)
		}
	})
}

func TestASilentThreadIsTakenOut(t *testing.T) {
	streamsGroup(t, func(t *testing.T, _ *stateLog, c *Coordinator) {
		a, b := newThread(t, c, "a", "p", copyOf("orders")), newThread(t, c, "b", "q", copyOf("orders"))
		streamRounds(t, 4, a, b)
		time.Sleep(40 * time.Second)
		streamRounds(t, 1, a)
		time.Sleep(6 * time.Second) // b's session is over
		streamRounds(t, 1, a)
		if activeTasks(a) != 4 {
			t.Errorf("the other's tasks: %v", a.has)
		}
		if code := b.beat(); code != metapb.GroupCode_GROUP_UNKNOWN_MEMBER {
			t.Errorf("who was taken out is told %s", code)
		}
	})
}

func TestAThreadThatDoesNotGiveUpIsTakenOut(t *testing.T) {
	streamsGroup(t, func(t *testing.T, _ *stateLog, c *Coordinator) {
		a, b := newThread(t, c, "a", "p", copyOf("orders")), newThread(t, c, "b", "q", copyOf("orders"))
		streamRounds(t, 1, a)
		a.slow = true
		streamRounds(t, 1, b, a)
		for range 7 {
			time.Sleep(10 * time.Second)
			a.beat()
			b.beat()
		}
		a.has = streamsgroup.TaskSets{}
		if code := a.beat(); code != metapb.GroupCode_GROUP_UNKNOWN_MEMBER {
			t.Errorf("who did not give up is told %s", code)
		}
		if activeTasks(b) != 4 {
			t.Errorf("the other has %v", b.has)
		}
	})
}

func TestMembersAreFencedByTheirEpoch(t *testing.T) {
	streamsGroup(t, func(t *testing.T, _ *stateLog, c *Coordinator) {
		a, b := newThread(t, c, "a", "p", copyOf("orders")), newThread(t, c, "b", "q", copyOf("orders"))
		streamRounds(t, 1, a)
		a.epoch = 0
		if code := a.beat(); code != metapb.GroupCode_GROUP_OK || a.epoch != 1 || activeTasks(a) != 4 {
			t.Errorf("a join whose answer was lost: %s, epoch %d, %v", code, a.epoch, a.has)
		}
		streamRounds(t, 4, a, b)
		for _, epoch := range []int32{0, 7} {
			a.epoch = epoch
			if code := a.beat(); code != metapb.GroupCode_GROUP_FENCED_MEMBER_EPOCH {
				t.Errorf("epoch %d: %s", epoch, code)
			}
		}
		commit := func(id string, epoch int32, in *metapb.GroupTransaction) metapb.GroupCode {
			r, err := c.Commit(context.Background(), &metapb.GroupCommitRequest{
				Group: "app", MemberId: id, Generation: epoch, Version: 9, Transaction: in, Offsets: []*metapb.CommittedOffset{{TopicId: orders, Offset: 1}}})
			if err != nil {
				t.Fatal(err)
			}
			return r.Codes[0]
		}
		for name, got := range map[string][2]metapb.GroupCode{
			"a member":             {commit("b", 2, nil), metapb.GroupCode_GROUP_OK},
			"an earlier epoch":     {commit("b", 1, nil), metapb.GroupCode_GROUP_STALE_MEMBER_EPOCH},
			"in a transaction":     {commit("b", 1, &metapb.GroupTransaction{TransactionalId: "t"}), metapb.GroupCode_GROUP_ILLEGAL_GENERATION},
			"nobody":               {commit("z", 2, nil), metapb.GroupCode_GROUP_UNKNOWN_MEMBER},
			"without a membership": {commit("", -1, nil), metapb.GroupCode_GROUP_UNKNOWN_MEMBER},
		} {
			if got[0] != got[1] {
				t.Errorf("commit by %s: %s, want %s", name, got[0], got[1])
			}
		}
	})
}

func TestStatusesTellWhatIsWrong(t *testing.T) {
	streamsGroup(t, func(t *testing.T, log *stateLog, c *Coordinator) {
		newer := copyOf("later")
		newer.Epoch = 1
		a, b := newThread(t, c, "a", "p", newer), newThread(t, c, "b", "q", copyOf("later"))
		streamRounds(t, 1, a, b)
		missing, stale := metapb.StreamsStatusCode_STREAMS_MISSING_SOURCE_TOPICS, metapb.StreamsStatusCode_STREAMS_STALE_TOPOLOGY
		if !slices.Equal(a.statuses(), []metapb.StreamsStatusCode{missing}) || !slices.Equal(b.statuses(), []metapb.StreamsStatusCode{stale, missing}) {
			t.Errorf("statuses %v, %v", a.last.Status, b.last.Status)
		}
		other := copyOf("another")
		other.Epoch = 1
		if code := newThread(t, c, "z", "r", other).beat(); code != metapb.GroupCode_GROUP_INVALID_REQUEST {
			t.Errorf("another topology: %s", code)
		}
		log.createTopic(t, "later", 2)
		streamRounds(t, 3, a, b)
		if activeTasks(a) != 1 || activeTasks(b) != 1 || !slices.Equal(b.statuses(), []metapb.StreamsStatusCode{stale}) {
			t.Errorf("with the topic: %v %v, %v", a.has, b.has, b.last.Status)
		}
		a.shutdown = true
		streamRounds(t, 1, a, b)
		if last := b.last.Status[len(b.last.Status)-1]; last.Code != metapb.StreamsStatusCode_STREAMS_SHUTDOWN_APPLICATION {
			t.Errorf("after a shutdown was asked for: %v", b.last.Status)
		}
		a.leave()
		b.leave()
		a.shutdown = false
		streamRounds(t, 1, a)
		if len(a.last.Status) != 0 {
			t.Errorf("a shutdown outlives the members: %v", a.last.Status)
		}
	})
}

func TestEndpointsTellWhereEveryTaskIs(t *testing.T) {
	streamsGroup(t, func(t *testing.T, _ *stateLog, c *Coordinator) {
		a, b := newThread(t, c, "a", "p", copyOf("orders")), newThread(t, c, "b", "q", copyOf("orders"))
		a.endpoint = &metapb.StreamsEndpoint{Host: "one", Port: 1}
		b.endpoint = &metapb.StreamsEndpoint{Host: "two", Port: 2}
		streamRounds(t, 1, a)
		if len(a.last.Endpoints) != 1 || len(a.last.Endpoints[0].Active[0].Partitions) != 4 {
			t.Errorf("alone: %v", a.last.Endpoints)
		}
		streamRounds(t, 4, b, a)
		at := map[string][]int32{}
		b.endpoints = -1
		streamRounds(t, 1, b)
		for _, e := range b.last.Endpoints {
			at[e.Endpoint.Host] = e.Active[0].Partitions
		}
		if !slices.Equal(at["one"], a.has.Active["0"]) || !slices.Equal(at["two"], b.has.Active["0"]) {
			t.Errorf("endpoints %v, tasks %v and %v", at, a.has, b.has)
		}
		streamRounds(t, 1, b)
		if b.last.Endpoints != nil {
			t.Errorf("told again: %v", b.last.Endpoints)
		}
	})
}

func TestAHeartbeatWithEarlierTopicsTakesNothingBack(t *testing.T) {
	later := func(seq uint64, topics map[string]topicInfo) streamsCluster {
		return streamsCluster{&catalog{seq: seq, byName: topics}, meta.StreamsConfig{MaxSize: 10, SessionMillis: 45_000}}
	}
	before, after := later(1, nil), later(2, map[string]topicInfo{"orders": {id: meta.TopicID{1}, name: "orders", partitions: 2}})
	now := time.Unix(0, 0)
	join := func(id string) *metapb.StreamsHeartbeatRequest {
		return &metapb.StreamsHeartbeatRequest{Group: "app", MemberId: id, ProcessId: &id, Topology: copyOf("orders"), Owned: &metapb.StreamsTasks{}, RebalanceTimeoutMillis: 1000}
	}
	g := newStreamsGroup("app")
	if answer, wrong := g.Heartbeat(now, before, join("a")); wrong != nil || len(answer.Status) != 1 {
		t.Fatalf("before there is the topic: %v %v", answer, wrong)
	}
	first, wrong := g.Heartbeat(now, after, &metapb.StreamsHeartbeatRequest{Group: "app", MemberId: "a", MemberEpoch: 1, RebalanceTimeoutMillis: -1})
	if wrong != nil || len(first.Status) != 0 || len(first.Assigned.Active) != 1 {
		t.Fatalf("with the topic: %v %v", first, wrong)
	}
	second, wrong := g.Heartbeat(now, before, &metapb.StreamsHeartbeatRequest{Group: "app", MemberId: "a", MemberEpoch: first.MemberEpoch, RebalanceTimeoutMillis: -1})
	if wrong != nil || len(second.Status) != 0 || second.Assigned != nil || second.MemberEpoch != first.MemberEpoch {
		t.Errorf("behind the topic: %v %v", second, wrong)
	}
}

func TestAJoinThatIsRefusedLeavesNoGroup(t *testing.T) {
	streamsGroup(t, func(t *testing.T, _ *stateLog, c *Coordinator) {
		if code := newThread(t, c, "a", "p", &metapb.StreamsTopology{Subtopologies: []*metapb.StreamsSubtopology{{Id: "0"}}}).beat(); code != metapb.GroupCode_GROUP_STREAMS_INVALID_TOPOLOGY {
			t.Errorf("a topology that reads nothing: %s", code)
		}
		list, err := c.List(context.Background(), &metapb.GroupListRequest{})
		if err != nil || len(list.Groups) != 0 {
			t.Errorf("list: %v %v", list, err)
		}
		a := newThread(t, c, "a", "p", copyOf("orders"))
		streamRounds(t, 1, a)
	})
}

func TestMembersOfAProcessShareAnEndpoint(t *testing.T) {
	streamsGroup(t, func(t *testing.T, _ *stateLog, c *Coordinator) {
		a, b := newThread(t, c, "a", "p", copyOf("orders")), newThread(t, c, "b", "p", copyOf("orders"))
		a.endpoint = &metapb.StreamsEndpoint{Host: "one", Port: 1}
		b.endpoint = &metapb.StreamsEndpoint{Host: "one", Port: 1}
		streamRounds(t, 4, a, b)
		b.endpoints = -1
		streamRounds(t, 1, b)
		if e := b.last.Endpoints; activeTasks(a) != 2 || len(e) != 1 || len(e[0].Active[0].Partitions) != 4 {
			t.Errorf("endpoints %v", e)
		}
	})
}

func TestStandbyTasksAreElsewhereAndMoveWithTheirProcess(t *testing.T) {
	streamsGroup(t, func(t *testing.T, log *stateLog, c *Coordinator) {
		log.apply(t, &metapb.Command{Kind: &metapb.Command_AlterConfig{AlterConfig: &metapb.AlterConfig{Resource: metapb.AlterConfig_GROUP, Name: "app",
			Entries: []*metapb.ConfigEntry{{Name: "streams.num.standby.replicas", Value: "1"}}}}})
		a, b := newThread(t, c, "a", "p", wordCount()), newThread(t, c, "b", "q", wordCount())
		streamRounds(t, 1, a)
		log.createMissing(a)
		streamRounds(t, 6, a, b)
		copies := (streamsgroup.TaskSets{Standby: a.has.Standby}).Count() + (streamsgroup.TaskSets{Standby: b.has.Standby}).Count()
		if activeTasks(a, b) != 8 || copies != 4 {
			t.Fatalf("tasks %v and %v", a.has, b.has)
		}
		for _, m := range []*thread{a, b} {
			if both := (streamsgroup.TaskSets{Active: m.has.Active}).And(streamsgroup.TaskSets{Active: m.has.Standby}); both.Count() > 0 {
				t.Errorf("%s has %v twice", m.id, both.Active)
			}
		}
		b.leave()
		b.has = streamsgroup.TaskSets{}
		// What is standby here becomes active: given up in one role, had in the other.
		streamRounds(t, 5, a)
		if activeTasks(a) != 8 || len(a.has.Standby) != 0 {
			t.Errorf("alone: %v", a.has)
		}
	})
}

func TestAStreamsGroupIsNoOtherGroup(t *testing.T) {
	streamsGroup(t, func(t *testing.T, log *stateLog, c *Coordinator) {
		ctx := context.Background()
		a := newThread(t, c, "a", "p", copyOf("orders"))
		streamRounds(t, 1, a)
		join, err := c.Join(ctx, &metapb.GroupJoinRequest{Group: "app", SessionTimeoutMillis: 10_000, RebalanceTimeoutMillis: 10_000, ProtocolType: "consumer",
			Protocols: []*metapb.GroupProtocol{{Name: "range"}}})
		if err != nil || join.Code != metapb.GroupCode_GROUP_INCONSISTENT_PROTOCOL {
			t.Errorf("classic join: %v %v", join, err)
		}
		beat, err := c.Heartbeat(ctx, &metapb.GroupHeartbeatRequest{Group: "app", MemberId: "a"})
		if err != nil || beat.Code != metapb.GroupCode_GROUP_UNKNOWN_MEMBER {
			t.Errorf("classic heartbeat: %v %v", beat, err)
		}
		modern, err := c.ConsumerHeartbeat(ctx, &metapb.ConsumerHeartbeatRequest{Group: "app", MemberId: "x", RebalanceTimeoutMillis: 1000,
			Topics: &metapb.ConsumerTopics{Names: []string{"orders"}}, Owned: &metapb.ConsumerAssignment{}})
		if err != nil || modern.Code != metapb.GroupCode_GROUP_NOT_FOUND {
			t.Errorf("consumer heartbeat: %v %v", modern, err)
		}
		list, err := c.List(ctx, &metapb.GroupListRequest{Types: []string{"streams"}})
		if err != nil || len(list.Groups) != 1 || list.Groups[0].ProtocolType != "streams" || list.Groups[0].State != "Stable" {
			t.Errorf("list: %v %v", list, err)
		}
		deleted := func() metapb.GroupCode {
			r, err := c.Delete(ctx, &metapb.GroupDeleteRequest{Groups: []string{"app"}})
			if err != nil {
				t.Fatal(err)
			}
			return r.Codes[0]
		}
		if code := deleted(); code != metapb.GroupCode_GROUP_NOT_EMPTY {
			t.Errorf("delete with a member: %s", code)
		}
		a.leave()
		if d := describeStreams(t, c); d.State != "Empty" {
			t.Errorf("described %v", d)
		}
		if code := deleted(); code != metapb.GroupCode_GROUP_OK {
			t.Errorf("delete: %s", code)
		}
		log.View(func(s *meta.State) {
			if s.Group("app") != nil {
				t.Error("the group is still there")
			}
		})
		log.apply(t, &metapb.Command{Kind: &metapb.Command_CommitOffsets{CommitOffsets: &metapb.CommitOffsets{Group: "app", Offsets: []*metapb.CommittedOffset{{TopicId: orders}}}}})
		if code := a.beat(); code != metapb.GroupCode_GROUP_NOT_FOUND {
			t.Errorf("in the place of a classic group: %s", code)
		}
	})
}

func TestAStreamsGroupThatCannotBeStoredAnswersNobody(t *testing.T) {
	streamsGroup(t, func(t *testing.T, log *stateLog, c *Coordinator) {
		a, b := newThread(t, c, "a", "p", copyOf("orders")), newThread(t, c, "b", "q", copyOf("orders"))
		streamRounds(t, 1, a)
		log.loseNext() // it comes to pass, and nobody hears of it
		if code := b.beat(); code != metapb.GroupCode_GROUP_UNAVAILABLE {
			t.Errorf("without an answer of the log: %s", code)
		}
		log.fail(true)
		if code := newThread(t, c, "z", "r", copyOf("orders")).beat(); code != metapb.GroupCode_GROUP_UNAVAILABLE {
			t.Errorf("without a log: %s", code)
		}
		log.fail(false)
		streamRounds(t, 4, a, b)
		if activeTasks(a) != 2 || activeTasks(b) != 2 {
			t.Errorf("settled: %v, %v", a.has, b.has)
		}
	})
}
