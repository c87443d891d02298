package kafka

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/coordinator/meta"
)

func TestAdministration(t *testing.T) {
	ctx, c := testContext(t), newCluster(t)
	_, addr := start(t, c, Config{})
	admin := kadm.NewClient(newClient(t, addr))

	created, err := admin.CreateTopics(ctx, 3, -1, map[string]*string{"retention.ms": kadm.StringPtr("60000")}, "a", "b")
	if err != nil || created["a"].Err != nil || created["b"].NumPartitions != 3 {
		t.Fatalf("create topics: %v, %+v", err, created)
	}
	if _, err := admin.CreateTopic(ctx, 1, 1, nil, "a"); !errors.Is(err, kerr.TopicAlreadyExists) {
		t.Errorf("create a again: %v", err)
	}
	topics, err := admin.ListTopics(ctx)
	if err != nil || !slices.Equal(topics.Names(), []string{"a", "b"}) || len(topics["a"].Partitions) != 3 || topics["a"].ID == (kadm.TopicID{}) {
		t.Errorf("list topics: %v, %+v", err, topics)
	}
	grown, err := admin.UpdatePartitions(ctx, 5, "a")
	if err != nil || grown["a"].Err != nil {
		t.Errorf("grow a: %v, %+v", err, grown)
	}
	if grown, err = admin.UpdatePartitions(ctx, 4, "a"); err != nil || !errors.Is(grown["a"].Err, kerr.InvalidPartitions) {
		t.Errorf("shrink a: %v, %+v", err, grown)
	}

	altered, err := admin.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "retention.bytes", Value: kadm.StringPtr("1000")}}, "a")
	if err != nil || altered[0].Err != nil {
		t.Errorf("alter a: %v, %+v", err, altered)
	}
	altered, err = admin.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "no.such.config", Value: kadm.StringPtr("1000")}}, "a")
	if err != nil || !errors.Is(altered[0].Err, kerr.InvalidConfig) {
		t.Errorf("alter what is not there: %v, %+v", err, altered)
	}
	configs, err := admin.DescribeTopicConfigs(ctx, "a", "c")
	if err != nil || len(configs) != 2 {
		t.Fatalf("describe configs: %v, %+v", err, configs)
	}
	got := map[string]string{}
	for _, config := range configs[0].Configs {
		got[config.Key] = config.MaybeValue()
	}
	if got["retention.ms"] != "60000" || got["retention.bytes"] != "1000" || got["varve.durability"] != "local" {
		t.Errorf("configs of a: %v", got)
	}
	if !errors.Is(configs[1].Err, kerr.UnknownTopicOrPartition) {
		t.Errorf("configs of c: %v", configs[1].Err)
	}
	if brokers, err := admin.DescribeBrokerConfigs(ctx, 1); err != nil || len(brokers) != 1 || len(brokers[0].Configs) == 0 {
		t.Errorf("configs of broker 1: %v, %+v", err, brokers)
	}

	deleted, err := admin.DeleteTopics(ctx, "b", "c")
	if err != nil || deleted["b"].Err != nil || !errors.Is(deleted["c"].Err, kerr.UnknownTopicOrPartition) {
		t.Errorf("delete topics: %v, %+v", err, deleted)
	}
	cluster, err := admin.BrokerMetadata(ctx)
	if err != nil || cluster.Cluster != "test-cluster" || len(cluster.Brokers) != 1 {
		t.Errorf("cluster: %v, %+v", err, cluster)
	}
	if got := fmt.Sprintf("%s:%d", cluster.Brokers[0].Host, cluster.Brokers[0].Port); got != addr {
		t.Errorf("broker at %s, not %s", got, addr)
	}
}

// createTopics sends one CreateTopics request and returns its answer.
func createTopics(client *rawClient, validateOnly bool, topics ...kmsg.CreateTopicsRequestTopic) []kmsg.CreateTopicsResponseTopic {
	client.t.Helper()
	r := kmsg.NewPtrCreateTopicsRequest()
	r.Version, r.TimeoutMillis, r.ValidateOnly, r.Topics = 7, 5000, validateOnly, topics
	return client.request(r).(*kmsg.CreateTopicsResponse).Topics
}

