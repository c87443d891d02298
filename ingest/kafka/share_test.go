package kafka

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// sharer is a member of a share group as raw requests make one.
type sharer struct {
	t      *testing.T
	client *rawClient
	group  string
	id     string
	topic  string
	topics [16]byte
	epoch  int32 // of the session's next request
}

// newSharer joins a group and returns when it has its partitions.
func newSharer(t *testing.T, addr, group, topic string, id [16]byte, number byte) *sharer {
	t.Helper()
	m := &sharer{t: t, client: dial(t, addr), group: group, id: fmt.Sprintf("AAAAAAAAAAAAAAAAAAAAA%c", "AQgw"[number]), topic: topic, topics: id}
	r := kmsg.NewPtrShareGroupHeartbeatRequest()
	r.Version, r.GroupID, r.MemberID, r.SubscribedTopicNames = 1, group, m.id, []string{topic}
	beat := m.client.request(r).(*kmsg.ShareGroupHeartbeatResponse)
	if beat.ErrorCode != 0 || beat.Assignment == nil || len(beat.Assignment.TopicPartitions) != 1 || beat.MemberEpoch < 1 {
		t.Fatalf("heartbeat: %+v", beat)
	}
	return m
}

func (m *sharer) request(records int32, partitions ...int32) *kmsg.ShareFetchRequest {
	r := kmsg.NewPtrShareFetchRequest()
	r.Version, r.GroupID, r.MemberID, r.ShareSessionEpoch = 1, &m.group, &m.id, m.epoch
	r.MaxWaitMillis, r.MinBytes, r.MaxRecords, r.BatchSize = 50, 1, records, records
	topic := kmsg.ShareFetchRequestTopic{TopicID: m.topics}
	for _, p := range partitions {
		topic.Partitions = append(topic.Partitions, kmsg.ShareFetchRequestTopicPartition{Partition: p})
	}
	if len(partitions) > 0 {
		r.Topics = append(r.Topics, topic)
	}
	return r
}

func (m *sharer) send(r *kmsg.ShareFetchRequest) *kmsg.ShareFetchResponse {
	m.t.Helper()
	answer := m.client.request(r).(*kmsg.ShareFetchResponse)
	if answer.ErrorCode == 0 {
		m.epoch = r.ShareSessionEpoch + 1
	}
	return answer
}

// fetch returns the row of the only partition that is answered for, nil where there is none.
func (m *sharer) fetch(records int32, partitions ...int32) *kmsg.ShareFetchResponseTopicPartition {
	m.t.Helper()
	answer := m.send(m.request(records, partitions...))
	if answer.ErrorCode != 0 {
		m.t.Fatalf("fetch: %v", kerr.ErrorForCode(answer.ErrorCode))
	}
	if len(answer.Topics) == 0 {
		return nil
	}
	return &answer.Topics[0].Partitions[0]
}

func acknowledged(first, last int64, types ...int8) kmsg.ShareAcknowledgeRequestTopicPartitionAcknowledgementBatch {
	return kmsg.ShareAcknowledgeRequestTopicPartitionAcknowledgementBatch{FirstOffset: first, LastOffset: last, AcknowledgeTypes: types}
}

func (m *sharer) acknowledging(batches ...kmsg.ShareAcknowledgeRequestTopicPartitionAcknowledgementBatch) *kmsg.ShareAcknowledgeRequest {
	r := kmsg.NewPtrShareAcknowledgeRequest()
	r.Version, r.GroupID, r.MemberID, r.ShareSessionEpoch = 1, &m.group, &m.id, m.epoch
	r.Topics = []kmsg.ShareAcknowledgeRequestTopic{{TopicID: m.topics, Partitions: []kmsg.ShareAcknowledgeRequestTopicPartition{{AcknowledgementBatches: batches}}}}
	return r
}

// acknowledge is the code for the partition, or for the request.
func (m *sharer) acknowledge(batches ...kmsg.ShareAcknowledgeRequestTopicPartitionAcknowledgementBatch) int16 {
	m.t.Helper()
	answer := m.client.request(m.acknowledging(batches...)).(*kmsg.ShareAcknowledgeResponse)
	if answer.ErrorCode != 0 {
		return answer.ErrorCode
	}
	m.epoch++
	return answer.Topics[0].Partitions[0].ErrorCode
}

