package conformance

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/services/e2e/cluster"
)

// Ids as members of share groups make them.
const (
	firstSharer  = "AAAAAAAAAAAAAAAAAAAAAQ"
	secondSharer = "AAAAAAAAAAAAAAAAAAAAAg"
)

func shareBeat(group, member string, epoch int32, topics ...string) *kmsg.ShareGroupHeartbeatRequest {
	r := kmsg.NewPtrShareGroupHeartbeatRequest()
	r.GroupID, r.MemberID, r.MemberEpoch = group, member, epoch
	if len(topics) > 0 {
		r.SubscribedTopicNames = topics
	}
	return r
}

func (s *session) shareBeat(label string, r *kmsg.ShareGroupHeartbeatRequest) *kmsg.ShareGroupHeartbeatResponse {
	s.t.Helper()
	return ask[*kmsg.ShareGroupHeartbeatResponse](s, label, 1, r)
}

// joinShare makes a member of a share group and returns its epoch when it has its partitions.
func (s *session) joinShare(group, member string, topic target) int32 {
	s.t.Helper()
	epoch := s.shareBeat("", shareBeat(group, member, 0, topic.name)).MemberEpoch
	for range 100 {
		beat := s.shareBeat("", shareBeat(group, member, epoch, topic.name))
		epoch = beat.MemberEpoch
		if beat.Assignment != nil && len(beat.Assignment.TopicPartitions) > 0 {
			break
		}
		pause()
	}
	return epoch
}

func (s *session) configureGroup(group, name, value string) {
	s.t.Helper()
	r := kmsg.NewPtrIncrementalAlterConfigsRequest()
	resource := kmsg.NewIncrementalAlterConfigsRequestResource()
	resource.ResourceType, resource.ResourceName = kmsg.ConfigResourceTypeGroupConfig, group
	resource.Configs = []kmsg.IncrementalAlterConfigsRequestResourceConfig{{Name: name, Value: &value}}
	r.Resources = append(r.Resources, resource)
	ask[kmsg.Response](s, "of a group: "+name+"="+value, 1, r)
}

type shareSession struct {
	s             *session
	group, member string
	topic         target
	epoch         int32
}

func (f *shareSession) request(records int32, partitions ...int32) *kmsg.ShareFetchRequest {
	r := kmsg.NewPtrShareFetchRequest()
	r.GroupID, r.MemberID, r.ShareSessionEpoch = &f.group, &f.member, f.epoch
	r.MaxWaitMillis, r.MinBytes, r.MaxRecords, r.BatchSize = 300, 1, records, records
	if len(partitions) > 0 {
		topic := kmsg.ShareFetchRequestTopic{TopicID: f.topic.id}
		for _, p := range partitions {
			topic.Partitions = append(topic.Partitions, kmsg.ShareFetchRequestTopicPartition{Partition: p})
		}
		r.Topics = append(r.Topics, topic)
	}
	return r
}

func (f *shareSession) fetch(label string, r *kmsg.ShareFetchRequest) *kmsg.ShareFetchResponse {
	f.s.t.Helper()
	answer := ask[*kmsg.ShareFetchResponse](f.s, label, 1, r)
	if answer.ErrorCode == 0 {
		f.epoch = r.ShareSessionEpoch + 1
	}
	return answer
}

type ackBatch = kmsg.ShareAcknowledgeRequestTopicPartitionAcknowledgementBatch

func ackOf(first, last int64, types ...int8) ackBatch {
	return ackBatch{FirstOffset: first, LastOffset: last, AcknowledgeTypes: types}
}

func (f *shareSession) acknowledge(label string, batches ...ackBatch) {
	f.s.t.Helper()
	r := kmsg.NewPtrShareAcknowledgeRequest()
	r.GroupID, r.MemberID, r.ShareSessionEpoch = &f.group, &f.member, f.epoch
	r.Topics = []kmsg.ShareAcknowledgeRequestTopic{{TopicID: f.topic.id, Partitions: []kmsg.ShareAcknowledgeRequestTopicPartition{{AcknowledgementBatches: batches}}}}
	if answer := ask[*kmsg.ShareAcknowledgeResponse](f.s, label, 1, r); answer.ErrorCode == 0 {
		f.epoch++
	}
}

