package group

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
)

// sharer is a member of a share group as a client library would be one.
type sharer struct {
	t     *testing.T
	c     *Coordinator
	id    string
	epoch int32
	has   *metapb.ConsumerAssignment
}

func (m *sharer) beat(topics ...string) *metapb.ShareHeartbeatResponse {
	m.t.Helper()
	r := &metapb.ShareHeartbeatRequest{Group: "g", MemberId: m.id, MemberEpoch: m.epoch, ClientId: "client", ClientHost: "/h"}
	if len(topics) > 0 {
		r.Topics = &metapb.ConsumerTopics{Names: topics}
	}
	answer, err := m.c.ShareHeartbeat(m.t.Context(), r)
	if err != nil {
		m.t.Fatal(err)
	}
	if answer.Code == metapb.GroupCode_GROUP_OK {
		m.epoch = answer.MemberEpoch
		if answer.Assignment != nil {
			m.has = answer.Assignment
		}
	}
	return answer
}

func (m *sharer) expect(code metapb.GroupCode, topics ...string) {
	m.t.Helper()
	if answer := m.beat(topics...); answer.Code != code {
		m.t.Errorf("%s at epoch %d: %v %s", m.id, m.epoch, answer.Code, answer.Message)
	}
}

func (m *sharer) partitions() (n int) { return assignmentOf(m.has).count() }

func sharing(t *testing.T, tell func(t *testing.T, log *stateLog, c *Coordinator)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		log := newLog(t)
		c := newCoordinator(log)
		defer func() {
			c.Close()
			synctest.Wait()
		}()
		tell(t, log, c)
	})
}

func TestShareMembersComeAndGo(t *testing.T) {
	sharing(t, func(t *testing.T, log *stateLog, c *Coordinator) {
		a, b := &sharer{t: t, c: c, id: "a"}, &sharer{t: t, c: c, id: "b"}
		a.expect(metapb.GroupCode_GROUP_OK, "orders")
		if a.partitions() != 4 {
			t.Errorf("a has %v", a.has)
		}
		log.View(func(s *meta.State) {
			if g := s.Group("g").Share; len(g.Partitions()) != 4 || g.Members["a"].Epoch != a.epoch {
				t.Errorf("stored %+v", g)
			}
		})
		before := log.seq()
		a.expect(metapb.GroupCode_GROUP_OK)
		if log.seq() != before {
			t.Error("a heartbeat that changes nothing writes something")
		}
		b.expect(metapb.GroupCode_GROUP_OK, "orders")
		a.expect(metapb.GroupCode_GROUP_OK)
		if a.epoch != 2 || b.epoch != 2 || a.partitions()+b.partitions() < 4 || b.partitions() == 0 {
			t.Errorf("a has %v, b has %v at %d", a.has, b.has, b.epoch)
		}
		b.epoch = epochLeave
		b.expect(metapb.GroupCode_GROUP_OK)
		a.expect(metapb.GroupCode_GROUP_OK)
		if a.epoch != 3 || a.partitions() != 4 {
			t.Errorf("alone again, a has %v at %d", a.has, a.epoch)
		}
		// Nothing is heard of it.
		time.Sleep(46 * time.Second)
		synctest.Wait()
		a.expect(metapb.GroupCode_GROUP_UNKNOWN_MEMBER)
		described, err := c.ShareDescribe(t.Context(), &metapb.ShareDescribeRequest{Groups: []string{"g"}})
		if err != nil || described.Groups[0].State != "Empty" || described.Groups[0].Epoch != 4 {
			t.Errorf("%v %v", described, err)
		}
	})
}

func TestShareMembersAreFenced(t *testing.T) {
	sharing(t, func(t *testing.T, log *stateLog, c *Coordinator) {
		stranger := &sharer{t: t, c: c, id: "x", epoch: 1}
		stranger.expect(metapb.GroupCode_GROUP_NOT_FOUND)
		stranger.epoch = epochLeave
		stranger.expect(metapb.GroupCode_GROUP_NOT_FOUND)
		a := &sharer{t: t, c: c, id: "a"}
		a.expect(metapb.GroupCode_GROUP_OK, "orders")
		stranger.expect(metapb.GroupCode_GROUP_UNKNOWN_MEMBER)
		stranger.epoch = 1
		stranger.expect(metapb.GroupCode_GROUP_UNKNOWN_MEMBER)
		for range 2 {
			a.expect(metapb.GroupCode_GROUP_OK, "orders", fmt.Sprint(a.epoch))
		}
		a.epoch = 4
		a.expect(metapb.GroupCode_GROUP_FENCED_MEMBER_EPOCH)
		a.epoch = 1
		a.expect(metapb.GroupCode_GROUP_FENCED_MEMBER_EPOCH)
		a.epoch = 0
		a.expect(metapb.GroupCode_GROUP_FENCED_MEMBER_EPOCH, "orders")
		a.epoch = 2 // the one before: its answer was lost
		a.expect(metapb.GroupCode_GROUP_OK)
		for _, wrong := range []*metapb.ShareHeartbeatRequest{
			{MemberId: "a"}, {Group: "g"}, {Group: "g", MemberId: "a", RackId: new(string)}, {Group: "g", MemberId: "b"}, {Group: "g", MemberId: "a", MemberEpoch: -2},
		} {
			if answer, err := c.ShareHeartbeat(t.Context(), wrong); err != nil || answer.Code != metapb.GroupCode_GROUP_INVALID_REQUEST {
				t.Errorf("%v: %v %v", wrong, answer, err)
			}
		}
	})
}

