package kafka

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/coordinator/meta"
)

// ElectLeaders (key 43), versions 0 to 2.
//
//	v1  preferred or unclean (KIP-460); v2 flexible
//
// Every live node serves every partition: there is never an election to hold. As in Kafka, a request for all partitions (null) lists only those
// whose leader changed, which are none.

const uncleanElection = 1

func handleElectLeaders(_ context.Context, call *call, r *kmsg.ElectLeadersRequest) (kmsg.Response, error) {
	response := kmsg.NewPtrElectLeadersResponse()
	switch {
	case call.mayCluster(Alter) != nil:
		response.ErrorCode = kerr.ClusterAuthorizationFailed.Code
		return response, nil
	case r.ElectionType < 0 || r.ElectionType > uncleanElection:
		response.ErrorCode = kerr.InvalidRequest.Code
		for i := range r.Topics {
			topic := kmsg.ElectLeadersResponseTopic{Topic: r.Topics[i].Topic}
			for _, partition := range r.Topics[i].Partitions {
				topic.Partitions = append(topic.Partitions, kmsg.ElectLeadersResponseTopicPartition{
					Partition: partition, ErrorCode: response.ErrorCode, ErrorMessage: kmsg.StringPtr("Unknown election type."),
				})
			}
			response.Topics = append(response.Topics, topic)
		}
		return response, nil
	}
	for i := range r.Topics {
		asked := &r.Topics[i]
		topic := kmsg.ElectLeadersResponseTopic{Topic: asked.Topic}
		for _, partition := range asked.Partitions {
			p := kmsg.ElectLeadersResponseTopicPartition{Partition: partition}
			p.ErrorCode, p.ErrorMessage = refusal(kerr.ElectionNotNeeded, "Leader election not needed for topic partition.")
			if e, message := call.missing(asked.Topic, partition); e != nil {
				p.ErrorCode, p.ErrorMessage = refusal(e, message)
			}
			topic.Partitions = append(topic.Partitions, p)
		}
		response.Topics = append(response.Topics, topic)
	}
	return response, nil
}

// missing says which of topic and partition there is not.
func (c *call) missing(topic string, partition int32) (e *kerr.Error, message string) {
	c.domain().Metadata.View(func(s *meta.State) {
		t := s.TopicByName(topic)
		switch {
		case t == nil:
			e, message = kerr.UnknownTopicOrPartition, "No such topic as "+topic
		case t.Partition(partition) == nil:
			e, message = kerr.UnknownTopicOrPartition, fmt.Sprintf("No such partition as %s-%d", topic, partition)
		}
	})
	return e, message
}
