package group

import (
	"maps"
	"slices"
	"time"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
)

// ShareGroup is the members of a share group (KIP-932) and what they are assigned. Partitions may be assigned to several members, and a
// member has its target at its next heartbeat: nobody has to give anything up first. Which records a member gets is another matter, and
// coordinator/delivery's.
//
// It is not safe for concurrent use; Coordinator guards it. It has no clock, and answers at once; but an answer may only be given when what
// it says is in the log (WhenStored).
type ShareGroup struct {
	name        string
	epoch       int32
	targetEpoch int32
	topics      []*metapb.SubscribedTopic // what epoch counts on, in order of name
	topicsSeq   uint64                    // of the catalog that topics was last compared with
	members     map[string]*shareMember
	missing     assignment // share partitions that the state has yet to make

	durable
}

type shareMember struct {
	id, rackID           string
	clientID, clientHost string
	topics               []string // in order
	epoch, previousEpoch int32
	assigned, target     assignment

	sessionEnds time.Time // by then it must have been heard of
}

// shareCluster is what a share group's rules look at besides the group.
type shareCluster struct {
	topics *catalog
	config meta.ShareConfig
	// has tells which share partitions the state has.
	has func(meta.TopicPartition) bool
}

func (c shareCluster) session() time.Duration {
	return time.Duration(c.config.SessionMillis) * time.Millisecond
}

func newShareGroup(name string) *ShareGroup {
	g := &ShareGroup{name: name, members: map[string]*shareMember{}, missing: assignment{}}
	g.log.clear()
	return g
}

// restoreShareGroup takes the group's durable part; every member gets a new session.
func restoreShareGroup(now time.Time, name string, stored *meta.ShareGroup, session time.Duration) *ShareGroup {
	g := newShareGroup(name)
	g.epoch, g.targetEpoch, g.topics = stored.Epoch, stored.AssignmentEpoch, stored.Topics
	g.log.version = stored.Version
	for id, m := range stored.Members {
		g.members[id] = &shareMember{
			id: id, rackID: m.RackId, clientID: m.ClientId, clientHost: m.ClientHost, topics: m.Topics, epoch: m.Epoch,
			previousEpoch: m.PreviousEpoch, assigned: assignmentOf(m.Assigned), target: assignmentOf(m.Target), sessionEnds: now.Add(session),
		}
	}
	return g
}

func (m *shareMember) proto() *metapb.ShareMember {
	return &metapb.ShareMember{
		MemberId: m.id, RackId: m.rackID, ClientId: m.clientID, ClientHost: m.clientHost, Topics: m.topics, Epoch: m.epoch,
		PreviousEpoch: m.previousEpoch, Assigned: m.assigned.proto(), Target: m.target.proto(),
	}
}

func (g *ShareGroup) inOrder() []*shareMember {
	ids := slices.Sorted(maps.Keys(g.members))
	members := make([]*shareMember, len(ids))
	for i, id := range ids {
		members[i] = g.members[id]
	}
	return members
}

// State is where the group stands, in Kafka's words.
func (g *ShareGroup) State() string {
	if len(g.members) == 0 {
		return "Empty"
	}
	return "Stable"
}

// Subscribes tells whether members want a topic.
func (g *ShareGroup) Subscribes(name string) bool {
	return slices.ContainsFunc(g.topics, func(t *metapb.SubscribedTopic) bool { return t.Name == name }) && len(g.members) > 0
}

func (g *ShareGroup) size() int { return len(g.members) }

// shareProtocol is what Kafka calls the type and the protocol type of share groups.
const shareProtocol = "share"

func (g *ShareGroup) kind() (groupType, protocolType string) { return shareProtocol, shareProtocol }

// mayCommit: a share group has no committed offsets.
func (g *ShareGroup) mayCommit(*metapb.GroupCommitRequest) metapb.GroupCode {
	return metapb.GroupCode_GROUP_NOT_FOUND
}

// remove takes a member out.
func (g *ShareGroup) remove(m *shareMember) {
	delete(g.members, m.id)
	g.log.remove(m.id)
	g.epoch++
	g.log.epoch = true
	g.topicsSeq = 0 // what was wanted by this member alone is wanted no more
}

