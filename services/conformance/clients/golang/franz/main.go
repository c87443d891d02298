// Franz runs franz-go against a broker.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varvelog/varve/services/conformance/clients/golang/check"
)

func main() {
	check.Main(check.Version("github.com/twmb/franz-go"), checks, member)
}

// logger reports what the client warns of, and writes everything else to the standard error.
type logger struct{ rest *slog.Logger }

func (logger) Level() kgo.LogLevel { return kgo.LogLevelDebug }

func (l logger) Log(level kgo.LogLevel, message string, pairs ...any) {
	if level <= kgo.LogLevelWarn {
		check.Say("log %s %s %v", level, message, pairs)
	}
	l.rest.Info(message, pairs...)
}

func newClient(brokers string, options ...kgo.Opt) (*kgo.Client, error) {
	log := logger{slog.New(slog.NewTextHandler(os.Stderr, nil))}
	return kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(brokers), kgo.WithLogger(log)}, options...)...)
}

func checks(brokers string) []check.Check {
	with := func(name string, run func(ctx context.Context, brokers string) error) check.Check {
		return check.Check{Name: name, Run: func(ctx context.Context) error { return run(ctx, brokers) }}
	}
	var all []check.Check
	for name, codec := range map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	} {
		all = append(all, with("produce-"+name, func(ctx context.Context, brokers string) error { return produce(ctx, brokers, name, codec) }))
	}
	slices.SortFunc(all, func(a, b check.Check) int { return strings.Compare(a.Name, b.Name) })
	return append(all,
		with("consume", consume), with("consume-by-time", consumeByTime), with("consume-codecs", consumeCodecs),
		with("idempotent", idempotent), with("transaction", transaction), with("transaction-offsets", transactionOffsets),
		with("transaction-fence", fence),
		with("admin-topics", adminTopics), with("admin-configs", adminConfigs), with("admin-groups", adminGroups),
		with("admin-offsets", adminOffsets), with("admin-delete-records", adminDeleteRecords),
	)
}

func produce(ctx context.Context, brokers, topic string, codec kgo.CompressionCodec) error {
	client, err := newClient(brokers, kgo.ProducerBatchCompression(codec), kgo.AllowAutoTopicCreation(), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		return err
	}
	defer client.Close()
	var records []*kgo.Record
	for _, r := range check.Records() {
		records = append(records, &kgo.Record{
			Topic: topic, Key: r.Key, Value: r.Value, Timestamp: r.Timestamp, Headers: []kgo.RecordHeader{{Key: "n", Value: []byte(r.Header)}, {Key: "null"}},
		})
	}
	return client.ProduceSync(ctx, records...).FirstErr()
}

// read polls until as many records have come.
func read(ctx context.Context, client *kgo.Client, count int) ([]*kgo.Record, error) {
	var records []*kgo.Record
	for len(records) < count {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return nil, fmt.Errorf("%d of %d records: %w", len(records), count, err)
		}
		records = append(records, fetches.Records()...)
	}
	return records, check.Want("records", len(records), count)
}

func consume(ctx context.Context, brokers string) error {
	return consumeFrom(ctx, brokers, "gzip", kgo.NewOffset().AtStart(), 0)
}

func consumeByTime(ctx context.Context, brokers string) error {
	return consumeFrom(ctx, brokers, "gzip", kgo.NewOffset().AfterMilli(check.FirstTimestamp+50), 50)
}

func consumeFrom(ctx context.Context, brokers, topic string, from kgo.Offset, first int) error {
	client, err := newClient(brokers, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: from}}))
	if err != nil {
		return err
	}
	defer client.Close()
	records, err := read(ctx, client, 100-first)
	if err != nil {
		return err
	}
	for i, r := range records {
		if err := errors.Join(check.Want("offset", r.Offset, int64(first+i)), same(first+i, r)); err != nil {
			return err
		}
	}
	return nil
}

func same(i int, r *kgo.Record) error {
	if len(r.Headers) != 2 || r.Headers[0].Key != "n" || r.Headers[1].Key != "null" || r.Headers[1].Value != nil {
		return fmt.Errorf("record %d: headers %v", i, r.Headers)
	}
	return check.Same(i, r.Key, r.Value, string(r.Headers[0].Value), r.Timestamp)
}

func consumeCodecs(ctx context.Context, brokers string) error {
	client, err := newClient(brokers, kgo.ConsumeTopics("golden"))
	if err != nil {
		return err
	}
	defer client.Close()
	records, err := read(ctx, client, 500)
	if err != nil {
		return err
	}
	for _, r := range records {
		if err := same(int(r.Offset%100), r); err != nil {
			return err
		}
	}
	return nil
}

func member(ctx context.Context, brokers, group, topic, protocol string) error {
	told := make(map[int32]bool)
	tell := func() {
		check.Say("assigned %s", strings.Trim(strings.Join(strings.Fields(fmt.Sprint(slices.Sorted(maps.Keys(told)))), ","), "[]"))
	}
	options := []kgo.Opt{
		kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll(),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, added map[string][]int32) {
			for _, p := range added[topic] {
				told[p] = true
			}
			tell()
		}),
		kgo.OnPartitionsRevoked(func(_ context.Context, _ *kgo.Client, gone map[string][]int32) {
			for _, p := range gone[topic] {
				delete(told, p)
			}
			tell()
		}),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, gone map[string][]int32) {
			check.Say("lost %v", gone[topic])
			clear(told)
		}),
	}
	if protocol == "consumer" {
		//lint:ignore SA1029 the client wants this key
		ctx := context.WithValue(context.Background(), "opt_in_kafka_next_gen_balancer_beta", true)
		options = append(options, kgo.WithContext(ctx))
	}
	client, err := newClient(brokers, options...)
	if err != nil {
		return err
	}
	defer client.CloseAllowingRebalance()
	for ctx.Err() == nil {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil && ctx.Err() == nil {
			return err
		}
		next := map[int32]int64{}
		for _, r := range fetches.Records() {
			check.Say("record %d %d", r.Partition, r.Offset)
			next[r.Partition] = r.Offset + 1
		}
		if len(next) > 0 {
			if err := client.CommitUncommittedOffsets(context.Background()); err != nil {
				check.Say("uncommitted %v", err)
			} else {
				for p, offset := range next {
					check.Say("committed %d %d", p, offset)
				}
			}
		}
		client.AllowRebalance()
	}
	return nil
}