func askShareHeartbeat(s *session, _ int16) {
	s.warm()
	topic := s.create("topic", 2)
	group := s.name("group")
	s.shareBeat("to an unknown group", shareBeat(group, firstSharer, 1))
	s.shareBeat("leaving an unknown group", shareBeat(group, firstSharer, -1))
	s.shareBeat("empty group", shareBeat("", firstSharer, 0, topic.name))
	s.shareBeat("empty member", shareBeat(group, "", 0, topic.name))
	s.shareBeat("without topics", shareBeat(group, firstSharer, 0))
	s.shareBeat("epoch -2", shareBeat(group, firstSharer, -2, topic.name))
	rack := shareBeat(group, firstSharer, 0, topic.name)
	rack.RackID = new(string)
	s.shareBeat("empty rack", rack)
	none := shareBeat(group, firstSharer, 0)
	none.SubscribedTopicNames = []string{}
	s.shareBeat("no topics", none)

	epoch := s.joinShare(group, firstSharer, topic)
	s.shareBeat("of a stranger", shareBeat(group, secondSharer, epoch))
	s.shareBeat("leaving as a stranger", shareBeat(group, secondSharer, -1))
	s.shareBeat("of too high an epoch", shareBeat(group, firstSharer, epoch+10))

	for _, name := range []string{s.name("none"), "", s.classic(topic)} {
		describe := kmsg.NewPtrShareGroupDescribeRequest()
		describe.GroupIDs = []string{name}
		ask[kmsg.Response](s, "no share group "+name, 1, describe)
	}
	list := &kmsg.ListGroupsRequest{TypesFilter: []string{"share"}, StatesFilter: []string{"stable"}}
	for _, g := range ask[*kmsg.ListGroupsResponse](s, "", 5, list).Groups {
		if g.Group == group {
			s.note(list, "a share group", map[string]string{"type": g.GroupType, "protocol": g.ProtocolType, "state": g.GroupState})
		}
	}
	ask[kmsg.Response](s, "to a share group", 5, joining(group, "c"))
	ask[kmsg.Response](s, "to a share group", 3, heartbeating(group, firstSharer, epoch))
	ask[kmsg.Response](s, "to a share group", 5, syncing(group, firstSharer, epoch))
	s.beat("to a share group", 1, entering(group, "c", topic.name))
	ask[kmsg.Response](s, "of a share group", 9, committing(group, "", -1, commitOf(topic.name, 0, 5)))
	for _, version := range []int16{7, 9} {
		fetch := &kmsg.OffsetFetchRequest{Group: group, Topics: []kmsg.OffsetFetchRequestTopic{{Topic: topic.name, Partitions: []int32{0}}}}
		fetch.Groups = []kmsg.OffsetFetchRequestGroup{{Group: group, MemberEpoch: -1, Topics: []kmsg.OffsetFetchRequestGroupTopic{{Topic: topic.name, Partitions: []int32{0}}}}}
		ask[kmsg.Response](s, "of a share group", version, fetch)
	}
	ask[kmsg.Response](s, "of a share group", 5, &kmsg.DescribeGroupsRequest{Groups: []string{group}})
	ask[kmsg.Response](s, "of a share group", 6, &kmsg.DescribeGroupsRequest{Groups: []string{group}})
	ask[kmsg.Response](s, "of a share group", 1, &kmsg.ConsumerGroupDescribeRequest{Groups: []string{group}})
	ask[kmsg.Response](s, "of a share group with a member", 2, &kmsg.DeleteGroupsRequest{Groups: []string{group}})
	forgetOffsets(s, "of a share group", group, topic.name, 0)
	s.shareBeat("to a classic group", shareBeat(s.classic(topic), firstSharer, 0, topic.name))
	s.shareBeat("leaving", shareBeat(group, firstSharer, -1))
	s.shareBeat("after leaving", shareBeat(group, firstSharer, epoch))
	ask[kmsg.Response](s, "to a share group without members", 5, joining(group, "c"))
	ask[kmsg.Response](s, "of a share group", 2, &kmsg.DeleteGroupsRequest{Groups: []string{group}})
}

