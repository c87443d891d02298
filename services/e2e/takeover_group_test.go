package e2e

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varvelog/varve/services/e2e/cluster"
)

func TestNoConsumerRejoinsWhenTheLeaderChanges(t *testing.T) {
	t.Parallel()
	r := cluster.StartRoles(t, cluster.RolesConfig{Coordinators: 3, Ingest: 1, Flags: []string{"--metalog=bucket"}})
	n := r.Ingest[0]
	for _, topic := range []string{"old", "new"} {
		createTopic(t, n, topic, 6, "varve.durability", "local")
	}
	members := []*foreignMember{
		javaMember(t, n, "classic", "old", "group.protocol=classic", "heartbeat.interval.ms=500"),
		javaMember(t, n, "modern", "new", "group.protocol=consumer"),
		pythonMember(t, n, "modern", "new"),
	}
	var received tally
	var moves atomic.Int64
	moved := func(context.Context, *kgo.Client, map[string][]int32) { moves.Add(1) }
	franz := join(t, n, "classic", "old", &received, kgo.OnPartitionsAssigned(moved), kgo.OnPartitionsRevoked(moved), kgo.OnPartitionsLost(moved))
	for _, m := range members {
		m.has(3)
	}
	awaitMembers(t, n, "classic", "old", 2, 6)
	generation := func() int32 {
		_, generation := franz.client.GroupMetadata()
		return generation
	}
	type standing struct {
		epoch string
		moves int
	}
	stand := func() (all []standing) {
		for _, m := range members {
			all = append(all, standing{m.commit(), m.moves()})
		}
		return append(all, standing{moves: int(moves.Load())}, standing{moves: int(generation())})
	}
	before := stand()
	producer := dial(t, n)
	for round, end := range []func(*cluster.Node){(*cluster.Node).Kill, (*cluster.Node).Stop, (*cluster.Node).Kill, (*cluster.Node).Freeze} {
		leader, others := cluster.AwaitLeader(t, patience, r.Coordinators...)
		end(leader)
		cluster.AwaitLeader(t, patience, others...)
		for _, topic := range []string{"old", "new"} {
			produce(t, producer, numbered(topic, "r", round*100, 100)...)
		}
		members[0].await("all records", func() bool { return received.distinct()+len(members[0].said("record")) == (round+1)*100 })
		members[1].await("all records", func() bool { return len(members[1].said("record"))+len(members[2].said("record")) == (round+1)*100 })
		awaitHeartbeats(t, n, map[string]int{"Heartbeat": 10, "ConsumerGroupHeartbeat": 2}) // what nobody asked for would show by now
		if after := stand(); !slices.Equal(after, before) {
			t.Errorf("round %d: %+v before, %+v after", round, before, after)
		}
		if leader.Running() {
			leader.Thaw()
		} else {
			leader.Start()
		}
	}
}
