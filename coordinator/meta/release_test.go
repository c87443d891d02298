package meta

import (
	"slices"
	"testing"

	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/ingest/chunk"
)

// A topic is deleted of which very much is not shipped: its containers go at once, the oldest first, and what that costs must not grow with their square. With 200,000
// it took half a minute, in which nothing else was applied.
func TestVeryManyContainersAreReleasedAtOnce(t *testing.T) {
	const count = 200_000
	l := newTestLog(t)
	l.lead(1)
	l.register("A")
	l.topic("t", 1)
	l.topic("other", 1)
	for seq := uint64(1); seq <= count; seq++ {
		topic := "t"
		if seq%(count/4) == 1 || seq == count {
			topic = "other"
		}
		l.do(commitOf(1, 1, 1, seq, 0, 0, chunk.Batch{Topic: topicID(topic), Records: 1, ProducerID: -1, MaxTimestamp: 1}))
		l.entries, l.chunks = nil, nil
	}
	id := topicID("t")
	l.do(&metapb.DeleteTopic{TopicId: id[:]})
	var left []uint64
	for c := range l.s.Containers {
		left = append(left, c.Chunk.Seq)
	}
	if want := []uint64{1, count/4 + 1, count/2 + 1, 3*count/4 + 1, count}; !slices.Equal(left, want) {
		t.Fatalf("containers %v are left, want %v", left, want)
	}
	l.do(commitOf(1, 1, 1, count+1, 0, 0, chunk.Batch{Topic: topicID("other"), Records: 1, ProducerID: -1, MaxTimestamp: 1}))
	if job := l.do(&metapb.LeaseJob{LeaseMillis: 1000, Worker: "w"}).JobID; len(l.s.jobs[job].containers) != 6 {
		t.Errorf("a job has containers %v", l.s.jobs[job].containers)
	}
	if err := l.s.invariants(); err != nil {
		t.Error(err)
	}
}
