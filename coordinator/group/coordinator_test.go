package group

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
)

// stateLog applies commands to a real state at once.
type stateLog struct {
	mu struct {
		sync.Mutex
		state   *meta.State
		failing bool
		losing  bool // the next command is applied, and its verdict lost
		stores  int
	}
}

var logID = [16]byte{1}

func newLog(t testing.TB) *stateLog {
	t.Helper()
	l := &stateLog{}
	l.mu.state = meta.New(logID)
	l.apply(t, &metapb.Command{Kind: &metapb.Command_LeaderStart{LeaderStart: &metapb.LeaderStart{Epoch: 1}}})
	l.apply(t, &metapb.Command{Kind: &metapb.Command_CreateTopic{CreateTopic: &metapb.CreateTopic{Name: "orders", TopicId: orders, Partitions: 4,
		Configs: []*metapb.ConfigEntry{{Name: "varve.durability", Value: "local"}}}}})
	return l
}

var orders = []byte("orders----------")

func (l *stateLog) apply(t testing.TB, c *metapb.Command) {
	t.Helper()
	if v, err := l.Propose(context.Background(), c); err != nil || v.Code != meta.OK {
		t.Fatalf("apply %v: %v %v", c, v, err)
	}
}

type verdictSink struct {
	meta.Observer
	verdict meta.Verdict
}

func (s *verdictSink) Wants([]byte) bool                    { return true }
func (s *verdictSink) Verdict(_ []byte, v meta.Verdict)     { s.verdict = v }
func (s *verdictSink) Changed(meta.ChangeKind)              {}
func (s *verdictSink) WantsChunks(meta.NodeID, uint64) bool { return false }
func (s *verdictSink) Committed(meta.TopicPartition, int64) {}

func (l *stateLog) ProposeWhile(ctx context.Context, c *metapb.Command, valid func() bool) (meta.Verdict, error) {
	if !valid() {
		return meta.Verdict{}, errors.New("withdrawn")
	}
	return l.Propose(ctx, c)
}

func (l *stateLog) Propose(_ context.Context, c *metapb.Command) (meta.Verdict, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.failing {
		return meta.Verdict{}, errors.New("no leader")
	}
	if c.GetStoreGroup() != nil {
		l.mu.stores++
	}
	c.Id = []byte("0123456789abcdef")
	sink := &verdictSink{}
	losing := l.mu.losing
	l.mu.losing = false
	err := l.mu.state.Apply(l.mu.state.Seq()+1, &metapb.Entry{Format: 1, LogId: logID[:], LeaderEpoch: 1, TimeMillis: time.Now().UnixMilli(), Commands: []*metapb.Command{c}}, sink)
	if losing {
		return meta.Verdict{}, errors.New("deadline")
	}
	return sink.verdict, err
}

func (l *stateLog) loseNext() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.losing = true
}

func (l *stateLog) seq() (seq uint64) {
	l.View(func(s *meta.State) { seq = s.Seq() })
	return seq
}

func (l *stateLog) View(read func(*meta.State)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	read(l.mu.state)
}

func (l *stateLog) fail(failing bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.failing = failing
}

func newCoordinator(log *stateLog) *Coordinator {
	return New(Limits{}, log, slog.New(slog.DiscardHandler))
}

// consumer is a member as a client library would be one.
type consumer struct {
	t          *testing.T
	c          *Coordinator
	id         string
	instance   *string
	generation int32
	assignment string
	rebalance  time.Duration
	metadata   []byte
}

func (m *consumer) joinRequest() *metapb.GroupJoinRequest {
	if m.rebalance == 0 {
		m.rebalance = time.Minute
	}
	if m.metadata == nil {
		m.metadata = []byte("m")
	}
	return &metapb.GroupJoinRequest{
		Group: "g", MemberId: m.id, InstanceId: m.instance, ClientId: "test", SessionTimeoutMillis: 10_000, RebalanceTimeoutMillis: int32(m.rebalance.Milliseconds()),
		ProtocolType: "consumer", Protocols: []*metapb.GroupProtocol{{Name: "range", Metadata: m.metadata}}, RequiresKnownMember: true,
	}
}

