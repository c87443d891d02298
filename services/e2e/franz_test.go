package e2e

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varvelog/varve/services/e2e/cluster"
)

// oddRecords are records at the edges of what a record can be.
func oddRecords(topic string, partition int32) []*kgo.Record {
	start := time.UnixMilli(1_700_000_000_000)
	records := []*kgo.Record{
		{Key: nil, Value: nil},
		{Key: []byte{}, Value: []byte{}},
		{Key: []byte("key"), Value: nil},
		{Key: nil, Value: []byte("value")},
		{Key: []byte{0, 255, 10}, Value: []byte("not\x00text\xff")},
		{Value: []byte("headers"), Headers: []kgo.RecordHeader{{Key: "a", Value: []byte("1")}, {Key: "a", Value: []byte("2")}, {Key: "", Value: []byte{}}, {Key: "nil", Value: nil}}},
		{Value: bytes.Repeat([]byte("large "), 100_000)},
		{Key: []byte("old"), Value: []byte("before its predecessor"), Timestamp: start.Add(-time.Hour)},
	}
	for i, r := range records {
		r.Topic, r.Partition = topic, partition
		if r.Timestamp.IsZero() {
			r.Timestamp = start.Add(time.Duration(i) * time.Millisecond)
		}
	}
	return records
}

func TestRecordsComeBackExactlyInEveryCodec(t *testing.T) {
	t.Parallel()
	n := cluster.Serve(t)
	codecs := []kgo.CompressionCodec{kgo.NoCompression(), kgo.GzipCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(), kgo.ZstdCompression()}
	for _, kept := range []string{"default", "producer", "uncompressed", "gzip", "lz4"} {
		topic := "exact-" + kept
		var configs []string
		if kept != "default" {
			configs = []string{"compression.type", kept}
		}
		createTopic(t, n, topic, int32(len(codecs)), configs...)
		var want []*kgo.Record
		for i, codec := range codecs {
			producer := dial(t, n, kgo.ProducerBatchCompression(codec), kgo.RecordPartitioner(kgo.ManualPartitioner()))
			batch := oddRecords(topic, int32(i))
			produce(t, producer, batch...)
			for _, r := range batch {
				one := *r
				one.Headers = nil
				one.Value = fmt.Appendf(nil, "alone %d", i)
				produce(t, producer, &one)
				want = append(want, r, &one)
			}
		}
		compare(t, flatten(readAll(t, n, topic)), want)
	}
}
