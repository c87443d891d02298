package presence

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/coordinator/replica"
	"github.com/varvelog/varve/infra/rpc"
)

const clusterID = "cluster"

var secret = []byte("secret")

// nodes is a replica of a state that has nothing but nodes.
type nodes struct {
	mu        sync.Mutex
	t         *testing.T
	state     *meta.State
	listeners []replica.Listener
}

func newNodes(t *testing.T) *nodes {
	n := &nodes{t: t, state: meta.New([16]byte{1})}
	n.apply(&metapb.Command{Kind: &metapb.Command_LeaderStart{LeaderStart: &metapb.LeaderStart{Epoch: 1}}})
	return n
}

func (n *nodes) apply(command *metapb.Command) {
	n.t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	entry := &metapb.Entry{Format: meta.EntryFormat, LogId: append([]byte{1}, make([]byte, 15)...), LeaderEpoch: 1, Commands: []*metapb.Command{command}}
	if err := n.state.Apply(n.state.Seq()+1, entry, nil); err != nil {
		n.t.Fatal(err)
	}
	for _, l := range n.listeners {
		l.Applied(&replica.Applied{Changes: 1 << meta.ChangedNodes})
	}
}

func (n *nodes) register(address string, incarnation byte) {
	n.apply(&metapb.Command{Kind: &metapb.Command_RegisterNode{RegisterNode: &metapb.RegisterNode{
		DiskId: append([]byte(address), make([]byte, 16)...)[:16], Incarnation: []byte{incarnation}, InternalAddress: address,
	}}})
}

func (n *nodes) View(f func(*meta.State)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f(n.state)
}

func (n *nodes) Listen(l replica.Listener) func() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.listeners = append(n.listeners, l)
	return func() {}
}

// process is one that can be watched.
type process struct {
	server *rpc.Server
	stop   context.CancelFunc
	once   sync.Once
}

func startProcess(t *testing.T, address string) *process {
	t.Helper()
	server, err := rpc.Listen(rpc.ServerConfig{Addr: address, Secret: secret, ClusterID: clusterID})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	Register(ctx, server)
	server.Serve()
	p := &process{server: server, stop: stop}
	t.Cleanup(p.die)
	return p
}

// die closes the process's sockets at once.
func (p *process) die() {
	p.once.Do(func() {
		p.stop()
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		_ = p.server.Shutdown(ended) // which says that it was cut short
	})
}

func startWatcher(t *testing.T, n *nodes, gone func(meta.NodeID, uint64)) *Watcher {
	t.Helper()
	client := rpc.NewClient(rpc.ClientConfig{Secret: secret, ClusterID: clusterID})
	w := New(Config{Client: client, Replica: n, Self: "127.0.0.1:1", Gone: gone})
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { w.Run(ctx); close(done) }()
	t.Cleanup(func() { stop(); <-done; client.Close() })
	return w
}

func await(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !condition() {
		if time.Now().After(deadline) {
			t.Fatalf("waited for: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

func (w *Watcher) hasSeen(id meta.NodeID, epoch uint64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for target, k := range w.mu.known {
		if target.id == id && target.epoch == epoch {
			return k.seen
		}
	}
	return false
}

func TestADeathIsKnownWhenACheckReturns(t *testing.T) {
	n := newNodes(t)
	p := startProcess(t, "127.0.0.1:0")
	w := startWatcher(t, n, nil)
	n.register(p.server.Addr(), 1)
	await(t, "the process is seen", func() bool { return w.hasSeen(1, 1) })
	w.Check(t.Context())
	if w.Gone(1, 1) {
		t.Fatal("a process that answers is gone")
	}
	p.die()
	if w.Check(t.Context()); !w.Gone(1, 1) {
		t.Error("a process that has died is there")
	}
	if w.Gone(1, 2) {
		t.Error("a death counts for another epoch")
	}
}

func TestADeathIsToldOnceAndEndsWithTheNextEpoch(t *testing.T) {
	n := newNodes(t)
	p := startProcess(t, "127.0.0.1:0")
	deaths := make(chan uint64, 10)
	w := startWatcher(t, n, func(_ meta.NodeID, epoch uint64) { deaths <- epoch })
	address := p.server.Addr()
	n.register(address, 1)
	await(t, "the process is seen", func() bool { return w.hasSeen(1, 1) })
	p.die()
	if epoch := <-deaths; epoch != 1 {
		t.Errorf("epoch %d has died", epoch)
	}
	p = startProcess(t, address)
	n.register(address, 2)
	await(t, "the next process is seen", func() bool { return w.hasSeen(1, 2) })
	p.die()
	if epoch := <-deaths; epoch != 2 {
		t.Errorf("epoch %d has died", epoch)
	}
}

// Who was never reached may be behind a wall, and who does not answer may be slow.
func TestOnlyAProcessThatWasThereCanBeGone(t *testing.T) {
	n := newNodes(t)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := silent.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	})
	w := startWatcher(t, n, func(id meta.NodeID, _ uint64) { t.Errorf("node %d is gone", id) })
	n.register(closed.Addr().String(), 1)
	n.register(silent.Addr().String(), 1)
	await(t, "both are watched", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.mu.known) == 2
	})
	if w.Check(t.Context()); w.Gone(1, 1) || w.Gone(2, 1) {
		t.Error("one of them is gone")
	}
}
