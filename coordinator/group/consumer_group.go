package group

import (
	"maps"
	"slices"
	"time"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
)

// ConsumerGroup is one group under the consumer protocol (KIP-848). The group has an epoch, which moves when members, their subscriptions
// or the topics change; from the group as of an epoch follows a target for each member; and each member comes to its target in steps,
// which its own epoch tells: it gives up what it may not keep, says so, and is given what others have given up.
//
// It is not safe for concurrent use; Coordinator guards it. It has no clock, and answers at once; but an answer may only be given when
// what it says is in the log (WhenStored).
type ConsumerGroup struct {
	name        string
	epoch       int32
	targetEpoch int32                     // of the members' targets
	topics      []*metapb.SubscribedTopic // what epoch counts on, in order of name
	topicsSeq   uint64                    // of the catalog that topics was last compared with
	members     map[string]*consumerMember
	static      map[string]*consumerMember // by instance id
	owners      map[meta.TopicPartition]*consumerMember

	durable
}

// cluster is what a group's rules look at besides the group.
type cluster struct {
	topics *catalog
	config meta.GroupConfig
}

func (c cluster) session() time.Duration {
	return time.Duration(c.config.ConsumerSessionMillis) * time.Millisecond
}

func newConsumerGroup(name string) *ConsumerGroup {
	g := &ConsumerGroup{
		name: name, members: map[string]*consumerMember{}, static: map[string]*consumerMember{}, owners: map[meta.TopicPartition]*consumerMember{},
	}
	g.log.clear()
	g.log.reset = true
	return g
}

// restoreConsumerGroup takes the group's durable part; every member gets a new session.
func restoreConsumerGroup(now time.Time, name string, stored *meta.ConsumerGroup, c cluster) *ConsumerGroup {
	g := newConsumerGroup(name)
	g.epoch, g.targetEpoch, g.topics = stored.Epoch, stored.AssignmentEpoch, stored.Topics
	g.log.version, g.log.reset = stored.Version, false
	for _, id := range stored.MemberIDs() {
		m := restoreConsumerMember(stored.Members[id])
		g.members[id] = m
		if m.isStatic() {
			g.static[m.instanceID] = m
		}
		g.own(m, m.assigned.plus(m.revoking))
		m.sessionEnds = now.Add(m.session(c.session()))
		if m.state == metapb.ConsumerMemberState_CONSUMER_MEMBER_UNREVOKED && m.epoch != epochAwayStatic {
			m.rebalanceEnds = now.Add(m.rebalanceTimeout)
		}
	}
	return g
}

// State is where the group stands, in Kafka's words.
func (g *ConsumerGroup) State() string {
	switch {
	case len(g.members) == 0:
		return "Empty"
	case g.epoch > g.targetEpoch:
		return "Assigning"
	}
	for _, m := range g.members {
		if !m.isSettled(g.targetEpoch) {
			return "Reconciling"
		}
	}
	return "Stable"
}

func (g *ConsumerGroup) inOrder() []*consumerMember {
	return slices.SortedFunc(maps.Values(g.members), func(x, y *consumerMember) int {
		if x.id < y.id {
			return -1
		}
		return 1
	})
}

// add makes a member that is not there yet.
func (g *ConsumerGroup) add(id string) *consumerMember {
	m := &consumerMember{id: id, assigned: assignment{}, revoking: assignment{}, target: assignment{}}
	g.members[id] = m
	g.log.mark(id, changedAll)
	return m
}

// replace gives a static member's place to a new process with another id: its target, and what it had.
func (g *ConsumerGroup) replace(m *consumerMember, id string) {
	delete(g.members, m.id)
	g.log.remove(m.id)
	m.id, m.epoch, m.previousEpoch, m.rebalanceEnds, m.joinEnds, m.syncEnds = id, 0, 0, time.Time{}, time.Time{}, time.Time{}
	g.members[id] = m
	g.log.mark(id, changedAll)
}

// remove takes a member out; what it had is free.
func (g *ConsumerGroup) remove(m *consumerMember) {
	g.disown(m)
	delete(g.members, m.id)
	if m.isStatic() && g.static[m.instanceID] == m {
		delete(g.static, m.instanceID)
	}
	g.log.remove(m.id)
	g.epoch++
	g.log.epoch = true
	g.topicsSeq = 0 // what was wanted by this member alone is wanted no more
}

