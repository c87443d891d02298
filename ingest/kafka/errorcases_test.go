package kafka

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// neverFails are API keys whose answers carry no error but for want of rights, or have no place for one.
var neverFails = map[int16]string{
	16: "groups that there are", 35: "directories and partitions that there are", 46: "none is ever moved", 66: "transactions that there are", 90: "offsets that there are; of a group that is not there, none",
	71: "every client is told what to push",
}

// recordRequests are about records and their offsets; id is that of "topic".
func recordRequests(id [16]byte) []errorCase {
	nobody := [16]byte{9}
	produce := func(version int16, topic string, id [16]byte, acks int16, records []byte) *kmsg.ProduceRequest {
		r := produceRequestOf(version, topic, id, records)
		r.Acks = acks
		return r
	}
	damaged := testBatch("value")
	damaged[len(damaged)-1] ^= 1
	ancient := testBatch("value")
	ancient[16] = 1
	fetch := func(version int16, topic string, id [16]byte, offset int64) *kmsg.FetchRequest {
		r := kmsg.NewPtrFetchRequest()
		r.Version, r.SessionEpoch, r.MaxBytes = version, -1, 1<<20
		p := kmsg.NewFetchRequestTopicPartition()
		p.FetchOffset, p.PartitionMaxBytes, p.CurrentLeaderEpoch = offset, 1<<20, -1
		r.Topics = []kmsg.FetchRequestTopic{{Topic: topic, TopicID: id, Partitions: []kmsg.FetchRequestTopicPartition{p}}}
		return r
	}
	list := func(topic string, epoch int32, timestamp int64) *kmsg.ListOffsetsRequest {
		p := kmsg.NewListOffsetsRequestTopicPartition()
		p.CurrentLeaderEpoch, p.Timestamp = epoch, timestamp
		return &kmsg.ListOffsetsRequest{Version: 10, ReplicaID: -1, TimeoutMillis: 1000, Topics: []kmsg.ListOffsetsRequestTopic{{Topic: topic, Partitions: []kmsg.ListOffsetsRequestTopicPartition{p}}}}
	}
	session := fetch(18, "", id, 0)
	session.SessionID, session.SessionEpoch = 4711, 1
	level := fetch(18, "", id, 0)
	level.IsolationLevel = 7
	return []errorCase{
		{"the topic is not there", produce(12, "none", [16]byte{}, -1, testBatch("v")), kerr.UnknownTopicOrPartition},
		{"the id is nobody's", produce(13, "", nobody, -1, testBatch("v")), kerr.UnknownTopicID},
		{"acks is none of -1, 0 and 1", produce(13, "", id, 5, testBatch("v")), kerr.InvalidRequiredAcks},
		{"the checksum is wrong, or the bytes are no batch", produce(13, "", id, -1, damaged), kerr.CorruptMessage},
		{"an old message format, several batches, or fields that contradict each other", produce(13, "", id, -1, ancient), kerr.InvalidRecord},
		{"a record's timestamp is out of the topic's bounds; the record is named", produce(13, "", id, -1, sealedBatch(1<<45, 1, []byte{14, 0, 0, 0, 1, 2, 'v', 0})), kerr.InvalidTimestamp},
		{"the batch is above max.message.bytes", produce(13, "", id, -1, testBatch(string(make([]byte, 2<<20)))), kerr.MessageTooLarge},
		{"the topic is not there", fetch(12, "none", [16]byte{}, 0), kerr.UnknownTopicOrPartition},
		{"the id is nobody's", fetch(18, "", nobody, 0), kerr.UnknownTopicID},
		{"the offset is outside the log", fetch(18, "", id, 99), kerr.OffsetOutOfRange},
		{"the session is not there, or displaced", session, kerr.FetchSessionIDNotFound},
		{"the isolation level is not known", level, kerr.UnknownServerError},
		{"the topic is not there", list("none", -1, -1), kerr.UnknownTopicOrPartition},
		{"the client believes in a later epoch", list("topic", 9, -1), kerr.UnknownLeaderEpoch},
		{"a time that the version does not know", list("topic", -1, -77), kerr.UnsupportedVersion},
		{"the topic is not there, and is not to be made", &kmsg.MetadataRequest{Version: 13, Topics: []kmsg.MetadataRequestTopic{{Topic: kmsg.StringPtr("none")}}}, kerr.UnknownTopicOrPartition},
		{"the id is nobody's", &kmsg.MetadataRequest{Version: 13, Topics: []kmsg.MetadataRequestTopic{{TopicID: nobody}}}, kerr.UnknownTopicID},
		{"the name cannot be a topic's", &kmsg.MetadataRequest{Version: 13, Topics: []kmsg.MetadataRequestTopic{{Topic: kmsg.StringPtr("no name")}}}, kerr.InvalidTopicException},
		{"the topic is not there", &kmsg.DescribeProducersRequest{Topics: []kmsg.DescribeProducersRequestTopic{{Topic: "none", Partitions: []int32{0}}}}, kerr.UnknownTopicOrPartition},
	}
}

