package kafka

// adminApis are the API keys of administration, at the versions Apache Kafka 4.1 serves.
func adminApis() []*api {
	return []*api{
		{name: "SaslHandshake", key: 17, min: 0, max: 1, handle: typed(handleSaslHandshake)},
		{name: "DeleteRecords", key: 21, min: 0, max: 2, mayWait: true, handle: typed(handleDeleteRecords)},
		{name: "OffsetForLeaderEpoch", key: 23, min: 2, max: 4, mayWait: true, handle: typed(handleOffsetForLeaderEpoch)},
		{name: "DescribeAcls", key: 29, min: 1, max: 3, handle: typed(handleDescribeACLs)},
		{name: "CreateAcls", key: 30, min: 1, max: 3, handle: typed(handleCreateACLs)},
		{name: "DeleteAcls", key: 31, min: 1, max: 3, handle: typed(handleDeleteACLs)},
		{name: "AlterReplicaLogDirs", key: 34, min: 1, max: 2, handle: typed(handleAlterReplicaLogDirs)},
		{name: "DescribeLogDirs", key: 35, min: 1, max: 4, handle: typed(handleDescribeLogDirs)},
		{name: "SaslAuthenticate", key: 36, min: 0, max: 2, handle: typed(handleSaslAuthenticate)},
		{name: "CreateDelegationToken", key: 38, min: 1, max: 3, handle: typed(handleCreateDelegationToken)},
		{name: "RenewDelegationToken", key: 39, min: 1, max: 2, handle: typed(handleRenewDelegationToken)},
		{name: "ExpireDelegationToken", key: 40, min: 1, max: 2, handle: typed(handleExpireDelegationToken)},
		{name: "DescribeDelegationToken", key: 41, min: 1, max: 3, handle: typed(handleDescribeDelegationToken)},
		{name: "ElectLeaders", key: 43, min: 0, max: 2, handle: typed(handleElectLeaders)},
		{name: "AlterPartitionReassignments", key: 45, min: 0, max: 1, handle: typed(handleAlterPartitionReassignments)},
		{name: "ListPartitionReassignments", key: 46, min: 0, max: 0, handle: typed(handleListPartitionReassignments)},
		{name: "DescribeClientQuotas", key: 48, min: 0, max: 1, handle: typed(handleDescribeClientQuotas)},
		{name: "AlterClientQuotas", key: 49, min: 0, max: 1, mayWait: true, handle: typed(handleAlterClientQuotas)},
		{name: "DescribeUserScramCredentials", key: 50, min: 0, max: 0, handle: typed(handleDescribeUserSCRAMCredentials)},
		{name: "AlterUserScramCredentials", key: 51, min: 0, max: 0, handle: typed(handleAlterUserSCRAMCredentials)},
		{name: "DescribeQuorum", key: 55, min: 0, max: 2, handle: typed(handleDescribeQuorum)},
		{name: "UpdateFeatures", key: 57, min: 0, max: 2, handle: typed(handleUpdateFeatures)},
		{name: "UnregisterBroker", key: 64, min: 0, max: 0, handle: typed(handleUnregisterBroker)},
		{name: "GetTelemetrySubscriptions", key: 71, min: 0, max: 0, handle: typed(handleGetTelemetrySubscriptions)},
		{name: "PushTelemetry", key: 72, min: 0, max: 0, handle: typed(handlePushTelemetry)},
		{name: "ListConfigResources", key: 74, min: 0, max: 1, handle: typed(handleListConfigResources)},
		{name: "DescribeTopicPartitions", key: 75, min: 0, max: 0, handle: typed(handleDescribeTopicPartitions)},
		{name: "AddRaftVoter", key: 80, min: 0, max: 0, handle: typed(handleAddRaftVoter)},
		{name: "RemoveRaftVoter", key: 81, min: 0, max: 0, handle: typed(handleRemoveRaftVoter)},
	}
}
