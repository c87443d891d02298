package meta

import (
	"maps"
	"slices"

	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/coordinator/share"
)

// ShareGroup is what is durable of a share group (KIP-932).
type ShareGroup struct {
	// Version counts the commands that made the members what they are; see ConsumerGroup.Version.
	Version         uint64
	Epoch           int32
	AssignmentEpoch int32 // of the members' targets
	// Members by id, whole. Not to be changed.
	Members map[string]*metapb.ShareMember
	// Topics are what the group's epoch counts on, in order of name.
	Topics           []*metapb.SubscribedTopic
	StateSinceMillis int64

	partitions map[TopicPartition]*SharePartition
}

// SharePartition is what is durable of one share partition. Not to be changed: a change makes another.
type SharePartition struct {
	// Incarnation is the entry with which it began, or began anew; Version counts the changes since. A change names both as it was
	// decided on, so that one whose outcome was unknown does no harm when it comes late.
	Incarnation uint64
	Version     uint64
	StateEpoch  int32
	StartOffset int64              // UnknownStart until the first fetch
	Batches     []share.StateBatch // in order and apart
}

// UnknownStart is the start offset of a share partition that nobody has fetched from.
const UnknownStart = -1

// MemberIDs are the members in order.
func (g *ShareGroup) MemberIDs() []string { return slices.Sorted(maps.Keys(g.Members)) }

// Partition is the state of a share partition, nil where the group has none.
func (g *ShareGroup) Partition(tp TopicPartition) *SharePartition { return g.partitions[tp] }

// Partitions are the group's share partitions, in order. The slice is the caller's.
func (g *ShareGroup) Partitions() []TopicPartition {
	return slices.SortedFunc(maps.Keys(g.partitions), compareTopicPartition)
}

// isShareGroup says whether there is a share group of this name, which is never of another kind until it is deleted.
func (s *State) isShareGroup(name string) bool {
	g := s.groups[name]
	return g != nil && g.Share != nil
}

func (a *applier) storeShareGroup(c *metapb.StoreShareGroup) Verdict {
	g := a.groups[c.Group]
	var version uint64
	if g != nil && g.Share != nil {
		version = g.Share.Version
	}
	switch {
	case g != nil && g.Share == nil:
		return refuse(WrongSeq, "not a share group")
	case c.ExpectedVersion != version:
		return refuse(WrongSeq, "group is at version %d", version)
	case slices.ContainsFunc(c.Members, func(m *metapb.ShareMember) bool { return m == nil || m.MemberId == "" }):
		return refuse(Malformed, "member without an id")
	}
	if g == nil {
		g = a.group(c.Group)
		g.Share = &ShareGroup{Members: map[string]*metapb.ShareMember{}, partitions: map[TopicPartition]*SharePartition{}}
	}
	to := g.Share
	to.Version, to.Epoch, to.AssignmentEpoch, to.StateSinceMillis = version+1, c.Epoch, c.AssignmentEpoch, c.StateSinceMillis
	for _, id := range c.Removed {
		delete(to.Members, id)
	}
	for _, m := range c.Members {
		to.Members[m.MemberId] = m
	}
	if c.SetsTopics {
		to.Topics = c.Topics
	}
	for _, wanted := range c.Partitions {
		if t := a.topicOf(wanted.GetTopicId()); t != nil {
			for _, p := range wanted.Partitions {
				if tp := (TopicPartition{t.ID, p}); t.Partition(p) != nil && to.partitions[tp] == nil {
					to.partitions[tp] = &SharePartition{Incarnation: a.seq, Version: 1, StateEpoch: c.Epoch, StartOffset: UnknownStart}
				}
			}
		}
	}
	a.changed(ChangedGroups)
	return Verdict{}
}

// storeShareState judges each partition by itself; Verdict.Codes has one code for each.
func (a *applier) storeShareState(c *metapb.StoreShareState) Verdict {
	g := a.groups[c.Group]
	if g == nil || g.Share == nil {
		return refuse(UnknownGroup, "no share group")
	}
	v := Verdict{Codes: make([]Code, len(c.Partitions))}
	for i, change := range c.Partitions {
		v.Codes[i] = a.changeSharePartition(g.Share, change)
	}
	a.changed(ChangedGroups)
	return v
}

func (a *applier) changeSharePartition(g *ShareGroup, c *metapb.SharePartitionChange) Code {
	t := a.topicOf(c.GetTopicId())
	if t == nil || g.partitions[TopicPartition{t.ID, c.Partition}] == nil {
		return UnknownTopic
	}
	tp := TopicPartition{t.ID, c.Partition}
	was := g.partitions[tp]
	changes, ok := stateBatches(c.Batches)
	switch {
	case !ok || c.StartOffset < max(0, was.StartOffset):
		return Malformed
	case c.ExpectedIncarnation != was.Incarnation || c.ExpectedVersion != was.Version:
		return WrongSeq
	}
	g.partitions[tp] = &SharePartition{
		Incarnation: was.Incarnation, Version: was.Version + 1, StateEpoch: was.StateEpoch, StartOffset: c.StartOffset,
		Batches: share.Overlay(was.Batches, c.StartOffset, changes),
	}
	return OK
}

