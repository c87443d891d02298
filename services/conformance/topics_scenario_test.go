package conformance

import (
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// target is a topic by name and by id: later versions of some requests take the id.
type target struct {
	name string
	id   [16]byte
}

func metadataOf(names ...string) *kmsg.MetadataRequest {
	r := kmsg.NewPtrMetadataRequest()
	r.Topics = []kmsg.MetadataRequestTopic{}
	for _, name := range names {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = kmsg.StringPtr(name)
		r.Topics = append(r.Topics, t)
	}
	return r
}

func newTopic(name string, partitions int32, configs ...string) kmsg.CreateTopicsRequestTopic {
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = name, partitions, 1
	for i := 0; i < len(configs); i += 2 {
		c := kmsg.NewCreateTopicsRequestTopicConfig()
		c.Name, c.Value = configs[i], kmsg.StringPtr(configs[i+1])
		t.Configs = append(t.Configs, c)
	}
	return t
}

func creation(topics ...kmsg.CreateTopicsRequestTopic) *kmsg.CreateTopicsRequest {
	r := kmsg.NewPtrCreateTopicsRequest()
	r.TimeoutMillis, r.Topics = 10_000, topics
	return r
}

func deletion(names ...string) *kmsg.DeleteTopicsRequest {
	r := kmsg.NewPtrDeleteTopicsRequest()
	r.TimeoutMillis, r.TopicNames = 10_000, names
	for _, name := range names {
		t := kmsg.NewDeleteTopicsRequestTopic()
		t.Topic = kmsg.StringPtr(name)
		r.Topics = append(r.Topics, t)
	}
	return r
}

// create makes a topic and waits until it can be used.
func (s *session) create(suffix string, partitions int32, configs ...string) target {
	s.t.Helper()
	name := s.name(suffix)
	made := ask[*kmsg.CreateTopicsResponse](s, "", 7, creation(newTopic(name, partitions, configs...)))
	if len(made.Topics) != 1 || made.Topics[0].ErrorCode != 0 {
		s.t.Fatalf("%s: create %s: %+v", s.server.name, name, made.Topics)
	}
	return target{name, s.usable(name, int(partitions))}
}

// usable waits until a topic has all its leaders, and returns its id.
func (s *session) usable(name string, partitions int) (id [16]byte) {
	s.t.Helper()
	r := metadataOf(name)
	r.AllowAutoTopicCreation = false
	until(s, "", 12, r, func(r *kmsg.MetadataResponse) bool {
		if len(r.Topics) != 1 || r.Topics[0].ErrorCode != 0 || len(r.Topics[0].Partitions) != partitions {
			return false
		}
		for _, p := range r.Topics[0].Partitions {
			if p.ErrorCode != 0 || p.Leader < 0 {
				return false
			}
		}
		id = r.Topics[0].TopicID
		return true
	})
	s.symbols.of("topic", fmt.Sprint(id)) // in the order of creation, whatever order they are listed in
	for partition := range partitions {   // Kafka names a leader a little before it leads
		offsets := listAt(name, -1)
		offsets.Topics[0].Partitions[0].Partition = int32(partition)
		until(s, "", 5, offsets, func(r *kmsg.ListOffsetsResponse) bool {
			return len(r.Topics) == 1 && r.Topics[0].Partitions[0].ErrorCode == 0
		})
	}
	return id
}

func (s *session) remove(names ...string) {
	s.t.Helper()
	ask[kmsg.Response](s, "", 5, deletion(names...))
	r := metadataOf(names...)
	r.AllowAutoTopicCreation = false
	until(s, "", 9, r, func(r *kmsg.MetadataResponse) bool {
		for _, t := range r.Topics {
			if t.ErrorCode == 0 {
				return false
			}
		}
		return true
	})
}

func askMetadata(s *session, version int16) {
	all := kmsg.NewPtrMetadataRequest()
	until(s, "all topics of none", version, all, func(r *kmsg.MetadataResponse) bool { return len(r.Brokers) == 1 && len(r.Topics) == 0 })
	first := s.create("first", 3)
	second := s.create("second", 1)
	ask[kmsg.Response](s, "all topics", version, all)
	all.IncludeClusterAuthorizedOperations, all.IncludeTopicAuthorizedOperations = true, true
	ask[kmsg.Response](s, "all topics with operations", version, all)
	ask[kmsg.Response](s, "an empty list", version, metadataOf())
	ask[kmsg.Response](s, "two topics", version, metadataOf(first.name, second.name))
	ask[kmsg.Response](s, "one topic twice", version, metadataOf(first.name, first.name))
	unknown := metadataOf(s.name("unknown"))
	unknown.AllowAutoTopicCreation = false
	if version >= 4 {
		ask[kmsg.Response](s, "unknown, not to be created", version, unknown)
	}
	for _, name := range []string{"", ".", "..", "a b", "ä", "a/b", strings.Repeat("x", 250), strings.Repeat("x", 249) + "\x00"} {
		ask[kmsg.Response](s, fmt.Sprintf("invalid name %.10q, %d bytes", name, len(name)), version, metadataOf(name))
	}
	created := metadataOf(s.name("created"))
	created.AllowAutoTopicCreation = true
	ask[kmsg.Response](s, "", version, created)
	until(s, "created on demand", version, created, func(r *kmsg.MetadataResponse) bool {
		return len(r.Topics) == 1 && r.Topics[0].ErrorCode == 0 && len(r.Topics[0].Partitions) > 0 && r.Topics[0].Partitions[0].Leader >= 0
	})
	internal := metadataOf("__consumer_offsets_")
	internal.AllowAutoTopicCreation = false
	if version >= 4 {
		ask[kmsg.Response](s, "nearly an internal topic", version, internal)
	}
	if version >= 10 {
		byID := metadataOf()
		t := kmsg.NewMetadataRequestTopic()
		t.TopicID = first.id
		byID.Topics = append(byID.Topics, t)
		ask[kmsg.Response](s, "by id", version, byID)
		byID.Topics[0].TopicID = [16]byte{1, 2, 3}
		ask[kmsg.Response](s, "by unknown id", version, byID)
		byID.Topics[0].TopicID, byID.Topics[0].Topic = first.id, kmsg.StringPtr(first.name)
		ask[kmsg.Response](s, "by id and name", version, byID)
		byID.Topics[0].TopicID = second.id
		ask[kmsg.Response](s, "by another's id and name", version, byID)
		byID.Topics[0].TopicID, byID.Topics[0].Topic = [16]byte{}, nil
		ask[kmsg.Response](s, "by neither id nor name", version, byID)
		byID.Topics[0].TopicID = first.id
		byID.Topics = append(byID.Topics, metadataOf(second.name).Topics...)
		ask[kmsg.Response](s, "one by id, one by name", version, byID)
	}
	s.remove(first.name, second.name, s.name("created"))
}

func askCreateTopics(s *session, version int16) {
	try := func(label string, topics ...kmsg.CreateTopicsRequestTopic) {
		s.t.Helper()
		ask[kmsg.Response](s, label, version, creation(topics...))
	}
	try("plain", newTopic(s.name("plain"), 2))
	try("which exists", newTopic(s.name("plain"), 2))
	try("twice in one request", newTopic(s.name("twice"), 1), newTopic(s.name("twice"), 1))
	try("three", newTopic(s.name("a"), 1), newTopic(s.name("plain"), 1), newTopic(s.name("b"), 1))
	try("nothing")
	for _, name := range []string{"", ".", "..", "a b", "ä", strings.Repeat("x", 250)} {
		try(fmt.Sprintf("invalid name %.10q, %d bytes", name, len(name)), newTopic(name, 1))
	}
	try("colliding name", newTopic(s.name("col.lide"), 1))
	try("colliding name, the second", newTopic(s.name("col_lide"), 1))
	for _, n := range []int32{0, -2} {
		try(fmt.Sprintf("%d partitions", n), newTopic(s.name("np"), n))
	}
	if version >= 4 {
		defaults := newTopic(s.name("defaults"), -1)
		defaults.ReplicationFactor = -1
		try("with default partitions and replication", defaults)
	}
	for _, n := range []int16{0, 2, -2} {
		t := newTopic(s.name(fmt.Sprint("rf", n)), 1)
		t.ReplicationFactor = n
		try(fmt.Sprintf("replication factor %d", n), t)
	}
	assigned := func(suffix string, assignment ...[]int32) kmsg.CreateTopicsRequestTopic {
		t := newTopic(s.name(suffix), -1)
		t.ReplicationFactor = -1
		for i, replicas := range assignment {
			a := kmsg.NewCreateTopicsRequestTopicReplicaAssignment()
			a.Partition, a.Replicas = int32(i), replicas
			t.ReplicaAssignment = append(t.ReplicaAssignment, a)
		}
		return t
	}
	node := s.node()
	try("assigned", assigned("assigned", []int32{node}, []int32{node}))
	try("assigned to nobody", assigned("as1", []int32{}))
	try("assigned to an unknown node", assigned("as2", []int32{node + 1000}))
	try("assigned to a node twice", assigned("as3", []int32{node, node}))
	gap := assigned("as4", []int32{node}, []int32{node})
	gap.ReplicaAssignment[1].Partition = 5
	try("assigned with a gap", gap)
	repeated := assigned("as5", []int32{node}, []int32{node})
	repeated.ReplicaAssignment[1].Partition = 0
	try("assigned with a repeated partition", repeated)
	both := assigned("as6", []int32{node})
	both.NumPartitions = 1
	try("assigned and counted", both)

	good := [][2]string{{"cleanup.policy", "delete"}, {"compression.type", "lz4"}, {"retention.ms", "-1"}, {"retention.ms", "1000"}, {"segment.bytes", "1048576"}, {"max.message.bytes", "0"},
		{"message.timestamp.type", "LogAppendTime"}, {"min.insync.replicas", "1"}, {"retention.bytes", "1"}, {"segment.ms", "1"}, {"flush.ms", "1"}, {"flush.messages", "1"},
		{"index.interval.bytes", "1"}, {"segment.index.bytes", "4096"}, {"segment.jitter.ms", "0"}, {"delete.retention.ms", "0"}, {"file.delete.delay.ms", "1"},
		{"min.cleanable.dirty.ratio", "0.5"}, {"unclean.leader.election.enable", "true"}, {"preallocate", "false"}, {"preallocate", "true"}, {"segment.jitter.ms", "7"}, {"leader.replication.throttled.replicas", "0:1,1:1"}, {"leader.replication.throttled.replicas", "none"}, {"compression.zstd.level", "-5"},
		{"compression.zstd.level", "22"}, {"compression.lz4.level", "17"}, {"compression.gzip.level", "9"}, {"remote.log.copy.disable", "false"}, {"remote.log.delete.on.disable", "false"}, {"unclean.leader.election.enable", "false"}, {"local.retention.ms", "-2"},
		{"local.retention.bytes", "-2"}, {"remote.storage.enable", "false"}, {"message.timestamp.before.max.ms", "1"},
		{"max.compaction.lag.ms", "1"}, {"min.compaction.lag.ms", "1"}, {"compression.zstd.level", "3"}, {"compression.gzip.level", "-1"}, {"compression.lz4.level", "9"},
		{"leader.replication.throttled.replicas", "*"}, {"follower.replication.throttled.replicas", ""}, {"cleanup.policy", "compact"}, {"cleanup.policy", "compact,delete"}, {"cleanup.policy", "delete,compact"},
		{"cleanup.policy", "compact,compact"}, {"min.cleanable.dirty.ratio", "0.25"}, {"delete.retention.ms", "9223372036854775807"}, {"min.insync.replicas", "2"}}
	for i, c := range good {
		try(fmt.Sprintf("with %s=%s", c[0], c[1]), newTopic(s.name(fmt.Sprintf("good%d", i)), 1, c[0], c[1]))
	}
	bad := [][2]string{{"no.such.config", "1"}, {"retention.ms", "x"}, {"retention.ms", "-2"}, {"retention.ms", ""}, {"cleanup.policy", "burn"}, {"cleanup.policy", "compact,burn"}, {"cleanup.policy", ","}, {"max.compaction.lag.ms", "0"}, {"min.compaction.lag.ms", "-1"}, {"delete.retention.ms", "x"}, {"cleanup.policy", ""}, {"compression.type", "brotli"}, {"segment.bytes", "1"},
		{"max.message.bytes", "-1"}, {"max.message.bytes", "3000000000"}, {"min.insync.replicas", "0"}, {"message.timestamp.type", "Never"}, {"preallocate", "perhaps"}, {"segment.ms", "0"},
		{"compression.zstd.level", "99"}, {"compression.gzip.level", "0"}, {"compression.lz4.level", "18"}, {"flush.ms", "-1"}, {"flush.messages", "0"}, {"index.interval.bytes", "-1"}, {"segment.index.bytes", "3"}, {"file.delete.delay.ms", "-1"}, {"segment.jitter.ms", "-1"},
		{"unclean.leader.election.enable", "maybe"}, {"follower.replication.throttled.replicas", "0"}, {"local.retention.ms", "-3"}, {"remote.storage.enable", "x"}, {"message.timestamp.after.max.ms", "-1"}, {"min.cleanable.dirty.ratio", "2"}, {"leader.replication.throttled.replicas", "x"}, {"message.format.version", "3.0"}, {"message.downconversion.enable", "true"}, {"num.partitions", "3"}}
	for i, c := range bad {
		try(fmt.Sprintf("with bad %s=%s", c[0], c[1]), newTopic(s.name(fmt.Sprintf("bad%d", i)), 1, c[0], c[1]))
	}
	try("with lags that exclude each other", newTopic(s.name("lags"), 1, "min.compaction.lag.ms", "2", "max.compaction.lag.ms", "1"))
	null := newTopic(s.name("null"), 1, "retention.ms", "1")
	null.Configs[0].Value = nil
	try("with a null value", null)
	try("with a configuration twice", newTopic(s.name("cc"), 1, "retention.ms", "1", "retention.ms", "2"))
	probe := creation(newTopic(s.name("probe"), 3, "retention.ms", "5"), newTopic(s.name("plain"), 1), newTopic("a b", 1))
	probe.ValidateOnly = true
	ask[kmsg.Response](s, "validated only", version, probe)
	unknown := metadataOf(s.name("probe"))
	unknown.AllowAutoTopicCreation = false
	ask[kmsg.Response](s, "after a validation only", 9, unknown)
}

// node is the id of the one node.
func (s *session) node() int32 {
	s.t.Helper()
	r := ask[*kmsg.MetadataResponse](s, "", 9, metadataOf())
	if len(r.Brokers) != 1 {
		s.t.Fatalf("%s has %d nodes", s.server.name, len(r.Brokers))
	}
	return r.Brokers[0].NodeID
}

func askDeleteTopics(s *session, version int16) {
	a, b, c := s.create("a", 1), s.create("b", 1), s.create("c", 1)
	ask[kmsg.Response](s, "one", version, deletion(a.name))
	ask[kmsg.Response](s, "one that is gone, one that is there", version, deletion(a.name, b.name))
	ask[kmsg.Response](s, "unknown", version, deletion(s.name("never")))
	ask[kmsg.Response](s, "invalid name", version, deletion("a b"))
	ask[kmsg.Response](s, "nothing", version, deletion())
	ask[kmsg.Response](s, "twice in one request", version, deletion(c.name, c.name))
	if version < 6 {
		return
	}
	d := s.create("d", 1)
	byID := deletion()
	t := kmsg.NewDeleteTopicsRequestTopic()
	t.TopicID = [16]byte{9, 9}
	byID.Topics = append(byID.Topics, t)
	ask[kmsg.Response](s, "unknown id", version, byID)
	byID.Topics[0].TopicID, byID.Topics[0].Topic = d.id, kmsg.StringPtr(d.name)
	ask[kmsg.Response](s, "id and name", version, byID)
	byID.Topics[0].TopicID, byID.Topics[0].Topic = [16]byte{}, nil
	ask[kmsg.Response](s, "neither id nor name", version, byID)
	byID.Topics[0].TopicID = d.id
	byID.Topics = append(byID.Topics, deletion(d.name).Topics...)
	ask[kmsg.Response](s, "the same by id and by name", version, byID)
	byID.Topics = byID.Topics[:1]
	ask[kmsg.Response](s, "by id", version, byID)
	ask[kmsg.Response](s, "by id, again", version, byID)
}

func askCreatePartitions(s *session, version int16) {
	topic := s.create("topic", 2)
	other := s.create("other", 1)
	more := func(name string, count int32, assignment ...[]int32) kmsg.CreatePartitionsRequestTopic {
		t := kmsg.NewCreatePartitionsRequestTopic()
		t.Topic, t.Count = name, count
		for _, replicas := range assignment {
			t.Assignment = append(t.Assignment, kmsg.CreatePartitionsRequestTopicAssignment{Replicas: replicas})
		}
		return t
	}
	try := func(label string, topics ...kmsg.CreatePartitionsRequestTopic) {
		s.t.Helper()
		r := kmsg.NewPtrCreatePartitionsRequest()
		r.TimeoutMillis, r.Topics = 10_000, topics
		ask[kmsg.Response](s, label, version, r)
	}
	node := s.node()
	try("same count", more(topic.name, 2))
	try("fewer", more(topic.name, 1))
	try("none", more(topic.name, 0))
	try("negative", more(topic.name, -1))
	try("unknown topic", more(s.name("unknown"), 3))
	try("invalid name", more("a b", 3))
	try("nothing")
	try("twice in one request", more(topic.name, 3), more(topic.name, 4))
	try("another", more(other.name, 2))
	probe := kmsg.NewPtrCreatePartitionsRequest()
	probe.TimeoutMillis, probe.ValidateOnly = 10_000, true
	assigned := func(label string, t kmsg.CreatePartitionsRequestTopic) {
		s.t.Helper()
		probe.Topics = []kmsg.CreatePartitionsRequestTopic{t}
		ask[kmsg.Response](s, label, version, probe)
	}
	assigned("assigned to an unknown node", more(topic.name, 3, []int32{node + 1000}))
	assigned("assigned too few", more(topic.name, 4, []int32{node}))
	assigned("assigned too many", more(topic.name, 3, []int32{node}, []int32{node}))
	assigned("assigned to nobody", more(topic.name, 3, []int32{}))
	assigned("assigned to a node twice", more(topic.name, 3, []int32{node, node}))
	assigned("assigned", more(topic.name, 3, []int32{node}))
	probe.Topics = nil
	probe.Topics = append(probe.Topics, more(topic.name, 9), more(s.name("unknown"), 3))
	ask[kmsg.Response](s, "validated only", version, probe)
	try("more", more(topic.name, 6))
	s.usable(topic.name, 6)
	ask[kmsg.Response](s, "afterwards", 9, metadataOf(topic.name))
}
