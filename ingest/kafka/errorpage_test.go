package kafka

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/coordinator/meta"
)

var updateErrors = flag.Bool("update-docs", false, "write docs/errors.md anew")

// errorCase is a row of docs/errors.md: a request that gets an error.
type errorCase struct {
	when    string
	request kmsg.Request
	want    *kerr.Error
}

func topicPartitionRequests() []errorCase {
	name := kmsg.StringPtr
	return []errorCase{
		{"the topic is not there", &kmsg.DeleteRecordsRequest{Version: 2, TimeoutMillis: 1000, Topics: []kmsg.DeleteRecordsRequestTopic{{Topic: "none", Partitions: []kmsg.DeleteRecordsRequestTopicPartition{{}}}}}, kerr.UnknownTopicOrPartition},
		{"the offset is above the high watermark", &kmsg.DeleteRecordsRequest{Version: 2, TimeoutMillis: 1000, Topics: []kmsg.DeleteRecordsRequestTopic{{Topic: "topic", Partitions: []kmsg.DeleteRecordsRequestTopicPartition{{Offset: 9}}}}}, kerr.OffsetOutOfRange},
		{"the partition is not there", &kmsg.OffsetForLeaderEpochRequest{Version: 4, Topics: []kmsg.OffsetForLeaderEpochRequestTopic{{Topic: "topic", Partitions: []kmsg.OffsetForLeaderEpochRequestTopicPartition{{Partition: 9, CurrentLeaderEpoch: -1}}}}}, kerr.UnknownTopicOrPartition},
		{"the client believes in a later epoch", &kmsg.OffsetForLeaderEpochRequest{Version: 4, Topics: []kmsg.OffsetForLeaderEpochRequestTopic{{Topic: "topic", Partitions: []kmsg.OffsetForLeaderEpochRequestTopicPartition{{CurrentLeaderEpoch: 9}}}}}, kerr.UnknownLeaderEpoch},
		{"the directory is not the node's", &kmsg.AlterReplicaLogDirsRequest{Version: 2, Dirs: []kmsg.AlterReplicaLogDirsRequestDir{{Dir: "/none", Topics: []kmsg.AlterReplicaLogDirsRequestDirTopic{{Topic: "topic", Partitions: []int32{0}}}}}}, kerr.LogDirNotFound},
		{"always, for a partition that is there", &kmsg.ElectLeadersRequest{Version: 2, Topics: []kmsg.ElectLeadersRequestTopic{{Topic: "topic", Partitions: []int32{0}}}}, kerr.ElectionNotNeeded},
		{"the topic is not there", &kmsg.ElectLeadersRequest{Version: 2, Topics: []kmsg.ElectLeadersRequestTopic{{Topic: "none", Partitions: []int32{0}}}}, kerr.UnknownTopicOrPartition},
		{"a node that is not there", &kmsg.AlterPartitionAssignmentsRequest{Topics: []kmsg.AlterPartitionAssignmentsRequestTopic{{Topic: "topic", Partitions: []kmsg.AlterPartitionAssignmentsRequestTopicPartition{{Replicas: []int32{9}}}}}}, kerr.InvalidReplicaAssignment},
		{"a cancellation", &kmsg.AlterPartitionAssignmentsRequest{Topics: []kmsg.AlterPartitionAssignmentsRequestTopic{{Topic: "topic", Partitions: []kmsg.AlterPartitionAssignmentsRequestTopicPartition{{}}}}}, kerr.NoReassignmentInProgress},
		{"the topic is not there", &kmsg.DescribeTopicPartitionsRequest{ResponsePartitionLimit: 1, Topics: []kmsg.DescribeTopicPartitionsRequestTopic{{Topic: "none"}}}, kerr.UnknownTopicOrPartition},
		{"the name cannot be a topic's", &kmsg.DescribeTopicPartitionsRequest{ResponsePartitionLimit: 1, Topics: []kmsg.DescribeTopicPartitionsRequestTopic{{Topic: "no name"}}}, kerr.InvalidTopicException},
		{"the name is taken", &kmsg.CreateTopicsRequest{Version: 7, TimeoutMillis: 1000, Topics: []kmsg.CreateTopicsRequestTopic{{Topic: "topic", NumPartitions: 1, ReplicationFactor: 1}}}, kerr.TopicAlreadyExists},
		{"no partitions", &kmsg.CreateTopicsRequest{Version: 7, TimeoutMillis: 1000, Topics: []kmsg.CreateTopicsRequestTopic{{Topic: "new", ReplicationFactor: 1}}}, kerr.InvalidPartitions},
		{"the topic is not there", &kmsg.DeleteTopicsRequest{Version: 6, TimeoutMillis: 1000, Topics: []kmsg.DeleteTopicsRequestTopic{{Topic: name("none")}}}, kerr.UnknownTopicOrPartition},
		{"the id is nobody's", &kmsg.DeleteTopicsRequest{Version: 6, TimeoutMillis: 1000, Topics: []kmsg.DeleteTopicsRequestTopic{{TopicID: [16]byte{9}}}}, kerr.UnknownTopicID},
		{"fewer partitions than there are", &kmsg.CreatePartitionsRequest{Version: 3, TimeoutMillis: 1000, Topics: []kmsg.CreatePartitionsRequestTopic{{Topic: "topic", Count: 1}}}, kerr.InvalidPartitions},
	}
}

