// Sarama runs IBM/sarama against a broker.
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
	"sync/atomic"
	"time"

	"github.com/IBM/sarama"

	"github.com/varvelog/varve/services/conformance/clients/golang/check"
)

func main() {
	sarama.Logger = logger{log.New(os.Stderr, "", log.LstdFlags)}
	sarama.DebugLogger = sarama.Logger
	check.Main(check.Version("github.com/IBM/sarama"), checks, member)
}

// logger reports the lines that tell of something that went wrong: the client's log has no levels.
type logger struct{ rest *log.Logger }

var wrong = regexp.MustCompile(`(?i)error|fail|kafka server:|retry|unexpected|abandon|timed out`)

// right are lines that only look as if: the client writes out an error that is none.
var right = regexp.MustCompile(`successful|Not an error`)

func (l logger) Print(v ...any)                 { l.line(fmt.Sprint(v...)) }
func (l logger) Printf(format string, v ...any) { l.line(fmt.Sprintf(format, v...)) }
func (l logger) Println(v ...any)               { l.line(fmt.Sprintln(v...)) }

func (l logger) line(text string) {
	if wrong.MatchString(text) && !right.MatchString(text) {
		check.Say("log %s", text)
	}
	l.rest.Print(text)
}

func checks(brokers string) []check.Check {
	var all []check.Check
	for _, codec := range []sarama.CompressionCodec{sarama.CompressionGZIP, sarama.CompressionLZ4, sarama.CompressionNone, sarama.CompressionSnappy, sarama.CompressionZSTD} {
		all = append(all, check.Check{Name: "produce-" + codec.String(), Run: func(context.Context) error { return produce(brokers, codec) }})
	}
	for _, c := range []struct {
		name string
		run  func(context.Context, string) error
	}{
		{"consume", consume}, {"consume-by-time", consumeByTime}, {"consume-codecs", consumeCodecs}, {"idempotent", idempotent},
		{"transaction", transaction}, {"transaction-offsets", transactionOffsets}, {"transaction-fence", fence},
		{"admin-topics", adminTopics}, {"admin-configs", adminConfigs}, {"admin-groups", adminGroups},
		{"admin-offsets", adminOffsets}, {"admin-delete-records", adminDeleteRecords},
	} {
		all = append(all, check.Check{Name: c.name, Run: func(ctx context.Context) error { return c.run(ctx, brokers) }})
	}
	return all
}

func produce(brokers string, codec sarama.CompressionCodec) error {
	config := sarama.NewConfig()
	config.Producer.Return.Successes = true // a synchronous producer wants it
	config.Producer.Compression = codec
	config.Producer.Partitioner = sarama.NewManualPartitioner
	p, err := sarama.NewSyncProducer([]string{brokers}, config)
	if err != nil {
		return err
	}
	var messages []*sarama.ProducerMessage
	for _, r := range check.Records() {
		m := &sarama.ProducerMessage{
			Topic: codec.String(), Timestamp: r.Timestamp,
			Headers: []sarama.RecordHeader{{Key: []byte("n"), Value: []byte(r.Header)}, {Key: []byte("null")}},
		}
		if r.Key != nil {
			m.Key = sarama.ByteEncoder(r.Key)
		}
		if r.Value != nil {
			m.Value = sarama.ByteEncoder(r.Value)
		}
		messages = append(messages, m)
	}
	return errors.Join(p.SendMessages(messages), p.Close())
}

// read reads a number of records of one partition from an offset on.
func read(ctx context.Context, brokers, topic string, partition int32, from int64, count int, isolation sarama.IsolationLevel) ([]*sarama.ConsumerMessage, error) {
	config := sarama.NewConfig()
	config.Consumer.IsolationLevel = isolation
	c, err := sarama.NewConsumer([]string{brokers}, config)
	if err != nil {
		return nil, err
	}
	p, err := c.ConsumePartition(topic, partition, from)
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	var messages []*sarama.ConsumerMessage
	for len(messages) < count && err == nil {
		select {
		case m := <-p.Messages():
			messages = append(messages, m)
		case <-ctx.Done():
			err = fmt.Errorf("%d of %d records: %w", len(messages), count, ctx.Err())
		}
	}
	return messages, errors.Join(err, p.Close(), c.Close())
}

func consumeFrom(ctx context.Context, brokers, topic string, from int64, first, count int) error {
	messages, err := read(ctx, brokers, topic, 0, from, count, sarama.ReadUncommitted)
	if err != nil {
		return err
	}
	for i, m := range messages {
		if len(m.Headers) != 2 || string(m.Headers[1].Key) != "null" || m.Headers[1].Value != nil {
			return fmt.Errorf("record %d: headers %v", first+i, m.Headers)
		}
		if err := errors.Join(check.Want("offset", m.Offset, int64(first+i)), check.Same((first+i)%100, m.Key, m.Value, string(m.Headers[0].Value), m.Timestamp)); err != nil {
			return err
		}
	}
	return nil
}

