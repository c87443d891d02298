// Command stack runs a small Varve cluster on this machine as native processes: a MinIO store, three coordinators, a
// tiering worker, and two ingest nodes in two zones. It starts them in order, each when those before it are ready, starts a process
// again that ends by itself, and stops them in reverse on SIGTERM.
//
//	stack up     run until told to stop (make stack)
//	stack down   tell a running stack to stop, and wait for it (make stack-down)
//	stack status say which processes are ready
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/varvelog/varve/localstack/supervise"
)

func main() {
	s := &stack{cluster: supervise.Cluster{
		Tell: os.Stdout, Ports: supervise.Ports{MinIO: 9000, KafkaA: 9092, KafkaB: 19092, HTTP: 8081, Internal: 9645, NATS: 4222},
	}}
	flag.StringVar(&s.cluster.Dir, "dir", "localstack-data", "directory for data, logs and the supervisor's process id")
	flag.StringVar(&s.cluster.Binaries.Varve, "varve", "bin/varve", "the varve binary")
	flag.StringVar(&s.cluster.Binaries.MinIO, "minio", ".cache/bin/minio", "the MinIO server binary")
	flag.StringVar(&s.cluster.Metalog, "metalog", "jetstream", "where the metadata log is kept: jetstream or bucket")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, s, flag.Arg(0)); err != nil {
		fmt.Fprintln(os.Stderr, "stack:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, s *stack, verb string) error {
	absolute, err := filepath.Abs(s.cluster.Dir)
	if err != nil {
		return err
	}
	s.cluster.Dir = absolute
	switch verb {
	case "up":
		return s.up(ctx)
	case "down":
		return s.down(ctx)
	case "status":
		return s.status(ctx)
	default:
		return errors.New("want up, down or status")
	}
}
