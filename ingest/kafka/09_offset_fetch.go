package kafka

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/coordinator/meta"
)

// OffsetFetch (key 9), versions 1 to 9. Version 10 is not stable in Kafka 4.1, and not offered.
//
//	v2  null topics ask for all; top-level error
//	v3  throttle time; v5 leader epochs
//	v6  flexible
//	v7  require stable: an offset that a transaction may yet change is not told (KIP-447)
//	v8  several groups in one request (KIP-709)
//	v9  member id and epoch (KIP-848)
//	v10 topic ids instead of names
//
// The answer comes from this node's replica, after a barrier: what was committed before, on whatever node, is seen.

const offsetFetchTimeout = 30 * time.Second

func handleOffsetFetch(ctx context.Context, call *call, r *kmsg.OffsetFetchRequest) (kmsg.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, offsetFetchTimeout)
	defer cancel()
	groups := r.Groups
	if r.Version < 8 {
		groups = []kmsg.OffsetFetchRequestGroup{{Group: r.Group, Topics: groupTopics(r.Topics)}}
	}
	barrier := call.domain().Metadata.Barrier(ctx)
	response := kmsg.NewPtrOffsetFetchResponse()
	for i := range groups {
		answer := kmsg.OffsetFetchResponseGroup{Group: groups[i].Group}
		if e := call.mayGroup(Describe, groups[i].Group); e != nil {
			answer.ErrorCode = e.Code
		} else if barrier != nil {
			answer.ErrorCode = kerr.CoordinatorNotAvailable.Code
		} else if answer.ErrorCode = call.memberMayFetch(&groups[i]); answer.ErrorCode == 0 {
			answer.Topics = call.committedOffsets(r.Version, r.Version >= 7 && r.RequireStable, &groups[i])
		}
		response.Groups = append(response.Groups, answer)
	}
	if r.Version < 8 {
		flattenOffsetFetch(r, response)
	}
	return response, nil
}

// groupTopics brings a request before v8 into the form of later ones; nil, which asks for all, stays nil.
func groupTopics(topics []kmsg.OffsetFetchRequestTopic) []kmsg.OffsetFetchRequestGroupTopic {
	if topics == nil {
		return nil
	}
	out := make([]kmsg.OffsetFetchRequestGroupTopic, len(topics))
	for i := range topics {
		out[i] = kmsg.OffsetFetchRequestGroupTopic{Topic: topics[i].Topic, Partitions: topics[i].Partitions}
	}
	return out
}

// flattenOffsetFetch brings the answer into the form before v8. Version 1 has no place for an error but the partitions.
func flattenOffsetFetch(r *kmsg.OffsetFetchRequest, response *kmsg.OffsetFetchResponse) {
	group := &response.Groups[0]
	response.ErrorCode = group.ErrorCode
	if group.ErrorCode != 0 {
		for i := range r.Topics {
			topic := kmsg.OffsetFetchResponseGroupTopic{Topic: r.Topics[i].Topic}
			for _, partition := range r.Topics[i].Partitions {
				p := noCommittedOffset(partition)
				p.ErrorCode = group.ErrorCode
				topic.Partitions = append(topic.Partitions, p)
			}
			group.Topics = append(group.Topics, topic)
		}
	}
	for i := range group.Topics {
		topic := kmsg.OffsetFetchResponseTopic{Topic: group.Topics[i].Topic}
		for _, p := range group.Topics[i].Partitions {
			topic.Partitions = append(topic.Partitions, kmsg.OffsetFetchResponseTopicPartition{
				Partition: p.Partition, Offset: p.Offset, LeaderEpoch: p.LeaderEpoch, Metadata: p.Metadata, ErrorCode: p.ErrorCode,
			})
		}
		response.Topics = append(response.Topics, topic)
	}
	response.Groups = nil
}

