// Kafkago runs segmentio/kafka-go against a broker.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/varvelog/varve/services/conformance/clients/golang/check"
)

func main() {
	check.Main(check.Version("github.com/segmentio/kafka-go"), checks, member)
}

var (
	rest   = kafka.LoggerFunc(log.New(os.Stderr, "", log.LstdFlags).Printf)
	errorf = kafka.LoggerFunc(func(format string, v ...any) { check.Say("log "+format, v...) })
)

func checks(brokers string) []check.Check {
	var all []check.Check
	for _, codec := range []struct {
		name string
		kafka.Compression
	}{{"gzip", kafka.Gzip}, {"lz4", kafka.Lz4}, {"none", 0}, {"snappy", kafka.Snappy}, {"zstd", kafka.Zstd}} {
		all = append(all, check.Check{Name: "produce-" + codec.name, Run: func(ctx context.Context) error { return produce(ctx, brokers, codec.name, codec.Compression) }})
	}
	none := func(context.Context, string) error { return check.ErrNone }
	for _, c := range []struct {
		name string
		run  func(context.Context, string) error
	}{
		{"consume", consume}, {"consume-by-time", consumeByTime}, {"consume-codecs", consumeCodecs}, {"idempotent", none},
		{"transaction", none}, {"transaction-offsets", none}, {"transaction-fence", none},
		{"admin-topics", adminTopics}, {"admin-configs", adminConfigs}, {"admin-groups", adminGroups},
		{"admin-offsets", adminOffsets}, {"admin-delete-records", none},
	} {
		all = append(all, check.Check{Name: c.name, Run: func(ctx context.Context) error { return c.run(ctx, brokers) }})
	}
	return all
}

// newClient returns a client that knows nothing yet: clients of one transport answer each other's requests for metadata from what they know.
func newClient(brokers string) *kafka.Client {
	return &kafka.Client{Addr: kafka.TCP(brokers), Transport: &kafka.Transport{}}
}

func produce(ctx context.Context, brokers, topic string, codec kafka.Compression) error {
	w := &kafka.Writer{
		Addr: kafka.TCP(brokers), Topic: topic, Compression: codec, AllowAutoTopicCreation: true, RequiredAcks: kafka.RequireAll,
		Logger: rest, ErrorLogger: errorf,
	}
	var messages []kafka.Message
	for _, r := range check.Records() {
		messages = append(messages, kafka.Message{Key: r.Key, Value: r.Value, Time: r.Timestamp, Headers: []kafka.Header{{Key: "n", Value: []byte(r.Header)}, {Key: "null"}}})
	}
	return errors.Join(w.WriteMessages(ctx, messages...), w.Close())
}

func read(ctx context.Context, r *kafka.Reader, first, count int) error {
	for i := first; i < first+count; i++ {
		m, err := r.ReadMessage(ctx)
		if err != nil {
			return fmt.Errorf("%d of %d records: %w", i-first, count, err)
		}
		if len(m.Headers) != 2 || m.Headers[1].Key != "null" || m.Headers[1].Value != nil {
			return fmt.Errorf("record %d: headers %v", i, m.Headers)
		}
		if err := errors.Join(check.Want("offset", m.Offset, int64(i)), check.Same(i%100, m.Key, m.Value, string(m.Headers[0].Value), m.Time)); err != nil {
			return err
		}
	}
	return nil
}

func reader(brokers, topic string) *kafka.Reader {
	return kafka.NewReader(kafka.ReaderConfig{Brokers: []string{brokers}, Topic: topic, Partition: 0, Logger: rest, ErrorLogger: errorf})
}

func consume(ctx context.Context, brokers string) error {
	r := reader(brokers, "gzip")
	return errors.Join(read(ctx, r, 0, 100), r.Close())
}

func consumeCodecs(ctx context.Context, brokers string) error {
	r := reader(brokers, "golden")
	return errors.Join(read(ctx, r, 0, 500), r.Close())
}

func consumeByTime(ctx context.Context, brokers string) error {
	r := reader(brokers, "gzip")
	if err := r.SetOffsetAt(ctx, time.UnixMilli(check.FirstTimestamp+50)); err != nil {
		return err
	}
	return errors.Join(check.Want("offset", r.Offset(), 50), read(ctx, r, 50, 50), r.Close())
}

var partitionInLog = regexp.MustCompile(`partition:(\d+)`)

// member tells what it is assigned from the client's log, the only place where the client does.
func member(ctx context.Context, brokers, group, topic, _ string) error {
	r := kafka.NewReader(kafka.ReaderConfig{
		Brokers: []string{brokers}, GroupID: group, Topic: topic, StartOffset: kafka.FirstOffset, ErrorLogger: errorf,
		Logger: kafka.LoggerFunc(func(format string, v ...any) {
			line := fmt.Sprintf(format, v...)
			if found, ok := strings.CutPrefix(line, "subscribed to topics and partitions:"); ok {
				var partitions []string
				for _, match := range partitionInLog.FindAllStringSubmatch(found, -1) {
					partitions = append(partitions, match[1])
				}
				slices.Sort(partitions)
				check.Say("assigned %s", strings.Join(partitions, ","))
			}
			rest(line)
		}),
	})
	for {
		m, err := r.FetchMessage(ctx)
		if ctx.Err() != nil {
			return r.Close()
		}
		if err != nil {
			return errors.Join(err, r.Close())
		}
		check.Say("record %d %d", m.Partition, m.Offset)
		if err := r.CommitMessages(context.WithoutCancel(ctx), m); err != nil {
			check.Say("uncommitted %v", err)
			continue
		}
		check.Say("committed %d %d", m.Partition, m.Offset+1)
	}
}
