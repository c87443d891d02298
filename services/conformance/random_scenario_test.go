package conformance

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// seedVariable names the variable that has another seed than the usual one drive the random scenarios.
const seedVariable = "VARVE_CONFORMANCE_SEED"

func seed(t testing.TB) uint64 {
	t.Helper()
	text := os.Getenv(seedVariable)
	if text == "" {
		return 4711
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", seedVariable, err)
	}
	return n
}

// dice fall the same for both servers.
func (s *session) dice(version int16) *rand.Rand {
	return rand.New(rand.NewPCG(uint64(version), seed(s.t)))
}

// askRandomly produces, fetches and looks up in an order that a seed chooses.
func askRandomly(s *session, version int16) {
	const steps = 60
	dice := s.dice(version)
	topic := s.create("topic", 3)
	id, epoch := s.producerID()
	sequences := map[int32]int32{}
	var last [3]int64
	for step := range steps {
		partition := int32(dice.IntN(4)) // one more than there are
		label := fmt.Sprintf("step %d", step)
		switch dice.IntN(4) {
		case 0:
			r := produceTo(topic, -1, newBatch(records(1+dice.IntN(5), s.now+int64(dice.IntN(1000)))...).encode())
			r.Topics[0].Partitions[0].Partition = partition
			ask[kmsg.Response](s, label, version, r)
		case 1:
			n := 1 + dice.IntN(3)
			sequence := sequences[partition] + int32(dice.IntN(3)/2)
			r := produceTo(topic, 1, newBatch(records(n, s.now)...).producer(id, epoch, sequence).encode())
			r.Topics[0].Partitions[0].Partition = partition
			answer := ask[*kmsg.ProduceResponse](s, label, version, r)
			if len(answer.Topics) == 1 && answer.Topics[0].Partitions[0].ErrorCode == 0 && dice.IntN(4) > 0 {
				sequences[partition] = sequence + int32(n)
			}
		case 2:
			r := fetchFrom(topic, last[partition%3]+int64(dice.IntN(12))-1)
			r.Topics[0].Partitions[0].Partition = partition
			r.MaxWaitMillis, r.Topics[0].Partitions[0].PartitionMaxBytes = 1, int32(dice.IntN(400))
			ask[kmsg.Response](s, label, int16(4+dice.IntN(14)), r)
		case 3:
			r := listAt(topic.name, s.now+int64(dice.IntN(1200)))
			r.Topics[0].Partitions[0].Partition = partition
			ask[kmsg.Response](s, label, int16(1+dice.IntN(10)), r)
		}
	}
}

func oneOf[T any](dice *rand.Rand, items ...T) T { return items[dice.IntN(len(items))] }

