package conformance

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// adminScenarios ask for what administrators ask for, and for what brokers ask of one another on the same listener.
func adminScenarios() []scenario {
	return []scenario{
		{"deleterecords", 21, askDeleteRecords},
		{"leaderepoch", 23, askOffsetForLeaderEpoch},
		{"addoffsets", 25, askAddOffsetsToTxn},
		{"writemarkers", 27, askWriteTxnMarkers},
		{"txncommit", 28, askTxnOffsetCommit},
		{"sasl", 17, askSasl},
		{"acls", 29, askACLs},
		{"tokens", 38, askDelegationTokens},
		{"movedirs", 34, askAlterReplicaLogDirs},
		{"logdirs", 35, askDescribeLogDirs},
		{"elect", 43, askElectLeaders},
		{"reassign", 45, askReassignments},
		{"quotas", 48, askClientQuotas},
		{"scram", 50, askScramCredentials},
		{"quorum", 55, askQuorum},
		{"features", 57, askFeatures},
		{"unregister", 64, askUnregisterBroker},
		{"producers", 61, askDescribeProducers},
		{"describetxns", 65, askDescribeTransactions},
		{"listtxns", 66, askListTransactions},
		{"listconfigs", 74, askListConfigResources},
		{"topicpartitions", 75, askDescribeTopicPartitions},
		{"voters", 80, askVoters},
	}
}

// asker asks under a label.
func (s *session) asker(version int16) func(string, kmsg.Request) {
	return func(label string, r kmsg.Request) {
		s.t.Helper()
		r.SetVersion(version)
		s.exchange(label, s.conn, r)
	}
}

func askDeleteRecords(s *session, version int16) {
	topic, try := s.create("topic", 2), s.asker(version)
	s.produce("", 9, topic, newBatch(records(5, s.now)...).encode())
	before := func(name string, partition int32, offset int64) *kmsg.DeleteRecordsRequest {
		r := kmsg.NewPtrDeleteRecordsRequest()
		r.TimeoutMillis = 5000
		r.Topics = []kmsg.DeleteRecordsRequestTopic{{Topic: name, Partitions: []kmsg.DeleteRecordsRequestTopicPartition{{Partition: partition, Offset: offset}}}}
		return r
	}
	try("nothing", kmsg.NewPtrDeleteRecordsRequest())
	for _, offset := range []int64{2, 2, 1, 0, 99, -2, 4, -1, 5, 6} {
		try(fmt.Sprintf("before %d", offset), before(topic.name, 0, offset))
	}
	try("of an empty partition", before(topic.name, 1, 0))
	try("of an empty partition, all", before(topic.name, 1, -1))
	try("unknown partition", before(topic.name, 2, 0))
	try("partition -1", before(topic.name, -1, 0))
	try("unknown topic", before(s.name("unknown"), 0, 0))
	try("invalid topic name", before("a b", 0, 0))
	compacted := s.create("compacted", 1, "cleanup.policy", "compact")
	try("of a compacted topic", before(compacted.name, 0, 0))
	ask[kmsg.Response](s, "what is left", 16, fetchFrom(topic, 0))
}

func askOffsetForLeaderEpoch(s *session, version int16) {
	topic, try := s.create("topic", 2), s.asker(version)
	s.produce("", 9, topic, newBatch(records(5, s.now)...).encode())
	of := func(name string, partition, current, epoch int32) *kmsg.OffsetForLeaderEpochRequest {
		r := kmsg.NewPtrOffsetForLeaderEpochRequest()
		r.Topics = []kmsg.OffsetForLeaderEpochRequestTopic{{Topic: name, Partitions: []kmsg.OffsetForLeaderEpochRequestTopicPartition{{Partition: partition, CurrentLeaderEpoch: current, LeaderEpoch: epoch}}}}
		return r
	}
	try("nothing", kmsg.NewPtrOffsetForLeaderEpochRequest())
	for _, epoch := range []int32{0, 1, 99, -1, -2} {
		try(fmt.Sprintf("epoch %d", epoch), of(topic.name, 0, -1, epoch))
	}
	for _, current := range []int32{0, 1, 99, -2} {
		try(fmt.Sprintf("current epoch %d", current), of(topic.name, 0, current, 0))
	}
	try("of an empty partition", of(topic.name, 1, -1, 0))
	try("unknown partition", of(topic.name, 2, -1, 0))
	try("unknown topic", of(s.name("unknown"), 0, -1, 0))
}