// refresh moves the epoch where something has changed, and makes new targets where the epoch has moved.
func (g *ShareGroup) refresh(c shareCluster, subscriptionChanged bool) {
	if subscriptionChanged || g.topicsSeq < c.topics.seq { // another heartbeat may have come with later topics
		g.topicsSeq = c.topics.seq
		wanted := map[string]struct{}{}
		for _, m := range g.members {
			for _, name := range m.topics {
				wanted[name] = struct{}{}
			}
		}
		if topics := c.topics.subscribed(slices.Sorted(maps.Keys(wanted))); !sameSubscribed(topics, g.topics) {
			g.topics, g.log.topics = topics, true
			subscriptionChanged = true
		}
		if subscriptionChanged {
			g.epoch++
			g.log.epoch = true
		}
		g.want(c)
	}
	if g.epoch > g.targetEpoch {
		g.retarget(c)
	}
}

// want asks for the share partitions of what is subscribed to.
func (g *ShareGroup) want(c shareCluster) {
	for _, t := range g.topics {
		if len(t.TopicId) == 0 {
			continue
		}
		id := meta.TopicID(t.TopicId)
		var missing []int32
		for p := range t.Partitions {
			if !c.has(meta.TopicPartition{Topic: id, Partition: p}) {
				missing = append(missing, p)
			}
		}
		if len(missing) > 0 {
			g.missing[id], g.log.topics = missing, true
		}
	}
}

func (g *ShareGroup) retarget(c shareCluster) {
	members := g.inOrder()
	candidates := make([]candidate, len(members))
	for i, m := range members {
		candidates[i] = candidate{id: m.id, target: m.target}
		for _, name := range m.topics {
			if t, ok := c.topics.byName[name]; ok {
				candidates[i].topics = append(candidates[i].topics, t)
			}
		}
		slices.SortFunc(candidates[i].topics, func(x, y topicInfo) int { return compareTopicID(x.id, y.id) })
	}
	targets := assignSimple(candidates)
	for _, m := range members {
		if target := targets[m.id]; !target.equal(m.target) {
			m.target = target
			g.log.mark(m.id, changedTarget)
		}
	}
	g.targetEpoch, g.log.epoch = g.epoch, true
}

// NextDeadline is when Advance has something to do; zero for never.
func (g *ShareGroup) NextDeadline() time.Time {
	var next time.Time
	for _, m := range g.members {
		if next.IsZero() || m.sessionEnds.Before(next) {
			next = m.sessionEnds
		}
	}
	return next
}

// Advance takes out members that were not heard of in time.
func (g *ShareGroup) Advance(now time.Time) {
	for _, m := range g.inOrder() {
		if !now.Before(m.sessionEnds) {
			g.remove(m)
		}
	}
}

// Take makes a command of what has changed. Stored tells its outcome.
func (g *ShareGroup) Take(now time.Time) *metapb.Command {
	l := &g.log
	c := &metapb.StoreShareGroup{
		Group: g.name, ExpectedVersion: l.version, Epoch: g.epoch, AssignmentEpoch: g.targetEpoch,
		Removed: slices.Sorted(maps.Keys(l.removed)), SetsTopics: l.topics, StateSinceMillis: now.UnixMilli(), Partitions: g.missing.proto().Topics,
	}
	if l.topics {
		c.Topics = g.topics
	}
	for _, id := range slices.Sorted(maps.Keys(l.members)) {
		c.Members = append(c.Members, g.members[id].proto())
	}
	g.missing = assignment{}
	l.takeOff()
	return &metapb.Command{Kind: &metapb.Command_StoreShareGroup{StoreShareGroup: c}}
}

// Describe is the group as administrators see it.
func (g *ShareGroup) Describe() *metapb.ShareDescribed {
	d := &metapb.ShareDescribed{Group: g.name, State: g.State(), Epoch: g.epoch, AssignmentEpoch: g.targetEpoch, Assignor: assignorSimple}
	for _, m := range g.inOrder() {
		d.Members = append(d.Members, m.proto())
	}
	return d
}