func consume(ctx context.Context, brokers string) error {
	return consumeFrom(ctx, brokers, "gzip", sarama.OffsetOldest, 0, 100)
}

func consumeCodecs(ctx context.Context, brokers string) error {
	return consumeFrom(ctx, brokers, "golden", sarama.OffsetOldest, 0, 500)
}

func consumeByTime(ctx context.Context, brokers string) error {
	client, err := sarama.NewClient([]string{brokers}, sarama.NewConfig())
	if err != nil {
		return err
	}
	offset, err := client.GetOffset("gzip", 0, check.FirstTimestamp+50)
	if err = errors.Join(err, client.Close(), check.Want("offset", offset, 50)); err != nil {
		return err
	}
	return consumeFrom(ctx, brokers, "gzip", offset, 50, 50)
}

// handler is a member's part of the group. It commits when nothing is waiting to be read.
type handler struct {
	failures atomic.Int64
}

func (h *handler) Setup(s sarama.ConsumerGroupSession) error {
	for _, partitions := range s.Claims() {
		slices.Sort(partitions)
		check.Say("assigned %s", strings.Trim(strings.Join(strings.Fields(fmt.Sprint(partitions)), ","), "[]"))
	}
	return nil
}

func (h *handler) Cleanup(sarama.ConsumerGroupSession) error {
	check.Say("assigned")
	return nil
}

func (h *handler) ConsumeClaim(s sarama.ConsumerGroupSession, c sarama.ConsumerGroupClaim) error {
	for {
		select {
		case m, ok := <-c.Messages():
			if !ok {
				return nil
			}
			check.Say("record %d %d", m.Partition, m.Offset)
			s.MarkMessage(m, "")
			if len(c.Messages()) > 0 {
				continue
			}
			before := h.failures.Load()
			s.Commit()
			if h.failures.Load() == before {
				check.Say("committed %d %d", m.Partition, m.Offset+1)
			}
		case <-s.Context().Done():
			return nil
		}
	}
}

func member(ctx context.Context, brokers, group, topic, _ string) error {
	config := sarama.NewConfig()
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	config.Consumer.Offsets.AutoCommit.Enable = false
	config.Consumer.Return.Errors = true
	g, err := sarama.NewConsumerGroup([]string{brokers}, group, config)
	if err != nil {
		return err
	}
	h := &handler{}
	go func() {
		for err := range g.Errors() {
			h.failures.Add(1)
			check.Say("uncommitted %v", err)
		}
	}()
	for ctx.Err() == nil {
		if err := g.Consume(ctx, []string{topic}, h); err != nil && ctx.Err() == nil {
			return err
		}
	}
	return g.Close()
}

// collect reads from a group of its own until a number of records have come.
type collect struct {
	count    int
	messages chan *sarama.ConsumerMessage
}

func (collect) Setup(sarama.ConsumerGroupSession) error   { return nil }
func (collect) Cleanup(sarama.ConsumerGroupSession) error { return nil }

func (h collect) ConsumeClaim(s sarama.ConsumerGroupSession, c sarama.ConsumerGroupClaim) error {
	for {
		select {
		case m, ok := <-c.Messages():
			if !ok {
				return nil
			}
			h.messages <- m
			s.MarkMessage(m, "")
		case <-s.Context().Done():
			return nil
		}
	}
}

// inGroup reads records as a member of a group, and calls meanwhile when they are there and the member still is.
func inGroup(ctx context.Context, brokers, group, topic string, count int, meanwhile func([]*sarama.ConsumerMessage) error) error {
	config := sarama.NewConfig()
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	g, err := sarama.NewConsumerGroup([]string{brokers}, group, config)
	if err != nil {
		return err
	}
	h := collect{count, make(chan *sarama.ConsumerMessage, count)}
	inner, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- g.Consume(inner, []string{topic}, h) }()
	var messages []*sarama.ConsumerMessage
	for len(messages) < count && err == nil {
		select {
		case m := <-h.messages:
			messages = append(messages, m)
		case err = <-ended:
			err = fmt.Errorf("the session ended: %w", err)
		case <-time.After(check.Limit):
			err = fmt.Errorf("%d of %d records", len(messages), count)
		}
	}
	if err == nil {
		err = meanwhile(messages)
	}
	cancel()
	return errors.Join(err, g.Close())
}
