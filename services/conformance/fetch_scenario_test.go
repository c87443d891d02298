package conformance

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// fetchFrom asks for a partition outside any session, without waiting long.
func fetchFrom(topic target, offset int64, more ...int64) *kmsg.FetchRequest {
	r := kmsg.NewPtrFetchRequest()
	r.MaxWaitMillis, r.MinBytes, r.MaxBytes, r.SessionEpoch = 20, 0, 50<<20, -1
	t := kmsg.NewFetchRequestTopic()
	t.Topic, t.TopicID = topic.name, topic.id
	for i, at := range append([]int64{offset}, more...) {
		p := kmsg.NewFetchRequestTopicPartition()
		p.Partition, p.FetchOffset, p.PartitionMaxBytes, p.CurrentLeaderEpoch = int32(i), at, 1<<20, -1
		t.Partitions = append(t.Partitions, p)
	}
	r.Topics = append(r.Topics, t)
	return r
}

func askFetch(s *session, version int16) {
	topic := s.create("topic", 3)
	for i := range 4 {
		s.produce("", 9, topic, newBatch(records(3, s.now+int64(10*i))...).encode())
	}
	try := func(label string, r *kmsg.FetchRequest) { s.t.Helper(); ask[kmsg.Response](s, label, version, r) }
	for _, offset := range []int64{0, 1, 3, 11, 12, 13, 1000, -1, -2, -5} {
		try(fmt.Sprintf("from %d", offset), fetchFrom(topic, offset))
	}
	try("of an empty partition", func() *kmsg.FetchRequest {
		r := fetchFrom(topic, 0)
		r.Topics[0].Partitions[0].Partition = 1
		return r
	}())
	try("three partitions, one unknown", fetchFrom(topic, 0, 0, 0, 0))
	try("unknown topic", fetchFrom(target{s.name("unknown"), [16]byte{1, 2}}, 0))
	try("zero topic id", fetchFrom(target{name: ""}, 0))
	try("invalid topic name", fetchFrom(target{"a b", [16]byte{3}}, 0))
	negative := fetchFrom(topic, 0)
	negative.Topics[0].Partitions[0].Partition = -1
	try("partition -1", negative)
	both := fetchFrom(topic, 0)
	both.Topics = append(both.Topics, fetchFrom(target{s.name("unknown"), [16]byte{1, 2}}, 0).Topics...)
	try("known and unknown topic", both)
	twice := fetchFrom(topic, 0, 6)
	twice.Topics[0].Partitions[1].Partition = 0
	try("a partition twice", twice)
	for _, limit := range []int32{0, 1, 100, 200, 300, -1} {
		r := fetchFrom(topic, 0)
		r.Topics[0].Partitions[0].PartitionMaxBytes = limit
		try(fmt.Sprintf("partition max bytes %d", limit), r)
		r = fetchFrom(topic, 4)
		r.MaxBytes = limit
		try(fmt.Sprintf("max bytes %d", limit), r)
	}
	for _, epoch := range []int32{0, 1, 99, -2} {
		r := fetchFrom(topic, 0)
		r.Topics[0].Partitions[0].CurrentLeaderEpoch = epoch
		if version >= 9 {
			try(fmt.Sprintf("leader epoch %d", epoch), r)
		}
		if version >= 12 {
			r.Topics[0].Partitions[0].CurrentLeaderEpoch, r.Topics[0].Partitions[0].LastFetchedEpoch = -1, epoch
			try(fmt.Sprintf("last fetched epoch %d", epoch), r)
		}
	}
	for _, isolation := range []int8{1, 2, -1} {
		r := fetchFrom(topic, 0)
		r.IsolationLevel = isolation
		try(fmt.Sprintf("isolation level %d", isolation), r)
	}
	waiting := fetchFrom(topic, 12)
	waiting.MinBytes, waiting.MaxWaitMillis = 1, 50
	try("nothing within max wait", waiting)
	waiting.MaxWaitMillis = -1
	try("max wait -1", waiting)
	follower := fetchFrom(topic, 0)
	pretend := func(id int32) {
		if follower.ReplicaID = id; version >= 15 { // where it has moved to
			follower.ReplicaState.ID = id
		}
	}
	pretend(5)
	try("as a follower", follower)
	pretend(-2)
	try("as a debugger", follower)
	rack := fetchFrom(topic, 0)
	rack.Rack = "somewhere"
	try("from a rack", rack)
	nothing := fetchFrom(topic, 0)
	nothing.Topics = nil
	try("nothing", nothing)
	if version >= 12 {
		cluster := fetchFrom(topic, 0)
		cluster.ClusterID = kmsg.StringPtr("another")
		try("of another cluster", cluster)
	}
}

