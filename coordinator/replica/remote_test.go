package replica_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/coordinator/replica"
	"github.com/varvelog/varve/infra/bus"
	"github.com/varvelog/varve/infra/rpc"
)

var leaderKey = bus.NewKey([]byte("secret"), "cluster")

// namedLeader is a bus on which one address answers who leads.
type namedLeader struct {
	key     *bus.Key
	address atomic.Pointer[string]
}

// Request implements replica.Asker.
func (n *namedLeader) Request(_ context.Context, _ string, question []byte, accept func([]byte) bool) ([]byte, error) {
	if body := n.key.AnswerLeader(question, bus.LeaderAnswer{Address: *n.address.Load()}); accept(body) {
		return body, nil
	}
	return nil, bus.ErrNoAnswer
}

// sleepyLeader answers pings until it falls asleep; then its callers hear nothing.
func sleepyLeader(t *testing.T, asleep *atomic.Bool) string {
	t.Helper()
	s, err := rpc.Listen(rpc.ServerConfig{Secret: []byte("secret"), ClusterID: "cluster"})
	if err != nil {
		t.Fatal(err)
	}
	rpc.Method(s, replica.MethodPing, func(ctx context.Context, _ *metapb.PingRequest) (*metapb.PingResponse, error) {
		if asleep.Load() {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return &metapb.PingResponse{}, nil
	})
	s.Serve()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	})
	return s.Addr()
}

func TestALeaderThatFellAsleepIsNotAskedForEver(t *testing.T) {
	var firstAsleep, never atomic.Bool
	first, second := sleepyLeader(t, &firstAsleep), sleepyLeader(t, &never)
	named := &namedLeader{key: leaderKey}
	named.address.Store(&first)
	client := rpc.NewClient(rpc.ClientConfig{Secret: []byte("secret"), ClusterID: "cluster"})
	t.Cleanup(client.Close)
	remote := replica.NewRemote(replica.RemoteConfig{Client: client, Key: leaderKey, Bus: named})
	ping := func(limit time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		_, err := remote.Ping(ctx, &metapb.PingRequest{})
		return err
	}
	if err := ping(5 * time.Second); err != nil {
		t.Fatal(err)
	}
	firstAsleep.Store(true)
	named.address.Store(&second)
	if err := ping(100 * time.Millisecond); err == nil {
		t.Fatal("one that sleeps answered")
	}
	if err := ping(5 * time.Second); err != nil {
		t.Errorf("the successor was not asked: %v", err)
	}
}

func TestAStrangerWhoSaysThatHeLeadsIsNotAsked(t *testing.T) {
	var never, asked atomic.Bool
	leads := sleepyLeader(t, &never)
	trap := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Store(true) }))
	defer trap.Close()
	address := trap.Listener.Addr().String()
	named := &namedLeader{key: bus.NewKey([]byte("guess"), "cluster")}
	named.address.Store(&address)
	client := rpc.NewClient(rpc.ClientConfig{Secret: []byte("secret"), ClusterID: "cluster"})
	t.Cleanup(client.Close)
	remote := replica.NewRemote(replica.RemoteConfig{Client: client, Key: leaderKey, Bus: named, Addresses: []string{leads}})
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if _, err := remote.Ping(ctx, &metapb.PingRequest{}); err != nil {
		t.Errorf("the leader of the list was not found: %v", err)
	}
	soon, stop := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer stop()
	alone := replica.NewRemote(replica.RemoteConfig{Client: client, Key: leaderKey, Bus: named})
	if _, err := alone.Ping(soon, &metapb.PingRequest{}); !errors.Is(err, replica.ErrNoLeader) || !strings.Contains(err.Error(), "NATS should authenticate") {
		t.Errorf("without a list: %v", err)
	}
	if asked.Load() {
		t.Error("the stranger was asked")
	}
}