func TestCreateTopics(t *testing.T) {
	replicas := func(lists ...[]int32) (a []kmsg.CreateTopicsRequestTopicReplicaAssignment) {
		for i, list := range lists {
			a = append(a, kmsg.CreateTopicsRequestTopicReplicaAssignment{Partition: int32(i), Replicas: list})
		}
		return a
	}
	gap := replicas([]int32{1}, []int32{1})
	gap[1].Partition = 2
	config := func(name string, value *string) []kmsg.CreateTopicsRequestTopicConfig {
		return []kmsg.CreateTopicsRequestTopicConfig{{Name: name, Value: value}}
	}
	for _, test := range []struct {
		name  string
		topic kmsg.CreateTopicsRequestTopic
		want  *kerr.Error
	}{
		{"plain", kmsg.CreateTopicsRequestTopic{Topic: "t", NumPartitions: 1, ReplicationFactor: 1}, nil},
		{"defaults", kmsg.CreateTopicsRequestTopic{Topic: "t", NumPartitions: -1, ReplicationFactor: -1}, nil},
		{"three replicas", kmsg.CreateTopicsRequestTopic{Topic: "t", NumPartitions: 1, ReplicationFactor: 3}, nil},
		{"an assignment", kmsg.CreateTopicsRequestTopic{Topic: "t", NumPartitions: -1, ReplicationFactor: -1, ReplicaAssignment: replicas([]int32{1}, []int32{1})}, nil},
		{"an assignment to a node that is not there", kmsg.CreateTopicsRequestTopic{Topic: "t", NumPartitions: -1, ReplicationFactor: -1, ReplicaAssignment: replicas([]int32{1, 2})}, kerr.InvalidReplicaAssignment},
		{"more copies than a node has", kmsg.CreateTopicsRequestTopic{Topic: "t", NumPartitions: 1, ReplicationFactor: 1, Configs: config("min.insync.replicas", kmsg.StringPtr("2"))}, nil},
		{"a class", kmsg.CreateTopicsRequestTopic{Topic: "t", NumPartitions: 1, ReplicationFactor: 1, Configs: config("varve.durability", kmsg.StringPtr("object"))}, nil},
		{"no partitions", kmsg.CreateTopicsRequestTopic{Topic: "t", ReplicationFactor: 1}, kerr.InvalidPartitions},
		{"no replicas", kmsg.CreateTopicsRequestTopic{Topic: "t", NumPartitions: 1}, kerr.InvalidReplicationFactor},
		{"bad name", kmsg.CreateTopicsRequestTopic{Topic: "t/1", NumPartitions: 1, ReplicationFactor: 1}, kerr.InvalidTopicException},
		{"empty name", kmsg.CreateTopicsRequestTopic{NumPartitions: 1, ReplicationFactor: 1}, kerr.InvalidTopicException},
		{"long name", kmsg.CreateTopicsRequestTopic{Topic: strings.Repeat("t", 250), NumPartitions: 1, ReplicationFactor: 1}, kerr.InvalidTopicException},
		{"name that collides", kmsg.CreateTopicsRequestTopic{Topic: "there.is", NumPartitions: 1, ReplicationFactor: 1}, kerr.InvalidTopicException},
		{"name that is taken", kmsg.CreateTopicsRequestTopic{Topic: "there_is", NumPartitions: 1, ReplicationFactor: 1}, kerr.TopicAlreadyExists},
		{"assignment and count", kmsg.CreateTopicsRequestTopic{Topic: "t", NumPartitions: 2, ReplicationFactor: -1, ReplicaAssignment: replicas([]int32{1})}, kerr.InvalidRequest},
		{"assignment with a gap", kmsg.CreateTopicsRequestTopic{Topic: "t", NumPartitions: -1, ReplicationFactor: -1, ReplicaAssignment: gap}, kerr.InvalidReplicaAssignment},
		{"assignment to nobody", kmsg.CreateTopicsRequestTopic{Topic: "t", NumPartitions: -1, ReplicationFactor: -1, ReplicaAssignment: replicas(nil)}, kerr.InvalidReplicaAssignment},
		{"unknown config", kmsg.CreateTopicsRequestTopic{Topic: "t", NumPartitions: 1, ReplicationFactor: 1, Configs: config("no.such", kmsg.StringPtr("1"))}, kerr.InvalidConfig},
		{"null config", kmsg.CreateTopicsRequestTopic{Topic: "t", NumPartitions: 1, ReplicationFactor: 1, Configs: config("retention.ms", nil)}, kerr.InvalidConfig},
		{"bad config", kmsg.CreateTopicsRequestTopic{Topic: "t", NumPartitions: 1, ReplicationFactor: 1, Configs: config("retention.ms", kmsg.StringPtr("soon"))}, kerr.InvalidConfig},
		{"replicated, without a second node", kmsg.CreateTopicsRequestTopic{Topic: "t", NumPartitions: 1, ReplicationFactor: 1, Configs: config("varve.durability", kmsg.StringPtr("replicated"))}, kerr.InvalidReplicationFactor},
		{"too many partitions", kmsg.CreateTopicsRequestTopic{Topic: "t", NumPartitions: 100, ReplicationFactor: 1}, kerr.PolicyViolation},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newCluster(t)
			_, addr := start(t, c, Config{MaxPartitions: 50})
			c.createTopic(t, "there_is", 1)
			client := dial(t, addr)
			for _, validateOnly := range []bool{true, false} {
				got := createTopics(client, validateOnly, test.topic)[0]
				if (test.want == nil) != (got.ErrorCode == 0) || test.want != nil && got.ErrorCode != test.want.Code {
					t.Errorf("validate only %v: got %v (%s)", validateOnly, kerr.ErrorForCode(got.ErrorCode), orEmpty(got.ErrorMessage))
				}
				if told := got.TopicID != ([16]byte{}); told != (test.want == nil) || told != (len(got.Configs) > 0) {
					t.Errorf("validate only %v: id %x, %d configurations", validateOnly, got.TopicID, len(got.Configs))
				}
				made := false
				c.View(func(s *meta.State) { made = s.TopicByName("t") != nil })
				if made != (test.want == nil && !validateOnly) {
					t.Errorf("validate only %v: topic made: %v", validateOnly, made)
				}
			}
		})
	}
}

