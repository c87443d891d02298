package copies

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"net"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 20 * time.Second

// peerNode is a node that takes copies: in memory, as quickly as gate lets it.
type peerNode struct {
	id       meta.NodeID
	listener net.Listener
	receiver *Receiver
	serving  sync.WaitGroup

	mu struct {
		sync.Mutex
		bodies [][]byte
		seqs   []uint64
		conns  []net.Conn
		gate   func()
		refuse error
	}
}

func newPeer(t *testing.T, id meta.NodeID) *peerNode {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &peerNode{id: id, listener: listener}
	p.receiver = NewReceiver(ReceiverConfig{MaxChunkBytes: 1 << 20}, p)
	p.serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			p.mu.Lock()
			p.mu.conns = append(p.mu.conns, conn)
			p.mu.Unlock()
			p.serving.Go(func() { p.receiver.Serve(conn) })
		}
	})
	t.Cleanup(func() { p.die(); p.serving.Wait() })
	return p
}

// die closes the listener and all connections.
func (p *peerNode) die() {
	_ = p.listener.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.mu.conns {
		_ = c.Close()
	}
}

func (p *peerNode) set(gate func(), refuse error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.gate, p.mu.refuse = gate, refuse
}

// AcceptCopy implements Acceptor.
func (p *peerNode) AcceptCopy(_ context.Context, header Header, body []byte, _ uint32) (*metapb.ChunkCopy, error) {
	p.mu.Lock()
	gate := p.mu.gate
	p.mu.Unlock()
	if gate != nil {
		gate()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.refuse != nil {
		return nil, p.mu.refuse
	}
	p.mu.bodies = append(p.mu.bodies, bytes.Clone(body))
	p.mu.seqs = append(p.mu.seqs, header.Seq)
	return &metapb.ChunkCopy{NodeId: int32(p.id), NodeEpoch: 7, Segment: 3, Position: uint32(len(p.mu.bodies) - 1)}, nil
}

func (p *peerNode) body(position uint32) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.bodies[position]
}

// outcome is what Done was told of one chunk.
type outcome struct {
	seq  uint64
	made *metapb.ChunkCopy
	err  error
}

// sending is a Sender to some peers, the first preferred.
type sending struct {
	*Sender
	t        *testing.T
	outcomes chan outcome
	mu       struct {
		sync.Mutex
		peers []Peer
	}
}

func startSender(t *testing.T, config Config, nodes ...*peerNode) *sending {
	t.Helper()
	s := &sending{t: t, outcomes: make(chan outcome, 1000)}
	for _, n := range nodes {
		s.mu.peers = append(s.mu.peers, Peer{Node: n.id, Epoch: 7, Address: n.listener.Addr().String()})
	}
	config.Peers = func() []Peer {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.mu.peers
	}
	config.Dial = func(ctx context.Context, address string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", address)
	}
	s.Sender = NewSender(config)
	t.Cleanup(s.Close)
	return s
}

func chunkBody(seq uint64) []byte { return fmt.Appendf(nil, "chunk %d of many", seq) }

func (s *sending) send(seqs ...uint64) {
	for _, seq := range seqs {
		s.Send(Chunk{Header: Header{Node: 1, Epoch: 2, Lane: 2, Seq: seq}, Body: chunkBody(seq), CRC: crc32.Checksum(chunkBody(seq), castagnoli), Done: func(made *metapb.ChunkCopy, err error) {
			s.outcomes <- outcome{seq, made, err}
		}})
	}
}

// await returns the outcomes of count chunks by their numbers; each has one.
func (s *sending) await(count int) map[uint64]outcome {
	s.t.Helper()
	got := map[uint64]outcome{}
	deadline := time.After(patience)
	for range count {
		select {
		case o := <-s.outcomes:
			if _, twice := got[o.seq]; twice {
				s.t.Fatalf("chunk %d is done twice", o.seq)
			}
			got[o.seq] = o
		case <-deadline:
			s.t.Fatalf("%d of %d chunks are done", len(got), count)
		}
	}
	return got
}

