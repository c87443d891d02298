package meta

import (
	"cmp"
	"math"
	"slices"

	"github.com/varvelog/varve/coordinator/metapb"
)

// Group is what is durable of a consumer group.
type Group struct {
	Name string
	// Stored is what the group package last stored of a classic group; nil for a group that has only committed offsets.
	Stored *metapb.StoreGroup
	// Consumer is set for a group under the consumer protocol; Stored is nil then.
	Consumer *ConsumerGroup
	// Streams is set for a group under the streams protocol; the two others are nil then.
	Streams *StreamsGroup
	// Share is set for a share group, which has none of the three and no committed offsets.
	Share *ShareGroup

	offsets map[TopicPartition]CommittedOffset
	pending pendingOffsets
}

// CommittedOffset is a group's offset in one partition.
type CommittedOffset struct {
	Offset       int64
	LeaderEpoch  int32 // -1 unknown
	Metadata     string
	CommitMillis int64
	ExpireMillis int64 // 0: by offsets.retention
}

// Empty says whether the group has no members.
func (g *Group) Empty() bool {
	return len(g.Stored.GetMembers()) == 0 && (g.Consumer == nil || len(g.Consumer.Members) == 0) &&
		(g.Streams == nil || len(g.Streams.Members) == 0) && (g.Share == nil || len(g.Share.Members) == 0)
}

// sinceMillis is since when the group is as it is; 0 where it was never stored.
func (g *Group) sinceMillis() int64 {
	if g.Consumer != nil {
		return g.Consumer.StateSinceMillis
	}
	if g.Streams != nil {
		return g.Streams.StateSinceMillis
	}
	return g.Stored.GetStateSinceMillis()
}

// Offset is the group's offset in a partition.
func (g *Group) Offset(tp TopicPartition) (CommittedOffset, bool) {
	o, ok := g.offsets[tp]
	return o, ok
}

// Partitions are those the group has offsets for, in order. The slice is the caller's.
func (g *Group) Partitions() []TopicPartition {
	out := make([]TopicPartition, 0, len(g.offsets))
	for tp := range g.offsets {
		out = append(out, tp)
	}
	slices.SortFunc(out, compareTopicPartition)
	return out
}

func compareTopicPartition(x, y TopicPartition) int {
	return cmp.Or(slices.Compare(x.Topic[:], y.Topic[:]), cmp.Compare(x.Partition, y.Partition))
}

// Group is the group with this name, nil where there is none.
func (s *State) Group(name string) *Group { return s.groups[name] }

// Groups are all groups in order of name. The slice is the caller's.
func (s *State) Groups() []*Group {
	out := make([]*Group, 0, len(s.groups))
	for _, g := range s.groups {
		out = append(out, g)
	}
	slices.SortFunc(out, func(x, y *Group) int { return cmp.Compare(x.Name, y.Name) })
	return out
}

func (a *applier) group(name string) *Group {
	g := a.groups[name]
	if g == nil {
		g = &Group{Name: name, offsets: map[TopicPartition]CommittedOffset{}}
		a.groups[name] = g
	}
	return g
}

func (a *applier) storeGroup(c *metapb.StoreGroup) Verdict {
	if c.Kind == offsetsOnly {
		return refuse(Malformed, "group kind %q", c.Kind)
	}
	if a.isShareGroup(c.Group) {
		return refuse(WrongSeq, "a share group")
	}
	g := a.group(c.Group)
	g.Stored, g.Consumer, g.Streams = c, nil, nil
	a.soonestOffsetExpiry(g)
	a.changed(ChangedGroups)
	return Verdict{}
}

func (a *applier) commitOffsets(c *metapb.CommitOffsets) Verdict {
	v := Verdict{Codes: make([]Code, len(c.Offsets))}
	var g *Group
	for i, o := range c.Offsets {
		t := a.topicOf(o.GetTopicId())
		if t == nil || t.Partition(o.Partition) == nil {
			v.Codes[i] = UnknownTopic
			continue
		}
		if g == nil {
			g = a.group(c.Group)
		}
		g.offsets[TopicPartition{t.ID, o.Partition}] = committedOffset(o)
		a.dropPendingOffset(g, TopicPartition{t.ID, o.Partition})
	}
	if g != nil {
		a.soonestOffsetExpiry(g)
		a.changed(ChangedGroups)
	}
	return v
}

func committedOffset(o *metapb.CommittedOffset) CommittedOffset {
	return CommittedOffset{
		Offset: o.Offset, LeaderEpoch: o.LeaderEpoch, Metadata: o.Metadata, CommitMillis: o.CommitMillis, ExpireMillis: o.ExpireMillis,
	}
}

