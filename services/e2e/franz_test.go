package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/services/e2e/cluster"
)

// oddRecords are records at the edges of what a record can be.
func oddRecords(topic string, partition int32) []*kgo.Record {
	start := time.Now().Add(-2 * time.Hour).Truncate(time.Millisecond) // not older than any retention
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

func TestManyPartitionsKeepOrder(t *testing.T) {
	t.Parallel()
	n := cluster.Serve(t)
	createTopic(t, n, "many", 200)
	producer := dial(t, n)
	records := numbered("many", "r", 0, 20_000)
	for _, r := range records {
		r.Key = fmt.Append(nil, string(r.Value))
	}
	produce(t, producer, records...)
	compare(t, flatten(readAll(t, n, "many")), records)
	for partition, got := range readAll(t, n, "many") {
		for i, r := range got {
			if r.Offset != int64(i) {
				t.Fatalf("partition %d: record %d has offset %d", partition, i, r.Offset)
			}
		}
	}
}

func TestProducersWithoutIdempotenceAndWithWeakerAcks(t *testing.T) {
	t.Parallel()
	n := cluster.Serve(t)
	createTopic(t, n, "acks", 1)
	for name, acks := range map[string]kgo.Acks{"leader": kgo.LeaderAck(), "all": kgo.AllISRAcks()} {
		produce(t, dial(t, n, kgo.DisableIdempotentWrite(), kgo.RequiredAcks(acks)), numbered("acks", name, 0, 10)...)
	}
	// acks=0 has no answer: what was sent is there soon, in order.
	none := dial(t, n, kgo.DisableIdempotentWrite(), kgo.RequiredAcks(kgo.NoAck()))
	produce(t, none, numbered("acks", "none", 0, 10)...)
	cluster.Eventually(t, patience, "records sent with acks=0", func() error {
		if all := readAll(t, n, "acks")[0]; len(all) != 30 || string(all[29].Value) != "none-9" {
			return fmt.Errorf("%d records", len(all))
		}
		return nil
	})
}

func TestTopicsAreCreatedByUse(t *testing.T) {
	t.Parallel()
	n := cluster.Serve(t)
	produce(t, dial(t, n, kgo.AllowAutoTopicCreation()), numbered("by-producing", "r", 0, 3)...)
	if got := flatten(readAll(t, n, "by-producing")); len(got) != 3 {
		t.Errorf("%d records", len(got))
	}
	// A client that did not ask for it does not create a topic.
	err := dial(t, n, kgo.UnknownTopicRetries(1)).ProduceSync(within(t, patience), numbered("unasked", "r", 0, 1)...).FirstErr()
	if !errors.Is(err, kerr.UnknownTopicOrPartition) {
		t.Errorf("produce to a topic that is not there: %v", err)
	}
	topics, err := admin(t, n).ListTopics(within(t, patience))
	if err != nil {
		t.Fatal(err)
	}
	if names := topics.Names(); !slices.Equal(names, []string{"by-producing"}) {
		t.Errorf("topics: %v", names)
	}
}

func TestListOffsetsAtEverySpecialTime(t *testing.T) {
	t.Parallel()
	n := cluster.Serve(t, "--seal-age=200ms")
	createTopic(t, n, "times", 2, "retention.ms", "-1")
	producer := dial(t, n, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	moments := []int64{1000, 2000, 9000, 4000, 5000}
	for _, codec := range []int{0, 1} {
		for _, at := range moments {
			produce(t, producer, &kgo.Record{Topic: "times", Value: fmt.Append(nil, at, codec), Timestamp: time.UnixMilli(at + 10_000*int64(codec))})
		}
	}
	check := func(t *testing.T) {
		t.Helper()
		wants := []struct {
			name              string
			timestamp         int64
			offset, timeFound int64
		}{
			{"earliest", -2, 0, -1}, {"latest", -1, 10, -1}, {"max timestamp", -3, 7, 19_000},
			{"before all", 0, 0, 1000}, {"exactly", 2000, 1, 2000}, {"between", 2001, 2, 9000}, {"behind a later one", 4000, 2, 9000},
			{"second half", 10_000, 5, 11_000}, {"last", 19_000, 7, 19_000}, {"after all", 19_001, -1, -1},
		}
		for _, w := range wants {
			if got := listOffset(t, n, "times", 0, w.timestamp); got.Offset != w.offset || got.Timestamp != w.timeFound {
				t.Errorf("%s: offset %d at %d, want %d at %d", w.name, got.Offset, got.Timestamp, w.offset, w.timeFound)
			}
		}
		for timestamp, want := range map[int64]int64{-2: 0, -1: 0, -3: -1, 0: -1} {
			if got := listOffset(t, n, "times", 1, timestamp); got.Offset != want {
				t.Errorf("empty partition at %d: offset %d, want %d", timestamp, got.Offset, want)
			}
		}
	}
	check(t)
	awaitShipped(t, n, "times", 1)
	check(t) // the same from segments
	if got := listOffset(t, n, "times", 0, -5); got.Offset != 9 {
		t.Errorf("latest tiered: %d, want 9", got.Offset)
	}
	if _, err := listOffsets(within(t, patience), dial(t, n, newestVersions()), "times", 1, -6); !errors.Is(err, kerr.UnsupportedVersion) {
		t.Errorf("earliest pending upload, of which Kafka 4.1 does not know: %v", err)
	}
	if got := listOffset(t, n, "times", 0, -4); got.Offset != 10 {
		t.Errorf("earliest local: %d, want 10: nothing is kept locally", got.Offset)
	}
}

func listOffset(t *testing.T, n *cluster.Node, topic string, partition int32, timestamp int64) kmsg.ListOffsetsResponseTopicPartition {
	t.Helper()
	answers, err := listOffsets(within(t, patience), dial(t, n, newestVersions()), topic, partition+1, timestamp)
	if err != nil {
		t.Fatal(err)
	}
	return answers[partition]
}

func TestConsumersStartAfterATime(t *testing.T) {
	t.Parallel()
	n := cluster.Serve(t)
	createTopic(t, n, "after", 1, "retention.ms", "-1")
	producer := dial(t, n)
	for i := range 10 {
		produce(t, producer, &kgo.Record{Topic: "after", Value: fmt.Append(nil, i), Timestamp: time.UnixMilli(int64(1000 * i))})
	}
	consumer := dial(t, n, kgo.ConsumeTopics("after"), kgo.ConsumeResetOffset(kgo.NewOffset().AfterMilli(6500)))
	got := collect(t, consumer, 3)
	if string(got[0].Value) != "7" || string(got[2].Value) != "9" {
		t.Errorf("got %s … %s", got[0].Value, got[2].Value)
	}
}

// collect polls until there are count records.
func collect(t *testing.T, consumer *kgo.Client, count int) (records []*kgo.Record) {
	t.Helper()
	ctx := within(t, patience)
	for len(records) < count {
		fetches := consumer.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("after %d of %d records: %v", len(records), count, err)
		}
		records = append(records, fetches.Records()...)
	}
	return records
}

func TestTopicsAreConfiguredGrownAndDeleted(t *testing.T) {
	t.Parallel()
	n := cluster.Serve(t)
	a := admin(t, n)
	ctx := within(t, patience)
	createTopic(t, n, "changing", 1, "retention.ms", "3600000")
	alter := func(changes ...kadm.AlterConfig) error {
		answers, err := a.AlterTopicConfigs(ctx, changes, "changing")
		if err != nil {
			t.Fatal(err)
		}
		answer, err := answers.On("changing", nil)
		return errors.Join(err, answer.Err)
	}
	if err := alter(kadm.AlterConfig{Op: kadm.SetConfig, Name: "segment.bytes", Value: kadm.StringPtr("2097152")}, kadm.AlterConfig{Op: kadm.DeleteConfig, Name: "retention.ms"}); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{"retention.ms": "soon", "no.such.setting": "1", "varve.durability": "hope"} {
		if err := alter(kadm.AlterConfig{Op: kadm.SetConfig, Name: name, Value: &value}); !errors.Is(err, kerr.InvalidConfig) {
			t.Errorf("%s=%s: %v", name, value, err)
		}
	}
	described, err := a.DescribeTopicConfigs(ctx, "changing")
	if err != nil {
		t.Fatal(err)
	}
	resource, err := described.On("changing", nil)
	if err != nil {
		t.Fatal(err)
	}
	configs := map[string]kadm.Config{}
	for _, c := range resource.Configs {
		configs[c.Key] = c
	}
	if c := configs["segment.bytes"]; c.MaybeValue() != "2097152" || c.Source != kmsg.ConfigSourceDynamicTopicConfig {
		t.Errorf("segment.bytes: %+v", c)
	}
	if c := configs["retention.ms"]; c.MaybeValue() != "604800000" || c.Source == kmsg.ConfigSourceDynamicTopicConfig {
		t.Errorf("retention.ms: %+v", c)
	}

	if answers, err := a.UpdatePartitions(ctx, 5, "changing"); err != nil || answers.Error() != nil {
		t.Fatalf("add partitions: %v %v", err, answers.Error())
	}
	if answers, err := a.UpdatePartitions(ctx, 2, "changing"); err != nil || !errors.Is(answers.Error(), kerr.InvalidPartitions) {
		t.Errorf("take partitions away: %v %v", err, answers.Error())
	}
	produce(t, dial(t, n, kgo.RecordPartitioner(kgo.ManualPartitioner())), &kgo.Record{Topic: "changing", Partition: 4, Value: []byte("new partition")})

	if _, err := a.CreateTopic(ctx, 1, -1, nil, "changing"); !errors.Is(err, kerr.TopicAlreadyExists) {
		t.Errorf("create again: %v", err)
	}
	for _, name := range []string{"", ".", "..", "a/b", "ä", strings.Repeat("x", 250)} {
		if _, err := a.CreateTopic(ctx, 1, -1, nil, name); !errors.Is(err, kerr.InvalidTopicException) {
			t.Errorf("create %q: %v", name, err)
		}
	}
	if _, err := a.DeleteTopic(ctx, "changing"); err != nil {
		t.Fatal(err)
	}
	if _, err := a.DeleteTopic(ctx, "changing"); !errors.Is(err, kerr.UnknownTopicOrPartition) {
		t.Errorf("delete again: %v", err)
	}
	// One of the same name is another topic.
	createTopic(t, n, "changing", 1)
	if got := flatten(readAll(t, n, "changing")); len(got) != 0 {
		t.Errorf("a new topic has %d records", len(got))
	}
}