func askAddOffsetsToTxn(s *session, version int16) {
	s.warm()
	try := s.asker(version)
	s.warmTransactions("tx")
	x := &txn{session: s, id: s.name("tx"), version: min(version, 4), topic: s.create("topic", 1)}
	x.init("")
	add := func(id, group string, producer int64, epoch int16) *kmsg.AddOffsetsToTxnRequest {
		return &kmsg.AddOffsetsToTxnRequest{TransactionalID: id, Group: group, ProducerID: producer, ProducerEpoch: epoch}
	}
	try("of nobody", add(s.name("nobody"), s.name("group"), 5, 0))
	try("without an id", add("", s.name("group"), 5, 0))
	try("of another producer", add(x.id, s.name("group"), 987654321, 0))
	try("of a later epoch", add(x.id, s.name("group"), x.producer, x.epoch+5))
	try("of a negative epoch", add(x.id, s.name("group"), x.producer, -1))
	try("good", add(x.id, s.name("group"), x.producer, x.epoch))
	try("the same again", add(x.id, s.name("group"), x.producer, x.epoch))
	x.end("", false)
}

func (s *session) warmTransactions(id string) {
	s.t.Helper()
	find := kmsg.NewPtrFindCoordinatorRequest() // Kafka makes its topic of transactions when it is first asked
	find.CoordinatorType, find.CoordinatorKey = 1, s.name(id)
	until(s, "", 3, find, func(r *kmsg.FindCoordinatorResponse) bool { return r.ErrorCode == 0 })
}

func askWriteTxnMarkers(s *session, version int16) {
	try := s.asker(version)
	try("nothing", kmsg.NewPtrWriteTxnMarkersRequest())
	r := kmsg.NewPtrWriteTxnMarkersRequest()
	r.Markers = []kmsg.WriteTxnMarkersRequestMarker{{ProducerID: 5, Topics: []kmsg.WriteTxnMarkersRequestMarkerTopic{{Topic: s.name("unknown"), Partitions: []int32{0}}}}}
	try("for an unknown topic", r)
}

func askTxnOffsetCommit(s *session, version int16) {
	s.warm()
	topic, try := s.create("topic", 1), s.asker(version)
	commit := func(group, name string, partition int32) *kmsg.TxnOffsetCommitRequest {
		r := kmsg.NewPtrTxnOffsetCommitRequest()
		r.TransactionalID, r.Group, r.ProducerID, r.ProducerEpoch = s.name("tx"), group, 987654321, 0
		r.Topics = []kmsg.TxnOffsetCommitRequestTopic{{Topic: name, Partitions: []kmsg.TxnOffsetCommitRequestTopicPartition{{Partition: partition, Offset: 1, LeaderEpoch: -1}}}}
		return r
	}
	s.warmTransactions("tx")
	try("unknown topic", commit(s.name("group"), s.name("unknown"), 0))
	try("unknown partition", commit(s.name("group"), topic.name, 5))
	nothing := commit(s.name("group"), topic.name, 0)
	nothing.Topics = nil
	try("nothing", nothing)
}

func askSasl(s *session, version int16) {
	for _, mechanism := range []string{"PLAIN", "SCRAM-SHA-256", ""} {
		ask[kmsg.Response](s, fmt.Sprintf("mechanism %q", mechanism), version, &kmsg.SASLHandshakeRequest{Mechanism: mechanism})
	}
	for v := range int16(3) {
		ask[kmsg.Response](s, "authenticate", v, &kmsg.SASLAuthenticateRequest{SASLAuthBytes: []byte("\x00a\x00b")})
	}
}