// groupRequests are about groups of all kinds.
func groupRequests(id [16]byte) []errorCase {
	text := kmsg.StringPtr
	commit := &kmsg.OffsetCommitRequest{Version: 9, Group: "none", Generation: 1, MemberID: "somebody", Topics: []kmsg.OffsetCommitRequestTopic{{Topic: "topic", Partitions: []kmsg.OffsetCommitRequestTopicPartition{{LeaderEpoch: -1}}}}}
	nowhere := &kmsg.OffsetCommitRequest{Version: 9, Group: "none", Generation: -1, Topics: []kmsg.OffsetCommitRequestTopic{{Topic: "none", Partitions: []kmsg.OffsetCommitRequestTopicPartition{{LeaderEpoch: -1}}}}}
	return []errorCase{
		{"the group has no such generation", commit, kerr.GroupIDNotFound},
		{"the topic is not there", nowhere, kerr.UnknownTopicOrPartition},
		{"the member is not there", &kmsg.OffsetFetchRequest{Version: 9, Groups: []kmsg.OffsetFetchRequestGroup{{Group: "modern", MemberID: text("somebody"), MemberEpoch: 1}}}, kerr.UnknownMemberID},
		{"the type is not known", &kmsg.FindCoordinatorRequest{Version: 6, CoordinatorType: 9, CoordinatorKeys: []string{"key"}}, kerr.InvalidRequest},
		{"the group has no name", &kmsg.JoinGroupRequest{Version: 9, SessionTimeoutMillis: 10_000, ProtocolType: "consumer"}, kerr.InvalidGroupID},
		{"the session timeout is out of bounds", &kmsg.JoinGroupRequest{Version: 9, Group: "g", SessionTimeoutMillis: 1, ProtocolType: "consumer"}, kerr.InvalidSessionTimeout},
		{"the member is not there", &kmsg.HeartbeatRequest{Version: 4, Group: "none", MemberID: "somebody"}, kerr.UnknownMemberID},
		{"the member is not there", &kmsg.LeaveGroupRequest{Version: 5, Group: "none", Members: []kmsg.LeaveGroupRequestMember{{MemberID: "somebody"}}}, kerr.UnknownMemberID},
		{"the member is not there", &kmsg.SyncGroupRequest{Version: 5, Group: "none", MemberID: "somebody", ProtocolType: text("consumer"), Protocol: text("range")}, kerr.UnknownMemberID},
		{"the group is not there", &kmsg.DescribeGroupsRequest{Version: 6, Groups: []string{"none"}}, kerr.GroupIDNotFound},
		{"the group is not there", &kmsg.DeleteGroupsRequest{Version: 2, Groups: []string{"none"}}, kerr.GroupIDNotFound},
		{"the group is not there", &kmsg.OffsetDeleteRequest{Group: "none"}, kerr.GroupIDNotFound},
		{"the group has no name", &kmsg.ConsumerGroupHeartbeatRequest{Version: 1}, kerr.InvalidRequest},
		{"the group is not there", &kmsg.ConsumerGroupDescribeRequest{Version: 1, Groups: []string{"none"}}, kerr.GroupIDNotFound},
		{"the group has no name", &kmsg.ShareGroupHeartbeatRequest{Version: 1}, kerr.InvalidRequest},
		{"the group is not there", &kmsg.ShareGroupDescribeRequest{Version: 1, GroupIDs: []string{"none"}}, kerr.GroupIDNotFound},
		{"the session is not there", &kmsg.ShareFetchRequest{Version: 1, GroupID: text("g"), MemberID: text(shareMember), ShareSessionEpoch: 1, Topics: []kmsg.ShareFetchRequestTopic{{TopicID: id, Partitions: []kmsg.ShareFetchRequestTopicPartition{{}}}}}, kerr.ShareSessionNotFound},
		{"the session is not there", &kmsg.ShareAcknowledgeRequest{Version: 1, GroupID: text("g"), MemberID: text(shareMember), ShareSessionEpoch: 1}, kerr.ShareSessionNotFound},
		{"always: for brokers alone", &kmsg.InitializeShareGroupStateRequest{GroupID: "g", Topics: []kmsg.InitializeShareGroupStateRequestTopic{{TopicID: id, Partitions: []kmsg.InitializeShareGroupStateRequestTopicPartition{{}}}}}, kerr.ClusterAuthorizationFailed},
		{"always: for brokers alone", &kmsg.ReadShareGroupStateRequest{GroupID: "g", Topics: []kmsg.ReadShareGroupStateRequestTopic{{TopicID: id, Partitions: []kmsg.ReadShareGroupStateRequestTopicPartition{{}}}}}, kerr.ClusterAuthorizationFailed},
		{"always: for brokers alone", &kmsg.WriteShareGroupStateRequest{GroupID: "g", Topics: []kmsg.WriteShareGroupStateRequestTopic{{TopicID: id, Partitions: []kmsg.WriteShareGroupStateRequestTopicPartition{{}}}}}, kerr.ClusterAuthorizationFailed},
		{"always: for brokers alone", &kmsg.DeleteShareGroupStateRequest{GroupID: "g", Topics: []kmsg.DeleteShareGroupStateRequestTopic{{TopicID: id, Partitions: []kmsg.DeleteShareGroupStateRequestTopicPartition{{}}}}}, kerr.ClusterAuthorizationFailed},
		{"always: for brokers alone", &kmsg.ReadShareGroupStateSummaryRequest{GroupID: "g", Topics: []kmsg.ReadShareGroupStateSummaryRequestTopic{{TopicID: id, Partitions: []kmsg.ReadShareGroupStateSummaryRequestTopicPartition{{}}}}}, kerr.ClusterAuthorizationFailed},
		{"the group has no name", &kmsg.StreamsGroupHeartbeatRequest{}, kerr.InvalidRequest},
		{"the group is not there", &kmsg.StreamsGroupDescribeRequest{Groups: []string{"none"}}, kerr.GroupIDNotFound},
		{"the group is not there", &kmsg.AlterShareGroupOffsetsRequest{GroupID: "none", Topics: []kmsg.AlterShareGroupOffsetsRequestTopic{{Topic: "topic", Partitions: []kmsg.AlterShareGroupOffsetsRequestTopicPartition{{}}}}}, kerr.GroupIDNotFound},
		{"the group is not there", &kmsg.DeleteShareGroupOffsetsRequest{GroupID: "none", Topics: []kmsg.DeleteShareGroupOffsetsRequestTopic{{Topic: "topic"}}}, kerr.GroupIDNotFound},
	}
}

