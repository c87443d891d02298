package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varvelog/varve/localstack/minio"
	"github.com/varvelog/varve/services/e2e/cluster"
)

func TestAFullDiskRefusesProducersUntilThereIsSpace(t *testing.T) {
	t.Parallel()
	for name, full := range map[string]string{"hot log": "hotlog", "whole data directory": "."} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bucket := "file://" + filepath.Join(t.TempDir(), "bucket")
			n := cluster.New(t, "serve", "--bucket", bucket, "--hot-segment-bytes=16MiB", "--seal-age=1h")
			disk := smallDisk(t, filepath.Join(n.DataDir, full), 60<<20)
			n.Start()
			createTopic(t, n, "kept", 1, "compression.type", "producer")
			var want []string
			client := rawClient(t, n)
			send := func() error {
				value := noise(800_000, uint64(len(want)))
				err := rawProduce(t, client, "kept", batch(t, value))
				if err == nil {
					want = append(want, string(value))
				}
				return err
			}
			// Every acknowledged record is there, in order. One that was refused may be, since its fate may not have been known.
			check := func() {
				t.Helper()
				next := 0
				for _, r := range flatten(readAll(t, n, "kept")) {
					if next < len(want) && string(r.Value) == want[next] {
						next++
					}
				}
				if next != len(want) {
					t.Fatalf("acknowledged record %d of %d is missing", next, len(want))
				}
			}
			if err := send(); err != nil {
				t.Fatal(err)
			}
			filler := fill(t, disk)
			var refused error
			for range 100 {
				if refused = send(); refused != nil {
					break
				}
			}
			if refused == nil {
				t.Fatal("80 MB were taken by a full disk of 60 MB")
			}
			var kafkaError *kerr.Error
			if !errors.As(refused, &kafkaError) || !kafkaError.Retriable {
				t.Errorf("refused with %v, want a retriable error of Kafka's", refused)
			}
			// Consumers go on, from the beginning and at the end.
			check()

			if err := os.Remove(filler); err != nil {
				t.Fatal(err)
			}
			cluster.Eventually(t, patience, "producers after space has returned", send)
			for range 5 {
				if err := send(); err != nil {
					t.Errorf("refused again: %v", err)
				}
			}
			check()
			n.Kill()
			n.Start()
			client = rawClient(t, n)
			if err := send(); err != nil {
				t.Errorf("after a restart: %v", err)
			}
			check()
		})
	}
}

// smallDisk mounts a file system of a size at dir, and skips the test where that is not permitted.
func smallDisk(t *testing.T, dir string, sizeBytes int) string {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", sizeBytes)); err != nil {
		t.Skipf("a small file system cannot be mounted (it takes root): %v", err)
	}
	t.Cleanup(func() {
		// Lazily: the process that has files open there is stopped by a clean-up that was registered before.
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return dir
}

// fill writes a file that takes all that is left of a disk.
func fill(t *testing.T, disk string) string {
	t.Helper()
	file, err := os.Create(filepath.Join(disk, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	piece := make([]byte, 64<<10)
	for err == nil {
		_, err = file.Write(piece)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	return file.Name()
}

func TestLocalTopicsGoOnWhileTheStoreIsGone(t *testing.T) {
	t.Parallel()
	address, data := cluster.FreeAddress(t), filepath.Join(t.TempDir(), "minio")
	start := func() *minio.Server {
		t.Helper()
		server, err := minio.Start(context.WithoutCancel(t.Context()), minio.Config{Address: address, DataDir: data})
		if errors.Is(err, minio.ErrNoBinary) {
			t.Skip(err)
		}
		if err != nil {
			t.Fatal(err)
		}
		return server
	}
	stop := func(s *minio.Server) {
		t.Helper()
		if err := s.Stop(); err != nil {
			t.Fatal(err)
		}
	}
	server := start()
	n := cluster.Serve(t, append([]string{"--bucket", "minio://" + address + "/varve?secure=false&create=true"}, quickTiering...)...)
	createTopic(t, n, "near", 2, "varve.durability", "local")
	createTopic(t, n, "far", 1, "varve.durability", "object")
	producer := dial(t, n)
	near := numbered("near", "r", 0, 1_000)
	produce(t, producer, near[:200]...)
	far := numbered("far", "r", 0, 20)
	produce(t, producer, far[:10]...)
	awaitShipped(t, n, "near", 2)

	stop(server)
	for i := 200; i < 800; i += 100 {
		produce(t, producer, near[i:i+100]...)
	}
	cluster.Eventually(t, patience, "a PUT that failed", func() error {
		all, err := n.Metric("varve_object_requests_total", `op="put"`)
		if err != nil {
			return err
		}
		if ok, err := n.Metric("varve_object_requests_total", `op="put"`, `result="ok"`); err != nil || ok == all {
			return fmt.Errorf("%v PUTs, %v of them succeeded: %v", all, ok, err)
		}
		return nil
	})
	// What is on the node is read; what needs the store is neither invented nor left out.
	tail := dial(t, n, kgo.ConsumePartitions(tailOf(t, n, "near", 2)))
	produce(t, producer, near[800:900]...)
	if got := collect(t, tail, 100); len(got) != 100 {
		t.Errorf("%d records at the tail", len(got))
	}
	pending := make(chan error, 1)
	producer.Produce(t.Context(), far[10], func(_ *kgo.Record, err error) { pending <- err })
	n.Kill()
	server = start()
	t.Cleanup(func() { stop(server) })
	n.Start()
	select {
	case err := <-pending:
		if err != nil {
			t.Errorf("a record for the store that was gone: %v", err)
		}
	case <-time.After(patience):
		t.Error("a record for the store that was gone was never answered")
	}
	produce(t, producer, near[900:]...)
	produce(t, producer, far[11:]...)
	awaitShipped(t, n, "near", 2)
	compare(t, flatten(readAll(t, n, "near")), near)
	compare(t, flatten(readAll(t, n, "far")), far)
}

// tailOf is where each partition ends now.
func tailOf(t *testing.T, n *cluster.Node, topic string, partitions int32) map[string]map[int32]kgo.Offset {
	t.Helper()
	ends, err := listOffsets(within(t, patience), dial(t, n), topic, partitions, latestOffset)
	if err != nil {
		t.Fatal(err)
	}
	at := map[int32]kgo.Offset{}
	for p, end := range ends {
		at[p] = kgo.NewOffset().At(end.Offset)
	}
	return map[string]map[int32]kgo.Offset{topic: at}
}
