package kafka

import (
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/coordinator/metapb"
)

func TestDeleteRecords(t *testing.T) {
	c := newCluster(t)
	_, addr := start(t, c, Config{})
	id := c.createTopic(t, "topic", 1)
	client := dial(t, addr)
	produced(client, produceRequestOf(13, "", id, testBatch("a", "b", "c", "d")))
	for _, test := range []struct {
		name      string
		topic     string
		partition int32
		offset    int64
		watermark int64
		want      *kerr.Error
	}{
		{"no such topic", "none", 0, 1, -1, kerr.UnknownTopicOrPartition},
		{"no such partition", "topic", 1, 1, -1, kerr.UnknownTopicOrPartition},
		{"above the end", "topic", 0, 5, -1, kerr.OffsetOutOfRange},
		{"below the special", "topic", 0, -2, -1, kerr.OffsetOutOfRange},
		{"some", "topic", 0, 2, 2, nil},
		{"fewer than before", "topic", 0, 1, 2, nil},
		{"all", "topic", 0, -1, 4, nil},
		{"all again", "topic", 0, 4, 4, nil},
	} {
		r := kmsg.NewPtrDeleteRecordsRequest()
		r.Version, r.TimeoutMillis = 2, 5000
		r.Topics = []kmsg.DeleteRecordsRequestTopic{{Topic: test.topic, Partitions: []kmsg.DeleteRecordsRequestTopicPartition{{Partition: test.partition, Offset: test.offset}}}}
		got := client.request(r).(*kmsg.DeleteRecordsResponse).Topics[0].Partitions[0]
		if kerr.ErrorForCode(got.ErrorCode) != errorOf(test.want) || got.LowWatermark != test.watermark {
			t.Errorf("%s: %v, low watermark %d", test.name, kerr.ErrorForCode(got.ErrorCode), got.LowWatermark)
		}
	}
}

// errorOf is e as an error, nil for none.
func errorOf(e *kerr.Error) error {
	if e == nil {
		return nil
	}
	return e
}

func TestOffsetForLeaderEpoch(t *testing.T) {
	c := newCluster(t)
	_, addr := start(t, c, Config{})
	id := c.createTopic(t, "topic", 1)
	client := dial(t, addr)
	produced(client, produceRequestOf(13, "", id, testBatch("a", "b")))
	for _, test := range []struct {
		name      string
		believed  int32
		asked     int32
		epoch     int32
		end       int64
		partition int32
		want      *kerr.Error
	}{
		{name: "the present epoch", believed: -1, asked: 0, epoch: 0, end: 2},
		{name: "one that has not been", believed: -1, asked: 3, epoch: -1, end: -1},
		{name: "a client ahead", believed: 1, asked: 0, epoch: -1, end: -1, want: kerr.UnknownLeaderEpoch},
		{name: "no such partition", believed: -1, partition: 7, epoch: -1, end: -1, want: kerr.UnknownTopicOrPartition},
	} {
		r := kmsg.NewPtrOffsetForLeaderEpochRequest()
		r.Version, r.ReplicaID = 4, -1
		r.Topics = []kmsg.OffsetForLeaderEpochRequestTopic{{Topic: "topic", Partitions: []kmsg.OffsetForLeaderEpochRequestTopicPartition{
			{Partition: test.partition, CurrentLeaderEpoch: test.believed, LeaderEpoch: test.asked},
		}}}
		got := client.request(r).(*kmsg.OffsetForLeaderEpochResponse).Topics[0].Partitions[0]
		if kerr.ErrorForCode(got.ErrorCode) != errorOf(test.want) || got.EndOffset != test.end || got.LeaderEpoch != test.epoch {
			t.Errorf("%s: %+v", test.name, got)
		}
	}
}

func TestDescribeTopicPartitionsGoesOnAtItsCursor(t *testing.T) {
	c := newCluster(t)
	_, addr := start(t, c, Config{})
	for _, topic := range []string{"b", "a", "c"} {
		c.createTopic(t, topic, 3)
	}
	client := dial(t, addr)
	r := kmsg.NewPtrDescribeTopicPartitionsRequest()
	r.ResponsePartitionLimit = 2
	var got []string
	for range 10 {
		answer := client.request(r).(*kmsg.DescribeTopicPartitionsResponse)
		told := 0
		for _, topic := range answer.Topics {
			for _, p := range topic.Partitions {
				got = append(got, fmt.Sprintf("%s-%d", *topic.Topic, p.Partition))
				told++
			}
		}
		if told > 2 {
			t.Errorf("%d partitions in an answer", told)
		}
		if answer.NextCursor == nil {
			break
		}
		cursor := kmsg.DescribeTopicPartitionsRequestCursor{Topic: answer.NextCursor.Topic, Partition: answer.NextCursor.Partition}
		r.Cursor = &cursor
	}
	if want := "[a-0 a-1 a-2 b-0 b-1 b-2 c-0 c-1 c-2]"; fmt.Sprint(got) != want {
		t.Errorf("got %v", got)
	}
	r.Cursor, r.Topics = nil, []kmsg.DescribeTopicPartitionsRequestTopic{{Topic: "none"}, {Topic: "no name"}}
	answer := client.request(r).(*kmsg.DescribeTopicPartitionsResponse)
	if answer.Topics[0].ErrorCode != kerr.InvalidTopicException.Code || answer.Topics[1].ErrorCode != kerr.UnknownTopicOrPartition.Code {
		t.Errorf("%+v", answer.Topics)
	}
}

