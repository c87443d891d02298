package kafka

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/ingest/fetch"
)

// A share partition that begins at a time begins with the first fetch that asks for it, whatever other partitions have, and however short the wait: where
// the time is counted from moves on.
func TestASharePartitionBeginsAtItsTimeBesideABusyOne(t *testing.T) {
	c := newCluster(t)
	_, addr := start(t, c, Config{Logger: quiet})
	id := c.createTopic(t, "events", 2)
	client := newClient(t, addr, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	for _, partition := range []int32{0, 0, 0, 0, 1} {
		if err := client.ProduceSync(testContext(t), &kgo.Record{Topic: "events", Partition: partition, Value: []byte("v")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	setGroup(t, addr, "g", "share.auto.offset.reset", "by_duration:PT1H")
	m := newSharer(t, addr, "g", "events", id, 0)
	first := m.request(1, 0)
	first.MaxWaitMillis = 0
	if answer := m.send(first); len(answer.Topics) != 1 {
		t.Fatalf("without waiting: %+v", answer)
	}
	if row := m.fetch(1, 1); row == nil || len(row.AcquiredRecords) == 0 {
		t.Errorf("%+v", row)
	}
	c.View(func(s *meta.State) {
		if p := s.Group("g").Share.Partition(meta.TopicPartition{Topic: id, Partition: 1}); p.StartOffset != 0 {
			t.Errorf("begins at %d", p.StartOffset)
		}
	})
}

// failsOnce is a fetcher that misses bytes at first.
type failsOnce struct {
	Fetcher
	reads atomic.Int32
}

func (f *failsOnce) Read(ctx context.Context, r *fetch.Request) FetchAnswer {
	if f.reads.Add(1) > 1 {
		return f.Fetcher.Read(ctx, r)
	}
	answer := FetchAnswer{Partitions: make([]fetch.PartitionData, len(r.Partitions))}
	for i := range answer.Partitions {
		answer.Partitions[i].Code = fetch.StorageError
	}
	return answer
}

// Clients do not look at the records of a partition with an error: they would be given out until they are archived, and never seen.
func TestRecordsAreNotGivenBesideAnErrorOfBefore(t *testing.T) {
	c := newCluster(t)
	server, addr := start(t, c, Config{Logger: quiet})
	server.domain.Fetcher = &failsOnce{Fetcher: c}
	id := c.createTopic(t, "events", 1)
	if err := newClient(t, addr).ProduceSync(testContext(t), &kgo.Record{Topic: "events", Value: []byte("v")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	setGroup(t, addr, "g", "share.auto.offset.reset", "earliest")
	m := newSharer(t, addr, "g", "events", id, 0)
	r := m.request(10, 0)
	r.MaxWaitMillis = 5000
	row := &m.send(r).Topics[0].Partitions[0]
	expectAcquired(t, row, [3]int64{0, 0, 1})
	if row.ErrorCode != 0 {
		t.Errorf("error %d", row.ErrorCode)
	}
}
