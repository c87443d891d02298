package group

import (
	"maps"
	"slices"
	"time"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/coordinator/streamsgroup"
)

const streamsProtocol = "streams"

// StreamsGroup is one application under the streams protocol (KIP-1071). It is to tasks what ConsumerGroup is to partitions; tasks follow from
// the topology, which the first member brings and which stays for as long as there is the group.
//
// It is not safe for concurrent use; Coordinator guards it. It has no clock, and answers at once; but an answer may only be given when
// what it says is in the log (WhenStored).
type StreamsGroup struct {
	name        string
	epoch       int32
	targetEpoch int32 // of the members' targets
	topology    *metapb.StreamsTopology
	topics      []*metapb.SubscribedTopic // what epoch counts on, in order of name
	members     map[string]*streamsMember

	configured *streamsgroup.Configured // nil where the topology cannot be made sense of
	topicsSeq  uint64                   // of the catalog that it was last compared with

	// What is not kept: members ask for it again when they are told another endpoint epoch, and a shutdown is a request to members.
	endpointEpoch int32
	shutdownBy    string // the member that asked all to shut down

	durable
}

// streamsCluster is what a streams group's rules look at besides the group.
type streamsCluster struct {
	topics *catalog
	config meta.StreamsConfig
}

func (c streamsCluster) session() time.Duration {
	return time.Duration(c.config.SessionMillis) * time.Millisecond
}

func (c streamsCluster) partitions(topic string) int32 { return c.topics.byName[topic].partitions }

func newStreamsGroup(name string) *StreamsGroup {
	g := &StreamsGroup{name: name, members: map[string]*streamsMember{}, endpointEpoch: -1}
	g.log.clear()
	g.log.reset = true
	return g
}

// restoreStreamsGroup takes the group's durable part; every member gets a new session.
func restoreStreamsGroup(now time.Time, name string, stored *meta.StreamsGroup, c streamsCluster) *StreamsGroup {
	g := newStreamsGroup(name)
	g.epoch, g.targetEpoch, g.topology, g.topics = stored.Epoch, stored.AssignmentEpoch, stored.Topology, stored.Topics
	g.log.version, g.log.reset = stored.Version, false
	if g.topology != nil {
		g.configured, _ = streamsgroup.Configure(g.topology, c.partitions) // members are told what is wrong with it
	}
	for _, id := range stored.MemberIDs() {
		m := restoreStreamsMember(stored.Members[id])
		g.members[id] = m
		m.sessionEnds = now.Add(c.session())
		if m.state == metapb.ConsumerMemberState_CONSUMER_MEMBER_UNREVOKED {
			m.rebalanceEnds = now.Add(m.rebalanceTimeout())
		}
	}
	return g
}

