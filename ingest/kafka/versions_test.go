package kafka

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// fill gives a request what a client would say.
func fill(request kmsg.Request, topic string, id [16]byte) kmsg.Request {
	version := request.GetVersion()
	switch r := request.(type) {
	case *kmsg.ProduceRequest:
		return produceRequestOf(version, topic, id, testBatch("one"), testBatch("two", "three"))
	case *kmsg.FetchRequest:
		f := fetchRequestOf(version, topic, id, 0, 1)
		f.IsolationLevel = int8(version % 2)
		return f
	case *kmsg.ListOffsetsRequest:
		r.TimeoutMillis = 1000
		timestamps := []int64{1}
		for timestamp, since := range timestampSince {
			if version >= since {
				timestamps = append(timestamps, timestamp)
			}
		}
		for _, timestamp := range timestamps { // a partition may stand only once under its topic
			p := kmsg.ListOffsetsRequestTopicPartition{CurrentLeaderEpoch: -1, Timestamp: timestamp}
			r.Topics = append(r.Topics, kmsg.ListOffsetsRequestTopic{Topic: topic, Partitions: []kmsg.ListOffsetsRequestTopicPartition{p}})
		}
	case *kmsg.MetadataRequest:
		r.Topics = []kmsg.MetadataRequestTopic{{Topic: &topic}}
		r.IncludeTopicAuthorizedOperations, r.IncludeClusterAuthorizedOperations = true, true
	case *kmsg.OffsetCommitRequest:
		r.Group, r.Generation = "offsets", -1
		r.Topics = []kmsg.OffsetCommitRequestTopic{{Topic: topic, TopicID: id, Partitions: []kmsg.OffsetCommitRequestTopicPartition{
			{Offset: 7, LeaderEpoch: -1, Metadata: kmsg.StringPtr("seven")},
		}}}
	case *kmsg.OffsetFetchRequest:
		r.Group, r.Topics = "offsets", []kmsg.OffsetFetchRequestTopic{{Topic: topic, Partitions: []int32{0, 1}}}
		r.Groups = []kmsg.OffsetFetchRequestGroup{
			{Group: "offsets", MemberEpoch: -1, Topics: []kmsg.OffsetFetchRequestGroupTopic{{Topic: topic, TopicID: id, Partitions: []int32{0, 1}}}},
			{Group: "offsets", MemberEpoch: -1},
			{Group: "nobody", MemberEpoch: -1},
		}
	case *kmsg.FindCoordinatorRequest:
		r.CoordinatorKey, r.CoordinatorKeys = "g", []string{"g", "h"}
	case *kmsg.JoinGroupRequest:
		r.Group, r.SessionTimeoutMillis, r.RebalanceTimeoutMillis, r.ProtocolType = "joined", 10_000, 10_000, "consumer"
		r.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range", Metadata: []byte("m")}}
		r.InstanceID = kmsg.StringPtr("static")
		if r.Group += string(rune('a' + version)); version < 5 {
			r.InstanceID = nil
		}
	case *kmsg.HeartbeatRequest:
		r.Group, r.MemberID = "joined", "nobody"
	case *kmsg.LeaveGroupRequest:
		r.Group, r.MemberID = "joined", "nobody"
		r.Members = []kmsg.LeaveGroupRequestMember{{MemberID: "nobody"}}
	case *kmsg.SyncGroupRequest:
		r.Group, r.MemberID, r.ProtocolType, r.Protocol = "joined", "nobody", kmsg.StringPtr("consumer"), kmsg.StringPtr("range")
	case *kmsg.DescribeGroupsRequest:
		r.Groups, r.IncludeAuthorizedOperations = []string{"joinedi", "offsets"}, true
	case *kmsg.ApiVersionsRequest:
		r.ClientSoftwareName, r.ClientSoftwareVersion = "test", "1.0"
	case *kmsg.CreateTopicsRequest:
		r.TimeoutMillis = 1000
		t := kmsg.NewCreateTopicsRequestTopic()
		t.Topic, t.NumPartitions, t.ReplicationFactor = "created-"+string(rune('a'+version)), 2, 3
		r.Topics = append(r.Topics, t)
	case *kmsg.DeleteTopicsRequest:
		doomed := "doomed-" + string(rune('a'+version))
		r.TimeoutMillis, r.TopicNames, r.Topics = 1000, []string{doomed}, []kmsg.DeleteTopicsRequestTopic{{Topic: &doomed}}
	case *kmsg.DescribeConfigsRequest:
		r.Resources = []kmsg.DescribeConfigsRequestResource{
			{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: topic}, {ResourceType: kmsg.ConfigResourceTypeBroker, ResourceName: "1"},
		}
		r.IncludeSynonyms, r.IncludeDocumentation = true, true
	case *kmsg.AlterConfigsRequest:
		r.Resources = []kmsg.AlterConfigsRequestResource{{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: topic, Configs: []kmsg.AlterConfigsRequestResourceConfig{
			{Name: "retention.ms", Value: kmsg.StringPtr("1000000")},
		}}}
	case *kmsg.IncrementalAlterConfigsRequest:
		r.Resources = []kmsg.IncrementalAlterConfigsRequestResource{{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: topic, Configs: []kmsg.IncrementalAlterConfigsRequestResourceConfig{
			{Name: "retention.ms", Value: kmsg.StringPtr("2000000")}, {Name: "cleanup.policy", Value: kmsg.StringPtr("delete"), Op: kmsg.IncrementalAlterConfigOpAppend},
		}}}
	case *kmsg.CreatePartitionsRequest:
		r.TimeoutMillis = 1000
		r.Topics = []kmsg.CreatePartitionsRequestTopic{{Topic: "growing", Count: int32(version) + 2}}
	case *kmsg.DeleteGroupsRequest:
		r.Groups = []string{"gone-" + string(rune('a'+version))}
	case *kmsg.AddPartitionsToTxnRequest:
		r.TransactionalID, r.Topics = "nobody", []kmsg.AddPartitionsToTxnRequestTopic{{Topic: topic, Partitions: []int32{0, 1}}}
		r.Transactions = []kmsg.AddPartitionsToTxnRequestTransaction{{TransactionalID: "nobody", VerifyOnly: true, Topics: []kmsg.AddPartitionsToTxnRequestTransactionTopic{
			{Topic: topic, Partitions: []int32{0, 1}},
		}}}
	case *kmsg.AddOffsetsToTxnRequest:
		r.TransactionalID, r.Group = "nobody", "g"
	case *kmsg.EndTxnRequest:
		r.TransactionalID = "nobody"
	case *kmsg.WriteTxnMarkersRequest:
		r.Markers = []kmsg.WriteTxnMarkersRequestMarker{{ProducerID: 77, Topics: []kmsg.WriteTxnMarkersRequestMarkerTopic{{Topic: topic, Partitions: []int32{0}}}}}
	case *kmsg.TxnOffsetCommitRequest:
		r.TransactionalID, r.Group, r.Generation = "nobody", "g", -1
		r.Topics = []kmsg.TxnOffsetCommitRequestTopic{{Topic: topic, Partitions: []kmsg.TxnOffsetCommitRequestTopicPartition{{Offset: 7}}}}
	case *kmsg.DescribeProducersRequest:
		r.Topics = []kmsg.DescribeProducersRequestTopic{{Topic: topic, Partitions: []int32{0}}}
	case *kmsg.DescribeTransactionsRequest:
		r.TransactionalIDs = []string{"nobody"}
	case *kmsg.OffsetDeleteRequest:
		r.Group, r.Topics = "offsets", []kmsg.OffsetDeleteRequestTopic{{Topic: topic, Partitions: []kmsg.OffsetDeleteRequestTopicPartition{{Partition: 1}}}}
	case *kmsg.ConsumerGroupHeartbeatRequest:
		r.Group, r.MemberID, r.RebalanceTimeoutMillis, r.SubscribedTopicNames = "modern"+string(rune('a'+version)), "member", 10_000, []string{topic}
		r.Topics = []kmsg.ConsumerGroupHeartbeatRequestTopic{}
	case *kmsg.ConsumerGroupDescribeRequest:
		r.Groups, r.IncludeAuthorizedOperations = []string{"modern" + string(rune('a'+version))}, true
	case *kmsg.StreamsGroupHeartbeatRequest:
		r.Group, r.MemberID, r.RebalanceTimeoutMillis, r.ProcessID = "application", "member", 10_000, kmsg.StringPtr("process")
		r.ActiveTasks, r.StandbyTasks, r.WarmupTasks = []kmsg.TaskIDs{}, []kmsg.TaskIDs{}, []kmsg.TaskIDs{}
		subtopology := kmsg.NewStreamsGroupHeartbeatRequestTopologySubtopology()
		subtopology.SubtopologyID, subtopology.SourceTopics = "0", []string{topic}
		r.Topology = &kmsg.StreamsGroupHeartbeatRequestTopology{Subtopologies: []kmsg.StreamsGroupHeartbeatRequestTopologySubtopology{subtopology}}
	case *kmsg.StreamsGroupDescribeRequest:
		r.Groups, r.IncludeAuthorizedOperations = []string{"application"}, true
	case *kmsg.DescribeClusterRequest:
		r.EndpointType, r.IncludeClusterAuthorizedOperations = 1, true
	default:
		fillAdmin(request, topic)
		fillShare(request, topic, id)
	}
	return request
}