func TestAReplicatedTopicIsNotRefusedByANodeThatHasNotHeardOfASecondOne(t *testing.T) {
	c := newCluster(t)
	_, addr := start(t, c, Config{})
	c.mu.Lock()
	c.mu.behind = func() { c.addNode("elsewhere", 9092, "") }
	c.mu.Unlock()
	class := kmsg.CreateTopicsRequestTopicConfig{Name: "varve.durability", Value: kmsg.StringPtr("replicated")}
	topic := kmsg.CreateTopicsRequestTopic{Topic: "t", NumPartitions: 1, ReplicationFactor: 1, Configs: []kmsg.CreateTopicsRequestTopicConfig{class}}
	if got := createTopics(dial(t, addr), false, topic)[0]; got.ErrorCode != 0 {
		t.Errorf("got %v (%s)", kerr.ErrorForCode(got.ErrorCode), orEmpty(got.ErrorMessage))
	}
}

func TestATopicTwiceInARequestIsRefusedBothTimes(t *testing.T) {
	c := newCluster(t)
	_, addr := start(t, c, Config{})
	topic := kmsg.CreateTopicsRequestTopic{Topic: "t", NumPartitions: 1, ReplicationFactor: 1}
	for _, answer := range createTopics(dial(t, addr), false, topic, topic) {
		if answer.ErrorCode != kerr.InvalidRequest.Code {
			t.Errorf("got %v", kerr.ErrorForCode(answer.ErrorCode))
		}
	}
}

func TestTopicsOfAClusterDefaultToObject(t *testing.T) {
	c := newCluster(t)
	_, addr := start(t, c, Config{})
	c.addNode("other", 1, "")
	answer := createTopics(dial(t, addr), false, kmsg.CreateTopicsRequestTopic{Topic: "t", NumPartitions: 1, ReplicationFactor: 1})[0]
	for _, config := range answer.Configs {
		if config.Name == durabilityConfig && *config.Value != "object" {
			t.Errorf("%s is %s", config.Name, *config.Value)
		}
	}
}

func TestAutoCreation(t *testing.T) {
	c := newCluster(t)
	_, addr := start(t, c, Config{})
	client := dial(t, addr)
	ask := func(name string, allow bool) int16 {
		r := kmsg.NewPtrMetadataRequest()
		r.Version, r.AllowAutoTopicCreation, r.Topics = 12, allow, []kmsg.MetadataRequestTopic{{Topic: &name}}
		return client.request(r).(*kmsg.MetadataResponse).Topics[0].ErrorCode
	}
	if got := ask("new", false); got != kerr.UnknownTopicOrPartition.Code {
		t.Errorf("not allowed by the client: %v", kerr.ErrorForCode(got))
	}
	if got := ask("new", true); got != 0 {
		t.Errorf("allowed: %v", kerr.ErrorForCode(got))
	}
	if got := ask("not a name", true); got != kerr.InvalidTopicException.Code {
		t.Errorf("invalid name: %v", kerr.ErrorForCode(got))
	}
	alter := kmsg.NewPtrIncrementalAlterConfigsRequest()
	alter.Resources = []kmsg.IncrementalAlterConfigsRequestResource{{ResourceType: kmsg.ConfigResourceTypeBroker, Configs: []kmsg.IncrementalAlterConfigsRequestResourceConfig{
		{Name: "auto.create.topics.enable", Value: kmsg.StringPtr("false")},
	}}}
	if got := client.request(alter).(*kmsg.IncrementalAlterConfigsResponse).Resources[0]; got.ErrorCode != 0 {
		t.Fatal(kerr.ErrorForCode(got.ErrorCode))
	}
	if got := ask("newer", true); got != kerr.UnknownTopicOrPartition.Code {
		t.Errorf("not allowed by the cluster: %v", kerr.ErrorForCode(got))
	}
}

