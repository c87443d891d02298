package recovery

import (
	"bytes"
	"slices"
	"testing"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/ingest/chunk"
	"github.com/varvelog/varve/ingest/recordbatch"
)

func (s *small) deleteTopic() {
	s.log(&metapb.Command{Kind: &metapb.Command_DeleteTopic{DeleteTopic: &metapb.DeleteTopic{TopicId: s.topic[:]}}})
	clear(s.written)
}

// strand stores an object chunk with a record of a topic that no command has committed.
func (s *small) strand(topic meta.TopicID) (key string) {
	s.t.Helper()
	builder := recordbatch.NewBuilder(recordbatch.BuilderOptions{})
	builder.Reset(0, 0)
	if err := builder.Append(0, 1000, nil, []byte("stranded"), nil); err != nil {
		s.t.Fatal(err)
	}
	data, h, err := builder.Build(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	var b chunk.Builder
	b.Add(chunk.Batch{ProducerID: -1, Topic: topic, Data: bytes.Clone(data), Records: 1, MaxTimestamp: h.MaxTimestamp})
	const seq = 1000
	sealed := b.Seal(chunk.Header{NodeID: 1, NodeEpoch: 1, Lane: 1, Seq: seq, CreatedMillis: s.state.TimeMillis()})
	key = meta.ChunkKey(1, 1, 1, seq)
	s.put(key, slices.Concat(append([][]byte{sealed.Head}, sealed.Body...)...))
	return key
}

// A topic was deleted, as is known, while a job had stored some of it.
func TestADeletedTopicIsNotMadeAgainFromItsSegments(t *testing.T) {
	s := newSmall(t, "varve.durability", "object")
	s.send(true, write{0, 2, nil})
	s.build(s.lease(1))
	s.deleteTopic()
	s.archive()
	state, report := s.recovered()
	if state.Topic(s.topic) != nil || len(report.NewTopics) > 0 {
		t.Errorf("the deleted topic is back: %+v", report)
	}
}

// A chunk was on its way when its topic was deleted. An entry says so, or an older snapshot has the topic.
func TestADeletedTopicIsNotMadeAgainFromAChunk(t *testing.T) {
	for _, how := range []string{"an entry", "an entry below the snapshot", "an older snapshot"} {
		s := newSmall(t, "varve.durability", "object")
		s.send(true, write{0, 1, nil})
		s.snapshot()
		s.deleteTopic()
		s.archive()
		if how != "an entry" {
			s.snapshot()
		}
		if how == "an older snapshot" {
			for _, key := range s.keys("meta/archive/") {
				if err := s.store.Delete(t.Context(), key); err != nil {
					t.Fatal(err)
				}
			}
		}
		s.strand(s.topic)
		state, report := s.recovered()
		if state.Topic(s.topic) != nil || len(report.NewTopics) > 0 {
			t.Errorf("%s: the deleted topic is back: %+v", how, report)
		}
	}
}

// Of a topic that nothing tells of a chunk is taken, as of one that was made after the metadata's end.
func TestAChunkOfAnUnknownTopicIsKept(t *testing.T) {
	s := newSmall(t, "varve.durability", "object")
	s.send(true, write{0, 1, nil})
	s.archive()
	unknown := meta.TopicID(bytes.Repeat([]byte{98}, 16))
	s.strand(unknown)
	state, _ := s.recovered()
	if topic := state.Topic(unknown); topic == nil || topic.Partition(0).NextOffset() != 1 {
		t.Errorf("its record is not there: %+v", topic)
	}
}

// Partitions were added behind the metadata's end, and what they have is in a chunk alone.
func TestRecordsOfAddedPartitionsInAChunk(t *testing.T) {
	s := newSmall(t, "varve.durability", "object")
	s.send(true, write{0, 1, nil})
	s.archive()
	s.log(&metapb.Command{Kind: &metapb.Command_CreatePartitions{CreatePartitions: &metapb.CreatePartitions{TopicId: s.topic[:], Count: 4}}})
	s.send(true, write{3, 2, nil})
	if state, _ := s.recovered(); state.Topic(s.topic).Partitions() != 4 {
		t.Errorf("%d partitions", state.Topic(s.topic).Partitions())
	}
}

// Settings were changed behind the metadata's end, and objects say so.
func TestSettingsOfAKnownTopicComeFromNewerJobs(t *testing.T) {
	s := newSmall(t, "varve.durability", "object", "retention.ms", "1000")
	alter := func(value string) {
		s.log(&metapb.Command{Kind: &metapb.Command_AlterConfig{AlterConfig: &metapb.AlterConfig{Name: "small", Entries: []*metapb.ConfigEntry{{Name: "retention.ms", Value: value}}}}})
	}
	s.send(true, write{0, 1, nil})
	underWay := s.lease(1)
	objects := s.build(underWay)
	alter("2000")
	s.archive()
	report := func() *Report {
		t.Helper()
		plan, err := Prepare(t.Context(), Config{Store: s.store})
		if err != nil {
			t.Fatal(err)
		}
		if err := plan.Close(); err != nil {
			t.Fatal(err)
		}
		return &plan.Report
	}
	if r := report(); len(r.NewSettings) > 0 {
		t.Errorf("a job that was known has settings that are older, and they are taken: %+v", r)
	}
	s.finish(underWay, objects)
	for _, value := range []string{"3000", "-1"} {
		alter(value)
		s.send(true, write{0, 1, nil})
		s.shipAll()
	}
	state, r := s.recovered()
	if got := state.Topic(s.topic); got.Overrides["retention.ms"] != "-1" || got.Config.RetentionMillis != -1 || !slices.Equal(r.NewSettings, []string{"small"}) {
		t.Errorf("settings %v, report %+v", got.Overrides, r)
	}
}