func askShareFetch(s *session, _ int16) {
	s.warm()
	topic := s.create("topic", 2)
	group := s.name("group")
	s.configureGroup(group, "share.auto.offset.reset", "earliest")
	s.configureGroup(group, "share.auto.offset.reset", "sometimes")
	s.configureGroup(group, "share.record.lock.duration.ms", "1")
	s.configureGroup(group, "share.isolation.level", "read_committed")
	s.configureGroup(group, "share.isolation.level", "read_uncommitted")
	for range 10 {
		ask[kmsg.Response](s, "", 9, produceTo(topic, -1, newBatch(record{timestamp: s.now, value: []byte("v")}).encode()))
	}
	s.joinShare(group, firstSharer, topic)
	f := &shareSession{s: s, group: group, member: firstSharer, topic: topic}
	with := func(change func(*kmsg.ShareFetchRequest)) *kmsg.ShareFetchRequest {
		r := f.request(4, 0)
		change(r)
		return r
	}
	f.fetch("of no session", with(func(r *kmsg.ShareFetchRequest) { r.ShareSessionEpoch = 1 }))
	f.fetch("ending no session", with(func(r *kmsg.ShareFetchRequest) { r.ShareSessionEpoch = -1 }))
	f.fetch("of a member id that is none", with(func(r *kmsg.ShareFetchRequest) { r.MemberID = kmsg.StringPtr("nobody") }))
	f.fetch("acknowledging at the beginning", with(func(r *kmsg.ShareFetchRequest) {
		r.Topics[0].Partitions[0].AcknowledgementBatches = []kmsg.ShareFetchRequestTopicPartitionAcknowledgementBatch{{AcknowledgeTypes: []int8{1}}}
	}))
	f.acknowledge("at the beginning", ackOf(0, 0, 1))

	f.fetch("the first", f.request(4, 0))
	f.fetch("too high an epoch", with(func(r *kmsg.ShareFetchRequest) { r.ShareSessionEpoch = 9 }))
	second := &shareSession{s: s, group: group, member: secondSharer, topic: topic}
	second.fetch("of another member", second.request(4, 0))
	for _, wrong := range []struct {
		label   string
		batches []ackBatch
	}{
		{"of another's records", []ackBatch{ackOf(4, 5, 1)}}, {"across what is another's", []ackBatch{ackOf(2, 5, 1)}},
		{"of what nobody was given", []ackBatch{ackOf(8, 9, 1)}}, {"past what was given", []ackBatch{ackOf(6, 9, 1)}},
		{"backwards", []ackBatch{ackOf(3, 2, 1)}}, {"out of order", []ackBatch{ackOf(2, 3, 1), ackOf(0, 1, 1)}},
		{"without a type", []ackBatch{ackOf(0, 3)}}, {"with too few types", []ackBatch{ackOf(0, 3, 1, 1)}},
		{"of an unknown type", []ackBatch{ackOf(0, 3, 4)}}, {"of a negative type", []ackBatch{ackOf(0, 3, -1)}},
		{"the same twice", []ackBatch{ackOf(0, 1, 1), ackOf(1, 2, 1)}},
		{"of nothing", nil},
		{"one of each", []ackBatch{ackOf(0, 3, 1, 2, 3, 0)}},
		{"of what was rejected", []ackBatch{ackOf(2, 2, 1)}}, {"of what was released", []ackBatch{ackOf(1, 1, 1)}},
		{"below the start", []ackBatch{ackOf(0, 0, 1)}},
	} {
		f.acknowledge(wrong.label, wrong.batches...)
	}
	// A fetch that acknowledges, and is given what was released and what is new.
	r := second.request(100, 0)
	r.Topics[0].Partitions[0].AcknowledgementBatches = []kmsg.ShareFetchRequestTopicPartitionAcknowledgementBatch{{FirstOffset: 4, LastOffset: 7, AcknowledgeTypes: []int8{1}}}
	second.fetch("that acknowledges", r)
	r = second.request(100, 0)
	r.Topics[0].Partitions[0].AcknowledgementBatches = []kmsg.ShareFetchRequestTopicPartitionAcknowledgementBatch{{FirstOffset: 4, LastOffset: 20, AcknowledgeTypes: []int8{1}}}
	second.fetch("that acknowledges too much", r)
	f.fetch("of partitions that are not there", with(func(r *kmsg.ShareFetchRequest) {
		r.Topics[0].Partitions = append(r.Topics[0].Partitions, kmsg.ShareFetchRequestTopicPartition{Partition: 7})
		r.Topics = append(r.Topics, kmsg.ShareFetchRequestTopic{TopicID: [16]byte{9}, Partitions: []kmsg.ShareFetchRequestTopicPartition{{}}})
	}))
	stranger := &shareSession{s: s, group: s.name("none"), member: firstSharer, topic: topic}
	stranger.fetch("of a group that is none", stranger.request(4, 0))

	end := second.request(4)
	end.ShareSessionEpoch = -1
	second.fetch("the last", end)
	second.acknowledge("after the last", ackOf(8, 9, 1))
}