func askACLs(s *session, version int16) {
	try := s.asker(version)
	describe := kmsg.NewPtrDescribeACLsRequest()
	describe.ResourceType, describe.ResourcePatternType, describe.Operation, describe.PermissionType = 1, 1, 1, 1
	try("describe any", describe)
	create := kmsg.NewPtrCreateACLsRequest()
	create.Creations = []kmsg.CreateACLsRequestCreation{{ResourceType: kmsg.ACLResourceTypeTopic, ResourceName: "t", ResourcePatternType: kmsg.ACLResourcePatternTypeLiteral, Principal: "User:a", Host: "*", Operation: kmsg.ACLOperationRead, PermissionType: kmsg.ACLPermissionTypeAllow}}
	try("create one", create)
	create.Creations = append(create.Creations, create.Creations[0])
	try("create two", create)
	remove := kmsg.NewPtrDeleteACLsRequest()
	remove.Filters = []kmsg.DeleteACLsRequestFilter{{ResourceType: kmsg.ACLResourceTypeAny, ResourcePatternType: kmsg.ACLResourcePatternTypeAny, Operation: kmsg.ACLOperationAny, PermissionType: kmsg.ACLPermissionTypeAny}}
	try("delete any", remove)
	try("create nothing", kmsg.NewPtrCreateACLsRequest())
	try("delete nothing", kmsg.NewPtrDeleteACLsRequest())
}

func askDelegationTokens(s *session, version int16) {
	try := s.asker(version)
	try("create", kmsg.NewPtrCreateDelegationTokenRequest())
	try("describe", kmsg.NewPtrDescribeDelegationTokenRequest())
	if version <= 2 {
		try("renew", &kmsg.RenewDelegationTokenRequest{HMAC: []byte("x")})
		try("expire", &kmsg.ExpireDelegationTokenRequest{HMAC: []byte("x")})
	}
}

func askAlterReplicaLogDirs(s *session, version int16) {
	topic, try := s.create("topic", 1), s.asker(version)
	move := func(dir, name string, partitions ...int32) *kmsg.AlterReplicaLogDirsRequest {
		return &kmsg.AlterReplicaLogDirsRequest{Dirs: []kmsg.AlterReplicaLogDirsRequestDir{{Dir: dir, Topics: []kmsg.AlterReplicaLogDirsRequestDirTopic{{Topic: name, Partitions: partitions}}}}}
	}
	try("nothing", &kmsg.AlterReplicaLogDirsRequest{})
	try("to a directory that is not there", move("/nowhere", topic.name, 0))
	try("of an unknown topic", move("/nowhere", s.name("unknown"), 0))
	try("to a relative directory", move("nowhere", topic.name, 0))
}

func askDescribeLogDirs(s *session, version int16) {
	topic := s.create("topic", 2)
	s.produce("", 9, topic, newBatch(records(5, s.now)...).encode())
	look := func(label string, r *kmsg.DescribeLogDirsRequest) {
		s.t.Helper()
		answer := ask[*kmsg.DescribeLogDirsResponse](s, "", version, r)
		for i := range answer.Dirs {
			dir := &answer.Dirs[i]
			dir.Dir, dir.TotalBytes, dir.UsableBytes = fmt.Sprint(dir.Dir != ""), min(dir.TotalBytes, 0), min(dir.UsableBytes, 0)
			for j := range dir.Topics {
				for k := range dir.Topics[j].Partitions {
					dir.Topics[j].Partitions[k].Size = min(dir.Topics[j].Partitions[k].Size, 1)
				}
			}
		}
		s.note(versioned(r, version), label, s.symbols.flatten(answer))
	}
	of := func(name string, partitions ...int32) *kmsg.DescribeLogDirsRequest {
		return &kmsg.DescribeLogDirsRequest{Topics: []kmsg.DescribeLogDirsRequestTopic{{Topic: name, Partitions: partitions}}}
	}
	look("of a partition", of(topic.name, 0))
	look("of an empty partition", of(topic.name, 1))
	look("of an unknown partition", of(topic.name, 7))
	look("of an unknown topic", of(s.name("unknown"), 0))
	look("of no partition", of(topic.name))
	look("of nothing", &kmsg.DescribeLogDirsRequest{Topics: []kmsg.DescribeLogDirsRequestTopic{}})
}

