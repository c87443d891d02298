package jetstream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/varvelog/varve/coordinator/metalog"
	"github.com/varvelog/varve/infra/bus"
)

// startCluster starts servers that keep streams together, and a connection to each.
func startCluster(t *testing.T, size int) (servers []*bus.Server, conns []*bus.Conn) {
	t.Helper()
	var routes []string
	for range size {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		routes = append(routes, l.Addr().String())
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for i, address := range routes {
		server, err := bus.StartServer(bus.ServerConfig{
			ListenAddr: "127.0.0.1:0", StoreDir: t.TempDir(), Password: "secret", Name: fmt.Sprintf("server-%d", i),
			Cluster: &bus.ClusterConfig{Name: "servers", ListenAddr: address, Routes: routes},
		})
		if err != nil {
			t.Fatal(err)
		}
		conn, err := bus.Connect(t.Context(), bus.ConnConfig{Server: server})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			conn.Close()
			server.Shutdown()
		})
		servers, conns = append(servers, server), append(conns, conn)
	}
	return servers, conns
}

// openReplicated opens a log of three copies, once the servers have found together.
func openReplicated(t *testing.T, conn *bus.Conn) *Log {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		once, cancel := context.WithTimeout(ctx, 2*time.Second)
		log, err := Open(once, conn, Config{ClusterID: cluster, LogID: [16]byte{1}, Replicas: 3})
		cancel()
		if err == nil {
			return log
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
	}
}

func TestTheLeadMovesBeforeAServerEnds(t *testing.T) {
	servers, conns := startCluster(t, 3)
	var logs []*Log
	for _, conn := range conns {
		logs = append(logs, openReplicated(t, conn))
	}
	leads := func() int {
		t.Helper()
		for began := time.Now(); ; {
			info, err := logs[0].info(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for i := range servers {
				if info.Cluster.Leader == fmt.Sprintf("server-%d", i) {
					t.Logf("known after %v", time.Since(began))
					return i
				}
			}
			if time.Since(began) > 20*time.Second {
				t.Fatalf("nobody is said to lead: %+v %+v", info.Cluster, info.Config.Replicas)
			}
		}
	}
	var seq uint64
	appendNext := func(log *Log) (took time.Duration) {
		t.Helper()
		began := time.Now()
		for seq++; ; {
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			err := log.Append(ctx, seq, fmt.Append(nil, seq), metalog.Ordinary)
			cancel()
			if err == nil || errors.Is(err, metalog.ErrConflict) { // of an append that had no answer
				return time.Since(began)
			}
			if time.Since(began) > time.Minute {
				t.Fatal(err)
			}
		}
	}
	appendNext(logs[0])
	former := leads()
	for i, log := range logs {
		if i != former {
			if err := log.StepAside(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if leads() != former {
		t.Error("a server that does not lead has moved the lead")
	}
	if err := logs[former].StepAside(t.Context()); err != nil {
		t.Fatal(err)
	}
	next := leads()
	if next == former {
		t.Fatal("the lead has not moved")
	}
	t.Logf("the lead went from %d to %d, the next append took %v", former, next, appendNext(logs[next]))
	conns[former].Close()
	servers[former].Shutdown()
	took := appendNext(logs[next])
	t.Logf("after the end of the former leader an append took %v", took)
	if took > 3*time.Second { // the least that an election by silence takes is 4 s
		t.Error("the others had to elect a leader")
	}
}

// TestAReadEndsWhereNobodyAnswers: one server of three does not lead, and does not say so either.
func TestAReadEndsWhereNobodyAnswers(t *testing.T) {
	t.Parallel()
	servers, conns := startCluster(t, 3)
	log := openReplicated(t, conns[0])
	if err := log.Append(t.Context(), 1, []byte("entry"), metalog.Ordinary); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := log.StepAside(ctx); err != nil {
		t.Fatal(err)
	}
	for _, server := range servers[1:] {
		server.Shutdown()
	}
	if _, err := log.readFromLeader(ctx, 1); err == nil || ctx.Err() != nil {
		t.Errorf("read: %v, context %v", err, ctx.Err())
	}
}
