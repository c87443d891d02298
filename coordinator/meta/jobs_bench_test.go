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

func TestARenewedLeaseIsKept(t *testing.T) {
	l := newTestLog(t)
	l.lead(1)
	l.register("A")
	l.topic("t", 1)
	l.do(commitOf(1, 1, 1, 1, 0, 0, chunk.Batch{Topic: topicID("t"), Records: 1, ProducerID: -1}))
	job := l.do(&metapb.LeaseJob{LeaseMillis: 1000, Worker: "w"}).JobID
	for range 5 {
		l.now += 900
		if v := l.do(&metapb.RenewJob{JobId: uint64(job), LeaseMillis: 1000}); v.Code != OK {
			t.Fatal(v)
		}
		if l.do(&metapb.Tick{}); len(l.s.Jobs()) != 1 {
			t.Fatal("a lease that was renewed has ended")
		}
	}
	held, _ := l.s.Job(job)
	if l.do(&metapb.RenewJob{JobId: uint64(job), LeaseMillis: 1}); l.s.Jobs()[0].LeaseUntilMillis != held.LeaseUntilMillis {
		t.Error("a lease was shortened")
	}
	if v := l.do(&metapb.RenewJob{JobId: uint64(job), LeaseMillis: maxLeaseMillis + 1}); v.Code != Malformed {
		t.Error(v)
	}
	l.now += 2000
	if l.do(&metapb.Tick{}); len(l.s.Jobs()) != 0 {
		t.Fatal("the lease has not ended")
	}
	if v := l.do(&metapb.RenewJob{JobId: uint64(job), LeaseMillis: 1000}); v.Code != UnknownJob {
		t.Error(v)
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
