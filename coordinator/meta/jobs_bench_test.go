package meta

import (
	"fmt"
	"testing"

	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/ingest/chunk"
)

// BenchmarkJobContainers describes a job of a backlog: a thousand object chunks with a hundred partitions each, and three thousand
// more behind them. The log waits meanwhile.
func BenchmarkJobContainers(b *testing.B) {
	l := newTestLog(b)
	l.lead(1)
	l.register("A")
	l.topic("t", 100)
	for seq := range uint64(4000) {
		batches := make([]chunk.Batch, 100)
		for p := range batches {
			batches[p] = chunk.Batch{Topic: topicID("t"), Partition: int32(p), Records: 1, ProducerID: -1, MaxTimestamp: 1}
		}
		l.do(commitOf(1, 1, 1, seq+1, 0, 0, batches...))
	}
	job := l.do(&metapb.LeaseJob{LeaseMillis: 1000, Worker: "w"}).JobID
	for b.Loop() {
		containers, runs := 0, 0
		for _, held := range l.s.JobContainers(job) {
			containers++
			runs += len(held)
		}
		if containers != maxJobContainers || runs != 100*maxJobContainers {
			b.Fatal(containers, runs)
		}
	}
}

func TestJobContainersAreThoseOfEachContainer(t *testing.T) {
	l := newTestLog(t)
	l.lead(1)
	l.register("A")
	l.topic("t", 3)
	for seq := range uint64(20) {
		l.do(commitOf(1, 1, 1, seq+1, 0, 0,
			chunk.Batch{Topic: topicID("t"), Partition: int32(seq % 3), Records: 2, ProducerID: -1},
			chunk.Batch{Topic: topicID("t"), Partition: int32((seq + 1) % 3), Records: 1, ProducerID: -1}))
	}
	job := l.do(&metapb.LeaseJob{LeaseMillis: 1000, Worker: "w", MaxContainers: 7}).JobID
	containers := 0
	for c, runs := range l.s.JobContainers(job) {
		containers++
		if got, want := fmt.Sprint(runs), fmt.Sprint(l.s.ContainerRuns(c.ID)); got != want || len(runs) != 2 {
			t.Errorf("container %d: %s, want %s", c.ID, got, want)
		}
	}
	if containers != 7 {
		t.Errorf("%d containers", containers)
	}
}