// expectedCodes are those the requests of fill are meant to get.
var expectedCodes = map[int16][]int16{
	11: {kerr.MemberIDRequired.Code}, 12: {kerr.UnknownMemberID.Code}, 13: {kerr.UnknownMemberID.Code}, 14: {kerr.UnknownMemberID.Code},
	42: {kerr.GroupIDNotFound.Code}, 24: {kerr.InvalidProducerIDMapping.Code}, 25: {kerr.InvalidProducerIDMapping.Code},
	26: {kerr.InvalidProducerIDMapping.Code}, 28: {kerr.InvalidProducerIDMapping.Code}, 65: {kerr.TransactionalIDNotFound.Code},
}

// errorCodes collects every error code in an answer.
func errorCodes(v reflect.Value) (codes []int16) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			codes = errorCodes(v.Elem())
		}
	case reflect.Slice:
		for i := range v.Len() {
			codes = append(codes, errorCodes(v.Index(i))...)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).Name == "ErrorCode" {
				codes = append(codes, int16(v.Field(i).Int()))
			} else if v.Type().Field(i).IsExported() {
				codes = append(codes, errorCodes(v.Field(i))...)
			}
		}
	}
	return codes
}

func TestEveryVersionOfEveryAPI(t *testing.T) {
	c := newCluster(t)
	s, addr := start(t, c, Config{Logger: quiet})
	id := c.createTopic(t, "topic", 2)
	c.createTopic(t, "growing", 1)
	for version := range 10 {
		c.createTopic(t, "doomed-"+string(rune('a'+version)), 1)
	}
	client := dial(t, addr)
	for _, api := range s.apis.list {
		for version := api.min; version <= api.max; version++ {
			request := kmsg.RequestForKey(api.key)
			request.SetVersion(version)
			if d, ok := request.(interface{ Default() }); ok {
				d.Default()
			}
			response := client.request(fill(request, "topic", id))
			for _, code := range errorCodes(reflect.ValueOf(response)) {
				if code != 0 && !slices.Contains(slices.Concat(expectedCodes[api.key], expectedAdminCodes[api.key], expectedShareCodes[api.key]), code) {
					t.Errorf("%s v%d: %v", api.name, version, kerr.ErrorForCode(code))
				}
			}
		}
	}
}

func TestAPITableMatchesKmsg(t *testing.T) {
	for _, api := range newApis().list {
		request := kmsg.RequestForKey(api.key)
		if api.max > request.MaxVersion() || api.min > api.max {
			t.Errorf("%s: versions %d to %d, kmsg knows up to %d", api.name, api.min, api.max, request.MaxVersion())
		}
		handlers := 0
		for _, set := range []bool{api.begin != nil, api.answer != nil, api.later != nil, api.handle != nil} {
			if set {
				handlers++
			}
		}
		if handlers != 1 {
			t.Errorf("%s has %d handlers", api.name, handlers)
		}
		if got := kmsg.NameForKey(api.key); !strings.EqualFold(got, api.name) && api.key != 22 && api.key != 45 {
			t.Errorf("key %d is %s, not %s", api.key, got, api.name)
		}
	}
}
