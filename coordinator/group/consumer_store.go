package group

import (
	"maps"
	"slices"
	"time"

	"github.com/varvelog/varve/coordinator/metapb"
)

// Take makes a command of what has changed. Stored tells its outcome.
func (g *ConsumerGroup) Take(now time.Time) *metapb.Command {
	l := &g.log
	c := &metapb.StoreConsumerGroup{
		Group: g.name, ExpectedVersion: l.version, Reset_: l.reset, Epoch: g.epoch, AssignmentEpoch: g.targetEpoch,
		Removed: slices.Sorted(maps.Keys(l.removed)), SetsTopics: l.topics, StateSinceMillis: now.UnixMilli(),
	}
	if l.topics {
		c.Topics = g.topics
	}
	for _, id := range slices.Sorted(maps.Keys(l.members)) {
		m, parts := g.members[id], l.members[id]
		kept := &metapb.ConsumerMember{MemberId: id}
		if parts&changedSubscription != 0 {
			kept.Subscription = m.subscription()
		}
		if parts&changedTarget != 0 {
			kept.Target = m.target.proto()
		}
		if parts&changedCurrent != 0 {
			kept.Current = m.current()
		}
		c.Members = append(c.Members, kept)
	}
	l.takeOff()
	return &metapb.Command{Kind: &metapb.Command_StoreConsumerGroup{StoreConsumerGroup: c}}
}