// transactionRequests are about producers and transactions, and about the cluster.
func transactionRequests() []errorCase {
	add := &kmsg.AddPartitionsToTxnRequest{Version: 3, TransactionalID: "nobody", Topics: []kmsg.AddPartitionsToTxnRequestTopic{{Topic: "topic", Partitions: []int32{0}}}}
	commit := &kmsg.TxnOffsetCommitRequest{Version: 5, TransactionalID: "nobody", Group: "g", Generation: -1, Topics: []kmsg.TxnOffsetCommitRequestTopic{{Topic: "topic", Partitions: []kmsg.TxnOffsetCommitRequestTopicPartition{{}}}}}
	return []errorCase{
		{"the client's name cannot be one", &kmsg.ApiVersionsRequest{Version: 4, ClientSoftwareName: "-", ClientSoftwareVersion: "1"}, kerr.InvalidRequest},
		{"a producer id without its epoch", &kmsg.InitProducerIDRequest{Version: 5, ProducerID: 5, ProducerEpoch: -1}, kerr.InvalidRequest},
		{"the transaction's timeout is above the bound", &kmsg.InitProducerIDRequest{Version: 5, TransactionalID: kmsg.StringPtr("t"), TransactionTimeoutMillis: 1 << 30, ProducerID: -1, ProducerEpoch: -1}, kerr.InvalidTransactionTimeout},
		{"the transactional id is nobody's", add, kerr.InvalidProducerIDMapping},
		{"the transactional id is nobody's", &kmsg.AddOffsetsToTxnRequest{Version: 4, TransactionalID: "nobody", Group: "g"}, kerr.InvalidProducerIDMapping},
		{"the transactional id is nobody's", &kmsg.EndTxnRequest{Version: 5, TransactionalID: "nobody"}, kerr.InvalidProducerIDMapping},
		{"the topic is not there", &kmsg.WriteTxnMarkersRequest{Version: 1, Markers: []kmsg.WriteTxnMarkersRequestMarker{{ProducerID: 5, Topics: []kmsg.WriteTxnMarkersRequestMarkerTopic{{Topic: "none", Partitions: []int32{0}}}}}}, kerr.UnknownTopicOrPartition},
		{"the transactional id is nobody's", commit, kerr.InvalidProducerIDMapping},
		{"the transactional id is nobody's", &kmsg.DescribeTransactionsRequest{TransactionalIDs: []string{"nobody"}}, kerr.TransactionalIDNotFound},
		{"the topic is not there", &kmsg.AlterConfigsRequest{Version: 2, Resources: []kmsg.AlterConfigsRequestResource{{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: "none"}}}, kerr.UnknownTopicOrPartition},
		{"controllers are asked for", &kmsg.DescribeClusterRequest{Version: 2, EndpointType: 2}, kerr.MismatchedEndpointType},
		{"the node is not there", &kmsg.UnregisterBrokerRequest{BrokerID: 4711}, kerr.BrokerIDNotRegistered},
		{"the node is there", &kmsg.UnregisterBrokerRequest{BrokerID: 1}, kerr.InvalidRequest},
		{"always: there is no quorum of voters", &kmsg.AddRaftVoterRequest{VoterID: 5, VoterDirectoryID: [16]byte{1}}, kerr.UnsupportedVersion},
		{"always: there is no quorum of voters", &kmsg.RemoveRaftVoterRequest{VoterID: 5, VoterDirectoryID: [16]byte{1}}, kerr.UnsupportedVersion},
		{"another cluster is meant", &kmsg.RemoveRaftVoterRequest{ClusterID: kmsg.StringPtr("another"), VoterID: 5}, kerr.InconsistentClusterID},
	}
}
