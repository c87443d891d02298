package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/coordinator/meta"
)

// DescribeQuorum (key 55), versions 0 to 2.
//
//	v1  fetch timestamps of replicas (KIP-836); v2 directory ids, listeners, error messages (KIP-853)
//
// The metadata log is Varve's own. Its sequence numbers stand for offsets, its leader is the one voter, named by the node that shares its
// process where there is one, and nodes that follow it are observers.

const clusterMetadataTopic = "__cluster_metadata"

func handleDescribeQuorum(_ context.Context, call *call, r *kmsg.DescribeQuorumRequest) (kmsg.Response, error) {
	response := kmsg.NewPtrDescribeQuorumResponse()
	if e := call.mayCluster(Describe); e != nil {
		response.ErrorCode, response.ErrorMessage = refusal(e, "")
		return response, nil
	}
	known := false
	for i := range r.Topics {
		topic := kmsg.DescribeQuorumResponseTopic{Topic: r.Topics[i].Topic}
		for j := range r.Topics[i].Partitions {
			p := kmsg.DescribeQuorumResponseTopicPartition{Partition: r.Topics[i].Partitions[j].Partition}
			if topic.Topic == clusterMetadataTopic && p.Partition == 0 {
				known = true
				call.describeQuorum(&p)
			} else {
				p.ErrorCode, p.ErrorMessage = refusal(kerr.UnknownTopicOrPartition, "")
			}
			topic.Partitions = append(topic.Partitions, p)
		}
		response.Topics = append(response.Topics, topic)
	}
	response.ErrorMessage = kmsg.StringPtr("")
	if !known {
		return response, nil
	}
	for _, n := range call.nodes() {
		response.Nodes = append(response.Nodes, kmsg.DescribeQuorumResponseNode{
			NodeID: n.id, Listeners: []kmsg.DescribeQuorumResponseNodeListener{{Name: "PLAINTEXT", Host: n.host, Port: uint16(n.port)}},
		})
	}
	return response, nil
}

func (c *call) describeQuorum(p *kmsg.DescribeQuorumResponseTopicPartition) {
	nodes := c.nodes()
	p.LeaderID = controllerOf(nodes)
	c.domain().Metadata.View(func(s *meta.State) {
		p.LeaderEpoch, p.HighWatermark = int32(s.LeaderEpoch()), int64(s.Seq())
		for _, n := range s.Nodes() {
			if n.Live && n.InternalAddress != "" && n.InternalAddress == s.LeaderAddress() {
				p.LeaderID = int32(n.ID)
			}
		}
		for _, n := range nodes {
			replica := kmsg.NewDescribeQuorumResponseTopicPartitionReplicaState()
			replica.ReplicaID, replica.LogEndOffset = n.id, p.HighWatermark
			replica.LastFetchTimestamp, replica.LastCaughtUpTimestamp = s.TimeMillis(), s.TimeMillis()
			if n.id == p.LeaderID {
				p.CurrentVoters = append(p.CurrentVoters, replica)
			} else {
				p.Observers = append(p.Observers, replica)
			}
		}
	})
}