func askElectLeaders(s *session, version int16) {
	topic, try := s.create("topic", 1), s.asker(version)
	elect := func(kind int8, name string, partitions ...int32) *kmsg.ElectLeadersRequest {
		r := kmsg.NewPtrElectLeadersRequest()
		r.ElectionType, r.TimeoutMillis, r.Topics = kind, 5000, []kmsg.ElectLeadersRequestTopic{{Topic: name, Partitions: partitions}}
		return r
	}
	try("preferred", elect(0, topic.name, 0))
	try("unknown partition", elect(0, topic.name, 5))
	try("unknown topic", elect(0, s.name("unknown"), 0))
	try("no partition", elect(0, topic.name))
	if version >= 1 {
		try("unclean", elect(1, topic.name, 0))
		try("of type 9", elect(9, topic.name, 0))
	}
}

func askReassignments(s *session, version int16) {
	topic, node := s.create("topic", 1), s.node()
	try := s.asker(version)
	move := func(name string, partition int32, replicas []int32) *kmsg.AlterPartitionAssignmentsRequest {
		r := kmsg.NewPtrAlterPartitionAssignmentsRequest()
		r.TimeoutMillis = 5000
		r.Topics = []kmsg.AlterPartitionAssignmentsRequestTopic{{Topic: name, Partitions: []kmsg.AlterPartitionAssignmentsRequestTopicPartition{{Partition: partition, Replicas: replicas}}}}
		return r
	}
	try("nothing", kmsg.NewPtrAlterPartitionAssignmentsRequest())
	try("to where it is", move(topic.name, 0, []int32{node}))
	try("to an unknown node", move(topic.name, 0, []int32{node + 1000}))
	try("to a node twice", move(topic.name, 0, []int32{node, node}))
	try("to nobody", move(topic.name, 0, []int32{}))
	try("cancelled", move(topic.name, 0, nil))
	try("unknown partition", move(topic.name, 5, []int32{node}))
	try("unknown topic", move(s.name("unknown"), 0, []int32{node}))
	if version == 0 {
		try("list all", kmsg.NewPtrListPartitionReassignmentsRequest())
		list := kmsg.NewPtrListPartitionReassignmentsRequest()
		list.Topics = []kmsg.ListPartitionReassignmentsRequestTopic{{Topic: topic.name, Partitions: []int32{0, 5}}, {Topic: s.name("unknown"), Partitions: []int32{0}}}
		try("list some", list)
	}
}

func askClientQuotas(s *session, version int16) {
	try := s.asker(version)
	alter := func(kind string, name *string, key string, value float64, remove bool) *kmsg.AlterClientQuotasRequest {
		return &kmsg.AlterClientQuotasRequest{Entries: []kmsg.AlterClientQuotasRequestEntry{{
			Entity: []kmsg.AlterClientQuotasRequestEntryEntity{{Type: kind, Name: name}}, Ops: []kmsg.AlterClientQuotasRequestEntryOp{{Key: key, Value: value, Remove: remove}},
		}}}
	}
	describe := func(kind string, match int8, name *string) *kmsg.DescribeClientQuotasRequest {
		return &kmsg.DescribeClientQuotasRequest{Components: []kmsg.DescribeClientQuotasRequestComponent{{EntityType: kind, MatchType: kmsg.QuotasMatchType(match), Match: name}}}
	}
	client := kmsg.StringPtr(s.name("client"))
	try("set", alter("client-id", client, "producer_byte_rate", 1e6, false))
	r := describe("client-id", 0, client)
	until(s, "described", version, r, func(r *kmsg.DescribeClientQuotasResponse) bool { return len(r.Entries) == 1 })
	try("unknown quota", alter("client-id", client, "no_such_rate", 1, false))
	try("negative", alter("client-id", client, "producer_byte_rate", -1, false))
	try("zero", alter("client-id", client, "producer_byte_rate", 0, false))
	try("a fraction", alter("client-id", client, "producer_byte_rate", 1.5, false))
	try("unknown entity", alter("tribe", client, "producer_byte_rate", 1, false))
	try("empty name", alter("client-id", kmsg.StringPtr(""), "producer_byte_rate", 1, false))
	try("removed", alter("client-id", client, "producer_byte_rate", 0, true))
	try("removed again", alter("client-id", client, "producer_byte_rate", 0, true))
	try("nothing", &kmsg.AlterClientQuotasRequest{})
	probe := alter("user", client, "consumer_byte_rate", 1000, false)
	probe.ValidateOnly = true
	try("validated only", probe)
	try("describe an unknown entity", describe("tribe", 0, client))
	try("describe of match type 9", describe("client-id", 9, client))
	try("describe what is not there", describe("user", 0, client))
	try("describe the default", describe("client-id", 1, nil))
	two := describe("client-id", 0, client)
	two.Components = append(two.Components, two.Components[0])
	try("describe an entity twice", two)
}

