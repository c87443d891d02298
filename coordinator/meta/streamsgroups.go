package meta

import (
	"cmp"
	"maps"
	"slices"

	"github.com/varvelog/varve/coordinator/metapb"
)

// StreamsGroup is what is durable of a group under the streams protocol (KIP-1071), apart from its offsets.
type StreamsGroup struct {
	// Version counts the commands that made it what it is, as ConsumerGroup's does.
	Version         uint64
	Epoch           int32
	AssignmentEpoch int32 // of the members' targets
	// Members by id; each has its metadata, and may have a target and current tasks. Not to be changed.
	Members map[string]*metapb.StreamsMember
	// Topology is what the application does; nil until the first member has told. Not to be changed.
	Topology *metapb.StreamsTopology
	// Topics are what the group's epoch counts on, in order of name.
	Topics           []*metapb.SubscribedTopic
	StateSinceMillis int64
}

// MemberIDs are the members in order.
func (g *StreamsGroup) MemberIDs() []string { return slices.Sorted(maps.Keys(g.Members)) }

func (a *applier) storeStreamsGroup(c *metapb.StoreStreamsGroup) Verdict {
	var version uint64
	if g := a.groups[c.Group]; g != nil && g.Streams != nil {
		version = g.Streams.Version
	}
	if a.isShareGroup(c.Group) {
		return refuse(WrongSeq, "a share group")
	}
	if v := checkGroupVersion(version, c.ExpectedVersion, c.Reset_); v.Code != OK {
		return v
	}
	if slices.ContainsFunc(c.Members, func(m *metapb.StreamsMember) bool { return m.GetMemberId() == "" }) {
		return refuse(Malformed, "member without an id")
	}
	g := a.group(c.Group)
	if c.Reset_ {
		g.Stored, g.Consumer, g.Streams = nil, nil, &StreamsGroup{Members: make(map[string]*metapb.StreamsMember, len(c.Members))}
	}
	to := g.Streams
	to.Version, to.Epoch, to.AssignmentEpoch, to.StateSinceMillis = version+1, c.Epoch, c.AssignmentEpoch, c.StateSinceMillis
	for _, id := range c.Removed {
		delete(to.Members, id)
	}
	for _, m := range c.Members {
		to.Members[m.MemberId] = changeStreamsMember(to.Members[m.MemberId], m)
	}
	if c.SetsTopics {
		to.Topics = c.Topics
	}
	to.Topology = cmp.Or(c.Topology, to.Topology)
	a.soonestOffsetExpiry(g)
	a.changed(ChangedGroups)
	return Verdict{}
}

// changeStreamsMember is the member with what has changed of it. Views of the old one stay what they are.
func changeStreamsMember(was, change *metapb.StreamsMember) *metapb.StreamsMember {
	if was == nil {
		return change
	}
	return &metapb.StreamsMember{
		MemberId: change.MemberId,
		Metadata: cmp.Or(change.Metadata, was.Metadata),
		Target:   cmp.Or(change.Target, was.Target),
		Current:  cmp.Or(change.Current, was.Current),
	}
}

func (g *StreamsGroup) snapshot() *metapb.StoredStreamsGroup {
	if g == nil {
		return nil
	}
	out := &metapb.StoredStreamsGroup{
		Version: g.Version, Epoch: g.Epoch, AssignmentEpoch: g.AssignmentEpoch, Topics: g.Topics, Topology: g.Topology,
		StateSinceMillis: g.StateSinceMillis,
	}
	for _, id := range g.MemberIDs() {
		out.Members = append(out.Members, g.Members[id])
	}
	return out
}

func restoreStreamsGroup(stored *metapb.StoredStreamsGroup) (*StreamsGroup, error) {
	if stored == nil {
		return nil, nil
	}
	g := &StreamsGroup{
		Version: stored.Version, Epoch: stored.Epoch, AssignmentEpoch: stored.AssignmentEpoch, Topics: stored.Topics, Topology: stored.Topology,
		StateSinceMillis: stored.StateSinceMillis, Members: make(map[string]*metapb.StreamsMember, len(stored.Members)),
	}
	for _, m := range stored.Members {
		if m.GetMemberId() == "" || g.Members[m.MemberId] != nil || g.Version == 0 {
			return nil, bad("streams group member %q", m.GetMemberId())
		}
		g.Members[m.MemberId] = m
	}
	return g, nil
}

// reads tells whether the application has a topic among those it reads: source topics, and repartition topics.
func (g *StreamsGroup) reads(topic string) bool {
	for _, s := range g.Topology.GetSubtopologies() {
		if slices.Contains(s.GetSourceTopics(), topic) ||
			slices.ContainsFunc(s.GetRepartitionSourceTopics(), func(t *metapb.StreamsTopicInfo) bool { return t.GetName() == topic }) {
			return true
		}
	}
	return false
}
