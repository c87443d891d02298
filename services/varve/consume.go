package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

type consumeFlags struct {
	clientFlags
	group  string
	from   string
	count  int64
	exit   bool
	format string
}

func newConsume() *cobra.Command {
	flags := &consumeFlags{}
	command := &cobra.Command{
		Use:               "consume TOPIC",
		Short:             "Print a topic's records",
		Example:           "varve consume orders --from beginning --exit\nvarve consume orders --group billing --format '%p/%o %k: %v\\n'",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: flags.completeTopics,
		RunE: func(command *cobra.Command, args []string) error {
			return runConsume(command, flags, args[0])
		},
	}
	flags.register(command)
	command.Flags().StringVarP(&flags.group, "group", "g", "", "consumer group to join; offsets are committed")
	command.Flags().StringVar(&flags.from, "from", "end", "beginning, end, an offset, or a time such as 2026-11-01T00:00:00Z; in a group only where nothing is committed")
	command.Flags().Int64VarP(&flags.count, "count", "n", 0, "stop after this many records (0: go on)")
	command.Flags().BoolVarP(&flags.exit, "exit", "e", false, "stop at the end that each partition had at the start")
	command.Flags().StringVar(&flags.format, "format", "%v\\n", formatHelp)
	return command
}

const formatHelp = "%t topic, %p partition, %o offset, %T timestamp, %k key, %v value, %h headers"

// consumed is a record as JSON. Key and value that are not UTF-8 stand in base64 fields.
type consumed struct {
	Topic     string            `json:"topic"`
	Partition int32             `json:"partition"`
	Offset    int64             `json:"offset"`
	Timestamp time.Time         `json:"timestamp"`
	Key       *string           `json:"key"`
	Value     *string           `json:"value"`
	KeyBytes  []byte            `json:"keyBase64,omitempty"`
	ValBytes  []byte            `json:"valueBase64,omitempty"`
	Headers   map[string]string `json:"headers,omitempty"`
}

func runConsume(command *cobra.Command, flags *consumeFlags, topic string) error {
	from, err := parseFrom(flags.from)
	if err != nil {
		return err
	}
	options := []kgo.Opt{kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(from)}
	if flags.group != "" {
		options = append(options, kgo.ConsumerGroup(flags.group), kgo.AutoCommitMarks())
	}
	client, err := flags.connect(options...)
	if err != nil {
		return err
	}
	defer client.Close()
	ends := map[int32]int64{}
	if flags.exit {
		if ends, err = remaining(command.Context(), flags, client, topic, from); err != nil {
			return fmt.Errorf("consume %s: %w", topic, err)
		}
		if len(ends) == 0 {
			return nil
		}
	}
	out := bufio.NewWriterSize(command.OutOrStdout(), 64<<10)
	err = poll(command.Context(), client, flags, ends, recordWriter(out, flags.json, flags.format))
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	if flags.group != "" {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(command.Context()), flags.timeout)
		defer cancel()
		err = errors.Join(err, client.CommitMarkedOffsets(ctx))
	}
	if err := errors.Join(err, out.Flush()); err != nil {
		return fmt.Errorf("consume %s: %w", topic, err)
	}
	return nil
}

// poll prints until count is reached, every partition named in ends has reached its end, or ctx ends.
func poll(ctx context.Context, client *kgo.Client, flags *consumeFlags, ends map[int32]int64, write func(*kgo.Record) error) error {
	var printed int64
	for {
		fetches := client.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := fetches.Err(); err != nil {
			return err
		}
		for iter := fetches.RecordIter(); !iter.Done(); {
			record := iter.Next()
			if end, bounded := ends[record.Partition]; flags.exit && (!bounded || record.Offset >= end) {
				continue
			}
			if err := write(record); err != nil {
				return err
			}
			client.MarkCommitRecords(record)
			if ends[record.Partition] == record.Offset+1 {
				delete(ends, record.Partition)
			}
			if printed++; printed == flags.count {
				return nil
			}
		}
		if flags.exit && len(ends) == 0 {
			return nil
		}
		if err := write(nil); err != nil {
			return err
		}
	}
}

