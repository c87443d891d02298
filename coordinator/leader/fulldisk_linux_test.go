package leader

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metalog/jetstream"
	"github.com/varvelog/varve/coordinator/replica"
	"github.com/varvelog/varve/infra/bus"
)

// smallDisk is a directory on a file system of its own, of so many bytes.
func smallDisk(t *testing.T, options string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		t.Skipf("mounting a file system is not permitted here: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return dir
}

// fill writes a file until the disk is full.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 64 << 10; size > 0; {
		if _, err := f.Write(bytes.Repeat([]byte{1}, size)); errors.Is(err, syscall.ENOSPC) {
			size /= 2
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

func TestCommitsStallOnAFullDiskAndGoOnWithSpace(t *testing.T) {
	dir := smallDisk(t, "size=16m")
	server, err := bus.StartServer(bus.ServerConfig{StoreDir: filepath.Join(dir, "metalog"), Password: "of the cluster", Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Shutdown)
	conn, err := bus.Connect(context.Background(), bus.ConnConfig{Server: server})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	log, err := jetstream.Open(context.Background(), conn, jetstream.Config{ClusterID: cluster, LogID: logID})
	if err != nil {
		t.Fatal(err)
	}
	ctx, n := timeout(t), start(t, log, nil, func(c *Config) { c.Logger = slog.New(slog.NewTextHandler(t.Output(), nil)) })
	propose := func() error {
		v, err := n.replica.Propose(ctx, storeGroup("c", 30_000))
		if err == nil && v.Code != meta.OK {
			t.Errorf("verdict %+v", v)
		}
		return err
	}
	if err := propose(); err != nil {
		t.Fatal(err)
	}
	ballast := filepath.Join(dir, "ballast")
	for range 3 { // it fills again and again
		fill(t, ballast)
		var committed atomic.Int64
		done := make(chan error, 1)
		go func() {
			for range 40 {
				if err := propose(); err != nil {
					done <- err
					return
				}
				committed.Add(1)
			}
			done <- nil
		}()
		stalled(t, &committed)
		t.Logf("stalled after %d", committed.Load())
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Fatalf("after space had returned, and %d commits: %v", committed.Load(), err)
		}
	}
	n.halt(t)
	again, err := replica.Open(ctx, replica.Config{LogID: logID, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if got, want := (&node{replica: again}).hash(), n.hash(); got != want || again.Seq() != n.replica.Seq() {
		t.Errorf("the log replays to %d and %x, the leader was at %d and %x", again.Seq(), got, n.replica.Seq(), want)
	}
}

// stalled returns when count has not moved for a while.
func stalled(t *testing.T, count *atomic.Int64) {
	t.Helper()
	last, since := count.Load(), time.Now()
	await(t, func() bool {
		if now := count.Load(); now != last {
			last, since = now, time.Now()
		}
		return time.Since(since) > 300*time.Millisecond
	})
}
