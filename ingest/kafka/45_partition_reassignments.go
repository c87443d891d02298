package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// AlterPartitionReassignments (key 45, versions 0 to 1) and ListPartitionReassignments (key 46, version 0).
//
//	45 v1  whether the number of replicas may change
//
// No partition is owned by a node, so there is nothing to move: an assignment to nodes that exist is taken and at once complete, and where
// clients are sent stays as it was. Nothing is ever under way, to be listed or cancelled.

func handleAlterPartitionReassignments(_ context.Context, call *call, r *kmsg.AlterPartitionAssignmentsRequest) (kmsg.Response, error) {
	response := kmsg.NewPtrAlterPartitionAssignmentsResponse()
	response.AllowReplicationFactorChange = r.AllowReplicationFactorChange
	if len(r.Topics) == 0 {
		response.ErrorMessage = kmsg.StringPtr("")
	}
	if e := call.mayCluster(Alter); e != nil {
		response.ErrorCode, response.ErrorMessage = refusal(e, "")
		return response, nil
	}
	for i := range r.Topics {
		asked := &r.Topics[i]
		topic := kmsg.AlterPartitionAssignmentsResponseTopic{Topic: asked.Topic}
		for j := range asked.Partitions {
			p := kmsg.AlterPartitionAssignmentsResponseTopicPartition{Partition: asked.Partitions[j].Partition}
			if p.ErrorCode, p.ErrorMessage = refusal(judgeReassignment(call, asked.Topic, &asked.Partitions[j])); p.ErrorCode == kerr.NoReassignmentInProgress.Code {
				p.ErrorMessage = nil
			}
			topic.Partitions = append(topic.Partitions, p)
		}
		response.Topics = append(response.Topics, topic)
	}
	return response, nil
}

func judgeReassignment(call *call, topic string, asked *kmsg.AlterPartitionAssignmentsRequestTopicPartition) (*kerr.Error, string) {
	switch e, message := call.missing(topic, asked.Partition); {
	case e != nil:
		return e, message
	case asked.Replicas == nil:
		return kerr.NoReassignmentInProgress, ""
	}
	if message := checkReplicas(call, asked.Replicas); message != "" {
		return kerr.InvalidReplicaAssignment, message
	}
	return nil, ""
}

func handleListPartitionReassignments(_ context.Context, call *call, _ *kmsg.ListPartitionReassignmentsRequest) (kmsg.Response, error) {
	response := kmsg.NewPtrListPartitionReassignmentsResponse()
	if e := call.mayCluster(Describe); e != nil {
		response.ErrorCode, response.ErrorMessage = refusal(e, "")
	}
	return response, nil
}
