package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/varvelog/varve/ingest/recordbatch"
	"github.com/varvelog/varve/services/e2e/cluster"
)

func TestTimestampsAreJudgedByTheTopicsBounds(t *testing.T) {
	t.Parallel()
	n := cluster.Serve(t)
	const bound, margin = 10 * time.Minute, 5 * time.Second // the node's clock is this one, but runs on
	millis := fmt.Sprint(bound.Milliseconds())
	createTopic(t, n, "bounded", 1, "message.timestamp.before.max.ms", millis, "message.timestamp.after.max.ms", millis)
	producer := dial(t, n)
	for _, test := range []struct {
		name    string
		from    time.Duration
		refused bool
	}{
		{"now", 0, false},
		{"just not too old", -bound + margin, false}, {"too old", -bound - margin, true},
		{"just not too far ahead", bound - margin, false}, {"too far ahead", bound + margin, true},
	} {
		err := producer.ProduceSync(within(t, patience), &kgo.Record{Topic: "bounded", Value: []byte("v"), Timestamp: time.Now().Add(test.from)}).FirstErr()
		if errors.Is(err, kerr.InvalidTimestamp) != test.refused || !test.refused && err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

func TestLogAppendTimeIsTheNodes(t *testing.T) {
	t.Parallel()
	n := cluster.Serve(t)
	createTopic(t, n, "stamped", 1, "message.timestamp.type", "LogAppendTime", "message.timestamp.before.max.ms", "1000")
	began := time.Now().UnixMilli()
	produce(t, dial(t, n), &kgo.Record{Topic: "stamped", Key: []byte("k"), Timestamp: time.UnixMilli(1_000_000)}) // its own time means nothing, and is not judged
	ended := time.Now().UnixMilli()
	read := flatten(readAll(t, n, "stamped"))
	if len(read) != 1 || read[0].Attrs.TimestampType() != 1 {
		t.Fatalf("read %+v", read)
	}
	at := read[0].Timestamp.UnixMilli()
	if at < began || at > ended {
		t.Errorf("stamped %d, produced between %d and %d", at, began, ended)
	}
	if got := listOffset(t, n, "stamped", 0, at); got.Offset != 0 || got.Timestamp != at {
		t.Errorf("looked up by that time: %+v", got)
	}
	if got := listOffset(t, n, "stamped", 0, at+1); got.Offset != -1 {
		t.Errorf("looked up a millisecond later: %+v", got)
	}
}

func TestMaxMessageBytesIsExact(t *testing.T) {
	t.Parallel()
	n := cluster.Serve(t)
	b := batch(t, noise(10_000, 3))
	createTopic(t, n, "fits", 1, "max.message.bytes", fmt.Sprint(len(b)))
	createTopic(t, n, "tight", 1, "max.message.bytes", fmt.Sprint(len(b)-1))
	client := rawClient(t, n)
	if err := rawProduce(t, client, "tight", b); !errors.Is(err, kerr.MessageTooLarge) {
		t.Errorf("one byte above the bound: %v", err)
	}
	if err := rawProduce(t, client, "fits", b); err != nil {
		t.Errorf("as large as the bound: %v", err)
	}
}

func TestTombstonesAndHeadersComeBack(t *testing.T) {
	t.Parallel()
	n := cluster.Serve(t)
	createTopic(t, n, "kept", 1)
	records := []*kgo.Record{
		{Topic: "kept", Key: []byte("k"), Value: nil}, {Topic: "kept", Key: nil, Value: nil}, {Topic: "kept", Key: []byte{}, Value: []byte{}},
		{Topic: "kept", Value: []byte("v"), Headers: []kgo.RecordHeader{{Key: "h", Value: nil}, {Key: "h", Value: []byte{}}, {Key: "", Value: []byte("x")}}},
	}
	produce(t, dial(t, n), records...)
	compare(t, flatten(readAll(t, n, "kept")), records)
}

func TestZstdIsRefusedOnlyToThoseWhoDoNotKnowIt(t *testing.T) {
	t.Parallel()
	n := cluster.Serve(t)
	createTopic(t, n, "zstd", 1, "compression.type", "zstd")
	createTopic(t, n, "producer", 1, "compression.type", "producer")
	createTopic(t, n, "plain", 1, "compression.type", "uncompressed")
	old := dial(t, n, kgo.MaxVersions(kversion.V1_1_0())) // Produce 5, Fetch 7
	packed, err := recordbatch.Compress(nil, batch(t, bytes.Repeat([]byte("again "), 500)), recordbatch.Zstd, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := rawProduce(t, old, "zstd", packed); !errors.Is(err, kerr.UnsupportedCompressionType) {
		t.Errorf("produced with a version that does not know it: %v", err)
	}
	newer := rawClient(t, n)
	for _, topic := range []string{"zstd", "producer", "plain"} {
		if err := rawProduce(t, newer, topic, packed); err != nil {
			t.Errorf("produced to %s with one that does: %v", topic, err)
		}
	}
	for topic, want := range map[string]error{"zstd": kerr.UnsupportedCompressionType, "producer": nil, "plain": nil} {
		r := kmsg.NewPtrFetchRequest()
		r.MaxWaitMillis, r.MinBytes, r.MaxBytes, r.SessionEpoch = 1000, 1, 1<<20, -1
		p := kmsg.NewFetchRequestTopicPartition()
		p.PartitionMaxBytes, p.CurrentLeaderEpoch = 1<<20, -1
		r.Topics = []kmsg.FetchRequestTopic{{Topic: topic, Partitions: []kmsg.FetchRequestTopicPartition{p}}}
		answer, err := old.SeedBrokers()[0].Request(within(t, patience), r)
		if err != nil {
			t.Fatal(err)
		}
		got := answer.(*kmsg.FetchResponse).Topics[0].Partitions[0]
		if got := kerr.ErrorForCode(got.ErrorCode); !errors.Is(got, want) {
			t.Errorf("%s fetched with a version that does not know zstd: %v", topic, got)
		}
		if want != nil {
			continue
		}
		if header, err := recordbatch.ParseHeader(got.RecordBatches); err != nil || header.Codec() != recordbatch.None {
			t.Errorf("%s: fetched %d bytes with codec %v, %v; want a batch that is not compressed", topic, len(got.RecordBatches), header.Codec(), err)
		}
	}
}