func askShareOffsets(s *session, _ int16) {
	s.warm()
	topic := s.create("topic", 2)
	group := s.name("group")
	describe := func(label string, topics ...kmsg.DescribeShareGroupOffsetsRequestGroupTopic) {
		s.t.Helper()
		r := kmsg.NewPtrDescribeShareGroupOffsetsRequest()
		r.Groups = []kmsg.DescribeShareGroupOffsetsRequestGroup{{GroupID: group, Topics: topics}}
		ask[kmsg.Response](s, label, 0, r)
	}
	alter := func(label, group, topic string, partition int32, offset int64) {
		s.t.Helper()
		ask[kmsg.Response](s, label, 0, &kmsg.AlterShareGroupOffsetsRequest{GroupID: group, Topics: []kmsg.AlterShareGroupOffsetsRequestTopic{
			{Topic: topic, Partitions: []kmsg.AlterShareGroupOffsetsRequestTopicPartition{{Partition: partition, StartOffset: offset}}},
		}})
	}
	remove := func(label, group, topic string) {
		s.t.Helper()
		ask[kmsg.Response](s, label, 0, &kmsg.DeleteShareGroupOffsetsRequest{GroupID: group, Topics: []kmsg.DeleteShareGroupOffsetsRequestTopic{{Topic: topic}}})
	}
	describe("of no group")
	alter("of no group", group, topic.name, 0, 3)
	alter("without a group", "", topic.name, 0, 3)
	remove("of no group", group, topic.name)
	remove("without a group", "", topic.name)
	s.joinShare(group, firstSharer, topic)
	describe("before the first fetch", kmsg.DescribeShareGroupOffsetsRequestGroupTopic{Topic: topic.name, Partitions: []int32{0, 1, 7}})
	describe("of an unknown topic", kmsg.DescribeShareGroupOffsetsRequestGroupTopic{Topic: s.name("none"), Partitions: []int32{0}})
	alter("with a member", group, topic.name, 0, 3)
	remove("with a member", group, topic.name)
	s.shareBeat("", shareBeat(group, firstSharer, -1))
	alter("of a group without members", group, topic.name, 0, 3)
	describe("altered", kmsg.DescribeShareGroupOffsetsRequestGroupTopic{Topic: topic.name, Partitions: []int32{0}})
	alter("of an unknown partition", group, topic.name, 7, 3)
	alter("of an unknown topic", group, s.name("none"), 0, 3)
	ask[kmsg.Response](s, "of nothing", 0, &kmsg.AlterShareGroupOffsetsRequest{GroupID: group})
	remove("of an unknown topic", group, s.name("none"))
	remove("of a topic", group, topic.name)
	describe("deleted", kmsg.DescribeShareGroupOffsetsRequestGroupTopic{Topic: topic.name, Partitions: []int32{0}})
	ask[kmsg.Response](s, "of nothing", 0, &kmsg.DeleteShareGroupOffsetsRequest{GroupID: group})
	for _, key := range []string{"x", "g:x:0", ":" + firstSharer + ":0", "g:" + firstSharer + ":x"} {
		r := kmsg.NewPtrFindCoordinatorRequest()
		r.CoordinatorType, r.CoordinatorKeys = 2, []string{key}
		ask[kmsg.Response](s, fmt.Sprintf("of a share partition named %q", key), 6, r)
	}
}

// TestShareConformance asks Varve and a Kafka that serves share groups the same.
func TestShareConformance(t *testing.T) {
	needGate(t)
	kafka, varve := startKafkaWith(t, "", "share.version=1"), startVarve(t)
	report := newReport(t, filepath.Join(cluster.Root(), ".cache", "kafka", "conformance-share.txt"))
	now := time.Now().UnixMilli()
	for _, sc := range []scenario{{"shareheartbeat", 76, askShareHeartbeat}, {"sharefetch", 78, askShareFetch}, {"shareoffsets", 90, askShareOffsets}} {
		if k, v := kafka.ranges[sc.key], varve.ranges[sc.key]; k != v {
			t.Errorf("%s: Kafka serves %v, Varve %v", kmsg.NameForKey(sc.key), k, v)
		}
		var seen [2][]*observation
		for i, server := range []*server{kafka, varve} {
			s := &session{t: t, server: server, now: now, prefix: sc.name + "-", symbols: symbols{}}
			s.dialAgain()
			sc.run(s, 0)
			s.conn.close()
			seen[i] = s.seen
		}
		report.compare(seen[0], seen[1])
	}
	report.finish(false)
}