func askFetchSessions(s *session, version int16) {
	if version < 7 {
		return
	}
	topic, other := s.create("topic", 2), s.create("other", 1)
	s.produce("", 9, topic, newBatch(records(3, s.now)...).encode())
	s.produce("", 9, other, newBatch(records(1, s.now)...).encode())
	ids := map[string]int32{}
	fetch := func(label string, id, epoch int32, topics []kmsg.FetchRequestTopic, forgotten ...kmsg.FetchRequestForgottenTopic) *kmsg.FetchResponse {
		s.t.Helper()
		r := fetchFrom(topic, 0)
		r.SessionID, r.SessionEpoch, r.Topics, r.ForgottenTopics = id, epoch, topics, forgotten
		return ask[*kmsg.FetchResponse](s, label, version, r)
	}
	full := func() []kmsg.FetchRequestTopic {
		return append(fetchFrom(topic, 0, 0).Topics, fetchFrom(other, 0).Topics...)
	}
	ids["a"] = fetch("begin", 0, 0, full()).SessionID
	fetch("incremental, the same again", ids["a"], 1, nil)
	fetch("incremental, wrong epoch", ids["a"], 7, nil)
	fetch("incremental, old epoch", ids["a"], 1, nil)
	moved := fetchFrom(topic, 3).Topics
	fetch("incremental, one moved on", ids["a"], 2, moved)
	fetch("incremental, the other still there", ids["a"], 3, fetchFrom(other, 1).Topics)
	fetch("incremental, nothing new", ids["a"], 4, nil)
	s.produce("", 9, topic, newBatch(records(2, s.now)...).encode())
	fetch("incremental, something new", ids["a"], 5, nil)
	fetch("incremental, unknown partition", ids["a"], 6, fetchFrom(topic, 3, 0, 0).Topics)
	fetch("incremental, unknown partition still", ids["a"], 7, nil)
	forget := kmsg.NewFetchRequestForgottenTopic()
	forget.Topic, forget.TopicID, forget.Partitions = topic.name, topic.id, []int32{0, 2}
	fetch("incremental, forgotten", ids["a"], 8, nil, forget)
	forget.Topic, forget.TopicID = s.name("unknown"), [16]byte{1}
	fetch("incremental, an unknown one forgotten", ids["a"], 9, nil, forget)
	fetch("incremental, unknown topic", ids["a"], 10, fetchFrom(target{s.name("unknown"), [16]byte{1, 2}}, 0).Topics)
	fetch("incremental, unknown topic still", ids["a"], 11, nil)
	fetch("an unknown session", 123456789, 1, nil)
	fetch("no session at epoch 1", 0, 1, nil)
	ids["b"] = fetch("a full fetch in a session", ids["a"], 0, full()).SessionID
	fetch("in the session that was replaced", ids["a"], 12, nil)
	fetch("in the new session", ids["b"], 1, nil)
	fetch("end", ids["b"], -1, full())
	fetch("after the end", ids["b"], 2, nil)
	fetch("epoch -2", 0, -2, full())
	fetch("begin with nothing", 0, 0, nil)
	unknown := fetchFrom(target{s.name("unknown"), [16]byte{1, 2}}, 0).Topics
	ids["c"] = fetch("begin with an unknown topic", 0, 0, append(unknown, fetchFrom(other, 0).Topics...)).SessionID
	fetch("incremental with an unknown topic", ids["c"], 1, nil)
	fetch("incremental out of range", ids["c"], 2, fetchFrom(other, 55).Topics)
	fetch("incremental out of range still", ids["c"], 3, nil)
}

