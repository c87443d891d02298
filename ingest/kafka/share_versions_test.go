package kafka

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const shareMember = "AAAAAAAAAAAAAAAAAAAAAQ"

// fillShare gives a request of share groups what a client would say.
func fillShare(request kmsg.Request, topic string, topicID [16]byte) {
	switch r := request.(type) {
	case *kmsg.ShareGroupHeartbeatRequest:
		r.GroupID, r.MemberID, r.SubscribedTopicNames = "sharing", shareMember, []string{topic}
	case *kmsg.ShareGroupDescribeRequest:
		r.GroupIDs, r.IncludeAuthorizedOperations = []string{"sharing"}, true
	case *kmsg.ShareFetchRequest:
		r.GroupID, r.MemberID, r.MaxRecords = kmsg.StringPtr("sharing"), kmsg.StringPtr(shareMember), 10
		r.Topics = []kmsg.ShareFetchRequestTopic{{TopicID: topicID, Partitions: []kmsg.ShareFetchRequestTopicPartition{{Partition: 0}}}}
	case *kmsg.ShareAcknowledgeRequest:
		r.GroupID, r.MemberID, r.ShareSessionEpoch = kmsg.StringPtr("sharing"), kmsg.StringPtr(shareMember), 1
		r.Topics = []kmsg.ShareAcknowledgeRequestTopic{{TopicID: topicID, Partitions: []kmsg.ShareAcknowledgeRequestTopicPartition{{Partition: 0}}}}
	case *kmsg.InitializeShareGroupStateRequest:
		r.Topics = []kmsg.InitializeShareGroupStateRequestTopic{{TopicID: topicID, Partitions: []kmsg.InitializeShareGroupStateRequestTopicPartition{{}}}}
	case *kmsg.ReadShareGroupStateRequest:
		r.Topics = []kmsg.ReadShareGroupStateRequestTopic{{TopicID: topicID, Partitions: []kmsg.ReadShareGroupStateRequestTopicPartition{{}}}}
	case *kmsg.WriteShareGroupStateRequest:
		r.Topics = []kmsg.WriteShareGroupStateRequestTopic{{TopicID: topicID, Partitions: []kmsg.WriteShareGroupStateRequestTopicPartition{{}}}}
	case *kmsg.DeleteShareGroupStateRequest:
		r.Topics = []kmsg.DeleteShareGroupStateRequestTopic{{TopicID: topicID, Partitions: []kmsg.DeleteShareGroupStateRequestTopicPartition{{}}}}
	case *kmsg.ReadShareGroupStateSummaryRequest:
		r.Topics = []kmsg.ReadShareGroupStateSummaryRequestTopic{{TopicID: topicID, Partitions: []kmsg.ReadShareGroupStateSummaryRequestTopicPartition{{}}}}
	case *kmsg.DescribeShareGroupOffsetsRequest:
		r.Groups = []kmsg.DescribeShareGroupOffsetsRequestGroup{{GroupID: "sharing"}}
	case *kmsg.AlterShareGroupOffsetsRequest:
		r.GroupID = "sharing"
		r.Topics = []kmsg.AlterShareGroupOffsetsRequestTopic{{Topic: topic, Partitions: []kmsg.AlterShareGroupOffsetsRequestTopicPartition{{StartOffset: 0}}}}
	case *kmsg.DeleteShareGroupOffsetsRequest:
		r.GroupID, r.Topics = "sharing", []kmsg.DeleteShareGroupOffsetsRequestTopic{{Topic: topic}}
	}
}

// expectedShareCodes are those the requests of fillShare are meant to get: the group has a member, and nobody grants an action on the cluster.
var expectedShareCodes = map[int16][]int16{
	83: {kerr.ClusterAuthorizationFailed.Code}, 84: {kerr.ClusterAuthorizationFailed.Code}, 85: {kerr.ClusterAuthorizationFailed.Code},
	86: {kerr.ClusterAuthorizationFailed.Code}, 87: {kerr.ClusterAuthorizationFailed.Code},
	91: {kerr.NonEmptyGroup.Code}, 92: {kerr.NonEmptyGroup.Code},
}