// memberMayFetch judges what a member of a managed group says of itself: it may not go by offsets that others have moved since.
func (c *call) memberMayFetch(asked *kmsg.OffsetFetchRequestGroup) (code int16) {
	if asked.MemberID == nil && asked.MemberEpoch < 0 {
		return 0
	}
	c.domain().Metadata.View(func(s *meta.State) {
		g := s.Group(asked.Group)
		if g != nil && g.Streams != nil {
			code = streamsMemberMayFetch(g.Streams, asked)
			return
		}
		if g == nil || g.Consumer == nil {
			return
		}
		m := g.Consumer.Members[orEmpty(asked.MemberID)]
		switch {
		case m == nil:
			code = kerr.UnknownMemberID.Code
		case m.GetCurrent().GetEpoch() == asked.MemberEpoch:
		case m.GetSubscription().GetClassic() != nil:
			code = kerr.IllegalGeneration.Code
		default:
			code = kerr.StaleMemberEpoch.Code
		}
	})
	return code
}

func streamsMemberMayFetch(g *meta.StreamsGroup, asked *kmsg.OffsetFetchRequestGroup) int16 {
	switch m := g.Members[orEmpty(asked.MemberID)]; {
	case m == nil:
		return kerr.UnknownMemberID.Code
	case m.GetCurrent().GetEpoch() != asked.MemberEpoch:
		return kerr.StaleMemberEpoch.Code
	}
	return 0
}

// committedOffsets looks up what a group has committed.
func (c *call) committedOffsets(version int16, stable bool, asked *kmsg.OffsetFetchRequestGroup) (topics []kmsg.OffsetFetchResponseGroupTopic) {
	c.domain().Metadata.View(func(s *meta.State) {
		g := s.Group(asked.Group)
		if asked.Topics == nil {
			topics = allCommittedOffsets(s, g, stable)
			return
		}
		for i := range asked.Topics {
			topics = append(topics, committedInTopic(s, g, version >= 10, stable, &asked.Topics[i]))
		}
	})
	return topics
}

func committedInTopic(s *meta.State, g *meta.Group, byID, stable bool, asked *kmsg.OffsetFetchRequestGroupTopic) kmsg.OffsetFetchResponseGroupTopic {
	topic := kmsg.OffsetFetchResponseGroupTopic{Topic: asked.Topic, TopicID: asked.TopicID}
	t := s.Topic(asked.TopicID)
	if !byID {
		t = s.TopicByName(asked.Topic)
	}
	for _, partition := range asked.Partitions {
		p := noCommittedOffset(partition)
		switch {
		case t == nil && byID:
			p.ErrorCode = kerr.UnknownTopicID.Code
		case t != nil && g != nil:
			p = committedPartition(g, meta.TopicPartition{Topic: t.ID, Partition: partition}, stable)
		}
		topic.Partitions = append(topic.Partitions, p)
	}
	return topic
}

// allCommittedOffsets lists every offset of a group, topic by topic.
func allCommittedOffsets(s *meta.State, g *meta.Group, stable bool) (topics []kmsg.OffsetFetchResponseGroupTopic) {
	if g == nil {
		return nil
	}
	for _, tp := range g.Partitions() {
		t := s.Topic(tp.Topic)
		if t == nil {
			continue
		}
		if n := len(topics); n == 0 || topics[n-1].TopicID != t.ID {
			topics = append(topics, kmsg.OffsetFetchResponseGroupTopic{Topic: t.Name, TopicID: t.ID})
		}
		last := &topics[len(topics)-1]
		last.Partitions = append(last.Partitions, committedPartition(g, tp, stable))
	}
	return topics
}

func committedPartition(g *meta.Group, tp meta.TopicPartition, stable bool) kmsg.OffsetFetchResponseGroupTopicPartition {
	p := noCommittedOffset(tp.Partition)
	if stable && g.Pending(tp) {
		p.ErrorCode = kerr.UnstableOffsetCommit.Code
		return p
	}
	if o, ok := g.Offset(tp); ok {
		p.Offset, p.LeaderEpoch, p.Metadata = o.Offset, o.LeaderEpoch, kmsg.StringPtr(o.Metadata)
	}
	return p
}

func noCommittedOffset(partition int32) kmsg.OffsetFetchResponseGroupTopicPartition {
	return kmsg.OffsetFetchResponseGroupTopicPartition{Partition: partition, Offset: -1, LeaderEpoch: -1, Metadata: kmsg.StringPtr("")}
}
