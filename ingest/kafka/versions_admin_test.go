package kafka

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// fillAdmin gives a request of administration what a client would say.
func fillAdmin(request kmsg.Request, topic string) {
	switch r := request.(type) {
	case *kmsg.DeleteRecordsRequest:
		r.TimeoutMillis = 1000
		r.Topics = []kmsg.DeleteRecordsRequestTopic{{Topic: topic, Partitions: []kmsg.DeleteRecordsRequestTopicPartition{{Partition: 0, Offset: 0}}}}
	case *kmsg.OffsetForLeaderEpochRequest:
		r.Topics = []kmsg.OffsetForLeaderEpochRequestTopic{{Topic: topic, Partitions: []kmsg.OffsetForLeaderEpochRequestTopicPartition{{CurrentLeaderEpoch: -1}}}}
	case *kmsg.CreateACLsRequest:
		r.Creations = []kmsg.CreateACLsRequestCreation{{ResourceName: topic}}
	case *kmsg.DeleteACLsRequest:
		r.Filters = []kmsg.DeleteACLsRequestFilter{{}}
	case *kmsg.AlterReplicaLogDirsRequest:
		r.Dirs = []kmsg.AlterReplicaLogDirsRequestDir{{Dir: "varve", Topics: []kmsg.AlterReplicaLogDirsRequestDirTopic{{Topic: topic, Partitions: []int32{0}}}}}
	case *kmsg.ElectLeadersRequest:
		r.Topics = []kmsg.ElectLeadersRequestTopic{{Topic: topic, Partitions: []int32{0}}}
	case *kmsg.AlterPartitionAssignmentsRequest:
		r.Topics = []kmsg.AlterPartitionAssignmentsRequestTopic{{Topic: topic, Partitions: []kmsg.AlterPartitionAssignmentsRequestTopicPartition{{Replicas: []int32{1}}}}}
	case *kmsg.AlterClientQuotasRequest:
		r.Entries = []kmsg.AlterClientQuotasRequestEntry{{
			Entity: []kmsg.AlterClientQuotasRequestEntryEntity{{Type: "client-id", Name: kmsg.StringPtr("somebody")}},
			Ops:    []kmsg.AlterClientQuotasRequestEntryOp{{Key: "producer_byte_rate", Value: 1e6}},
		}}
	case *kmsg.DescribeUserSCRAMCredentialsRequest:
		r.Users = []kmsg.DescribeUserSCRAMCredentialsRequestUser{{Name: "alice"}}
	case *kmsg.AlterUserSCRAMCredentialsRequest:
		r.Deletions = []kmsg.AlterUserSCRAMCredentialsRequestDeletion{{Name: "alice", Mechanism: 1}}
	case *kmsg.DescribeQuorumRequest:
		r.Topics = []kmsg.DescribeQuorumRequestTopic{{Topic: clusterMetadataTopic, Partitions: []kmsg.DescribeQuorumRequestTopicPartition{{}}}}
	case *kmsg.UpdateFeaturesRequest:
		r.FeatureUpdates = []kmsg.UpdateFeaturesRequestFeatureUpdate{{Feature: "metadata.version", MaxVersionLevel: 27, UpgradeType: 1}}
	case *kmsg.PushTelemetryRequest:
		r.ClientInstanceID = [16]byte{1}
	case *kmsg.DescribeTopicPartitionsRequest:
		r.ResponsePartitionLimit = 100
		r.Topics = []kmsg.DescribeTopicPartitionsRequestTopic{{Topic: topic}}
	}
}

// expectedAdminCodes are those the requests of fillAdmin are meant to get.
var expectedAdminCodes = map[int16][]int16{
	17: {kerr.IllegalSaslState.Code}, 36: {kerr.IllegalSaslState.Code},
	29: {kerr.SecurityDisabled.Code}, 30: {kerr.SecurityDisabled.Code}, 31: {kerr.SecurityDisabled.Code}, 51: {kerr.SecurityDisabled.Code},
	38: {kerr.DelegationTokenRequestNotAllowed.Code}, 39: {kerr.DelegationTokenRequestNotAllowed.Code},
	40: {kerr.DelegationTokenRequestNotAllowed.Code}, 41: {kerr.DelegationTokenRequestNotAllowed.Code},
	64: {kerr.BrokerIDNotRegistered.Code}, 80: {kerr.InvalidRequest.Code}, 81: {kerr.InvalidRequest.Code},
	43: {kerr.ElectionNotNeeded.Code}, 50: {kerr.ResourceNotFound.Code}, 72: {kerr.UnknownSubscriptionID.Code, kerr.ThrottlingQuotaExceeded.Code},
}

// openAdmin are APIs that do nothing for anybody, or that a client tells of itself with.
var openAdmin = []string{
	"SaslHandshake", "SaslAuthenticate", "DescribeAcls", "CreateAcls", "DeleteAcls", "CreateDelegationToken", "RenewDelegationToken",
	"ExpireDelegationToken", "DescribeDelegationToken", "GetTelemetrySubscriptions", "PushTelemetry",
}
