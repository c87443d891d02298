//go:build linux

package bus

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func TestOnlyWantOfSpaceLetsStreamsBeOpenedAgain(t *testing.T) {
	cases := map[string]struct{ full, poisoned bool }{
		"Filestore [x] Critical write error: write /a/1.blk: no space left on device":  {true, false},
		"RAFT [x] Critical write error: sync /a/1.blk: no space left on device":        {false, true},
		"RAFT [x] Critical write error: write /a/1.blk: input/output error":            {false, true},
		"RAFT [x] Error storing entry to WAL: write /a/1.blk: no space left on device": {false, false},
		"JetStream out of resources, will be DISABLED":                                 {false, false},
	}
	for message, want := range cases {
		p := &space{}
		p.heard(message)
		if p.isFull.Load() != want.full || p.poisoned.Load() != want.poisoned {
			t.Errorf("%q: full %t, poisoned %t", message, p.isFull.Load(), p.poisoned.Load())
		}
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// until waits for a condition.
func until(t *testing.T, what string, check func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if err = check(); err == nil {
			return
		}
	}
	t.Fatalf("%s: %v", what, err)
}

// smallDisk is a file system of its own.
func smallDisk(t *testing.T, size string) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "disk")
	if err := os.MkdirAll(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("a small file system cannot be mounted (it takes root): %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir
}

func TestACopyWhoseDiskWasFullComesBack(t *testing.T) {
	disk := smallDisk(t, "16m")
	routes := []string{freeAddress(t), freeAddress(t), freeAddress(t)}
	var servers []*Server
	for i, route := range routes {
		dir := t.TempDir()
		if i == 0 {
			dir = disk
		}
		s, err := StartServer(ServerConfig{
			ListenAddr: "127.0.0.1:0", StoreDir: dir, Name: fmt.Sprint("server-", i), Password: "secret",
			Cluster: &ClusterConfig{Name: "test", ListenAddr: route, Routes: routes},
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Shutdown)
		servers = append(servers, s)
	}
	conn, err := nats.Connect(servers[1].Addr(), nats.UserInfo(internalUser, "secret"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	until(t, "create a stream", func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, err := js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{Name: "log", Subjects: []string{"log"}, Replicas: 3})
		return err
	})
	until(t, "all copies are whole", servers[0].Health)
	filler, err := os.Create(filepath.Join(disk, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	for err = nil; err == nil; {
		_, err = filler.Write(make([]byte, 64<<10))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	if err := filler.Close(); err != nil {
		t.Fatal(err)
	}
	publish := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, err := js.Publish(ctx, "log", make([]byte, 32<<10))
		return err
	}
	until(t, "the server with the full disk gives up", func() error {
		_ = publish() // the others may elect a leader meanwhile
		if servers[0].nats.JetStreamEnabled() {
			return errors.New("it has not")
		}
		return nil
	})
	until(t, "the others go on", publish)
	if err := os.Remove(filler.Name()); err != nil {
		t.Fatal(err)
	}
	until(t, "its copy is whole again", func() error {
		if !servers[0].nats.JetStreamEnabled() {
			return errors.New("its JetStream is shut down")
		}
		return servers[0].Health()
	})
	if err := publish(); err != nil {
		t.Error(err)
	}
}

func TestAServerWithoutSpaceSaysSoAndStartsWhenThereIsSome(t *testing.T) {
	disk := smallDisk(t, "1m")
	filler := filepath.Join(disk, "filler")
	if err := os.WriteFile(filler, make([]byte, 2<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	config := ServerConfig{
		ListenAddr: "127.0.0.1:0", StoreDir: filepath.Join(disk, "metalog"), Name: "server-0", Password: "secret",
		Cluster: &ClusterConfig{Name: "test", ListenAddr: freeAddress(t), Routes: []string{freeAddress(t)}},
	}
	if _, err := StartServer(config); !errors.Is(err, ErrDiskFull) {
		t.Fatalf("started on a full disk: %v", err)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	s, err := StartServer(config)
	if err != nil {
		t.Fatal(err)
	}
	s.Shutdown()
}
