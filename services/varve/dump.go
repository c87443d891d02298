package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metalog"
	"github.com/varvelog/varve/infra/objstore"
	"github.com/varvelog/varve/infra/objstore/open"
	"github.com/varvelog/varve/infra/telemetry"
	"github.com/varvelog/varve/infra/vfs"
	"github.com/varvelog/varve/ingest/chunk"
	"github.com/varvelog/varve/ingest/hotlog"
	"github.com/varvelog/varve/ingest/recordbatch"
	"github.com/varvelog/varve/services/config"
	"github.com/varvelog/varve/services/coordinatord"
	"github.com/varvelog/varve/services/process"
	"github.com/varvelog/varve/tiering/segment"
)

func newTools() []*cobra.Command {
	dump := &cobra.Command{Use: "dump", Short: "Show what a file, an object or the metadata log holds"}
	dump.AddCommand(newDumpHotLog(), newDumpSegment(), newDumpMetalog())
	return []*cobra.Command{newBench(), dump, newCat(), newVerify(), newRepair(), newRecover()}
}

// dumper prints one thing after the other, as a line for people or as a JSON document.
type dumper struct {
	w      io.Writer
	asJSON bool
}

func (d dumper) print(document map[string]any, format string, args ...any) error {
	if d.asJSON {
		return json.NewEncoder(d.w).Encode(document)
	}
	_, err := fmt.Fprintf(d.w, format+"\n", args...)
	return err
}

func newDumpHotLog() *cobra.Command {
	var asJSON, batches bool
	command := &cobra.Command{
		Use:   "hotlog FILE|DIR...",
		Short: "Show segments of a node's hot log: frames, chunks and runs",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			d := dumper{command.OutOrStdout(), asJSON}
			for _, arg := range args {
				files, err := segmentFiles(arg)
				if err != nil {
					return err
				}
				for _, file := range files {
					if err := dumpHotSegment(d, file, batches); err != nil {
						return fmt.Errorf("dump %s: %w", file, err)
					}
				}
			}
			return nil
		},
	}
	command.Flags().BoolVar(&asJSON, "json", false, "print JSON, one document a line")
	command.Flags().BoolVar(&batches, "batches", false, "show each record batch")
	return command
}

// segmentFiles are the files to dump: the path itself, or the segments in a directory.
func segmentFiles(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	found, err := filepath.Glob(filepath.Join(path, "*.seg*"))
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%s: no segments of a hot log", path)
	}
	slices.Sort(found)
	return found, nil
}

func dumpHotSegment(d dumper, file string, batches bool) error {
	report, err := hotlog.Scan(vfs.OS{}, filepath.ToSlash(file), func(f hotlog.Frame) error {
		return dumpFrame(d, f, batches)
	})
	printErr := d.print(map[string]any{"kind": "segment", "report": report},
		"segment %d of disk %s: %d chunks, %d payload bytes, end %d, tail %v, %d torn bytes, file %d bytes",
		report.Header.Segment, report.Header.DiskUUID, report.Chunks, report.PayloadBytes, report.End, report.Tail, report.TornBytes, report.FileBytes)
	return errors.Join(err, printErr)
}

func dumpFrame(d dumper, f hotlog.Frame, batches bool) error {
	if f.Kind != hotlog.KindChunk {
		return d.print(map[string]any{"kind": f.Kind.String(), "position": f.Position, "length": f.Length}, "%d %s frame of %d bytes", f.Position, f.Kind, f.Length)
	}
	c, err := chunk.Parse(f.Payload)
	if err != nil {
		return fmt.Errorf("chunk at %d: %w", f.Position, err)
	}
	h := c.Header
	if err := d.print(map[string]any{"kind": "chunk", "position": f.Position, "header": h, "runs": c.Table.Runs()},
		"%d chunk node %d epoch %d lane %d seq %d: %d runs, %d bytes, at %s", f.Position, h.NodeID, h.NodeEpoch, h.Lane, h.Seq, c.Table.Runs(), f.Length,
		time.UnixMilli(h.CreatedMillis).UTC().Format(time.RFC3339Nano)); err != nil {
		return err
	}
	for i := range c.Table.Runs() {
		r := c.Table.Run(i)
		if err := d.print(map[string]any{"kind": "run", "topic": hex.EncodeToString(r.Topic[:]), "partition": r.Partition, "position": r.Position, "length": r.Length, "records": r.Records},
			"  run topic %x partition %d: %d records in %d bytes", r.Topic, r.Partition, r.Records, r.Length); err != nil {
			return err
		}
		if batches {
			if err := dumpBatches(d, c.RunBytes(r)); err != nil {
				return err
			}
		}
	}
	return nil
}