func clusterRequests() []errorCase {
	text := kmsg.StringPtr
	alter := func(kind kmsg.ConfigResourceType, resource, setting, value string) *kmsg.IncrementalAlterConfigsRequest {
		return &kmsg.IncrementalAlterConfigsRequest{Version: 1, Resources: []kmsg.IncrementalAlterConfigsRequestResource{{
			ResourceType: kind, ResourceName: resource, Configs: []kmsg.IncrementalAlterConfigsRequestResourceConfig{{Name: setting, Value: text(value)}},
		}}}
	}
	return []errorCase{
		{"the topic is not there", alter(kmsg.ConfigResourceTypeTopic, "none", "retention.ms", "1"), kerr.UnknownTopicOrPartition},
		{"a value that cannot be, or that Varve does not honour", alter(kmsg.ConfigResourceTypeTopic, "topic", "remote.storage.enable", "false"), kerr.InvalidConfig},
		{"a setting that means nothing here", alter(kmsg.ConfigResourceTypeBroker, "", "num.io.threads", "9"), kerr.InvalidRequest},
		{"a node that is not there", alter(kmsg.ConfigResourceTypeBroker, "9", "max.connections", "9"), kerr.InvalidRequest},
		{"the topic is not there", &kmsg.DescribeConfigsRequest{Version: 4, Resources: []kmsg.DescribeConfigsRequestResource{{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: "none"}}}, kerr.UnknownTopicOrPartition},
		{"always", &kmsg.SASLHandshakeRequest{Version: 1}, kerr.IllegalSaslState},
		{"always", &kmsg.SASLAuthenticateRequest{Version: 2}, kerr.IllegalSaslState},
		{"always", &kmsg.DescribeACLsRequest{Version: 3}, kerr.SecurityDisabled},
		{"always", &kmsg.CreateACLsRequest{Version: 3, Creations: []kmsg.CreateACLsRequestCreation{{}}}, kerr.SecurityDisabled},
		{"always", &kmsg.DeleteACLsRequest{Version: 3, Filters: []kmsg.DeleteACLsRequestFilter{{}}}, kerr.SecurityDisabled},
		{"always", &kmsg.CreateDelegationTokenRequest{Version: 3}, kerr.DelegationTokenRequestNotAllowed},
		{"always", &kmsg.RenewDelegationTokenRequest{Version: 2}, kerr.DelegationTokenRequestNotAllowed},
		{"always", &kmsg.ExpireDelegationTokenRequest{Version: 2}, kerr.DelegationTokenRequestNotAllowed},
		{"always", &kmsg.DescribeDelegationTokenRequest{Version: 3}, kerr.DelegationTokenRequestNotAllowed},
		{"a user is named", &kmsg.DescribeUserSCRAMCredentialsRequest{Users: []kmsg.DescribeUserSCRAMCredentialsRequestUser{{Name: "alice"}}}, kerr.ResourceNotFound},
		{"always", &kmsg.AlterUserSCRAMCredentialsRequest{Deletions: []kmsg.AlterUserSCRAMCredentialsRequestDeletion{{Name: "alice"}}}, kerr.SecurityDisabled},
		{"an unknown quota, or a value it cannot have", &kmsg.AlterClientQuotasRequest{Version: 1, Entries: []kmsg.AlterClientQuotasRequestEntry{{
			Entity: []kmsg.AlterClientQuotasRequestEntryEntity{{Type: "user"}}, Ops: []kmsg.AlterClientQuotasRequestEntryOp{{Key: meta.ProducerByteRate}}}}}, kerr.InvalidRequest},
		{"an entity of a type that is not known", &kmsg.DescribeClientQuotasRequest{Version: 1, Components: []kmsg.DescribeClientQuotasRequestComponent{{EntityType: "group", MatchType: 2}}}, kerr.UnsupportedVersion},
		{"another topic than __cluster_metadata", &kmsg.DescribeQuorumRequest{Version: 2, Topics: []kmsg.DescribeQuorumRequestTopic{{Topic: "topic", Partitions: []kmsg.DescribeQuorumRequestTopicPartition{{}}}}}, kerr.UnknownTopicOrPartition},
		{"another level than the one in force", &kmsg.UpdateFeaturesRequest{Version: 2, FeatureUpdates: []kmsg.UpdateFeaturesRequestFeatureUpdate{{Feature: "metadata.version", MaxVersionLevel: 20, UpgradeType: 2}}}, kerr.InvalidUpdateVersion},
		{"no client instance id", &kmsg.PushTelemetryRequest{}, kerr.InvalidRequest},
		{"another subscription", &kmsg.PushTelemetryRequest{ClientInstanceID: [16]byte{1}, SubscriptionID: 1}, kerr.UnknownSubscriptionID},
		{"an unknown type of resource", &kmsg.ListConfigResourcesRequest{Version: 1, ResourceTypes: []int8{99}}, kerr.UnsupportedVersion},
	}
}