func TestReassignmentsAreJudgedAndNothingIsUnderWay(t *testing.T) {
	c := newCluster(t)
	_, addr := start(t, c, Config{})
	c.createTopic(t, "topic", 1)
	client := dial(t, addr)
	for _, test := range []struct {
		name     string
		topic    string
		replicas []int32
		want     *kerr.Error
	}{
		{"to where it is", "topic", []int32{1}, nil},
		{"no such topic", "none", []int32{1}, kerr.UnknownTopicOrPartition},
		{"to nobody", "topic", []int32{}, kerr.InvalidReplicaAssignment},
		{"to one twice", "topic", []int32{1, 1}, kerr.InvalidReplicaAssignment},
		{"to one that is not there", "topic", []int32{9}, kerr.InvalidReplicaAssignment},
		{"a cancellation", "topic", nil, kerr.NoReassignmentInProgress},
	} {
		r := kmsg.NewPtrAlterPartitionAssignmentsRequest()
		r.Topics = []kmsg.AlterPartitionAssignmentsRequestTopic{{Topic: test.topic, Partitions: []kmsg.AlterPartitionAssignmentsRequestTopicPartition{{Replicas: test.replicas}}}}
		got := client.request(r).(*kmsg.AlterPartitionAssignmentsResponse).Topics[0].Partitions[0]
		if kerr.ErrorForCode(got.ErrorCode) != errorOf(test.want) {
			t.Errorf("%s: %v", test.name, kerr.ErrorForCode(got.ErrorCode))
		}
	}
	if listed := client.request(kmsg.NewPtrListPartitionReassignmentsRequest()).(*kmsg.ListPartitionReassignmentsResponse); len(listed.Topics) > 0 || listed.ErrorCode != 0 {
		t.Errorf("%+v", listed)
	}
}

func TestFeaturesAreToldAndFixed(t *testing.T) {
	c := newCluster(t)
	_, addr := start(t, c, Config{})
	client := dial(t, addr)
	versions := kmsg.NewPtrApiVersionsRequest()
	versions.ClientSoftwareName, versions.ClientSoftwareVersion = "test", "1"
	for version := int16(3); version <= 4; version++ {
		versions.Version = version
		answer := client.request(versions).(*kmsg.ApiVersionsResponse)
		if len(answer.SupportedFeatures) != len(features) {
			t.Errorf("v%d: %+v", version, answer.SupportedFeatures)
		}
		for _, f := range answer.SupportedFeatures {
			if f.MinVersion == 0 && version < 4 {
				t.Errorf("v%d tells %s from 0, which clients of that version do not take", version, f.Name)
			}
		}
	}
	for _, test := range []struct {
		feature string
		level   int16
		want    *kerr.Error
	}{
		{"metadata.version", 27, nil}, {"metadata.version", 26, kerr.InvalidUpdateVersion}, {"metadata.version", 28, kerr.InvalidUpdateVersion}, {"no.such", 1, kerr.InvalidUpdateVersion},
	} {
		for version := int16(1); version <= 2; version++ {
			r := kmsg.NewPtrUpdateFeaturesRequest()
			r.Version = version
			r.FeatureUpdates = []kmsg.UpdateFeaturesRequestFeatureUpdate{{Feature: test.feature, MaxVersionLevel: test.level, UpgradeType: 1}}
			answer := client.request(r).(*kmsg.UpdateFeaturesResponse)
			if kerr.ErrorForCode(answer.ErrorCode) != errorOf(test.want) || test.want != nil && len(answer.Results) > 0 {
				t.Errorf("v%d %s %d: %v, %d results", version, test.feature, test.level, kerr.ErrorForCode(answer.ErrorCode), len(answer.Results))
			}
		}
	}
}

func TestListConfigResources(t *testing.T) {
	c := newCluster(t)
	_, addr := start(t, c, Config{})
	c.createTopic(t, "topic", 1)
	c.apply(&metapb.Command{Kind: &metapb.Command_AlterConfig{AlterConfig: &metapb.AlterConfig{
		Resource: metapb.AlterConfig_CLIENT_METRICS, Name: "sub", Entries: []*metapb.ConfigEntry{{Name: "metrics", Value: "*"}},
	}}})
	client := dial(t, addr)
	for _, test := range []struct {
		version int16
		types   []int8
		want    string
	}{
		{0, nil, "[sub]"}, {1, []int8{16}, "[sub]"}, {1, []int8{2, 4, 2}, "[topic 1]"}, {1, nil, "[topic 1 1 sub]"},
	} {
		r := kmsg.NewPtrListConfigResourcesRequest()
		r.Version, r.ResourceTypes = test.version, test.types
		var names []string
		for _, resource := range client.request(r).(*kmsg.ListConfigResourcesResponse).ConfigResources {
			names = append(names, resource.Name)
		}
		if fmt.Sprint(names) != test.want {
			t.Errorf("v%d %v: %v", test.version, test.types, names)
		}
	}
}