func askScramCredentials(s *session, version int16) {
	try := s.asker(version)
	try("of nobody", &kmsg.DescribeUserSCRAMCredentialsRequest{Users: []kmsg.DescribeUserSCRAMCredentialsRequestUser{{Name: s.name("nobody")}}})
	try("of nobody, twice", &kmsg.DescribeUserSCRAMCredentialsRequest{Users: []kmsg.DescribeUserSCRAMCredentialsRequestUser{{Name: s.name("nobody")}, {Name: s.name("nobody")}}})
	try("of all", &kmsg.DescribeUserSCRAMCredentialsRequest{})
	ask[kmsg.Response](s, "nothing altered", 0, &kmsg.AlterUserSCRAMCredentialsRequest{})
}

func askQuorum(s *session, version int16) {
	r := kmsg.NewPtrDescribeQuorumRequest()
	r.Topics = []kmsg.DescribeQuorumRequestTopic{{Topic: s.name("unknown"), Partitions: []kmsg.DescribeQuorumRequestTopicPartition{{}}}}
	ask[kmsg.Response](s, "of another topic", version, r)
	r.Topics[0].Topic = "__cluster_metadata"
	answer := ask[*kmsg.DescribeQuorumResponse](s, "", version, r)
	fields := map[string]string{"ErrorCode": codeName(answer.ErrorCode), "topics": fmt.Sprint(len(answer.Topics))}
	if len(answer.Topics) == 1 && len(answer.Topics[0].Partitions) == 1 {
		p := answer.Topics[0].Partitions[0]
		fields["partition"] = fmt.Sprint(codeName(p.ErrorCode), p.LeaderID > 0, p.HighWatermark >= 0, len(p.CurrentVoters) > 0)
	}
	s.note(versioned(r, version), "of the metadata", fields)
	r.Topics[0].Partitions[0].Partition = 3
	ask[kmsg.Response](s, "of another partition", version, r)
}

func askFeatures(s *session, version int16) {
	try := s.asker(version)
	update := func(feature string, level int16) *kmsg.UpdateFeaturesRequest {
		r := kmsg.NewPtrUpdateFeaturesRequest()
		r.TimeoutMillis = 5000
		r.FeatureUpdates = []kmsg.UpdateFeaturesRequestFeatureUpdate{{Feature: feature, MaxVersionLevel: level, UpgradeType: 1}}
		return r
	}
	try("nothing", kmsg.NewPtrUpdateFeaturesRequest())
	try("unknown feature", update("no.such", 1))
	try("a level that is not there", update("metadata.version", 999))
	try("a negative level", update("metadata.version", -1))
}

func askUnregisterBroker(s *session, version int16) {
	s.asker(version)("one that is not there", &kmsg.UnregisterBrokerRequest{BrokerID: 4711})
}

func askDescribeProducers(s *session, version int16) {
	topic, try := s.create("topic", 2), s.asker(version)
	of := func(name string, partitions ...int32) *kmsg.DescribeProducersRequest {
		return &kmsg.DescribeProducersRequest{Topics: []kmsg.DescribeProducersRequestTopic{{Topic: name, Partitions: partitions}}}
	}
	try("nothing", &kmsg.DescribeProducersRequest{})
	try("none", of(topic.name, 0, 1))
	try("unknown partition", of(topic.name, 5))
	try("unknown topic", of(s.name("unknown"), 0))
	try("invalid topic name", of("a b", 0))
	try("no partition", of(topic.name))
}