// errorPlace is an error code in an answer, and where it stands.
type errorPlace struct {
	path string
	code int16
}

func errorPlaces(v reflect.Value, path string) (places []errorPlace) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			places = errorPlaces(v.Elem(), path)
		}
	case reflect.Slice:
		for i := range v.Len() {
			places = append(places, errorPlaces(v.Index(i), path+"[]")...)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			switch field := v.Type().Field(i); {
			case field.Name == "ErrorCode":
				places = append(places, errorPlace{strings.TrimPrefix(path+".ErrorCode", "."), int16(v.Field(i).Int())})
			case field.IsExported() && field.Name != "UnknownTags":
				places = append(places, errorPlaces(v.Field(i), path+"."+field.Name)...)
			}
		}
	}
	return places
}

// TestErrorPage holds docs/errors.md to what is answered. Run with -update-docs to write it anew.
func TestErrorPage(t *testing.T) {
	c := newCluster(t)
	_, addr := start(t, c, Config{Logger: quiet})
	id := c.createTopic(t, "topic", 1)
	client := dial(t, addr)
	client.request(&kmsg.ConsumerGroupHeartbeatRequest{Version: 1, Group: "modern", MemberID: "member", RebalanceTimeoutMillis: 1000, SubscribedTopicNames: []string{"topic"}, Topics: []kmsg.ConsumerGroupHeartbeatRequestTopic{}})
	cases := slices.Concat(recordRequests(id), groupRequests(id), transactionRequests(), topicPartitionRequests(), clusterRequests())
	slices.SortStableFunc(cases, func(x, y errorCase) int { return int(x.request.Key()) - int(y.request.Key()) })
	var page bytes.Buffer
	page.WriteString("# Errors by API\n\nGenerated by a test that makes each of these requests. Where: the field of the answer, [] for one element of a list. Retriable is what clients do by themselves.\n\n" +
		"| key | API | when | where | error | code | retriable |\n|---|---|---|---|---|---|---|\n")
	apis, told := newApis(), map[int16]bool{}
	for _, e := range cases {
		api := apis.lookup(e.request.Key())
		told[api.key] = true
		places := errorPlaces(reflect.ValueOf(client.request(e.request)), "")
		at := slices.IndexFunc(places, func(p errorPlace) bool { return p.code == e.want.Code })
		if at < 0 {
			t.Errorf("%s, %s: %v, want %v", api.name, e.when, places, e.want)
			continue
		}
		fmt.Fprintf(&page, "| %d | %s | %s | %s | %s | %d | %s |\n", api.key, api.name, e.when, places[at].path, e.want.Message, e.want.Code, map[bool]string{true: "yes", false: "no"}[e.want.Retriable])
	}
	page.WriteString("\nNo error of their own, as they tell of what there is:\n\n")
	for _, api := range apis.list {
		switch why, never := neverFails[api.key]; {
		case told[api.key] == never:
			t.Errorf("%s (key %d) must have a row, or a reason for none", api.name, api.key)
		case never:
			fmt.Fprintf(&page, "- %s (%d): %s\n", api.name, api.key, why)
		}
	}
	path := filepath.Join("..", "..", "docs", "errors.md")
	if *updateErrors {
		if err := os.WriteFile(path, page.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, page.Bytes()) {
		t.Error("docs/errors.md is not what is answered: go test ./ingest/kafka -run TestErrorPage -update-docs")
	}
}
