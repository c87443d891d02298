package group

import (
	"time"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
)

// Online migration between the protocols (KIP-848): a classic group of consumers becomes a consumer group when the first member comes
// with the consumer protocol, and a classic one again when the last of those is gone.

// upgrade makes a consumer group of a classic one. False where a member's metadata or assignment cannot be read.
func upgrade(now time.Time, from *Group, c cluster) (*ConsumerGroup, bool) {
	g := newConsumerGroup(from.name)
	g.epoch, g.targetEpoch, g.log.epoch = from.generation, from.generation, true
	for _, old := range from.members {
		subscription, readable := subscriptionOf(old.protocols)
		assigned, readableToo := readAssignment(c.topics, old.held)
		if !readable || !readableToo {
			return nil, false
		}
		m := g.add(old.id)
		m.clientID, m.clientHost, m.rebalanceTimeout = old.clientID, old.clientHost, old.rebalanceTimeout
		m.topics = sortedNames(subscription.Topics)
		m.classic = &classicPart{session: old.sessionTimeout, protocols: old.protocols}
		m.epoch, m.previousEpoch = from.generation, from.generation
		m.target = assigned
		m.assigned = assigned.filter(func(t meta.TopicID, p int32) bool { return g.isFree(m, t, p) })
		if old.instanceID != nil {
			m.instanceID = *old.instanceID
			g.static[m.instanceID] = m
		}
		if subscription.Rack != nil {
			m.rackID = *subscription.Rack
		}
		g.own(m, m.assigned)
		m.sessionEnds = now.Add(old.sessionTimeout)
	}
	// What the members were subscribed to is what this epoch counts on; a joiner that changes nothing of it still moves the epoch.
	g.topics, g.log.topics, g.topicsSeq = c.topics.subscribed(g.wanted(c.topics)), true, c.topics.seq
	return g, true
}

// downgrade makes a classic group of a consumer group that has classic members alone, and asks them to join again. The log has the consumer group until their generation is stored: a
// leader that takes over before that does the same.
func (g *Group) downgrade(now time.Time, from *ConsumerGroup, c cluster) {
	// The generation is what settled members know, so that they are told to join again rather than that they are fenced.
	g.generation, g.protocolType, g.state = from.targetEpoch, consumerProtocol, Stable
	for _, old := range from.inOrder() {
		m := &member{
			id: old.id, clientID: old.clientID, clientHost: old.clientHost, protocols: old.classic.protocols,
			sessionTimeout: old.classic.session, rebalanceTimeout: old.rebalanceTimeout, isSynced: true,
			assignment: classicAssignment(c.topics, old.assigned, metadataVersion(old.classic.protocols)),
		}
		if old.isStatic() {
			instance := old.instanceID
			m.instanceID = &instance
			g.static[instance] = m.id
		}
		m.held = m.assignment
		m.sessionEnds = now.Add(m.sessionTimeout)
		g.members = append(g.members, m)
	}
	g.leader = g.members[0].id
	g.protocol = g.chooseProtocol()
	g.prepareRebalance(now)
}

// giveUp answers everybody who waits: the group goes on under the other protocol.
func (g *Group) giveUp() {
	for _, m := range g.members {
		m.answerJoin(&metapb.GroupJoinResponse{Code: metapb.GroupCode_GROUP_REBALANCE_IN_PROGRESS, MemberId: m.id, Generation: noGeneration})
		m.answerSync(&metapb.GroupSyncResponse{Code: metapb.GroupCode_GROUP_REBALANCE_IN_PROGRESS})
	}
}