// mustBeAt expects the copies to be with one of the nodes, each where it was said to be.
func (s *sending) mustBeAt(outcomes map[uint64]outcome, nodes ...*peerNode) {
	s.t.Helper()
	for seq, o := range outcomes {
		found := false
		for _, n := range nodes {
			if o.err == nil && meta.NodeID(o.made.NodeId) == n.id {
				found = bytes.Equal(n.body(o.made.Position), chunkBody(seq))
			}
		}
		if !found {
			s.t.Fatalf("chunk %d: %+v", seq, o)
		}
	}
}

func TestChunksAreCopiedToThePreferredPeer(t *testing.T) {
	a, b := newPeer(t, 2), newPeer(t, 3)
	s := startSender(t, Config{}, a, b)
	for seq := range uint64(200) {
		s.send(seq + 1)
	}
	s.mustBeAt(s.await(200), a)
}

func TestChunksWithoutAnswerGoToTheNextPeerWhenOneDies(t *testing.T) {
	a, b := newPeer(t, 2), newPeer(t, 3)
	s := startSender(t, Config{}, a, b)
	s.send(1)
	s.mustBeAt(s.await(1), a)
	entered, open := make(chan struct{}, 100), make(chan struct{})
	a.set(func() { entered <- struct{}{}; <-open }, nil)
	s.send(2, 3, 4)
	<-entered
	a.die()
	s.mustBeAt(s.await(3), b)
	close(open)
	s.send(5)
	s.mustBeAt(s.await(1), b)
}

func TestAPeerThatIsSlowIsReplaced(t *testing.T) {
	a, b := newPeer(t, 2), newPeer(t, 3)
	s := startSender(t, Config{SlowMin: 30 * time.Millisecond, GiveUp: time.Hour}, a, b)
	open := make(chan struct{})
	a.set(func() { <-open }, nil)
	s.send(1, 2)
	s.mustBeAt(s.await(2), b)
	close(open)
}

func TestAPeerThatRefusesIsReplaced(t *testing.T) {
	a, b := newPeer(t, 2), newPeer(t, 3)
	s := startSender(t, Config{}, a, b)
	a.set(nil, errors.New("no space"))
	s.send(1, 2, 3)
	s.mustBeAt(s.await(3), b)
}

func TestTheOnlyPeerMayBeSlow(t *testing.T) {
	a := newPeer(t, 2)
	s := startSender(t, Config{SlowMin: time.Millisecond, GiveUp: time.Hour}, a)
	entered, open := make(chan struct{}, 1), make(chan struct{})
	a.set(func() { entered <- struct{}{}; <-open }, nil)
	s.send(1)
	<-entered
	time.AfterFunc(50*time.Millisecond, func() { close(open) })
	s.mustBeAt(s.await(1), a)
}

func TestWithoutAPeerAllGiveUpInOrder(t *testing.T) {
	s := startSender(t, Config{GiveUp: 30 * time.Millisecond})
	s.send(1, 2, 3)
	for want := uint64(1); want <= 3; want++ {
		if o := <-s.outcomes; o.seq != want || !errors.Is(o.err, ErrNoPeer) {
			t.Fatalf("chunk %d: %v, want %d without a peer", o.seq, o.err, want)
		}
	}
}

func TestAPeerThatComesBackIsUsedAgain(t *testing.T) {
	a, b := newPeer(t, 2), newPeer(t, 3)
	s := startSender(t, Config{GiveUp: time.Hour}, a)
	s.send(1)
	s.mustBeAt(s.await(1), a)
	a.die()
	s.send(2)
	s.mu.Lock()
	s.mu.peers = []Peer{{Node: b.id, Epoch: 8, Address: b.listener.Addr().String()}} // it was started again elsewhere
	s.mu.Unlock()
	s.mustBeAt(s.await(1), b)
}

