package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"
)

// maxLineBytes bounds one record that is read from a text stream.
const maxLineBytes = 64 << 20

type produceFlags struct {
	clientFlags
	file        string
	delimiter   string
	partition   int32
	compression string
	quiet       bool
}

func newProduce() *cobra.Command {
	flags := &produceFlags{}
	command := &cobra.Command{
		Use:               "produce TOPIC",
		Short:             "Write lines of a file or of standard input as records",
		Example:           "tail -F access.log | varve produce logs\nvarve produce users --file users.tsv --key-delimiter $'\\t'",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: flags.completeTopics,
		RunE: func(command *cobra.Command, args []string) error {
			return runProduce(command, flags, args[0])
		},
	}
	flags.register(command)
	command.Flags().StringVarP(&flags.file, "file", "f", "-", "file to read, - for standard input")
	command.Flags().StringVarP(&flags.delimiter, "key-delimiter", "K", "", "text between key and value (default: no keys)")
	command.Flags().Int32VarP(&flags.partition, "partition", "p", -1, "partition to write to (-1: by key, or sticky)")
	command.Flags().StringVarP(&flags.compression, "compression", "z", "zstd", "none, gzip, snappy, lz4 or zstd")
	command.Flags().BoolVarP(&flags.quiet, "quiet", "q", false, "no progress")
	return command
}

// produced is what a finished produce prints.
type produced struct {
	Topic   string `json:"topic"`
	Records int64  `json:"records"`
	Bytes   int64  `json:"bytes"`
}

func runProduce(command *cobra.Command, flags *produceFlags, topic string) error {
	codec, err := parseCompression(flags.compression)
	if err != nil {
		return err
	}
	options := []kgo.Opt{kgo.DefaultProduceTopic(topic), kgo.ProducerBatchCompression(codec), kgo.RecordDeliveryTimeout(flags.timeout * 4), kgo.UnknownTopicRetries(3), kgo.AllowAutoTopicCreation()}
	if flags.partition >= 0 {
		options = append(options, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	}
	client, err := flags.connect(options...)
	if err != nil {
		return err
	}
	defer client.Close()
	input, err := openInput(flags.file)
	if err != nil {
		return err
	}
	defer input.Close()

	ctx, cancel := context.WithCancelCause(command.Context())
	defer cancel(nil)
	meter := startMeter(command.ErrOrStderr(), flags.quiet || flags.json)
	writeErr := sendLines(ctx, cancel, client, input, flags, meter)
	flushErr := client.Flush(ctx)
	records, size := meter.stop()
	if err := errors.Join(context.Cause(ctx), writeErr); err != nil {
		return fmt.Errorf("produce to %s: after %d acknowledged records: %w", topic, records, err)
	}
	if flushErr != nil {
		return fmt.Errorf("produce to %s: %w", topic, flushErr)
	}
	return printRows(command.OutOrStdout(), flags.json, "TOPIC\tRECORDS\tBYTES", []produced{{topic, records, size}}, func(p produced) string {
		return fmt.Sprintf("%s\t%d\t%d", p.Topic, p.Records, p.Bytes)
	})
}

// sendLines hands every line to the client, and stops at the first record that could not be delivered.
func sendLines(ctx context.Context, cancel context.CancelCauseFunc, client *kgo.Client, input io.Reader, flags *produceFlags, meter *meter) error {
	var once sync.Once
	lines := bufio.NewScanner(input)
	lines.Buffer(make([]byte, 0, 64<<10), maxLineBytes)
	for lines.Scan() && ctx.Err() == nil {
		record := &kgo.Record{Partition: flags.partition}
		line := bytes.Clone(lines.Bytes())
		record.Value = line
		if flags.delimiter != "" {
			if key, value, found := bytes.Cut(line, []byte(flags.delimiter)); found {
				record.Key, record.Value = key, value
			}
		}
		client.Produce(ctx, record, func(record *kgo.Record, err error) {
			if err != nil {
				once.Do(func() { cancel(err) })
				return
			}
			meter.add(1, int64(len(record.Key)+len(record.Value)))
		})
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read input: %w", err)
	}
	return nil
}

func openInput(path string) (io.ReadCloser, error) {
	if path == "-" {
		return io.NopCloser(os.Stdin), nil
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open input: %w", err)
	}
	return file, nil
}

func parseCompression(name string) (kgo.CompressionCodec, error) {
	switch strings.ToLower(name) {
	case "none":
		return kgo.NoCompression(), nil
	case "gzip":
		return kgo.GzipCompression(), nil
	case "snappy":
		return kgo.SnappyCompression(), nil
	case "lz4":
		return kgo.Lz4Compression(), nil
	case "zstd":
		return kgo.ZstdCompression(), nil
	default:
		return kgo.CompressionCodec{}, fmt.Errorf("--compression %q: want none, gzip, snappy, lz4 or zstd", name)
	}
}