func dumpBatches(d dumper, b []byte) error {
	for batch, err := range recordbatch.Batches(b) {
		if err != nil {
			return err
		}
		sound := "crc ok"
		if err := recordbatch.CheckCRC(batch.Bytes); err != nil {
			sound = err.Error()
		}
		h := batch.Header
		if err := d.print(map[string]any{"kind": "batch", "header": h, "crc": sound},
			"    batch [%d, %d] %d records %s %d bytes, producer %d epoch %d sequence %d, max timestamp %d, %s",
			h.BaseOffset, h.LastOffset(), h.RecordCount, h.Codec(), h.SizeBytes(), h.ProducerID, h.ProducerEpoch, h.BaseSequence, h.MaxTimestamp, sound); err != nil {
			return err
		}
	}
	return nil
}

// maxObjectBytes bounds what dump reads of one object.
const maxObjectBytes = 4 << 30

func newDumpSegment() *cobra.Command {
	var asJSON, batches bool
	var bucket string
	command := &cobra.Command{
		Use:     "segment FILE|KEY...",
		Short:   "Show and verify segment objects, from files or, with --bucket, by key",
		Example: "varve dump segment --bucket file:///srv/varve segment/3f/12-0",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			d := dumper{command.OutOrStdout(), asJSON}
			read := func(name string) ([]byte, error) { return os.ReadFile(name) }
			if bucket != "" {
				store, err := open.URL(command.Context(), bucket)
				if err != nil {
					return err
				}
				defer store.Close()
				read = func(key string) ([]byte, error) {
					body, _, err := objstore.ReadAll(command.Context(), store, key, maxObjectBytes)
					return body, err
				}
			}
			for _, name := range args {
				body, err := read(name)
				if err == nil {
					err = dumpSegment(d, name, body, batches)
				}
				if err != nil {
					return fmt.Errorf("dump %s: %w", name, err)
				}
			}
			return nil
		},
	}
	command.Flags().BoolVar(&asJSON, "json", false, "print JSON, one document a line")
	command.Flags().BoolVar(&batches, "batches", false, "show each record batch")
	command.Flags().StringVar(&bucket, "bucket", "", "the bucket that holds the objects")
	return command
}

func dumpSegment(d dumper, name string, body []byte, batches bool) error {
	object, err := segment.Open(body)
	if err != nil {
		return err
	}
	if err := d.print(map[string]any{"kind": "object", "name": name, "header": object.Header, "bytes": len(body), "parts": len(object.Parts)},
		"object %s: job %d ordinal %d, %d bytes, %d parts, written %s", name, object.Header.JobID, object.Header.Ordinal, len(body), len(object.Parts),
		time.UnixMilli(object.Header.CreatedMillis).UTC().Format(time.RFC3339)); err != nil {
		return err
	}
	for i := range object.Parts {
		p := &object.Parts[i]
		if err := d.print(map[string]any{"kind": "part", "part": p}, "  %s-%d [%d, %d) %d records in %d bytes at %d, max timestamp %d",
			p.Topic, p.Partition, p.BaseOffset, p.NextOffset, p.Records, p.LengthBytes, p.Position, p.MaxTimestamp); err != nil {
			return err
		}
		if batches {
			if err := dumpBatches(d, object.Batches(p)); err != nil {
				return err
			}
		}
	}
	if err := object.Verify(); err != nil {
		return err
	}
	return d.print(map[string]any{"kind": "verified", "name": name}, "  every checksum holds")
}

