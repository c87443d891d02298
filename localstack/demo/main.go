// Command demo shows Varve on real input and checks what comes back: every line of the Go standard library's source, keyed by
// file and line, is produced with kcat into a topic of 12 partitions while a group of three reads it; the server is killed
// with SIGKILL in the middle; everything is shipped; the hot log is removed; and what the bucket alone gives back is compared,
// record by record, with what went in.
//
//	demo           everything in one process, the bucket in a directory
//	demo -cluster  a process for each role, two ingest nodes, MinIO
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/varvelog/varve/localstack/supervise"
)

func main() {
	d := &demo{}
	flag.StringVar(&d.dir, "dir", ".cache/demo", "directory for input, data and logs; emptied first")
	flag.StringVar(&d.binaries.Varve, "varve", "bin/varve", "the varve binary")
	flag.StringVar(&d.binaries.MinIO, "minio", ".cache/bin/minio", "the MinIO server binary")
	flag.BoolVar(&d.asCluster, "cluster", false, "run each role as a process of its own, on MinIO")
	flag.IntVar(&d.limit, "lines", 0, "use only so many lines (0: all)")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := d.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		stop()
		os.Exit(1)
	}
}

const (
	topic      = "stdlib"
	partitions = 12
	consumers  = 3
)

type demo struct {
	dir       string
	binaries  supervise.Binaries
	asCluster bool
	limit     int

	input  *input
	system *system
	began  time.Time
}

// run goes through the steps, saying each.
func (d *demo) run(ctx context.Context) error {
	if _, err := exec.LookPath("kcat"); err != nil {
		return fmt.Errorf("kcat is needed (Debian package kcat): %w", err)
	}
	dir, err := filepath.Abs(d.dir)
	if err != nil {
		return err
	}
	d.dir = dir
	if err := os.RemoveAll(d.dir); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(d.dir, "logs"), 0o750); err != nil {
		return err
	}
	if d.input, err = readInput(ctx, filepath.Join(d.dir, "input.tsv"), d.limit); err != nil {
		return fmt.Errorf("read the standard library: %w", err)
	}
	say("input: %d lines, %d bytes, SHA-256 %s", d.input.records(), d.input.bytes, d.input.digest[:16])
	if d.system, err = newSystem(d.dir, d.binaries, d.asCluster); err != nil {
		return err
	}
	defer d.system.down()
	if err := d.system.up(ctx); err != nil {
		return err
	}
	d.began = time.Now()
	if err := d.writeAndRead(ctx); err != nil {
		return err
	}
	if err := d.settle(ctx); err != nil {
		return err
	}
	readBack := time.Now()
	if err := d.readBack(ctx); err != nil {
		return err
	}
	return d.table(ctx, readBack)
}

// writeAndRead produces the input while the group reads it and the server is killed once.
func (d *demo) writeAndRead(ctx context.Context) error {
	create := exec.CommandContext(ctx, d.binaries.Varve, "topic", "create", topic, "--brokers", d.system.brokers(), "--partitions", fmt.Sprint(partitions), "--config", "varve.durability=local", "--config", "max.message.bytes=4000000")
	if out, err := create.CombinedOutput(); err != nil {
		return fmt.Errorf("create topic: %w: %s", err, out)
	}
	group, err := startGroup(d)
	if err != nil {
		return err
	}
	defer group.stop()
	producer, err := startKcat(d.dir, "producer", "", d.system.brokers(),
		"-P", "-E", "-t", topic, "-K", "\t", "-l", d.input.file, "-z", "zstd", "-X", "enable.idempotence=true", "-X", "message.max.bytes=4000000", "-X", "linger.ms=20", "-X", "message.timeout.ms=60000")
	if err != nil {
		return err
	}
	defer producer.stop()
	if err := d.killInTheMiddle(ctx); err != nil {
		return err
	}
	if err := producer.wait(ctx); err != nil {
		return fmt.Errorf("produce: %w; see %s", err, producer.log)
	}
	say("produced: kcat has an acknowledgement for every record")
	return group.awaitAll(ctx)
}

// killInTheMiddle sends SIGKILL when a third of the records are acknowledged.
func (d *demo) killInTheMiddle(ctx context.Context) error {
	third := int64(d.input.records() / 3)
	err := supervise.Poll(ctx, func() error {
		high, err := d.system.highWatermarks(ctx)
		if err == nil && high < third {
			err = fmt.Errorf("%d of %d records are there", high, d.input.records())
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("wait for a third of the records: %w", err)
	}
	victim, err := d.system.killOne(ctx)
	if err != nil {
		return err
	}
	say("killed %s with SIGKILL; it is started again", victim)
	return nil
}

// settle waits until everything is shipped, and removes the hot logs.
func (d *demo) settle(ctx context.Context) error {
	if err := d.system.awaitShipped(ctx); err != nil {
		return fmt.Errorf("wait for everything to be shipped: %w", err)
	}
	say("shipped: the hot log is empty")
	if err := d.system.removeHotLogs(ctx); err != nil {
		return err
	}
	say("the hot log's directory is removed, and the server started again without it")
	return nil
}

// readBack reads the topic from its beginning and compares every partition with the input.
func (d *demo) readBack(ctx context.Context) error {
	file := filepath.Join(d.dir, "read-back.tsv")
	reader, err := startKcat(d.dir, "reader", file, d.system.brokers(), "-C", "-t", topic, "-o", "beginning", "-e", "-f", `%p\t%k\t%s\n`)
	if err != nil {
		return err
	}
	if err := reader.wait(ctx); err != nil {
		return fmt.Errorf("read back: %w; see %s", err, reader.log)
	}
	if err := compare(d.input, file); err != nil {
		return fmt.Errorf("read back: %w", err)
	}
	say("read from the bucket alone: every record once, in order by partition and key, SHA-256 equal")
	return nil
}

func say(format string, args ...any) {
	fmt.Printf("%s  %s\n", time.Now().Format("15:04:05"), strings.TrimSpace(fmt.Sprintf(format, args...)))
}