// join joins until it is in a generation, and as leader assigns member i the text "p<i>".
func (m *consumer) join() metapb.GroupCode {
	joined, err := m.c.Join(context.Background(), m.joinRequest())
	if err != nil {
		m.t.Error(err)
	}
	if joined.Code == metapb.GroupCode_GROUP_MEMBER_ID_REQUIRED {
		m.id = joined.MemberId
		return m.join()
	}
	if joined.Code != metapb.GroupCode_GROUP_OK {
		return joined.Code
	}
	m.id, m.generation = joined.MemberId, joined.Generation
	sync := &metapb.GroupSyncRequest{Group: "g", Generation: m.generation, MemberId: m.id, InstanceId: m.instance}
	if joined.Leader == m.id && !joined.SkipAssignment {
		for i, other := range joined.Members {
			given := fmt.Appendf(nil, "p%d", i)
			if len(m.metadata) > 1 { // as a consumer: the first gets all
				given = classicAssignment(m.topicsThere(), map[bool]assignment{true: {meta.TopicID(orders): {0, 1, 2, 3}}}[i == 0], 1)
			}
			sync.Assignments = append(sync.Assignments, &metapb.GroupAssignment{MemberId: other.MemberId, Assignment: given})
		}
	}
	synced, err := m.c.Sync(context.Background(), sync)
	if err != nil {
		m.t.Error(err)
	}
	m.assignment = string(synced.Assignment)
	return synced.Code
}

func (m *consumer) topicsThere() (topics *catalog) {
	m.c.log.View(func(s *meta.State) { topics = newCatalog(s) })
	return topics
}

func (m *consumer) heartbeat() metapb.GroupCode {
	r, err := m.c.Heartbeat(context.Background(), &metapb.GroupHeartbeatRequest{Group: "g", Generation: m.generation, MemberId: m.id, InstanceId: m.instance})
	if err != nil {
		m.t.Error(err)
	}
	return r.Code
}

func (m *consumer) commit(offset int64) metapb.GroupCode {
	r, err := m.c.Commit(context.Background(), &metapb.GroupCommitRequest{Group: "g", Generation: m.generation, MemberId: m.id, InstanceId: m.instance,
		Offsets: []*metapb.CommittedOffset{{TopicId: orders, Partition: 1, Offset: offset}}})
	if err != nil {
		m.t.Error(err)
	}
	return r.Codes[0]
}

// joinAll lets all join at once.
func joinAll(t *testing.T, members ...*consumer) {
	t.Helper()
	var done sync.WaitGroup
	for _, m := range members {
		done.Go(func() {
			if code := m.join(); code != metapb.GroupCode_GROUP_OK {
				t.Errorf("join of %s: %s", m.id, code)
			}
		})
	}
	done.Wait()
}

func describe(t *testing.T, c *Coordinator) *metapb.GroupDescribed {
	t.Helper()
	r, err := c.Describe(context.Background(), &metapb.GroupDescribeRequest{Groups: []string{"g"}})
	if err != nil {
		t.Fatal(err)
	}
	return r.Groups[0]
}

func TestMembersWhoStartTogetherShareOneGeneration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newLog(t)
		c := newCoordinator(log)
		defer c.Close()
		a, b, d := &consumer{t: t, c: c}, &consumer{t: t, c: c}, &consumer{t: t, c: c}
		joinAll(t, a, b, d)
		if a.generation != 1 || b.generation != 1 || d.generation != 1 {
			t.Errorf("generations %d %d %d", a.generation, b.generation, d.generation)
		}
		seen := map[string]bool{a.assignment: true, b.assignment: true, d.assignment: true}
		if len(seen) != 3 || seen[""] {
			t.Errorf("assignments %v", seen)
		}
		if d := describe(t, c); d.State != "Stable" || len(d.Members) != 3 || d.Protocol != "range" {
			t.Errorf("described %v", d)
		}
	})
}

func TestANewMemberMakesTheOthersRejoin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCoordinator(newLog(t))
		defer c.Close()
		a, b := &consumer{t: t, c: c}, &consumer{t: t, c: c}
		joinAll(t, a)
		var done sync.WaitGroup
		done.Go(func() { joinAll(t, b) })
		synctest.Wait()
		if code := a.heartbeat(); code != metapb.GroupCode_GROUP_REBALANCE_IN_PROGRESS {
			t.Errorf("heartbeat during rebalance: %s", code)
		}
		joinAll(t, a)
		done.Wait()
		if a.generation != 2 || b.generation != 2 || a.assignment == b.assignment {
			t.Errorf("generations %d %d, assignments %s %s", a.generation, b.generation, a.assignment, b.assignment)
		}
	})
}

func TestASilentMemberIsTakenOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCoordinator(newLog(t))
		defer c.Close()
		a, b := &consumer{t: t, c: c}, &consumer{t: t, c: c}
		joinAll(t, a, b)
		for range 3 { // a beats, b does not
			time.Sleep(4 * time.Second)
			a.heartbeat()
		}
		if code := a.heartbeat(); code != metapb.GroupCode_GROUP_REBALANCE_IN_PROGRESS {
			t.Errorf("heartbeat after the other's session ended: %s", code)
		}
		if code := b.heartbeat(); code != metapb.GroupCode_GROUP_UNKNOWN_MEMBER {
			t.Errorf("heartbeat of the one taken out: %s", code)
		}
		joinAll(t, a)
		if d := describe(t, c); len(d.Members) != 1 || d.State != "Stable" {
			t.Errorf("described %v", d)
		}
	})
}

func TestAMemberTooLateForARebalanceIsOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCoordinator(newLog(t))
		defer c.Close()
		a, b := &consumer{t: t, c: c, rebalance: 5 * time.Second}, &consumer{t: t, c: c, rebalance: 5 * time.Second}
		joinAll(t, a)
		started := time.Now()
		joinAll(t, b) // a never rejoins
		if took := time.Since(started); took < 5*time.Second || took > 6*time.Second {
			t.Errorf("rebalance took %s", took)
		}
		if code := a.heartbeat(); code != metapb.GroupCode_GROUP_UNKNOWN_MEMBER {
			t.Errorf("heartbeat of the late one: %s", code)
		}
	})
}

func TestATakeoverMakesNobodyRejoin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newLog(t)
		first := newCoordinator(log)
		a, b := &consumer{t: t, c: first}, &consumer{t: t, c: first}
		joinAll(t, a, b)
		first.Close()
		if code := a.heartbeat(); code != metapb.GroupCode_GROUP_UNAVAILABLE {
			t.Errorf("heartbeat at a closed coordinator: %s", code)
		}
		second := newCoordinator(log)
		defer second.Close()
		a.c, b.c = second, second
		if a.heartbeat() != metapb.GroupCode_GROUP_OK || b.heartbeat() != metapb.GroupCode_GROUP_OK {
			t.Error("members have to rejoin after a takeover")
		}
		if code := a.commit(7); code != metapb.GroupCode_GROUP_OK {
			t.Errorf("commit: %s", code)
		}
	})
}

func TestOnlyMembersOfTheGenerationCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newLog(t)
		c := newCoordinator(log)
		defer c.Close()
		standalone := &consumer{t: t, c: c, generation: -1}
		if code := standalone.commit(3); code != metapb.GroupCode_GROUP_OK {
			t.Errorf("standalone commit: %s", code)
		}
		a := &consumer{t: t, c: c}
		joinAll(t, a)
		if code := a.commit(5); code != metapb.GroupCode_GROUP_OK {
			t.Errorf("commit: %s", code)
		}
		if code := standalone.commit(9); code != metapb.GroupCode_GROUP_UNKNOWN_MEMBER {
			t.Errorf("standalone commit to a group with members: %s", code)
		}
		old := *a
		old.generation--
		if code := old.commit(9); code != metapb.GroupCode_GROUP_ILLEGAL_GENERATION {
			t.Errorf("commit of an old generation: %s", code)
		}
		log.View(func(s *meta.State) {
			if o, ok := s.Group("g").Offset(meta.TopicPartition{Topic: meta.TopicID(orders), Partition: 1}); !ok || o.Offset != 5 {
				t.Errorf("committed %+v", o)
			}
		})
	})
}

