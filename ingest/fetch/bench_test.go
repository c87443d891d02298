package fetch_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/varvelog/varve/ingest/fetch"
)

// BenchmarkTail measures reading what is in the page cache of the hot log, here in memory.
func BenchmarkTail(b *testing.B) {
	for _, bench := range []struct {
		name       string
		valueBytes int
		batches    int
	}{
		{"128KiB batches", 128 << 10, 16},
		{"1KiB batches", 1 << 10, 1000},
	} {
		b.Run(bench.name, func(b *testing.B) {
			w := newWorld(b, fetch.Config{})
			tp := partition(w.cluster.CreateTopic(b, "bench", "local", 1), 0)
			value := string(make([]byte, bench.valueBytes))
			size := 0
			for range bench.batches {
				size = w.produce(tp, 1000, value)
			}
			request := &fetch.Request{
				Partitions: []fetch.PartitionRead{{TopicPartition: tp, MaxBytes: 1 << 20, LeaderEpoch: -1}}, MinBytes: 1, MaxBytes: 50 << 20,
			}
			bytes := 0
			b.ReportAllocs()
			b.ResetTimer()
			for b.Loop() {
				offset := &request.Partitions[0].Offset
				r := w.reader.Read(context.Background(), request)
				data := &r.Partitions[0]
				bytes += data.Bytes
				if *offset += int64(data.Bytes / size); *offset >= data.HighWatermark {
					*offset = 0
				}
				r.Release()
			}
			b.SetBytes(int64(bytes / b.N))
		})
	}
}

// BenchmarkManyPartitions measures one request for many partitions with a small run each.
func BenchmarkManyPartitions(b *testing.B) {
	for _, count := range []int32{12, 1000} {
		b.Run(fmt.Sprint(count), func(b *testing.B) {
			w := newWorld(b, fetch.Config{})
			topic := w.cluster.CreateTopic(b, "bench", "local", count)
			request := &fetch.Request{MinBytes: 1, MaxBytes: 50 << 20}
			var batches []batchOf
			for i := range count {
				batches = append(batches, batchOf{partition(topic, i), 1000, []string{string(make([]byte, 1000))}})
				request.Partitions = append(request.Partitions, fetch.PartitionRead{TopicPartition: partition(topic, i), MaxBytes: 1 << 20, LeaderEpoch: -1})
			}
			w.produceAll(batches...)
			b.ReportAllocs()
			for b.Loop() {
				w.reader.Read(context.Background(), request).Release()
			}
		})
	}
}
