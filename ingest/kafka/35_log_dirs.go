package kafka

import (
	"context"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/coordinator/meta"
)

// DescribeLogDirs (key 35), versions 1 to 4.
//
//	v2  flexible; v3 an error of the whole; v4 total and usable bytes (KIP-827)
//
// A node has one log directory. No node owns a partition, so that each partition is told by the node that Metadata names for it, with all
// its bytes wherever they are: sums over the nodes come out right.
//
// AlterReplicaLogDirs (key 34), versions 1 to 2: moving a replica to the directory it is in is nothing to do, and there is no other.

func handleDescribeLogDirs(_ context.Context, call *call, r *kmsg.DescribeLogDirsRequest) (kmsg.Response, error) {
	response := kmsg.NewPtrDescribeLogDirsResponse()
	if e := call.mayCluster(Describe); e != nil {
		response.ErrorCode = e.Code
		return response, nil
	}
	config := &call.server().config
	dir := kmsg.NewDescribeLogDirsResponseDir()
	dir.Dir = config.LogDir
	if config.DiskSpace != nil {
		dir.TotalBytes, dir.UsableBytes = config.DiskSpace()
	}
	nodes := call.nodes()
	call.domain().Metadata.View(func(s *meta.State) {
		for _, t := range s.Topics() {
			if topic := describeTopicSizes(t, r, nodes, int32(config.NodeID)); len(topic.Partitions) > 0 {
				dir.Topics = append(dir.Topics, topic)
			}
		}
	})
	response.Dirs = append(response.Dirs, dir)
	return response, nil
}

func describeTopicSizes(t *meta.Topic, r *kmsg.DescribeLogDirsRequest, nodes []node, self int32) kmsg.DescribeLogDirsResponseDirTopic {
	topic := kmsg.DescribeLogDirsResponseDirTopic{Topic: t.Name}
	for i := range t.Partitions() {
		if index := int32(i); leaderOf(nodes, t.ID, index) == self && asksForSize(r, t.Name, index) {
			p := t.Partition(index)
			topic.Partitions = append(topic.Partitions, kmsg.DescribeLogDirsResponseDirTopicPartition{
				Partition: index, Size: int64(p.HotBytes() + p.StoredBytes() + p.LocalBytes()),
			})
		}
	}
	return topic
}

// asksForSize: no list of topics means all.
func asksForSize(r *kmsg.DescribeLogDirsRequest, name string, partition int32) bool {
	return r.Topics == nil || slices.ContainsFunc(r.Topics, func(t kmsg.DescribeLogDirsRequestTopic) bool {
		return t.Topic == name && slices.Contains(t.Partitions, partition)
	})
}

func handleAlterReplicaLogDirs(_ context.Context, call *call, r *kmsg.AlterReplicaLogDirsRequest) (kmsg.Response, error) {
	response := kmsg.NewPtrAlterReplicaLogDirsResponse()
	for i := range r.Dirs {
		for j := range r.Dirs[i].Topics {
			asked := &r.Dirs[i].Topics[j]
			topic := kmsg.AlterReplicaLogDirsResponseTopic{Topic: asked.Topic}
			for _, partition := range asked.Partitions {
				p := kmsg.AlterReplicaLogDirsResponseTopicPartition{Partition: partition}
				switch {
				case call.mayCluster(Alter) != nil:
					p.ErrorCode = kerr.ClusterAuthorizationFailed.Code
				case r.Dirs[i].Dir != call.server().config.LogDir:
					p.ErrorCode = kerr.LogDirNotFound.Code
				case !call.knows(asked.Topic, partition):
					p.ErrorCode = kerr.UnknownTopicOrPartition.Code
				}
				topic.Partitions = append(topic.Partitions, p)
			}
			response.Topics = append(response.Topics, topic)
		}
	}
	return response, nil
}

// knows tells whether there is such a partition.
func (c *call) knows(topic string, partition int32) (known bool) {
	c.domain().Metadata.View(func(s *meta.State) {
		t := s.TopicByName(topic)
		known = t != nil && t.Partition(partition) != nil
	})
	return known
}