func TestAStaticMemberReturnsWithoutARebalance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCoordinator(newLog(t))
		defer c.Close()
		name := "instance-1"
		a, b := &consumer{t: t, c: c, instance: &name}, &consumer{t: t, c: c}
		joinAll(t, b, a)
		before := *a
		again := &consumer{t: t, c: c, instance: &name}
		joinAll(t, again)
		if again.generation != before.generation || again.assignment != before.assignment || again.id == before.id {
			t.Errorf("before %+v, after %+v", before, again)
		}
		if code := before.heartbeat(); code != metapb.GroupCode_GROUP_FENCED_INSTANCE {
			t.Errorf("heartbeat of the old process: %s", code)
		}
		if code := b.heartbeat(); code != metapb.GroupCode_GROUP_OK {
			t.Errorf("heartbeat of the other member: %s", code)
		}
	})
}

func TestALeaverIsOutAtOnceAndAnEmptyGroupCanBeDeleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newLog(t)
		c := newCoordinator(log)
		defer c.Close()
		a := &consumer{t: t, c: c}
		joinAll(t, a)
		a.commit(1)
		remove := func() metapb.GroupCode {
			r, err := c.Delete(context.Background(), &metapb.GroupDeleteRequest{Groups: []string{"g"}})
			if err != nil {
				t.Fatal(err)
			}
			return r.Codes[0]
		}
		if code := remove(); code != metapb.GroupCode_GROUP_NOT_EMPTY {
			t.Errorf("delete of a group with members: %s", code)
		}
		left, err := c.Leave(context.Background(), &metapb.GroupLeaveRequest{Group: "g", Members: []*metapb.GroupLeaver{{MemberId: a.id}, {MemberId: "nobody"}}})
		if err != nil || left.Members[0].Code != metapb.GroupCode_GROUP_OK || left.Members[1].Code != metapb.GroupCode_GROUP_UNKNOWN_MEMBER {
			t.Errorf("left %v, %v", left, err)
		}
		synctest.Wait()
		if d := describe(t, c); d.State != "Empty" {
			t.Errorf("described %v", d)
		}
		if code := remove(); code != metapb.GroupCode_GROUP_OK {
			t.Errorf("delete: %s", code)
		}
		if code := remove(); code != metapb.GroupCode_GROUP_NOT_FOUND {
			t.Errorf("delete again: %s", code)
		}
		if d := describe(t, c); d.State != "Dead" {
			t.Errorf("described %v", d)
		}
	})
}

func TestAssignmentsThatCannotBeStoredCountForNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newLog(t)
		c := newCoordinator(log)
		defer c.Close()
		log.fail(true)
		a := &consumer{t: t, c: c}
		if code := a.join(); code != metapb.GroupCode_GROUP_REBALANCE_IN_PROGRESS {
			t.Errorf("sync without a log: %s", code)
		}
		log.fail(false)
		joinAll(t, a)
		if a.assignment == "" {
			t.Error("no assignment after the log came back")
		}
	})
}

func TestJoinsThatCannotBe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCoordinator(newLog(t))
		defer c.Close()
		a := &consumer{t: t, c: c}
		joinAll(t, a)
		tests := []struct {
			name   string
			change func(*metapb.GroupJoinRequest)
			want   metapb.GroupCode
		}{
			{"no group", func(r *metapb.GroupJoinRequest) { r.Group = "" }, metapb.GroupCode_GROUP_INVALID_ID},
			{"short session", func(r *metapb.GroupJoinRequest) { r.SessionTimeoutMillis = 10 }, metapb.GroupCode_GROUP_INVALID_SESSION_TIMEOUT},
			{"unknown member", func(r *metapb.GroupJoinRequest) { r.MemberId = "nobody" }, metapb.GroupCode_GROUP_UNKNOWN_MEMBER},
			{"other protocol type", func(r *metapb.GroupJoinRequest) { r.ProtocolType = "connect" }, metapb.GroupCode_GROUP_INCONSISTENT_PROTOCOL},
			{"no common protocol", func(r *metapb.GroupJoinRequest) { r.Protocols = []*metapb.GroupProtocol{{Name: "sticky"}} }, metapb.GroupCode_GROUP_INCONSISTENT_PROTOCOL},
		}
		for _, test := range tests {
			r := (&consumer{t: t, c: c}).joinRequest()
			test.change(r)
			answer, err := c.Join(context.Background(), r)
			if err != nil || answer.Code != test.want {
				t.Errorf("%s: %s, %v", test.name, answer.GetCode(), err)
			}
		}
	})
}