func (a *applier) deleteOffsets(c *metapb.DeleteOffsets) Verdict {
	g := a.groups[c.Group]
	if g == nil {
		return Verdict{Code: UnknownGroup}
	}
	v := Verdict{Codes: make([]Code, len(c.Offsets))}
	for i, o := range c.Offsets {
		if len(o.GetTopicId()) != 16 {
			v.Codes[i] = UnknownTopic
			continue
		}
		delete(g.offsets, TopicPartition{TopicID(o.TopicId), o.Partition})
		a.dropPendingOffset(g, TopicPartition{TopicID(o.TopicId), o.Partition})
	}
	a.dropIfForgotten(g)
	a.changed(ChangedGroups)
	return v
}

func (a *applier) deleteGroups(c *metapb.DeleteGroups) Verdict {
	v := Verdict{Codes: make([]Code, len(c.Groups))}
	for i, name := range c.Groups {
		switch g := a.groups[name]; {
		case g == nil:
			v.Codes[i] = UnknownGroup
		case !g.Empty():
			v.Codes[i] = GroupNotEmpty
		default:
			delete(a.groups, name)
			a.changed(ChangedGroups)
		}
	}
	return v
}

// dropTopicOffsets forgets all groups' offsets in a topic that is no more.
func (a *applier) dropTopicOffsets(topic TopicID) {
	for _, g := range a.groups {
		if g.Share != nil && g.Share.dropTopic(topic) {
			a.changed(ChangedGroups)
		}
		before := len(g.offsets)
		for tp := range g.offsets {
			if tp.Topic == topic {
				delete(g.offsets, tp)
			}
		}
		if g.dropPendingTopic(topic) || len(g.offsets) < before {
			a.dropIfForgotten(g)
			a.changed(ChangedGroups)
		}
	}
}

// forgettable says whether there is nothing to know of the group: no members, no offsets, and no transaction that may bring any. A share
// group is there until it is deleted, as in Kafka.
func (g *Group) forgettable() bool {
	return g.Empty() && len(g.offsets) == 0 && len(g.pending) == 0 && g.Share == nil
}

// dropIfForgotten drops a group that has neither members nor offsets.
func (a *applier) dropIfForgotten(g *Group) {
	if g.forgettable() {
		delete(a.groups, g.Name)
	}
}

// expiresMillis is when an offset of the group expires (KIP-211): never while members want the topic; else by the offset's own time, or
// by offsets.retention after the commit or after the last member left, whichever is later.
func (s *State) expiresMillis(g *Group, tp TopicPartition, o CommittedOffset) int64 {
	if g.Pending(tp) {
		return math.MaxInt64 // its transaction will tell
	}
	from := o.CommitMillis
	if g.Empty() {
		from = max(from, g.sinceMillis())
	} else if subscribed, known := s.subscribes(g, tp.Topic); subscribed || !known {
		return math.MaxInt64
	}
	if o.ExpireMillis > 0 {
		return o.ExpireMillis
	}
	return addMillis(from, s.cluster.OffsetsRetentionMillis)
}

func (a *applier) soonestOffsetExpiry(g *Group) {
	for tp, o := range g.offsets {
		a.dueBy(a.expiresMillis(g, tp, o))
	}
	if g.forgettable() {
		a.dueBy(a.emptyGroupExpiresMillis(g))
	}
}

// emptyGroupExpiresMillis is when a stored group without members or offsets is forgotten.
func (s *State) emptyGroupExpiresMillis(g *Group) int64 {
	return addMillis(g.sinceMillis(), s.cluster.OffsetsRetentionMillis)
}

// expireOffsets forgets what has expired.
func (a *applier) expireOffsets() {
	for _, g := range a.groups {
		before := len(g.offsets)
		for tp, o := range g.offsets {
			if a.expiresMillis(g, tp, o) <= a.timeMillis {
				delete(g.offsets, tp)
			}
		}
		if g.forgettable() && (before > 0 || a.emptyGroupExpiresMillis(g) <= a.timeMillis) {
			delete(a.groups, g.Name)
			a.changed(ChangedGroups)
		} else if len(g.offsets) < before {
			a.changed(ChangedGroups)
		}
	}
}

// addMillis adds a span to a time and stays at the end of time where it would pass it. A negative span is for ever.
func addMillis(at, span int64) int64 {
	if span < 0 || at > math.MaxInt64-span {
		return math.MaxInt64
	}
	return at + span
}