func askDescribeTransactions(s *session, version int16) {
	s.warmTransactions("tx")
	try := s.asker(version)
	try("nothing", &kmsg.DescribeTransactionsRequest{})
	try("of nobody", &kmsg.DescribeTransactionsRequest{TransactionalIDs: []string{s.name("nobody")}})
	try("without an id", &kmsg.DescribeTransactionsRequest{TransactionalIDs: []string{""}})
	try("of nobody twice", &kmsg.DescribeTransactionsRequest{TransactionalIDs: []string{s.name("nobody"), s.name("nobody")}})
}

func askListTransactions(s *session, version int16) {
	s.warmTransactions("tx")
	try := s.asker(version)
	r := kmsg.NewPtrListTransactionsRequest()
	r.ProducerIDFilters = []int64{987654321}
	try("of a producer that is not there", r)
	r = kmsg.NewPtrListTransactionsRequest()
	r.StateFilters = []string{"Sleeping"}
	try("in an unknown state", r)
	r.StateFilters = []string{"Sleeping", "PrepareAbort"}
	try("in two states, one unknown", r)
}

func askListConfigResources(s *session, version int16) {
	try := s.asker(version)
	if version == 0 {
		try("client metrics", kmsg.NewPtrListConfigResourcesRequest())
		return
	}
	for _, kind := range []int8{8, 16, 32, 0, 1, 99, -1} {
		r := kmsg.NewPtrListConfigResourcesRequest()
		r.ResourceTypes = []int8{kind}
		answer := ask[*kmsg.ListConfigResourcesResponse](s, "", version, r)
		s.note(versioned(r, version), fmt.Sprintf("type %d", kind), map[string]string{"ErrorCode": codeName(answer.ErrorCode), "some": fmt.Sprint(len(answer.ConfigResources) > 0)})
	}
}

func askDescribeTopicPartitions(s *session, version int16) {
	first, second := s.create("first", 3), s.create("second", 2)
	try := s.asker(version)
	of := func(limit int32, names ...string) *kmsg.DescribeTopicPartitionsRequest {
		r := kmsg.NewPtrDescribeTopicPartitionsRequest()
		r.ResponsePartitionLimit = limit
		for _, name := range names {
			r.Topics = append(r.Topics, kmsg.DescribeTopicPartitionsRequestTopic{Topic: name})
		}
		return r
	}
	try("two", of(100, first.name, second.name))
	try("two, in another order", of(100, second.name, first.name))
	try("twice", of(100, first.name, first.name))
	try("unknown", of(100, s.name("unknown")))
	try("invalid name", of(100, "a b"))
	try("without a name", of(100, ""))
	for _, limit := range []int32{1, 3, 4, 0, -1} {
		try(fmt.Sprintf("limit %d", limit), of(limit, first.name, second.name))
	}
	from := of(100, first.name, second.name)
	from.Cursor = &kmsg.DescribeTopicPartitionsRequestCursor{Topic: first.name, Partition: 1}
	try("from a partition on", from)
	from.Cursor = &kmsg.DescribeTopicPartitionsRequestCursor{Topic: second.name, Partition: 0}
	try("from a topic on", from)
	from.Cursor = &kmsg.DescribeTopicPartitionsRequestCursor{Topic: first.name, Partition: 9}
	try("from a partition that is not there", from)
	from.Cursor = &kmsg.DescribeTopicPartitionsRequestCursor{Topic: first.name, Partition: -1}
	try("from partition -1", from)
}

func askVoters(s *session, version int16) {
	try := s.asker(version)
	add := kmsg.NewPtrAddRaftVoterRequest()
	add.VoterID, add.VoterDirectoryID = 3000, [16]byte{1}
	add.Listeners = []kmsg.AddRaftVoterRequestListener{{Name: "CONTROLLER", Host: "127.0.0.1", Port: 1}}
	try("one more", add)
	add.ClusterID = kmsg.StringPtr("another")
	try("of another cluster", add)
	remove := kmsg.NewPtrRemoveRaftVoterRequest()
	remove.VoterID, remove.VoterDirectoryID = 3000, [16]byte{1}
	ask[kmsg.Response](s, "one less", 0, remove)
	remove.ClusterID = kmsg.StringPtr("another")
	ask[kmsg.Response](s, "of another cluster", 0, remove)
}