func TestListOffsets(t *testing.T) {
	ctx, c := testContext(t), newCluster(t)
	_, addr := start(t, c, Config{})
	id := c.createTopic(t, "topic", 1)
	produced(dial(t, addr), produceRequestOf(13, "", id, testBatch("a", "b", "c")))
	admin := kadm.NewClient(newClient(t, addr))
	for _, test := range []struct {
		name string
		list func() (kadm.ListedOffsets, error)
		want int64
	}{
		{"earliest", func() (kadm.ListedOffsets, error) { return admin.ListStartOffsets(ctx, "topic") }, 0},
		{"latest", func() (kadm.ListedOffsets, error) { return admin.ListEndOffsets(ctx, "topic") }, 3},
		{"max timestamp", func() (kadm.ListedOffsets, error) { return admin.ListMaxTimestampOffsets(ctx, "topic") }, 0},
		{"by time", func() (kadm.ListedOffsets, error) { return admin.ListOffsetsAfterMilli(ctx, 1, "topic") }, 0},
	} {
		listed, err := test.list()
		if err != nil || listed["topic"][0].Err != nil || listed["topic"][0].Offset != test.want {
			t.Errorf("%s: %v, %+v", test.name, err, listed)
		}
	}
	r := kmsg.NewPtrListOffsetsRequest()
	r.Version = 7
	r.Topics = []kmsg.ListOffsetsRequestTopic{{Topic: "topic", Partitions: []kmsg.ListOffsetsRequestTopicPartition{{Timestamp: -4, CurrentLeaderEpoch: -1}}}}
	if got := dial(t, addr).request(r).(*kmsg.ListOffsetsResponse).Topics[0].Partitions[0]; got.ErrorCode != kerr.UnsupportedVersion.Code {
		t.Errorf("a timestamp of a later version: %v", kerr.ErrorForCode(got.ErrorCode))
	}
}

func TestGroupConsumers(t *testing.T) {
	ctx, c := testContext(t), newCluster(t)
	_, addr := start(t, c, Config{})
	c.createTopic(t, "topic", 4)
	producer := newClient(t, addr)
	const records = 200
	for i := range records {
		if err := producer.ProduceSync(ctx, &kgo.Record{Topic: "topic", Key: fmt.Append(nil, i), Value: []byte("v")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	consumer := newClient(t, addr, kgo.ConsumeTopics("topic"), kgo.ConsumerGroup("group"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit())
	for got := 0; got < records; {
		fetches := consumer.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		got += fetches.NumRecords()
	}
	if err := consumer.CommitUncommittedOffsets(ctx); err != nil {
		t.Fatal(err)
	}

	admin := kadm.NewClient(producer)
	groups, err := admin.DescribeGroups(ctx, "group", "nobody")
	if err != nil || groups["group"].State != "Stable" || len(groups["group"].Members) != 1 || groups["group"].Members[0].ClientID != "kgo" {
		t.Errorf("describe: %v, %+v", err, groups)
	}
	// What a group keeps of a request must not be the frame's bytes, which by now hold other requests.
	if assigned, ok := groups["group"].Members[0].Assigned.AsConsumer(); !ok || len(assigned.Topics) != 1 || len(assigned.Topics[0].Partitions) != 4 {
		t.Errorf("assigned: %+v", assigned)
	}
	lags, err := admin.Lag(ctx, "group")
	if lag := lags["group"]; err != nil || lag.Error() != nil || lag.Lag.Total() != 0 {
		t.Errorf("lag: %v, %+v", err, lags)
	}
	listed, err := admin.ListGroups(ctx)
	if err != nil || !slices.Equal(listed.Groups(), []string{"group"}) {
		t.Errorf("list: %v, %+v", err, listed)
	}
	deleted, err := admin.DeleteGroups(ctx, "group")
	if err != nil || !errors.Is(deleted["group"].Err, kerr.NonEmptyGroup) {
		t.Errorf("delete a group with a member: %v, %+v", err, deleted)
	}
	if err := consumer.LeaveGroupContext(ctx); err != nil {
		t.Fatal(err)
	}
	if deleted, err = admin.DeleteGroups(ctx, "group"); err != nil || deleted["group"].Err != nil {
		t.Errorf("delete an empty group: %v, %+v", err, deleted)
	}
}