// State is where the group stands, in Kafka's words.
func (g *StreamsGroup) State() string {
	switch {
	case len(g.members) == 0:
		return "Empty"
	case !g.configured.IsReady():
		return "NotReady"
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

func (g *StreamsGroup) size() int { return len(g.members) }

func (g *StreamsGroup) kind() (groupType, protocolType string) {
	return streamsProtocol, streamsProtocol
}

// Subscribes tells whether the application reads a topic.
func (g *StreamsGroup) Subscribes(topic string) bool {
	if len(g.members) == 0 || !g.configured.IsReady() {
		return false
	}
	return slices.ContainsFunc(g.configured.Subtopologies, func(s streamsgroup.Subtopology) bool { return s.Reads(topic) })
}

func (g *StreamsGroup) inOrder() []*streamsMember {
	ids := slices.Sorted(maps.Keys(g.members))
	members := make([]*streamsMember, len(ids))
	for i, id := range ids {
		members[i] = g.members[id]
	}
	return members
}

// remove takes a member out; what it had is free.
func (g *StreamsGroup) remove(m *streamsMember) {
	delete(g.members, m.id)
	g.log.remove(m.id)
	g.bump()
	if len(g.members) == 0 {
		g.shutdownBy = ""
	}
}

func (g *StreamsGroup) bump() {
	g.epoch++
	g.log.epoch = true
}

// retarget makes the targets of the present epoch.
func (g *StreamsGroup) retarget(c streamsCluster) {
	members := g.inOrder()
	targets := map[string]streamsgroup.TaskSets{}
	if g.configured.IsReady() {
		candidates := make([]streamsgroup.Member, len(members))
		for i, m := range members {
			candidates[i] = streamsgroup.Member{ID: m.id, Process: m.metadata.ProcessId, Target: m.target}
		}
		targets = streamsgroup.Assign(g.configured.Subtopologies, candidates, c.config.StandbyReplicas)
	}
	for _, m := range members {
		if target := targets[m.id]; !target.Equal(m.target) {
			m.target = target
			g.log.mark(m.id, changedTarget)
		}
	}
	g.targetEpoch, g.log.epoch = g.epoch, true
}

// NextDeadline is when Advance has something to do; zero for never.
func (g *StreamsGroup) NextDeadline() time.Time {
	var next time.Time
	for _, m := range g.members {
		for _, t := range [...]time.Time{m.sessionEnds, m.rebalanceEnds} {
			if !t.IsZero() && (next.IsZero() || t.Before(next)) {
				next = t
			}
		}
	}
	return next
}

// Advance takes out members that were not heard of in time, or did not give up in time what they were told to.
func (g *StreamsGroup) Advance(now time.Time) {
	due := func(t time.Time) bool { return !t.IsZero() && !now.Before(t) }
	for _, m := range g.inOrder() {
		if due(m.sessionEnds) || due(m.rebalanceEnds) {
			g.remove(m)
		}
	}
}

// Take makes a command of what has changed. Stored tells its outcome.
func (g *StreamsGroup) Take(now time.Time) *metapb.Command {
	l := &g.log
	c := &metapb.StoreStreamsGroup{
		Group: g.name, ExpectedVersion: l.version, Reset_: l.reset, Epoch: g.epoch, AssignmentEpoch: g.targetEpoch,
		Removed: slices.Sorted(maps.Keys(l.removed)), SetsTopics: l.topics, StateSinceMillis: now.UnixMilli(),
	}
	if l.topics {
		c.Topics = g.topics
	}
	if l.reset {
		c.Topology = g.topology
	}
	for _, id := range slices.Sorted(maps.Keys(l.members)) {
		m, parts := g.members[id], l.members[id]
		kept := &metapb.StreamsMember{MemberId: id}
		if parts&changedSubscription != 0 {
			kept.Metadata = m.metadata
		}
		if parts&changedTarget != 0 {
			kept.Target = m.target.Proto()
		}
		if parts&changedCurrent != 0 {
			kept.Current = m.current()
		}
		c.Members = append(c.Members, kept)
	}
	l.takeOff()
	return &metapb.Command{Kind: &metapb.Command_StoreStreamsGroup{StoreStreamsGroup: c}}
}

// Describe is the group as administrators see it.
func (g *StreamsGroup) Describe() *metapb.StreamsDescribed {
	d := &metapb.StreamsDescribed{Group: g.name, State: g.State(), Epoch: g.epoch, AssignmentEpoch: g.targetEpoch}
	if g.configured != nil {
		d.Topology = g.configured.Proto()
	}
	for _, m := range g.inOrder() {
		d.Members = append(d.Members, &metapb.StreamsMember{MemberId: m.id, Metadata: m.metadata, Target: m.target.Proto(), Current: m.current()})
	}
	return d
}

// mayCommit judges whether a commit of offsets, in a transaction or not, speaks for the group. Producers do not know the word for a member
// that is behind.
func (g *StreamsGroup) mayCommit(r *metapb.GroupCommitRequest) metapb.GroupCode {
	if r.Generation < 0 && len(g.members) == 0 {
		return metapb.GroupCode_GROUP_OK
	}
	if r.Transaction != nil && r.Generation < 0 && r.MemberId == "" && r.InstanceId == nil {
		return metapb.GroupCode_GROUP_OK
	}
	m := g.members[r.MemberId]
	switch {
	case m == nil:
		return metapb.GroupCode_GROUP_UNKNOWN_MEMBER
	case r.Transaction == nil && r.Version < 9:
		return metapb.GroupCode_GROUP_UNSUPPORTED_VERSION
	case r.Generation == m.epoch:
		return metapb.GroupCode_GROUP_OK
	case r.Transaction != nil:
		return metapb.GroupCode_GROUP_ILLEGAL_GENERATION
	}
	return metapb.GroupCode_GROUP_STALE_MEMBER_EPOCH
}
