package main

import (
	"bufio"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varvelog/varve/ingest/recordbatch"
	"github.com/varvelog/varve/services/cat"
	"github.com/varvelog/varve/services/config"
)

func newCat() *cobra.Command {
	c := &config.Config{}
	var asJSON, uncommitted bool
	var from, format string
	var count int64
	var partitions []int32
	command := &cobra.Command{
		Use:   "cat TOPIC",
		Short: "Print a topic's records out of a bucket, with no server running",
		Long: "Print a topic's records out of a bucket, one partition after the other. No server is needed; where a cluster works, what it has written in the\n" +
			"last seconds may not be there yet. What is on nodes' disks alone is named on standard error.",
		Example: "varve cat orders --bucket 's3://bucket/prefix?region=eu-central-1' --from 2026-11-01T00:00:00Z\nvarve cat orders --partition 3 --format '%o %k: %v\\n'",
		Args:    cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) (err error) {
			read := cat.Config{Topic: args[0], Partitions: partitions, Uncommitted: uncommitted}
			if read.FromOffset, read.FromMillis, err = parseBeginning(from); err != nil {
				return err
			}
			if read.Store, err = openBucket(c, command); err != nil {
				return err
			}
			defer func() { err = errors.Join(err, read.Store.Close()) }()
			out := bufio.NewWriterSize(command.OutOrStdout(), 64<<10)
			write := recordWriter(out, asJSON, format)
			var printed int64
			missing, err := cat.Read(command.Context(), read, func(partition int32, r *recordbatch.Record) error {
				if err := write(clientRecord(args[0], partition, r)); err != nil {
					return err
				}
				if printed++; printed == count {
					return cat.ErrStop
				}
				return nil
			})
			err = errors.Join(err, out.Flush())
			for _, m := range missing {
				fmt.Fprintln(command.ErrOrStderr(), m)
			}
			if err != nil {
				return fmt.Errorf("cat %s: %w", args[0], err)
			}
			return nil
		},
	}
	registerBucket(c, command)
	command.Flags().Int32SliceVarP(&partitions, "partition", "p", nil, "read these partitions only")
	command.Flags().StringVar(&from, "from", "beginning", "beginning, an offset, or a time such as 2026-11-01T00:00:00Z")
	command.Flags().Int64VarP(&count, "count", "n", 0, "stop after this many records (0: at the end)")
	command.Flags().BoolVar(&uncommitted, "uncommitted", false, "records of open and aborted transactions, too")
	command.Flags().BoolVar(&asJSON, "json", false, "print records as JSON")
	command.Flags().StringVar(&format, "format", "%v\\n", formatHelp)
	return command
}

// parseBeginning reads where to begin: an offset, or a time in milliseconds.
func parseBeginning(text string) (offset, millis int64, err error) {
	if text == "beginning" {
		return 0, 0, nil
	}
	if offset, err = strconv.ParseInt(text, 10, 64); err == nil && offset >= 0 {
		return offset, 0, nil
	}
	moment, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return 0, 0, fmt.Errorf("--from %q: want beginning, an offset or a time such as 2026-11-01T00:00:00Z", text)
	}
	return 0, moment.UnixMilli(), nil
}

// clientRecord is a stored record as clients know it.
func clientRecord(topic string, partition int32, r *recordbatch.Record) *kgo.Record {
	record := &kgo.Record{Topic: topic, Partition: partition, Offset: r.Offset, Timestamp: time.UnixMilli(r.Timestamp), Key: r.Key, Value: r.Value}
	for h := range recordbatch.RecordHeaders(r.Headers) {
		record.Headers = append(record.Headers, kgo.RecordHeader{Key: string(h.Key), Value: h.Value})
	}
	return record
}