func listAt(topic string, timestamp int64) *kmsg.ListOffsetsRequest {
	r := kmsg.NewPtrListOffsetsRequest()
	r.ReplicaID, r.TimeoutMillis = -1, 5000
	t := kmsg.NewListOffsetsRequestTopic()
	t.Topic = topic
	p := kmsg.NewListOffsetsRequestTopicPartition()
	p.CurrentLeaderEpoch, p.Timestamp = -1, timestamp
	t.Partitions = append(t.Partitions, p)
	r.Topics = append(r.Topics, t)
	return r
}

func askListOffsets(s *session, version int16) {
	topic := s.create("topic", 2)
	for i, base := range []int64{-100_000, -50_000, -90_000, 0} {
		s.produce("", 9, topic, newBatch(rec("a", "1", s.now+base), rec("b", "2", s.now+base+5000), rec("c", fmt.Sprint(i), s.now+base+1000)).encode())
	}
	for _, timestamp := range []int64{-1, -2, -3, -4, -5, -6, -7, -100, 0, 1} {
		ask[kmsg.Response](s, fmt.Sprintf("timestamp %d", timestamp), version, listAt(topic.name, timestamp))
		empty := listAt(topic.name, timestamp)
		empty.Topics[0].Partitions[0].Partition = 1
		ask[kmsg.Response](s, fmt.Sprintf("timestamp %d of an empty partition", timestamp), version, empty)
	}
	for _, delta := range []int64{-100_001, -100_000, -99_000, -97_000, -95_000, -94_999, -60_000, -50_000, -45_001, -44_999, 0, 1, 4999, 5000, 5001, 1_000_000} {
		ask[kmsg.Response](s, fmt.Sprintf("now %+d", delta), version, listAt(topic.name, s.now+delta))
	}
	ask[kmsg.Response](s, "unknown topic", version, listAt(s.name("unknown"), -1))
	ask[kmsg.Response](s, "invalid topic name", version, listAt("a b", -1))
	wrong := listAt(topic.name, -1)
	for _, partition := range []int32{2, -1} {
		wrong.Topics[0].Partitions[0].Partition = partition
		ask[kmsg.Response](s, fmt.Sprintf("partition %d", partition), version, wrong)
	}
	twice := listAt(topic.name, -1)
	twice.Topics[0].Partitions = append(twice.Topics[0].Partitions, listAt(topic.name, -2).Topics[0].Partitions...)
	ask[kmsg.Response](s, "a partition twice", version, twice)
	for _, isolation := range []int8{1, 2} {
		r := listAt(topic.name, -1)
		r.IsolationLevel = isolation
		ask[kmsg.Response](s, fmt.Sprintf("isolation level %d", isolation), version, r)
		r = listAt(topic.name, s.now)
		r.IsolationLevel = isolation
		ask[kmsg.Response](s, fmt.Sprintf("by time with isolation level %d", isolation), version, r)
	}
	if version >= 4 {
		for _, epoch := range []int32{0, 9, -5} {
			r := listAt(topic.name, -1)
			r.Topics[0].Partitions[0].CurrentLeaderEpoch = epoch
			ask[kmsg.Response](s, fmt.Sprintf("leader epoch %d", epoch), version, r)
		}
	}
	for _, replica := range []int32{0, 5, -2, -3} {
		r := listAt(topic.name, -1)
		r.ReplicaID = replica
		ask[kmsg.Response](s, fmt.Sprintf("replica id %d", replica), version, r)
	}
	nothing := listAt(topic.name, -1)
	nothing.Topics = nil
	ask[kmsg.Response](s, "nothing", version, nothing)
}
