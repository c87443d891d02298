package meta

import (
	"cmp"
	"maps"
	"slices"

	"github.com/varvelog/varve/coordinator/metapb"
)

// ConsumerGroup is what is durable of a group under the consumer protocol (KIP-848), apart from its offsets.
type ConsumerGroup struct {
	// Version counts the commands that made it what it is. A command names the version it was decided on, and one that was decided
	// on another is refused, so that a command whose outcome was unknown does no harm when it comes late.
	Version         uint64
	Epoch           int32
	AssignmentEpoch int32 // of the members' targets
	// Members by id; each has its subscription, and may have a target and a current assignment. Not to be changed.
	Members map[string]*metapb.ConsumerMember
	// Topics are what the group's epoch counts on, in order of name.
	Topics           []*metapb.SubscribedTopic
	StateSinceMillis int64
}

// MemberIDs are the members in order.
func (g *ConsumerGroup) MemberIDs() []string { return slices.Sorted(maps.Keys(g.Members)) }

func (a *applier) storeConsumerGroup(c *metapb.StoreConsumerGroup) Verdict {
	var version uint64
	if g := a.groups[c.Group]; g != nil && g.Consumer != nil {
		version = g.Consumer.Version
	}
	if a.isShareGroup(c.Group) {
		return refuse(WrongSeq, "a share group")
	}
	if v := checkGroupVersion(version, c.ExpectedVersion, c.Reset_); v.Code != OK {
		return v
	}
	if slices.ContainsFunc(c.Members, func(m *metapb.ConsumerMember) bool { return m == nil || m.MemberId == "" }) {
		return refuse(Malformed, "member without an id")
	}
	g := a.group(c.Group)
	if c.Reset_ {
		g.Stored, g.Streams, g.Consumer = nil, nil, &ConsumerGroup{Members: make(map[string]*metapb.ConsumerMember, len(c.Members))}
	}
	to := g.Consumer
	to.Version, to.Epoch, to.AssignmentEpoch, to.StateSinceMillis = version+1, c.Epoch, c.AssignmentEpoch, c.StateSinceMillis
	for _, id := range c.Removed {
		delete(to.Members, id)
	}
	for _, m := range c.Members {
		to.Members[m.MemberId] = changeConsumerMember(to.Members[m.MemberId], m)
	}
	if c.SetsTopics {
		to.Topics = c.Topics
	}
	a.soonestOffsetExpiry(g)
	a.changed(ChangedGroups)
	return Verdict{}
}

// checkGroupVersion refuses what was decided on another version of a group than there is. Version 0 is a group of another kind, or none.
func checkGroupVersion(version, expected uint64, reset bool) Verdict {
	switch {
	case expected != version:
		return refuse(WrongSeq, "group is at version %d", version)
	case version == 0 && !reset:
		return refuse(UnknownGroup, "no such group")
	}
	return Verdict{}
}

// changeConsumerMember is the member with what has changed of it. Views of the old one stay what they are.
func changeConsumerMember(was, change *metapb.ConsumerMember) *metapb.ConsumerMember {
	if was == nil {
		return change
	}
	return &metapb.ConsumerMember{
		MemberId:     change.MemberId,
		Subscription: cmp.Or(change.Subscription, was.Subscription),
		Target:       cmp.Or(change.Target, was.Target),
		Current:      cmp.Or(change.Current, was.Current),
	}
}

func (g *ConsumerGroup) snapshot() *metapb.StoredConsumerGroup {
	if g == nil {
		return nil
	}
	out := &metapb.StoredConsumerGroup{
		Version: g.Version, Epoch: g.Epoch, AssignmentEpoch: g.AssignmentEpoch, Topics: g.Topics, StateSinceMillis: g.StateSinceMillis,
	}
	for _, id := range g.MemberIDs() {
		out.Members = append(out.Members, g.Members[id])
	}
	return out
}

func restoreConsumerGroup(stored *metapb.StoredConsumerGroup) (*ConsumerGroup, error) {
	if stored == nil {
		return nil, nil
	}
	g := &ConsumerGroup{
		Version: stored.Version, Epoch: stored.Epoch, AssignmentEpoch: stored.AssignmentEpoch, Topics: stored.Topics,
		StateSinceMillis: stored.StateSinceMillis, Members: make(map[string]*metapb.ConsumerMember, len(stored.Members)),
	}
	for _, m := range stored.Members {
		if m.GetMemberId() == "" || g.Members[m.MemberId] != nil || g.Version == 0 {
			return nil, bad("consumer group member %q", m.GetMemberId())
		}
		g.Members[m.MemberId] = m
	}
	return g, nil
}

// subscribes tells whether the group's members want a topic; known is false where they do not say.
func (s *State) subscribes(g *Group, id TopicID) (subscribed, known bool) {
	t := s.topics[id]
	switch {
	case t == nil:
		return false, true
	case g.Consumer != nil:
		_, found := slices.BinarySearchFunc(g.Consumer.Topics, t.Name, func(x *metapb.SubscribedTopic, name string) int { return cmp.Compare(x.GetName(), name) })
		return found, true
	case g.Streams != nil:
		return g.Streams.reads(t.Name), true
	case g.Stored.GetKnowsSubscriptions():
		_, found := slices.BinarySearch(g.Stored.SubscribedTopics, t.Name)
		return found, true
	default:
		return true, false
	}
}