func TestClosingEndsWhatIsUnderWay(t *testing.T) {
	s := startSender(t, Config{GiveUp: time.Hour})
	s.send(1)
	s.Close()
	s.send(2)
	for seq, o := range s.await(2) {
		if !errors.Is(o.err, ErrClosed) {
			t.Errorf("chunk %d: %v", seq, o.err)
		}
	}
}

func TestDamagedFramesAreRefused(t *testing.T) {
	for name, damage := range map[string]func(frame []byte){
		"header": func(frame []byte) { frame[20] ^= 1 },
		"body":   func(frame []byte) { frame[len(frame)-1] ^= 1 },
		"length": func(frame []byte) { le.PutUint32(frame[40:], 1<<30) },
	} {
		t.Run(name, func(t *testing.T) {
			a := newPeer(t, 2)
			var head [chunkFrameBytes]byte
			f := chunkFrame{Header: Header{Node: 1, Epoch: 2, Lane: 2, Seq: 1}, id: 1, length: 4}
			f.encode(&head)
			frame := append(head[:], "body"...)
			damage(frame)
			conn, err := net.Dial("tcp", a.listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			if _, err := conn.Write(frame); err != nil {
				t.Fatal(err)
			}
			var b [1]byte
			if n, err := conn.Read(b[:]); err == nil || n > 0 {
				t.Error("a damaged frame has an answer")
			}
			a.mu.Lock()
			defer a.mu.Unlock()
			if len(a.mu.bodies) > 0 {
				t.Error("it was taken")
			}
		})
	}
}

func TestCandidatesLiveInOtherZones(t *testing.T) {
	register := func(zones ...string) *meta.State {
		s := meta.New([16]byte{1})
		commands := []*metapb.Command{{Kind: &metapb.Command_LeaderStart{LeaderStart: &metapb.LeaderStart{Epoch: 1}}}}
		for i, zone := range zones {
			commands = append(commands, &metapb.Command{Kind: &metapb.Command_RegisterNode{RegisterNode: &metapb.RegisterNode{
				DiskId: append([]byte{byte(i)}, make([]byte, 15)...), Incarnation: []byte{1}, Zone: zone, InternalAddress: fmt.Sprint("node:", i+1),
			}}})
		}
		logID := s.LogID()
		if err := s.Apply(1, &metapb.Entry{Format: meta.EntryFormat, LogId: logID[:], LeaderEpoch: 1, Commands: commands}, nil); err != nil {
			t.Fatal(err)
		}
		return s
	}
	for _, test := range []struct {
		zones []string
		of    meta.NodeID
		want  int
	}{
		{[]string{"", "", ""}, 1, 2},
		{[]string{"a", "a", "b"}, 1, 1},
		{[]string{"a", "a", "b"}, 3, 2},
		{[]string{"a", "a"}, 1, 0},
		{[]string{""}, 1, 0},
		{[]string{"a"}, 9, 0},
	} {
		s := register(test.zones...)
		got := Candidates(s, test.of)
		if len(got) != test.want {
			t.Errorf("zones %q: node %d has candidates %+v, want %d", test.zones, test.of, got, test.want)
		}
		for _, p := range got {
			if n := s.Node(p.Node); p.Node == test.of || n.Zone != "" && n.Zone == s.Node(test.of).Zone {
				t.Errorf("zones %q: node %d has candidate %+v", test.zones, test.of, p)
			}
		}
		if Met(s) != (test.want > 0 && test.of != 9) && test.of == 1 {
			t.Errorf("zones %q: met %v", test.zones, Met(s))
		}
	}
	// The order of candidates does not change when another node goes.
	five := Candidates(register("", "", "", "", ""), 1)
	four := Candidates(register("", "", "", ""), 1)
	rest := five[:0:0]
	for _, p := range five {
		if p.Node != 5 {
			rest = append(rest, p)
		}
	}
	if fmt.Sprint(rest) != fmt.Sprint(four) {
		t.Errorf("order %v, without one of them %v", five, four)
	}
}
