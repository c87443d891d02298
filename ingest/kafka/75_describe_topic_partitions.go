package kafka

import (
	"cmp"
	"context"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/coordinator/meta"
)

// DescribeTopicPartitions (key 75), version 0 (KIP-966).
//
// Topics in order of name, partitions in order of number, up to a bound; the cursor says where the next request goes on.

// maxDescribedPartitions bounds an answer, whatever the request says (max.request.partition.size.limit).
const maxDescribedPartitions = 2000

func handleDescribeTopicPartitions(_ context.Context, call *call, r *kmsg.DescribeTopicPartitionsRequest) (kmsg.Response, error) {
	response := kmsg.NewPtrDescribeTopicPartitionsResponse()
	d := &partitionsDescriber{
		response: response, cursor: r.Cursor,
		left:   min(max(int(r.ResponsePartitionLimit), 1), maxDescribedPartitions),
		topics: newTopicDescriber(call, call.nodes(), true),
	}
	if r.Cursor != nil && r.Cursor.Partition < 0 {
		for _, t := range r.Topics {
			d.refuse(t.Topic, kerr.InvalidRequest)
		}
		return response, nil
	}
	call.domain().Metadata.View(func(s *meta.State) {
		for _, name := range namedTopics(s, r) {
			if !d.describe(s, name) {
				return
			}
		}
	})
	return response, nil
}

// namedTopics are the topics asked for, or all, in order, from the cursor on.
func namedTopics(s *meta.State, r *kmsg.DescribeTopicPartitionsRequest) (names []string) {
	for _, t := range r.Topics {
		names = append(names, t.Topic)
	}
	if len(r.Topics) == 0 {
		for _, t := range s.Topics() {
			names = append(names, t.Name)
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	if r.Cursor != nil {
		names = slices.DeleteFunc(names, func(name string) bool { return cmp.Less(name, r.Cursor.Topic) })
	}
	return names
}

type partitionsDescriber struct {
	response *kmsg.DescribeTopicPartitionsResponse
	cursor   *kmsg.DescribeTopicPartitionsRequestCursor
	left     int
	topics   *topicDescriber
}

func (d *partitionsDescriber) refuse(name string, e *kerr.Error) {
	t := kmsg.NewDescribeTopicPartitionsResponseTopic()
	t.ErrorCode, t.Topic = e.Code, &name
	if e == kerr.UnknownTopicOrPartition || e == kerr.InvalidTopicException {
		t.AuthorizedOperations = topicOperations
	}
	d.response.Topics = append(d.response.Topics, t)
}

// describe answers for one topic; false once the answer is full.
func (d *partitionsDescriber) describe(s *meta.State, name string) bool {
	topic := s.TopicByName(name)
	switch {
	case d.topics.call.mayTopic(Describe, name) != nil:
		d.refuse(name, kerr.TopicAuthorizationFailed)
		return true
	case name == "": // as Kafka, which looks for a name
		d.refuse(name, kerr.UnknownServerError)
		return true
	case meta.ValidTopicName(name) != "":
		d.refuse(name, kerr.InvalidTopicException)
		return true
	case topic == nil:
		d.refuse(name, kerr.UnknownTopicOrPartition)
		return true
	}
	t := kmsg.NewDescribeTopicPartitionsResponseTopic()
	t.Topic, t.TopicID, t.IsInternal, t.AuthorizedOperations = kmsg.StringPtr(name), topic.ID, isInternal(name), topicOperations
	first := 0
	if d.cursor != nil && d.cursor.Topic == name {
		first = int(d.cursor.Partition)
	}
	for i := first; i < topic.Partitions(); i++ {
		if d.left == 0 {
			d.response.NextCursor = &kmsg.DescribeTopicPartitionsResponseNextCursor{Topic: name, Partition: int32(i)}
			if i > first {
				d.response.Topics = append(d.response.Topics, t)
			}
			return false
		}
		d.left--
		t.Partitions = append(t.Partitions, d.partition(topic, int32(i)))
	}
	d.response.Topics = append(d.response.Topics, t)
	return true
}

func (d *partitionsDescriber) partition(topic *meta.Topic, index int32) kmsg.DescribeTopicPartitionsResponseTopicPartition {
	p := kmsg.NewDescribeTopicPartitionsResponseTopicPartition()
	p.Partition, p.LeaderID, p.LeaderEpoch = index, leaderOf(d.topics.nodes, topic.ID, index), topic.Partition(index).LeaderEpoch()
	p.Replicas = d.topics.replicas(p.LeaderID, topic.ID, index)
	p.ISR = p.Replicas
	p.EligibleLeaderReplicas, p.LastKnownELR = []int32{}, []int32{}
	if p.LeaderID < 0 {
		p.ErrorCode = kerr.LeaderNotAvailable.Code
	}
	return p
}