func newDumpMetalog() *cobra.Command {
	c := &config.Config{}
	var asJSON, state, extents bool
	var from uint64
	command := &cobra.Command{
		Use:   "metalog",
		Short: "Show the entries of the metadata log, or the state they add up to",
		Long: "Show the entries of the metadata log, or the state they add up to. It reads the log where --bucket and --nats-url say that\n" +
			"it is; of a `varve serve` that is not running it opens the data directory.",
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			if err := c.Load(command.Flags(), os.LookupEnv); err != nil {
				return err
			}
			c.HTTPAddr, c.InternalAddr, c.NATSAddr = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
			if err := c.Validate(config.RoleServe); err != nil {
				return err
			}
			log, level, err := telemetry.NewLogger(command.ErrOrStderr(), "warn", c.LogFormat)
			if err != nil {
				return err
			}
			p, err := process.Start(command.Context(), c, config.RoleCoordinator, log, level)
			if err != nil {
				return err
			}
			d := dumper{command.OutOrStdout(), asJSON}
			if state {
				err = dumpState(command.Context(), d, p, extents)
			} else {
				err = dumpEntries(command.Context(), d, p, from)
			}
			return errors.Join(err, p.Close(context.WithoutCancel(command.Context())))
		},
	}
	c.Register(command.Flags())
	command.Flags().BoolVar(&asJSON, "json", false, "print JSON, one document a line")
	command.Flags().BoolVar(&state, "state", false, "show the state instead of the entries")
	command.Flags().BoolVar(&extents, "extents", false, "with --state, show every run and part")
	command.Flags().Uint64Var(&from, "from", 0, "sequence to begin at (default: the first that the log still holds)")
	return command
}

func dumpEntries(ctx context.Context, d dumper, p *process.Process, from uint64) (err error) {
	log, err := coordinatord.OpenLog(ctx, p, false)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	first, next, err := log.Bounds(ctx)
	if err != nil {
		return err
	}
	if err := d.print(map[string]any{"kind": "bounds", "first": first, "next": next}, "log %x holds entries [%d, %d)", p.Cluster.LogID, first, next); err != nil {
		return err
	}
	for record, err := range log.Read(ctx, max(from, first)) {
		if err != nil {
			return err
		}
		if err := dumpEntry(d, record); err != nil {
			return err
		}
	}
	return nil
}

func dumpEntry(d dumper, record metalog.Record) error {
	entry, err := meta.DecodeEntry(record.Entry)
	if err != nil {
		return fmt.Errorf("entry %d: %w", record.Seq, err)
	}
	if d.asJSON {
		text, err := protojson.Marshal(entry)
		if err != nil {
			return fmt.Errorf("entry %d: %w", record.Seq, err)
		}
		return d.print(map[string]any{"seq": record.Seq, "entry": json.RawMessage(text)}, "")
	}
	if err := d.print(nil, "%d epoch %d at %s: %d commands, %d bytes", record.Seq, entry.LeaderEpoch,
		time.UnixMilli(entry.TimeMillis).UTC().Format(time.RFC3339Nano), len(entry.Commands), len(record.Entry)); err != nil {
		return err
	}
	for _, command := range entry.Commands {
		text := strings.TrimPrefix(fmt.Sprintf("%T", command.Kind), "*metapb.Command_")
		if c := command.GetCommitChunk(); c != nil {
			text = fmt.Sprintf("CommitChunk node %d epoch %d lane %d seq %d: segment %d at %d, %d bytes", c.NodeId, c.NodeEpoch, c.Lane, c.Seq, c.Segment, c.Position, c.ChunkBytes)
		} else if command.Kind != nil {
			text = fmt.Sprintf("%s %s", text, protojson.MarshalOptions{}.Format(command))
		}
		if err := d.print(nil, "  %s", text); err != nil {
			return err
		}
	}
	return nil
}

func dumpState(ctx context.Context, d dumper, p *process.Process, extents bool) error {
	r, log, err := coordinatord.OpenReplica(ctx, p, false)
	if err != nil {
		return err
	}
	var dumped error
	r.View(func(s *meta.State) { dumped = s.Dump(d.w, extents) })
	r.Close()
	return errors.Join(dumped, log.Close())
}