// askAdministratorsRandomly alters, describes, commits, deletes and looks up in an order that a seed chooses, at versions that it chooses.
func askAdministratorsRandomly(s *session, round int16) {
	const steps = 120
	dice := s.dice(100 + round)
	s.warm()
	topics := []target{s.create("a", 1), s.create("b", 3)}
	for _, t := range topics {
		s.produce("", 9, t, newBatch(records(4, s.now)...).encode())
	}
	group := s.name("group")
	at := func(key int16) int16 { // a version that both have
		k := commonVersions[key]
		return k.min + int16(dice.IntN(int(k.max-k.min)+1))
	}
	names := []string{"retention.ms", "retention.bytes", "segment.bytes", "segment.ms", "max.message.bytes", "flush.ms", "index.interval.bytes", "preallocate", "compression.type", "message.timestamp.type",
		"compression.zstd.level", "file.delete.delay.ms", "cleanup.policy", "segment.jitter.ms", "no.such"}
	values := []string{"1", "0", "-1", "1048576", "x", "", "true", "false", "gzip", "delete", "compact", "CreateTime", "LogAppendTime", "99999999999", "3.5", " 5 "}
	for step := range steps {
		label := fmt.Sprintf("step %d", step)
		topic, partition := oneOf(dice, topics...), int32(dice.IntN(4))
		name := oneOf(dice, topic.name, topic.name, topic.name, s.name("unknown"), "a b")
		var r kmsg.Request
		switch dice.IntN(9) {
		case 0:
			setting, value := oneOf(dice, names...), oneOf(dice, values...)
			change := alterIncrementally(topicResource, name, change{setting, oneOf(dice, set, set, set, remove, add, subtract), value})
			change.ValidateOnly = true // what is altered shows a little later, in Kafka
			r = change
		case 1:
			d := describe(topicResource, name, oneOf(dice, names...), oneOf(dice, names...))
			d.IncludeSynonyms, d.IncludeDocumentation = dice.IntN(2) == 0, dice.IntN(2) == 0
			r = d
		case 2:
			made := newTopic(oneOf(dice, s.name(fmt.Sprint("new", step)), name, ".."), oneOf[int32](dice, 1, 3, 0, -1, -2), oneOf(dice, names...), oneOf(dice, values...))
			c := creation(made)
			c.ValidateOnly = true
			r = c
		case 3:
			c := kmsg.NewPtrOffsetCommitRequest()
			c.Group, c.Generation = oneOf(dice, group, group, ""), oneOf[int32](dice, -1, -1, -1, 0, 5)
			c.MemberID = oneOf(dice, "", "", "", "somebody")
			t := commitOf(name, partition, int64(dice.IntN(5)))
			if dice.IntN(3) == 0 {
				t.Partitions[0].Metadata = kmsg.StringPtr(strings.Repeat("m", oneOf(dice, 0, 10, 4096, 4097)))
			}
			c.Topics = append(c.Topics, t)
			r = c
		case 4:
			f := kmsg.NewPtrOffsetFetchRequest()
			f.Group = oneOf(dice, group, group, s.name("nobody"))
			f.Topics = []kmsg.OffsetFetchRequestTopic{{Topic: name, Partitions: []int32{0, partition}}}
			f.Groups = []kmsg.OffsetFetchRequestGroup{{Group: f.Group, MemberEpoch: -1, Topics: []kmsg.OffsetFetchRequestGroupTopic{{Topic: name, Partitions: []int32{0, partition}}}}}
			r = f
		case 5:
			d := kmsg.NewPtrDeleteRecordsRequest()
			d.TimeoutMillis = 5000
			d.Topics = []kmsg.DeleteRecordsRequestTopic{{Topic: name, Partitions: []kmsg.DeleteRecordsRequestTopicPartition{{Partition: partition, Offset: oneOf[int64](dice, 0, 1, 2, 4, 9, -1, -2)}}}}
			r = d
		case 6:
			l := listAt(name, oneOf(dice, -1, -2, -3, -4, 0, s.now, s.now+2, s.now+9))
			l.Topics[0].Partitions[0].Partition, l.IsolationLevel = partition, oneOf[int8](dice, 0, 1)
			r = l
		case 7:
			e := kmsg.NewPtrOffsetForLeaderEpochRequest()
			e.Topics = []kmsg.OffsetForLeaderEpochRequestTopic{{Topic: name, Partitions: []kmsg.OffsetForLeaderEpochRequestTopicPartition{{Partition: partition, CurrentLeaderEpoch: oneOf[int32](dice, -1, 0, 3), LeaderEpoch: oneOf[int32](dice, 0, 1, -1)}}}}
			r = e
		case 8:
			p := kmsg.NewPtrCreatePartitionsRequest()
			p.TimeoutMillis, p.ValidateOnly = 5000, true
			t := kmsg.NewCreatePartitionsRequestTopic()
			t.Topic, t.Count = name, int32(dice.IntN(6))-1
			p.Topics = append(p.Topics, t)
			r = p
		}
		ask[kmsg.Response](s, label, at(r.Key()), r)
	}
}

// commonVersions are those that Kafka 4.1 and Varve have of the APIs that are asked at random.
var commonVersions = map[int16]versionRange{2: {1, 10}, 8: {2, 9}, 9: {1, 9}, 19: {2, 7}, 21: {0, 2}, 23: {2, 4}, 32: {1, 4}, 37: {0, 3}, 44: {0, 1}}
