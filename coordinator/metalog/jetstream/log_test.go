package jetstream

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/varvelog/varve/coordinator/metalog"
	"github.com/varvelog/varve/coordinator/metalog/metalogtest"
	"github.com/varvelog/varve/infra/bus"
)

const cluster = "MkU3OEVBNTcwNTJENDM2Qg"

func startBus(t testing.TB, dir string) (conn *bus.Conn, stop func()) {
	t.Helper()
	server, err := bus.StartServer(bus.ServerConfig{StoreDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	conn, err = bus.Connect(ctx, bus.ConnConfig{Server: server})
	if err != nil {
		t.Fatal(err)
	}
	return conn, func() {
		conn.Close()
		server.Shutdown()
	}
}

func open(t testing.TB, conn *bus.Conn) *Log {
	t.Helper()
	log, err := Open(context.Background(), conn, Config{ClusterID: cluster, LogID: [16]byte{1}})
	if err != nil {
		t.Fatal(err)
	}
	return log
}

func TestAcceptance(t *testing.T) {
	metalogtest.Run(t, func(t *testing.T) metalogtest.Open {
		conn, stop := startBus(t, t.TempDir())
		t.Cleanup(stop)
		return func(t *testing.T) metalog.Log { return open(t, conn) }
	})
}

func TestServerRestartKeepsLogAndNumbering(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	conn, stop := startBus(t, dir)
	log := open(t, conn)
	for seq := uint64(1); seq <= 3; seq++ {
		if err := log.Append(ctx, seq, []byte("x"), metalog.Ordinary); err != nil {
			t.Fatal(err)
		}
	}
	if err := log.Truncate(ctx, 4); err != nil {
		t.Fatal(err)
	}
	stop()
	conn, stop = startBus(t, dir)
	defer stop()
	log = open(t, conn)
	if err := log.Append(ctx, 3, []byte("old"), metalog.Ordinary); !errors.Is(err, metalog.ErrConflict) {
		t.Fatalf("append at 3 after a restart: %v, want ErrConflict", err)
	}
	if err := log.Append(ctx, 4, []byte("new"), metalog.Ordinary); err != nil {
		t.Fatal(err)
	}
}

func TestAnotherLogIsForeign(t *testing.T) {
	conn, stop := startBus(t, t.TempDir())
	defer stop()
	open(t, conn)
	_, err := Open(context.Background(), conn, Config{ClusterID: cluster, LogID: [16]byte{2}})
	if !errors.Is(err, metalog.ErrForeign) {
		t.Fatalf("open: %v, want ErrForeign", err)
	}
}

func BenchmarkAppend(b *testing.B) {
	conn, stop := startBus(b, b.TempDir())
	defer stop()
	log := open(b, conn)
	ctx, entry := context.Background(), make([]byte, 1024)
	b.ReportAllocs()
	b.ResetTimer()
	for seq := uint64(1); b.Loop(); seq++ {
		if err := log.Append(ctx, seq, entry, metalog.Ordinary); err != nil {
			b.Fatal(err)
		}
	}
}