// stateBatches reads batches that came from somewhere else.
func stateBatches(from []*metapb.ShareStateBatch) (out []share.StateBatch, ok bool) {
	for _, b := range from {
		state := share.State(b.GetState())
		if b == nil || b.BaseOffset < 0 || b.BaseOffset >= b.NextOffset || b.DeliveryCount < 0 || uint32(state) != b.State ||
			(state != share.Available && !state.IsDone()) {
			return nil, false
		}
		out = append(out, share.StateBatch{Base: b.BaseOffset, Next: b.NextOffset, State: state, DeliveryCount: b.DeliveryCount})
	}
	return out, true
}

// resetShareOffsets judges each offset by itself; Verdict.Codes has one code for each, then one for each topic that is removed.
func (a *applier) resetShareOffsets(c *metapb.ResetShareOffsets) Verdict {
	g := a.groups[c.Group]
	switch {
	case g == nil || g.Share == nil:
		return refuse(UnknownGroup, "no share group")
	case !g.Empty():
		return refuse(GroupNotEmpty, "group has members")
	}
	v := Verdict{Codes: make([]Code, 0, len(c.Offsets)+len(c.RemovedTopics))}
	for _, o := range c.Offsets {
		code := OK
		if t := a.topicOf(o.GetTopicId()); t == nil || t.Partition(o.Partition) == nil {
			code = UnknownTopic
		} else if o.StartOffset < 0 {
			code = Malformed
		} else {
			g.Share.partitions[TopicPartition{t.ID, o.Partition}] = &SharePartition{
				Incarnation: a.seq, Version: 1, StateEpoch: g.Share.Epoch, StartOffset: o.StartOffset,
			}
		}
		v.Codes = append(v.Codes, code)
	}
	for _, id := range c.RemovedTopics {
		code := UnknownTopic
		if len(id) == len(TopicID{}) && g.Share.dropTopic(TopicID(id)) {
			code = OK
		}
		v.Codes = append(v.Codes, code)
	}
	a.changed(ChangedGroups)
	return v
}

// dropTopic forgets the share partitions of a topic, and tells whether there were any.
func (g *ShareGroup) dropTopic(topic TopicID) bool {
	before := len(g.partitions)
	maps.DeleteFunc(g.partitions, func(tp TopicPartition, _ *SharePartition) bool { return tp.Topic == topic })
	return len(g.partitions) < before
}

func (g *ShareGroup) snapshot() *metapb.StoredShareGroup {
	if g == nil {
		return nil
	}
	out := &metapb.StoredShareGroup{
		Version: g.Version, Epoch: g.Epoch, AssignmentEpoch: g.AssignmentEpoch, Topics: g.Topics, StateSinceMillis: g.StateSinceMillis,
	}
	for _, id := range g.MemberIDs() {
		out.Members = append(out.Members, g.Members[id])
	}
	for _, tp := range g.Partitions() {
		p := g.partitions[tp]
		stored := &metapb.StoredSharePartition{
			TopicId: tp.Topic[:], Partition: tp.Partition, Incarnation: p.Incarnation, Version: p.Version, StateEpoch: p.StateEpoch,
			StartOffset: p.StartOffset,
		}
		for _, b := range p.Batches {
			stored.Batches = append(stored.Batches, &metapb.ShareStateBatch{
				BaseOffset: b.Base, NextOffset: b.Next, State: uint32(b.State), DeliveryCount: b.DeliveryCount,
			})
		}
		out.Partitions = append(out.Partitions, stored)
	}
	return out
}

// restoreShareGroup is called when the topics are there.
func (s *State) restoreShareGroup(stored *metapb.StoredShareGroup) (*ShareGroup, error) {
	if stored == nil {
		return nil, nil
	}
	g := &ShareGroup{
		Version: stored.Version, Epoch: stored.Epoch, AssignmentEpoch: stored.AssignmentEpoch, Topics: stored.Topics,
		StateSinceMillis: stored.StateSinceMillis, Members: make(map[string]*metapb.ShareMember, len(stored.Members)),
		partitions: make(map[TopicPartition]*SharePartition, len(stored.Partitions)),
	}
	if g.Version == 0 {
		return nil, bad("share group at version 0")
	}
	for _, m := range stored.Members {
		if m.GetMemberId() == "" || g.Members[m.MemberId] != nil {
			return nil, bad("share group member %q", m.GetMemberId())
		}
		g.Members[m.MemberId] = m
	}
	for _, p := range stored.Partitions {
		t := s.topicOf(p.GetTopicId())
		if t == nil || t.Partition(p.Partition) == nil {
			return nil, bad("share partition %d of topic %x, which is not there", p.GetPartition(), p.GetTopicId())
		}
		batches, ok := stateBatches(p.Batches)
		for i := 1; i < len(batches); i++ {
			ok = ok && batches[i-1].Next <= batches[i].Base
		}
		if tp := (TopicPartition{t.ID, p.Partition}); ok && g.partitions[tp] == nil && p.StartOffset >= UnknownStart {
			g.partitions[tp] = &SharePartition{
				Incarnation: p.Incarnation, Version: p.Version, StateEpoch: p.StateEpoch, StartOffset: p.StartOffset, Batches: batches,
			}
			continue
		}
		return nil, bad("share partition %d of topic %x", p.Partition, p.TopicId)
	}
	return g, nil
}