// remaining returns, for each partition in which there is something to read, the high watermark it has now.
func remaining(ctx context.Context, flags *consumeFlags, client *kgo.Client, topic string, from kgo.Offset) (map[int32]int64, error) {
	ctx, cancel := context.WithTimeout(ctx, flags.timeout)
	defer cancel()
	admin := kadm.NewClient(client)
	starts, err := admin.ListStartOffsets(ctx, topic)
	if err != nil {
		return nil, err
	}
	listed, err := admin.ListEndOffsets(ctx, topic)
	if err != nil {
		return nil, err
	}
	committed := kadm.OffsetResponses{}
	if flags.group != "" {
		if committed, err = admin.FetchOffsets(ctx, flags.group); err != nil {
			return nil, err
		}
	}
	ends := map[int32]int64{}
	var failed error
	listed.Each(func(end kadm.ListedOffset) {
		failed = errors.Join(failed, end.Err)
		start, _ := starts.Lookup(topic, end.Partition)
		next := start.Offset
		if o := from.EpochOffset().Offset; o > next {
			next = o
		} else if o == -1 {
			next = end.Offset
		}
		if c, ok := committed.Lookup(topic, end.Partition); ok && c.At >= 0 {
			next = max(start.Offset, c.At)
		}
		if end.Offset > next {
			ends[end.Partition] = end.Offset
		}
	})
	return ends, failed
}

func parseFrom(text string) (kgo.Offset, error) {
	switch text {
	case "beginning", "start", "earliest":
		return kgo.NewOffset().AtStart(), nil
	case "end", "latest":
		return kgo.NewOffset().AtEnd(), nil
	}
	if offset, err := strconv.ParseInt(text, 10, 64); err == nil && offset >= 0 {
		return kgo.NewOffset().At(offset), nil
	}
	if moment, err := time.Parse(time.RFC3339, text); err == nil {
		return kgo.NewOffset().AfterMilli(moment.UnixMilli()), nil
	}
	return kgo.Offset{}, fmt.Errorf("--from %q: want beginning, end, an offset or a time such as 2026-11-01T00:00:00Z", text)
}

// recordWriter returns what prints one record; called with nil it hands on what is buffered.
func recordWriter(out *bufio.Writer, asJSON bool, format string) func(*kgo.Record) error {
	encoder := json.NewEncoder(out)
	format = strings.NewReplacer(`\n`, "\n", `\t`, "\t").Replace(format)
	return func(record *kgo.Record) error {
		switch {
		case record == nil:
			return out.Flush()
		case asJSON:
			return encoder.Encode(recordAsJSON(record))
		default:
			return writeFormatted(out, format, record)
		}
	}
}

func recordAsJSON(record *kgo.Record) consumed {
	c := consumed{Topic: record.Topic, Partition: record.Partition, Offset: record.Offset, Timestamp: record.Timestamp.UTC()}
	text := func(b []byte) (*string, []byte) {
		if b == nil {
			return nil, nil
		}
		if !utf8.Valid(b) {
			return nil, b
		}
		s := string(b)
		return &s, nil
	}
	c.Key, c.KeyBytes = text(record.Key)
	c.Value, c.ValBytes = text(record.Value)
	for _, header := range record.Headers {
		if c.Headers == nil {
			c.Headers = map[string]string{}
		}
		c.Headers[header.Key] = string(header.Value)
	}
	return c
}

func writeFormatted(out *bufio.Writer, format string, record *kgo.Record) error {
	for i := 0; i < len(format); i++ {
		if format[i] != '%' || i+1 == len(format) {
			out.WriteByte(format[i])
			continue
		}
		i++
		switch format[i] {
		case 't':
			out.WriteString(record.Topic)
		case 'p':
			fmt.Fprint(out, record.Partition)
		case 'o':
			fmt.Fprint(out, record.Offset)
		case 'T':
			out.WriteString(record.Timestamp.UTC().Format(time.RFC3339Nano))
		case 'k':
			out.Write(record.Key)
		case 'v':
			out.Write(record.Value)
		case 'h':
			for j, header := range record.Headers {
				if j > 0 {
					out.WriteByte(',')
				}
				fmt.Fprintf(out, "%s=%s", header.Key, header.Value)
			}
		case '%':
			out.WriteByte('%')
		default:
			return fmt.Errorf("--format: %%%c means nothing", format[i])
		}
	}
	_, err := out.Write(nil)
	return err
}
