package meta

import (
	"slices"

	"github.com/varvelog/varve/coordinator/metapb"
)

// pendingOffsets are a group's offsets in transactions that are not ended, by producer id; no producer's are empty.
type pendingOffsets map[int64]map[TopicPartition]CommittedOffset

// Pending says whether a transaction that is not ended holds an offset of the group in the partition (OffsetFetch's
// require_stable).
func (g *Group) Pending(tp TopicPartition) bool {
	for _, offsets := range g.pending {
		if _, ok := offsets[tp]; ok {
			return true
		}
	}
	return false
}

func (a *applier) commitTransactionOffsets(c *metapb.CommitTransactionOffsets) Verdict {
	t, code := a.speaksFor(c.TransactionalId, c.ProducerId, c.ProducerEpoch)
	switch {
	case code == ProducerFenced:
		return Verdict{Code: InvalidProducerEpoch}
	case code != OK:
		return Verdict{Code: code}
	}
	if _, in := t.groups[c.Group]; !c.Joins && (t.state != TransactionOngoing || !in) {
		return Verdict{Code: InvalidTransactionState}
	}
	v := Verdict{Codes: make([]Code, len(c.Offsets))}
	a.beginIfNone(t)
	t.groups[c.Group] = struct{}{}
	var pending map[TopicPartition]CommittedOffset
	for i, o := range c.Offsets {
		topic := a.topicOf(o.GetTopicId())
		if topic == nil || topic.Partition(o.Partition) == nil {
			v.Codes[i] = UnknownTopic
			continue
		}
		if pending == nil {
			pending = a.group(c.Group).pend(t.producerID)
		}
		pending[TopicPartition{topic.ID, o.Partition}] = committedOffset(o)
	}
	a.changed(ChangedGroups)
	return v
}

func (g *Group) pend(producerID int64) map[TopicPartition]CommittedOffset {
	if g.pending == nil {
		g.pending = pendingOffsets{}
	}
	pending := g.pending[producerID]
	if pending == nil {
		pending = map[TopicPartition]CommittedOffset{}
		g.pending[producerID] = pending
	}
	return pending
}

// endPendingOffsets makes a producer's pending offsets the group's, or forgets them.
func (a *applier) endPendingOffsets(group string, producerID int64, commit bool) {
	g := a.groups[group]
	if g == nil {
		return
	}
	if commit {
		for tp, o := range g.pending[producerID] {
			g.offsets[tp] = o
		}
	}
	delete(g.pending, producerID)
	if len(g.pending) == 0 {
		g.pending = nil
	}
	a.dropIfForgotten(g)
	a.soonestOffsetExpiry(g)
	a.changed(ChangedGroups)
}

// dropPendingOffset forgets the pending offsets in a partition, for which the group has been told something later: whatever becomes of their transactions, that stands (as in Kafka,
// which compares their places in its log).
func (a *applier) dropPendingOffset(g *Group, tp TopicPartition) {
	if a.leader.featureLevel < pendingLevel {
		return
	}
	for producerID, offsets := range g.pending {
		if delete(offsets, tp); len(offsets) == 0 {
			delete(g.pending, producerID)
		}
	}
	if len(g.pending) == 0 {
		g.pending = nil
	}
}

// dropPendingTopic forgets pending offsets in a topic.
func (g *Group) dropPendingTopic(topic TopicID) (dropped bool) {
	for producerID, offsets := range g.pending {
		for tp := range offsets {
			if tp.Topic == topic {
				delete(offsets, tp)
				dropped = true
			}
		}
		if len(offsets) == 0 {
			delete(g.pending, producerID)
		}
	}
	if len(g.pending) == 0 {
		g.pending = nil
	}
	return dropped
}

// inOrder are a producer's pending offsets as a snapshot keeps them.
func (ps pendingOffsets) inOrder(producerID int64) []*metapb.CommittedOffset {
	places := make([]TopicPartition, 0, len(ps[producerID]))
	for tp := range ps[producerID] {
		places = append(places, tp)
	}
	slices.SortFunc(places, compareTopicPartition)
	out := make([]*metapb.CommittedOffset, 0, len(places))
	for _, tp := range places {
		out = append(out, packOffset(tp, ps[producerID][tp]))
	}
	return out
}

func packOffset(tp TopicPartition, o CommittedOffset) *metapb.CommittedOffset {
	return &metapb.CommittedOffset{
		TopicId: slices.Clone(tp.Topic[:]), Partition: tp.Partition, Offset: o.Offset, LeaderEpoch: o.LeaderEpoch, Metadata: o.Metadata,
		CommitMillis: o.CommitMillis, ExpireMillis: o.ExpireMillis,
	}
}
