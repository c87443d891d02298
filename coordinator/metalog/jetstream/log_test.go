package jetstream

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/varvelog/varve/coordinator/metalog"
	"github.com/varvelog/varve/coordinator/metalog/metalogtest"
	"github.com/varvelog/varve/infra/bus"
)

const cluster = "MkU3OEVBNTcwNTJENDM2Qg"

func startBus(t testing.TB, dir string) (conn *bus.Conn, stop func()) {
	t.Helper()
	server, err := bus.StartServer(bus.ServerConfig{StoreDir: dir, Password: "secret"})
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

// TestAcknowledgedEntriesSurviveSIGKILL kills a writer in another process, and its embedded server with it.
func TestAcknowledgedEntriesSurviveSIGKILL(t *testing.T) {
	if dir := os.Getenv("VARVE_TEST_KILLED_WRITER"); dir != "" {
		conn, _ := startBus(t, dir)
		log := open(t, conn)
		for seq := uint64(1); ; seq++ {
			if err := log.Append(context.Background(), seq, fmt.Appendf(nil, "entry %d", seq), metalog.Ordinary); err != nil {
				t.Fatal(err)
			}
			fmt.Printf("acknowledged %d\n", seq)
		}
	}
	dir := t.TempDir()
	writer := exec.Command(os.Args[0], "-test.run=^TestAcknowledgedEntriesSurviveSIGKILL$", "-test.v")
	writer.Env = append(os.Environ(), "VARVE_TEST_KILLED_WRITER="+dir)
	output, err := writer.StdoutPipe()
	if err := errors.Join(err, writer.Start()); err != nil {
		t.Fatal(err)
	}
	var acknowledged uint64
	for lines := bufio.NewScanner(output); lines.Scan(); {
		if _, err := fmt.Sscanf(lines.Text(), "acknowledged %d", &acknowledged); err == nil && acknowledged == 200 {
			if err := writer.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := writer.Wait(); err == nil || acknowledged < 200 {
		t.Fatalf("the writer ended with %v after %d entries", err, acknowledged)
	}
	conn, stop := startBus(t, dir)
	defer stop()
	seq := uint64(0)
	for record, err := range open(t, conn).Read(context.Background(), 1) {
		if seq++; err != nil || string(record.Entry) != fmt.Sprintf("entry %d", seq) {
			t.Fatalf("entry %d is %q, %v", seq, record.Entry, err)
		}
	}
	if seq < acknowledged {
		t.Fatalf("%d entries are left of %d that were acknowledged", seq, acknowledged)
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