func expectAcquired(t *testing.T, row *kmsg.ShareFetchResponseTopicPartition, want ...[3]int64) {
	t.Helper()
	var got [][3]int64
	if row != nil {
		for _, a := range row.AcquiredRecords {
			got = append(got, [3]int64{a.FirstOffset, a.LastOffset, int64(a.DeliveryCount)})
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("acquired %v, not %v", got, want)
	}
}

// shared is a cluster with a topic of ten records, each a batch of its own, and a group that reads it from the beginning.
func shared(t *testing.T, config Config) (addr string, id [16]byte) {
	t.Helper()
	c := newCluster(t)
	_, addr = start(t, c, config)
	id = c.createTopic(t, "events", 2)
	client := newClient(t, addr, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	for i := range 10 {
		if err := client.ProduceSync(testContext(t), &kgo.Record{Topic: "events", Value: fmt.Appendf(nil, "v%d", i)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	setGroup(t, addr, "g", "share.auto.offset.reset", "earliest")
	return addr, id
}

func setGroup(t *testing.T, addr, group, name, value string) {
	t.Helper()
	r := kmsg.NewPtrIncrementalAlterConfigsRequest()
	r.Version = 1
	r.Resources = []kmsg.IncrementalAlterConfigsRequestResource{{ResourceType: kmsg.ConfigResourceTypeGroupConfig, ResourceName: group,
		Configs: []kmsg.IncrementalAlterConfigsRequestResourceConfig{{Name: name, Value: &value}}}}
	if answer := dial(t, addr).request(r).(*kmsg.IncrementalAlterConfigsResponse); answer.Resources[0].ErrorCode != 0 {
		t.Fatalf("set %s: %+v", name, answer.Resources[0])
	}
}

func TestShareFetchAndAcknowledge(t *testing.T) {
	addr, id := shared(t, Config{Logger: quiet})
	a, b := newSharer(t, addr, "g", "events", id, 0), newSharer(t, addr, "g", "events", id, 1)

	row := a.fetch(4, 0, 1)
	expectAcquired(t, row, [3]int64{0, 3, 1})
	if len(row.Records) == 0 {
		t.Error("no records")
	}
	expectAcquired(t, b.fetch(4, 0), [3]int64{4, 7, 1})

	for _, wrong := range []struct {
		name    string
		batches []kmsg.ShareAcknowledgeRequestTopicPartitionAcknowledgementBatch
		code    int16
	}{
		{"of another's records", []kmsg.ShareAcknowledgeRequestTopicPartitionAcknowledgementBatch{acknowledged(4, 5, 1)}, kerr.InvalidRecordState.Code},
		{"across what is another's", []kmsg.ShareAcknowledgeRequestTopicPartitionAcknowledgementBatch{acknowledged(2, 5, 1)}, kerr.InvalidRecordState.Code},
		{"of what nobody was given", []kmsg.ShareAcknowledgeRequestTopicPartitionAcknowledgementBatch{acknowledged(8, 9, 1)}, kerr.InvalidRequest.Code},
		{"backwards", []kmsg.ShareAcknowledgeRequestTopicPartitionAcknowledgementBatch{acknowledged(3, 2, 1)}, kerr.InvalidRequest.Code},
		{"out of order", []kmsg.ShareAcknowledgeRequestTopicPartitionAcknowledgementBatch{acknowledged(2, 3, 1), acknowledged(0, 1, 1)}, kerr.InvalidRequest.Code},
		{"without a type", []kmsg.ShareAcknowledgeRequestTopicPartitionAcknowledgementBatch{acknowledged(0, 3)}, kerr.InvalidRequest.Code},
		{"with too few types", []kmsg.ShareAcknowledgeRequestTopicPartitionAcknowledgementBatch{acknowledged(0, 3, 1, 1)}, kerr.InvalidRequest.Code},
		{"of an unknown type", []kmsg.ShareAcknowledgeRequestTopicPartitionAcknowledgementBatch{acknowledged(0, 3, 4)}, kerr.InvalidRequest.Code},
	} {
		if code := a.acknowledge(wrong.batches...); code != wrong.code {
			t.Errorf("%s: %v", wrong.name, kerr.ErrorForCode(code))
		}
	}
	// One of each: accepted, released, rejected, a gap.
	if code := a.acknowledge(acknowledged(0, 3, 1, 2, 3, 0)); code != 0 {
		t.Fatal(kerr.ErrorForCode(code))
	}
	if code := a.acknowledge(acknowledged(2, 2, 1)); code != kerr.InvalidRecordState.Code {
		t.Errorf("what was rejected: %v", kerr.ErrorForCode(code))
	}

	// An acknowledgement that comes with a fetch is answered with it.
	r := b.request(100, 0)
	r.Topics[0].Partitions[0].AcknowledgementBatches = []kmsg.ShareFetchRequestTopicPartitionAcknowledgementBatch{{FirstOffset: 4, LastOffset: 7, AcknowledgeTypes: []int8{1}}}
	answer := b.send(r)
	if answer.AcquisitionLockTimeoutMillis != 30_000 {
		t.Errorf("locked for %d", answer.AcquisitionLockTimeoutMillis)
	}
	row = &answer.Topics[0].Partitions[0]
	if row.AcknowledgeErrorCode != 0 || row.ErrorCode != 0 {
		t.Errorf("%+v", row)
	}
	expectAcquired(t, row, [3]int64{1, 1, 2}, [3]int64{8, 9, 1})

	// A session that ends gives back what its member has.
	r = b.request(100)
	r.ShareSessionEpoch = finalShareEpoch
	if answer := b.send(r); answer.ErrorCode != 0 {
		t.Fatal(kerr.ErrorForCode(answer.ErrorCode))
	}
	expectAcquired(t, a.fetch(100, 0), [3]int64{1, 1, 2}, [3]int64{8, 9, 1})
	// So does a connection.
	a.client.nc.Close()
	b.epoch = 0
	for row = nil; row == nil; row = b.fetch(100, 0) { // the server has yet to notice
	}
	expectAcquired(t, row, [3]int64{1, 1, 2}, [3]int64{8, 9, 1})
}

func TestShareSessions(t *testing.T) {
	addr, id := shared(t, Config{Logger: quiet})
	m := newSharer(t, addr, "g", "events", id, 0)
	fetchCode := func(change func(*kmsg.ShareFetchRequest)) int16 {
		t.Helper()
		r := m.request(1, 1)
		change(r)
		return m.client.request(r).(*kmsg.ShareFetchResponse).ErrorCode
	}
	expect := func(name string, got int16, want *kerr.Error) {
		t.Helper()
		if got != want.Code {
			t.Errorf("%s: %v", name, kerr.ErrorForCode(got))
		}
	}
	expect("of no session", fetchCode(func(r *kmsg.ShareFetchRequest) { r.ShareSessionEpoch = 1 }), kerr.ShareSessionNotFound)
	expect("the end of no session", fetchCode(func(r *kmsg.ShareFetchRequest) { r.ShareSessionEpoch = -1 }), kerr.ShareSessionNotFound)
	expect("acknowledgements at the beginning", fetchCode(func(r *kmsg.ShareFetchRequest) {
		r.Topics[0].Partitions[0].AcknowledgementBatches = []kmsg.ShareFetchRequestTopicPartitionAcknowledgementBatch{{AcknowledgeTypes: []int8{1}}}
	}), kerr.InvalidRequest)
	expect("a member id that is none", fetchCode(func(r *kmsg.ShareFetchRequest) { r.MemberID = kmsg.StringPtr("nobody") }), kerr.UnknownServerError)
	expect("no member id", fetchCode(func(r *kmsg.ShareFetchRequest) { r.MemberID = nil }), kerr.UnknownServerError)

	m.fetch(1, 1)
	expect("too high an epoch", fetchCode(func(r *kmsg.ShareFetchRequest) { r.ShareSessionEpoch = 2 }), kerr.InvalidShareSessionEpoch)
	acknowledgeAt := func(epoch int32) int16 {
		t.Helper()
		r := m.acknowledging()
		r.ShareSessionEpoch = epoch
		return m.client.request(r).(*kmsg.ShareAcknowledgeResponse).ErrorCode
	}
	expect("an acknowledgement at the beginning", acknowledgeAt(0), kerr.InvalidShareSessionEpoch)
	expect("an acknowledgement of too high an epoch", acknowledgeAt(7), kerr.InvalidShareSessionEpoch)

	// Partitions that are not there are told of; the session goes on with the others, and what is forgotten is not read any more.
	r := m.request(1, 0, 9)
	r.Topics = append(r.Topics, kmsg.ShareFetchRequestTopic{TopicID: [16]byte{9}, Partitions: []kmsg.ShareFetchRequestTopicPartition{{}}})
	codes := map[int32]int16{}
	for _, topic := range m.send(r).Topics {
		for _, p := range topic.Partitions {
			if topic.TopicID != id {
				p.Partition += 100
			}
			codes[p.Partition] = p.ErrorCode
		}
	}
	if codes[9] != kerr.UnknownTopicOrPartition.Code || codes[100] != kerr.UnknownTopicID.Code || codes[0] != 0 {
		t.Errorf("codes %v", codes)
	}
	r = m.request(1)
	r.ForgottenTopicsData = []kmsg.ShareFetchRequestForgottenTopicsData{{TopicID: id, Partitions: []int32{0, 9}}, {TopicID: [16]byte{9}, Partitions: []int32{0}}}
	if answer := m.send(r); len(answer.Topics) != 0 {
		t.Errorf("%+v", answer)
	}
	expect("the end", acknowledgeAt(-1), &kerr.Error{})
	expect("after the end", acknowledgeAt(m.epoch), kerr.ShareSessionNotFound)
}

func TestShareSessionsAreBounded(t *testing.T) {
	addr, id := shared(t, Config{Logger: quiet})
	m := newSharer(t, addr, "g", "events", id, 0)
	r := kmsg.NewPtrIncrementalAlterConfigsRequest()
	r.Version = 1
	r.Resources = []kmsg.IncrementalAlterConfigsRequestResource{{ResourceType: kmsg.ConfigResourceTypeBroker,
		Configs: []kmsg.IncrementalAlterConfigsRequestResourceConfig{{Name: "group.share.max.share.sessions", Value: kmsg.StringPtr("1")}}}}
	if answer := m.client.request(r).(*kmsg.IncrementalAlterConfigsResponse); answer.Resources[0].ErrorCode != 0 {
		t.Fatal(answer)
	}
	m.fetch(1, 0)
	other := newSharer(t, addr, "g", "events", id, 1)
	began := time.Now()
	if answer := other.send(other.request(1, 0)); answer.ErrorCode != kerr.ShareSessionLimitReached.Code || time.Since(began) < 50*time.Millisecond {
		t.Errorf("%v after %v", kerr.ErrorForCode(answer.ErrorCode), time.Since(began))
	}
	m.epoch = 0
	m.fetch(1, 0) // in the place of its own
}

func TestShareGroupAdministration(t *testing.T) {
	addr, id := shared(t, Config{Logger: quiet})
	m := newSharer(t, addr, "g", "events", id, 0)
	m.fetch(10, 0)
	if code := m.acknowledge(acknowledged(0, 4, 1)); code != 0 {
		t.Fatal(kerr.ErrorForCode(code))
	}
	client := dial(t, addr)
	offsets := func(topics []kmsg.DescribeShareGroupOffsetsRequestGroupTopic) map[string]int64 {
		t.Helper()
		r := kmsg.NewPtrDescribeShareGroupOffsetsRequest()
		r.Groups = []kmsg.DescribeShareGroupOffsetsRequestGroup{{GroupID: "g", Topics: topics}}
		all := map[string]int64{}
		for _, topic := range client.request(r).(*kmsg.DescribeShareGroupOffsetsResponse).Groups[0].Topics {
			for _, p := range topic.Partitions {
				all[fmt.Sprintf("%s-%d", topic.Topic, p.Partition)] = p.StartOffset
			}
		}
		return all
	}
	if got := fmt.Sprint(offsets(nil)); got != "map[events-0:5 events-1:-1]" {
		t.Errorf("offsets %s", got)
	}
	if got := fmt.Sprint(offsets([]kmsg.DescribeShareGroupOffsetsRequestGroupTopic{{Topic: "events", Partitions: []int32{0, 7}}, {Topic: "none", Partitions: []int32{0}}})); got != "map[events-0:5 events-7:-1 none-0:-1]" {
		t.Errorf("offsets %s", got)
	}

	listed := client.request(&kmsg.ListGroupsRequest{Version: 5, TypesFilter: []string{"share"}}).(*kmsg.ListGroupsResponse)
	if len(listed.Groups) != 1 || listed.Groups[0].GroupType != "share" || listed.Groups[0].ProtocolType != "share" || listed.Groups[0].GroupState != "Stable" {
		t.Errorf("groups %+v", listed.Groups)
	}
	described := client.request(&kmsg.ShareGroupDescribeRequest{Version: 1, GroupIDs: []string{"g", "none", ""}}).(*kmsg.ShareGroupDescribeResponse).Groups
	if g := described[0]; g.GroupState != "Stable" || g.Assignor != "simple" || len(g.Members) != 1 || len(g.Members[0].Assignment.TopicPartitions) != 1 {
		t.Errorf("group %+v", g)
	}
	if described[1].ErrorCode != kerr.GroupIDNotFound.Code || described[2].ErrorCode != kerr.InvalidGroupID.Code {
		t.Errorf("no groups %+v", described[1:])
	}

	alter := func(group string) *kmsg.AlterShareGroupOffsetsResponse {
		return client.request(&kmsg.AlterShareGroupOffsetsRequest{GroupID: group, Topics: []kmsg.AlterShareGroupOffsetsRequestTopic{
			{Topic: "events", Partitions: []kmsg.AlterShareGroupOffsetsRequestTopicPartition{{StartOffset: 2}, {Partition: 7}}},
			{Topic: "none", Partitions: []kmsg.AlterShareGroupOffsetsRequestTopicPartition{{}}},
		}}).(*kmsg.AlterShareGroupOffsetsResponse)
	}
	remove := func(topics ...string) *kmsg.DeleteShareGroupOffsetsResponse {
		r := &kmsg.DeleteShareGroupOffsetsRequest{GroupID: "g"}
		for _, topic := range topics {
			r.Topics = append(r.Topics, kmsg.DeleteShareGroupOffsetsRequestTopic{Topic: topic})
		}
		return client.request(r).(*kmsg.DeleteShareGroupOffsetsResponse)
	}
	deleteGroup := func() int16 {
		return client.request(&kmsg.DeleteGroupsRequest{Version: 2, Groups: []string{"g"}}).(*kmsg.DeleteGroupsResponse).Groups[0].ErrorCode
	}
	for name, code := range map[string]int16{"alter": alter("g").ErrorCode, "delete offsets": remove("events").ErrorCode, "delete": deleteGroup()} {
		if code != kerr.NonEmptyGroup.Code {
			t.Errorf("%s with a member: %v", name, kerr.ErrorForCode(code))
		}
	}
	leave := &kmsg.ShareGroupHeartbeatRequest{Version: 1, GroupID: "g", MemberID: m.id, MemberEpoch: -1}
	if answer := client.request(leave).(*kmsg.ShareGroupHeartbeatResponse); answer.ErrorCode != 0 || answer.MemberEpoch != -1 {
		t.Errorf("leave: %+v", answer)
	}

	altered := alter("g")
	codes := []int16{altered.ErrorCode}
	for _, topic := range altered.Topics {
		for _, p := range topic.Partitions {
			codes = append(codes, p.ErrorCode)
		}
	}
	unknown := kerr.UnknownTopicOrPartition.Code
	if !slices.Equal(codes, []int16{0, 0, unknown, unknown}) || offsets(nil)["events-0"] != 2 {
		t.Errorf("altered %v, offsets %v", codes, offsets(nil))
	}
	if code := alter("none").ErrorCode; code != kerr.GroupIDNotFound.Code {
		t.Errorf("alter of no group: %v", kerr.ErrorForCode(code))
	}
	removed := remove("events", "none").Topics
	if again := remove("events").Topics; removed[0].ErrorCode != 0 || removed[1].ErrorCode != unknown || again[0].ErrorCode != unknown {
		t.Errorf("removed %+v, and again %+v", removed, again)
	}
	if got := offsets(nil); len(got) != 0 {
		t.Errorf("offsets %v", got)
	}
	if code := deleteGroup(); code != 0 {
		t.Errorf("delete: %v", kerr.ErrorForCode(code))
	}
	if code := deleteGroup(); code != kerr.GroupIDNotFound.Code {
		t.Errorf("delete again: %v", kerr.ErrorForCode(code))
	}
}

func TestShareGroupsAndOthersKeepApart(t *testing.T) {
	addr, id := shared(t, Config{Logger: quiet})
	m := newSharer(t, addr, "g", "events", id, 0)
	join := kmsg.NewPtrJoinGroupRequest()
	join.Version, join.Group, join.SessionTimeoutMillis, join.RebalanceTimeoutMillis, join.ProtocolType = 5, "g", 10_000, 10_000, "consumer"
	join.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range", Metadata: []byte{0, 0, 0, 0, 0, 0}}}
	if code := m.client.request(join).(*kmsg.JoinGroupResponse).ErrorCode; code != kerr.InconsistentGroupProtocol.Code {
		t.Errorf("classic: %v", kerr.ErrorForCode(code))
	}
	modern := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	modern.Version, modern.Group, modern.MemberID, modern.RebalanceTimeoutMillis = 1, "g", "x", 10_000
	modern.SubscribedTopicNames, modern.Topics = []string{"events"}, []kmsg.ConsumerGroupHeartbeatRequestTopic{}
	if code := m.client.request(modern).(*kmsg.ConsumerGroupHeartbeatResponse).ErrorCode; code != kerr.GroupIDNotFound.Code {
		t.Errorf("consumer: %v", kerr.ErrorForCode(code))
	}
	modern.Group = "consumers"
	if code := m.client.request(modern).(*kmsg.ConsumerGroupHeartbeatResponse).ErrorCode; code != 0 {
		t.Fatal(kerr.ErrorForCode(code))
	}
	beat := &kmsg.ShareGroupHeartbeatRequest{Version: 1, GroupID: "consumers", MemberID: m.id, SubscribedTopicNames: []string{"events"}}
	if code := m.client.request(beat).(*kmsg.ShareGroupHeartbeatResponse).ErrorCode; code != kerr.GroupIDNotFound.Code {
		t.Errorf("share: %v", kerr.ErrorForCode(code))
	}
	commit := kmsg.NewPtrOffsetCommitRequest()
	commit.Version, commit.Group, commit.Generation = 9, "g", -1
	commit.Topics = []kmsg.OffsetCommitRequestTopic{{Topic: "events", Partitions: []kmsg.OffsetCommitRequestTopicPartition{{}}}}
	if code := m.client.request(commit).(*kmsg.OffsetCommitResponse).Topics[0].Partitions[0].ErrorCode; code != kerr.GroupIDNotFound.Code {
		t.Errorf("commit: %v", kerr.ErrorForCode(code))
	}

	find := func(version int16, key string) int16 {
		r := &kmsg.FindCoordinatorRequest{Version: version, CoordinatorType: shareCoordinator, CoordinatorKeys: []string{key}}
		return m.client.request(r).(*kmsg.FindCoordinatorResponse).Coordinators[0].ErrorCode
	}
	if code := find(6, "g:"+m.id+":0"); code != 0 {
		t.Errorf("find: %v", kerr.ErrorForCode(code))
	}
	for _, key := range []string{"g", "g:x:0", ":" + m.id + ":0", "g:" + m.id + ":x"} {
		if code := find(6, key); code != kerr.InvalidRequest.Code {
			t.Errorf("find %q: %v", key, kerr.ErrorForCode(code))
		}
	}
	if code := find(5, "g:"+m.id+":0"); code != kerr.InvalidRequest.Code {
		t.Errorf("find, before v6: %v", kerr.ErrorForCode(code))
	}
}

func TestShareReadCommitted(t *testing.T) {
	c := newCluster(t)
	_, addr := start(t, c, Config{Logger: quiet})
	id := c.createTopic(t, "events", 1)
	setGroup(t, addr, "g", "share.auto.offset.reset", "earliest")
	setGroup(t, addr, "g", "share.isolation.level", "read_committed")
	producer := newClient(t, addr, kgo.TransactionalID("sharing"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	for _, commit := range []kgo.TransactionEndTry{kgo.TryAbort, kgo.TryCommit} {
		if err := producer.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		if err := producer.ProduceSync(testContext(t), &kgo.Record{Topic: "events", Value: []byte("v")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if err := producer.EndTransaction(testContext(t), commit); err != nil {
			t.Fatal(err)
		}
	}
	m := newSharer(t, addr, "g", "events", id, 0)
	// The aborted record is archived; its marker is acquired, as Kafka's is, and the client finds a gap there.
	row := m.fetch(100, 0)
	if row == nil || len(row.AcquiredRecords) == 0 || row.AcquiredRecords[0].FirstOffset != 1 {
		t.Errorf("%+v", row)
	}
}

func TestShareFetchWaitsForEnoughBytes(t *testing.T) {
	addr, id := shared(t, Config{Logger: quiet})
	a, b := newSharer(t, addr, "g", "events", id, 0), newSharer(t, addr, "g", "events", id, 1)
	r := a.request(4, 0)
	r.MinBytes, r.MaxWaitMillis = 1<<20, 200
	began := time.Now()
	answers := make(chan *kmsg.ShareFetchResponse)
	go func() { answers <- a.send(r) }()
	// Meanwhile the records are there for whoever is content with less.
	var row *kmsg.ShareFetchResponseTopicPartition
	for row == nil {
		row = b.fetch(4, 0)
	}
	expectAcquired(t, row, [3]int64{0, 3, 1})
	answer := <-answers
	if waited := time.Since(began); waited < 200*time.Millisecond {
		t.Errorf("answered after %v", waited)
	}
	expectAcquired(t, &answer.Topics[0].Partitions[0], [3]int64{4, 7, 1})
}