func (g *ConsumerGroup) own(m *consumerMember, partitions assignment) {
	for topic, list := range partitions {
		for _, p := range list {
			g.owners[meta.TopicPartition{Topic: topic, Partition: p}] = m
		}
	}
}

func (g *ConsumerGroup) disown(m *consumerMember) {
	for _, partitions := range []assignment{m.assigned, m.revoking} {
		for topic, list := range partitions {
			for _, p := range list {
				if tp := (meta.TopicPartition{Topic: topic, Partition: p}); g.owners[tp] == m {
					delete(g.owners, tp)
				}
			}
		}
	}
}

// isFree says whether the member may have a partition: nobody has it, or it has itself.
func (g *ConsumerGroup) isFree(m *consumerMember, topic meta.TopicID, partition int32) bool {
	owner := g.owners[meta.TopicPartition{Topic: topic, Partition: partition}]
	return owner == nil || owner == m
}

// refresh moves the epoch where something has changed, and makes new targets where the epoch has moved.
func (g *ConsumerGroup) refresh(c cluster, subscriptionChanged bool) {
	if subscriptionChanged || g.topicsSeq < c.topics.seq { // another heartbeat may have come with later topics
		g.topicsSeq = c.topics.seq
		if topics := c.topics.subscribed(g.wanted(c.topics)); !sameSubscribed(topics, g.topics) {
			g.topics, g.log.topics = topics, true
			subscriptionChanged = true
		}
		if subscriptionChanged || g.epoch == 0 {
			g.epoch++
			g.log.epoch = true
		}
	}
	if g.epoch > g.targetEpoch {
		g.retarget(c)
	}
}

// wanted is all topics that members want, in order.
func (g *ConsumerGroup) wanted(topics *catalog) []string {
	all := map[string]struct{}{}
	for _, m := range g.members {
		m.resolve(topics)
		for _, name := range m.wanted {
			all[name] = struct{}{}
		}
	}
	return slices.Sorted(maps.Keys(all))
}

func (g *ConsumerGroup) retarget(c cluster) {
	members := g.inOrder()
	candidates := make([]candidate, len(members))
	for i, m := range members {
		candidates[i] = candidate{id: m.id, instance: m.instanceID, target: m.target}
		for _, name := range m.wanted {
			if t, ok := c.topics.byName[name]; ok {
				candidates[i].topics = append(candidates[i].topics, t)
			}
		}
		slices.SortFunc(candidates[i].topics, func(x, y topicInfo) int { return compareTopicID(x.id, y.id) })
	}
	targets := assign(g.assignor(), candidates)
	for _, m := range members {
		if target := targets[m.id]; !target.equal(m.target) {
			m.target = target
			g.log.mark(m.id, changedTarget)
		}
	}
	g.targetEpoch, g.log.epoch = g.epoch, true
}

// assignor is the one that most members prefer, uniform where none says.
func (g *ConsumerGroup) assignor() string {
	votes := map[string]int{}
	for _, m := range g.members {
		if m.assignor != "" {
			votes[m.assignor]++
		}
	}
	best := assignorUniform
	for _, name := range []string{assignorUniform, assignorRange} {
		if votes[name] > votes[best] {
			best = name
		}
	}
	return best
}

// NextDeadline is when Advance has something to do; zero for never.
func (g *ConsumerGroup) NextDeadline() time.Time {
	var next time.Time
	for _, m := range g.members {
		for _, t := range [...]time.Time{m.sessionEnds, m.rebalanceEnds, m.joinEnds, m.syncEnds} {
			if !t.IsZero() && (next.IsZero() || t.Before(next)) {
				next = t
			}
		}
	}
	return next
}

// Advance takes out members that were not heard of in time, or did not do in time what they were told to.
func (g *ConsumerGroup) Advance(now time.Time) {
	due := func(t time.Time) bool { return !t.IsZero() && !now.Before(t) }
	for _, m := range g.inOrder() {
		if due(m.sessionEnds) || due(m.rebalanceEnds) || due(m.joinEnds) || due(m.syncEnds) {
			g.remove(m)
		}
	}
}

// isClassicAlone says that all members, and there are some, use the classic protocol.
func (g *ConsumerGroup) isClassicAlone() bool {
	for _, m := range g.members {
		if m.classic == nil {
			return false
		}
	}
	return len(g.members) > 0
}