func TestAShareGroupSurvivesATakeover(t *testing.T) {
	sharing(t, func(t *testing.T, log *stateLog, c *Coordinator) {
		a := &sharer{t: t, c: c, id: "a"}
		a.expect(metapb.GroupCode_GROUP_OK, "orders")
		next := newCoordinator(log)
		defer next.Close()
		a.c = next
		before := log.seq()
		a.expect(metapb.GroupCode_GROUP_OK)
		if log.seq() != before || a.epoch != 1 {
			t.Errorf("it had to join again: epoch %d", a.epoch)
		}
		listed, err := next.List(t.Context(), &metapb.GroupListRequest{Types: []string{"share"}})
		if err != nil || len(listed.Groups) != 1 || listed.Groups[0].State != "Stable" {
			t.Errorf("%v %v", listed, err)
		}
	})
}

func TestAShareHeartbeatThatIsNotStoredIsNotAnswered(t *testing.T) {
	sharing(t, func(t *testing.T, log *stateLog, c *Coordinator) {
		log.fail(true)
		a := &sharer{t: t, c: c, id: "a"}
		a.expect(metapb.GroupCode_GROUP_UNAVAILABLE, "orders")
		log.fail(false)
		a.expect(metapb.GroupCode_GROUP_OK, "orders")
		if a.partitions() != 4 {
			t.Errorf("a has %v", a.has)
		}
		log.loseNext()
		b := &sharer{t: t, c: c, id: "b"}
		b.expect(metapb.GroupCode_GROUP_UNAVAILABLE, "orders") // it came to pass
		b.expect(metapb.GroupCode_GROUP_OK, "orders")          // 0 is the epoch before its first
	})
}

func TestNewPartitionsAreSharedToo(t *testing.T) {
	sharing(t, func(t *testing.T, log *stateLog, c *Coordinator) {
		a := &sharer{t: t, c: c, id: "a"}
		a.expect(metapb.GroupCode_GROUP_OK, "orders", "later")
		log.apply(t, &metapb.Command{Kind: &metapb.Command_CreatePartitions{CreatePartitions: &metapb.CreatePartitions{TopicId: orders, Count: 6}}})
		log.apply(t, &metapb.Command{Kind: &metapb.Command_CreateTopic{CreateTopic: &metapb.CreateTopic{Name: "later", TopicId: []byte("later-----------"), Partitions: 2,
			Configs: []*metapb.ConfigEntry{{Name: "varve.durability", Value: "local"}}}}})
		a.expect(metapb.GroupCode_GROUP_OK)
		if a.partitions() != 8 {
			t.Errorf("a has %v", a.has)
		}
		log.View(func(s *meta.State) {
			if got := len(s.Group("g").Share.Partitions()); got != 8 {
				t.Errorf("%d share partitions", got)
			}
		})
	})
}

func TestShareGroupsAreBounded(t *testing.T) {
	sharing(t, func(t *testing.T, log *stateLog, c *Coordinator) {
		log.apply(t, &metapb.Command{Kind: &metapb.Command_AlterConfig{AlterConfig: &metapb.AlterConfig{
			Resource: metapb.AlterConfig_BROKER, Entries: []*metapb.ConfigEntry{{Name: "group.share.max.size", Value: "1"}},
		}}})
		(&sharer{t: t, c: c, id: "a"}).expect(metapb.GroupCode_GROUP_OK, "orders")
		(&sharer{t: t, c: c, id: "b"}).expect(metapb.GroupCode_GROUP_MAX_SIZE_REACHED, "orders")
	})
}

// TestAssignSimple holds what the assignor promises: every partition has a member, every member that wants a topic has a partition, nobody
// has what it does not want, and members that want the same have about the same.
func TestAssignSimple(t *testing.T) {
	topics := []topicInfo{{id: meta.TopicID{1}, name: "x", partitions: 5}, {id: meta.TopicID{2}, name: "y", partitions: 3}}
	for members := range 12 {
		for _, mixed := range []bool{false, true} {
			targets := map[string]assignment{}
			for round := range 3 { // members stay, and one comes in each round
				var candidates []candidate
				wanted := map[meta.TopicID]bool{}
				for i := range members + round {
					c := candidate{id: fmt.Sprintf("member-%d", i), topics: topics, target: targets[fmt.Sprintf("member-%d", i)]}
					if mixed && i > 0 {
						c.topics = topics[i%2 : i%2+1]
					}
					for _, topic := range c.topics {
						wanted[topic.id] = true
					}
					candidates = append(candidates, c)
				}
				targets = assignSimple(candidates)
				owners := map[meta.TopicPartition]int{}
				for _, c := range candidates {
					got := targets[c.id]
					if got.count() == 0 {
						t.Errorf("%d members, mixed %v: %s has nothing", len(candidates), mixed, c.id)
					}
					if bound := (8+len(candidates)-1)/len(candidates) + 1; !mixed && got.count() > bound {
						t.Errorf("%d members: %s has %d partitions", len(candidates), c.id, got.count())
					}
					for topic, partitions := range got {
						for _, p := range partitions {
							owners[meta.TopicPartition{Topic: topic, Partition: p}]++
						}
						if len(c.topics) == 1 && c.topics[0].id != topic {
							t.Errorf("%s has %v, which it does not want", c.id, topic)
						}
					}
				}
				for _, topic := range topics {
					for p := range topic.partitions {
						if wanted[topic.id] && owners[meta.TopicPartition{Topic: topic.id, Partition: p}] == 0 {
							t.Errorf("%d members, mixed %v: nobody has %s-%d", len(candidates), mixed, topic.name, p)
						}
					}
				}
			}
		}
	}
}
