package group

import (
	"testing"
	"testing/synctest"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
)

// owning is the subscription of a cooperative member that goes on with partitions of a topic.
func owning(topic string, partitions ...int32) []byte {
	m := kmsg.NewConsumerMemberMetadata()
	m.Version, m.Topics = 1, []string{topic}
	if len(partitions) > 0 {
		m.OwnedPartitions = []kmsg.ConsumerMemberMetadataOwnedPartition{{Topic: topic, Partitions: partitions}}
	}
	return m.AppendTo(nil)
}

// has is what a classic member was assigned of orders.
func (m *consumer) has(log *stateLog) (partitions []int32) {
	m.t.Helper()
	log.View(func(s *meta.State) {
		assigned, readable := readAssignment(newCatalog(s), []byte(m.assignment))
		if !readable {
			m.t.Fatalf("assignment %q", m.assignment)
		}
		partitions = assigned[meta.TopicID(orders)]
	})
	return partitions
}

// A cooperative member keeps its partitions while its group's next generation waits for its assignments. Who comes then with the consumer protocol must not have them
// before it has given them up.
func TestAnUpgradeBetweenGenerationsGivesNothingTwice(t *testing.T) {
	consumerGroup(t, func(t *testing.T, log *stateLog, c *Coordinator) {
		a := &consumer{t: t, c: c, metadata: embedded("orders")}
		joinAll(t, a)
		if has := a.has(log); len(has) != 4 {
			t.Fatalf("alone: %v", has)
		}
		b := &consumer{t: t, c: c, metadata: embedded("orders")}
		answer, err := c.Join(t.Context(), b.joinRequest())
		if err != nil {
			t.Fatal(err)
		}
		b.id = answer.MemberId
		a.metadata = owning("orders", 0, 1, 2, 3)
		joined := make(chan *metapb.GroupJoinResponse, 2)
		for _, m := range []*consumer{b, a} {
			go func() {
				answer, err := c.Join(t.Context(), m.joinRequest())
				if err != nil {
					t.Error(err)
				}
				joined <- answer
			}()
			synctest.Wait()
		}
		a.generation = (<-joined).Generation
		<-joined // nobody has asked for its assignment yet
		d := newModern(t, c, "d", "orders")
		rounds(t, 1, d)
		if has := d.has[meta.TopicID(orders)]; len(has) > 0 {
			t.Errorf("a has not given up anything, and d has %v", has)
		}
	})
}

// What the last member of the consumer protocol had gets an owner, also where the leader changes before a classic member has heard of it.
func TestATakeoverAfterADowngradeLeavesNoPartitionWithoutAnOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newLog(t)
		c := newCoordinator(log)
		a := &consumer{t: t, c: c, metadata: embedded("orders")}
		joinAll(t, a)
		d := newModern(t, c, "d", "orders")
		for range 4 {
			rounds(t, 1, d)
			if a.heartbeat() == metapb.GroupCode_GROUP_REBALANCE_IN_PROGRESS {
				a.metadata = owning("orders", a.has(log)...)
				a.join()
				a.metadata = owning("orders", a.has(log)...)
			}
		}
		if got, rest := d.has.count(), len(a.has(log)); got != 2 || rest != 2 {
			t.Fatalf("d has %d partitions, a %d", got, rest)
		}
		d.leave(epochLeave)
		synctest.Wait()
		c.Close()
		c = newCoordinator(log)
		defer c.Close()
		a.c = c
		for range 20 {
			if a.heartbeat() != metapb.GroupCode_GROUP_OK {
				a.join()
			}
		}
		if has := a.has(log); len(has) != 4 {
			t.Errorf("the only member has %v", has)
		}
	})
}
