package kafka

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/coordinator/meta"
)

// DescribeShareGroupOffsets (key 90), version 0 (KIP-932).
//
// A start offset of -1 says that there is none, for whatever reason. Where a share partition begins is known here from the first fetch on;
// in Kafka, from the first acknowledgement on.

const shareOffsetsTimeout = 30 * time.Second

func handleDescribeShareGroupOffsets(ctx context.Context, call *call, r *kmsg.DescribeShareGroupOffsetsRequest) (kmsg.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, shareOffsetsTimeout)
	defer cancel()
	response := kmsg.NewPtrDescribeShareGroupOffsetsResponse()
	barrier := call.domain().Metadata.Barrier(ctx)
	for i := range r.Groups {
		asked := &r.Groups[i]
		answer := kmsg.NewDescribeShareGroupOffsetsResponseGroup()
		answer.GroupID = asked.GroupID
		switch e := call.mayGroup(Describe, asked.GroupID); {
		case e != nil:
			answer.ErrorCode = e.Code
		case barrier != nil:
			answer.ErrorCode, answer.ErrorMessage = refusal(kerr.CoordinatorNotAvailable, "")
		default:
			answer.Topics = call.shareOffsets(asked)
		}
		response.Groups = append(response.Groups, answer)
	}
	return response, nil
}

// shareOffsets are those of the topics asked for, or all where none is named.
func (c *call) shareOffsets(asked *kmsg.DescribeShareGroupOffsetsRequestGroup) (topics []kmsg.DescribeShareGroupOffsetsResponseGroupTopic) {
	c.domain().Metadata.View(func(s *meta.State) {
		var group *meta.ShareGroup
		if g := s.Group(asked.GroupID); g != nil {
			group = g.Share
		}
		if asked.Topics == nil {
			topics = c.allShareOffsets(s, group)
			return
		}
		for i := range asked.Topics {
			named := &asked.Topics[i]
			topic := kmsg.NewDescribeShareGroupOffsetsResponseGroupTopic()
			topic.Topic = named.Topic
			refused := c.mayTopic(Describe, named.Topic)
			if t := s.TopicByName(named.Topic); t != nil && refused == nil {
				topic.TopicID = t.ID
			}
			for _, p := range named.Partitions {
				answer := shareOffset(s, group, meta.TopicPartition{Topic: topic.TopicID, Partition: p})
				if refused != nil {
					answer.StartOffset, answer.LeaderEpoch = -1, 0
					answer.ErrorCode, answer.ErrorMessage = refusal(refused, "")
				}
				topic.Partitions = append(topic.Partitions, answer)
			}
			topics = append(topics, topic)
		}
	})
	return topics
}

func (c *call) allShareOffsets(s *meta.State, group *meta.ShareGroup) (topics []kmsg.DescribeShareGroupOffsetsResponseGroupTopic) {
	if group == nil {
		return nil
	}
	for _, tp := range group.Partitions() {
		t := s.Topic(tp.Topic)
		if t == nil || c.mayTopic(Describe, t.Name) != nil {
			continue
		}
		if n := len(topics); n == 0 || topics[n-1].TopicID != tp.Topic {
			topic := kmsg.NewDescribeShareGroupOffsetsResponseGroupTopic()
			topic.Topic, topic.TopicID = t.Name, t.ID
			topics = append(topics, topic)
		}
		last := &topics[len(topics)-1]
		last.Partitions = append(last.Partitions, shareOffset(s, group, tp))
	}
	return topics
}

func shareOffset(s *meta.State, group *meta.ShareGroup, tp meta.TopicPartition) kmsg.DescribeShareGroupOffsetsResponseGroupTopicPartition {
	answer := kmsg.NewDescribeShareGroupOffsetsResponseGroupTopicPartition()
	answer.Partition, answer.StartOffset = tp.Partition, meta.UnknownStart
	if group == nil {
		return answer
	}
	if stored, p := group.Partition(tp), s.Partition(tp); stored != nil && p != nil && stored.StartOffset != meta.UnknownStart {
		answer.StartOffset, answer.LeaderEpoch = stored.StartOffset, p.LeaderEpoch()
	}
	return answer
}
