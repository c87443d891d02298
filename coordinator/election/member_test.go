package election

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/infra/rpc"
)

// world is a group whose members call each other over a network with faults, and whose log is one number.
type world struct {
	t     *testing.T
	peers Peers
	nodes map[string]*node
	mu    struct {
		sync.Mutex
		epoch  uint64 // of the log's last leader
		leader string
		wins   []int // who took over, in order
	}
}

type node struct {
	world    *world
	id       int
	address  string
	member   *Member
	handlers map[string]rpc.Handler
	stop     context.CancelFunc
	running  sync.WaitGroup
	mu       struct {
		sync.Mutex
		epoch     uint64 // that this node leads; 0 while it does not
		down      bool   // its port is closed
		mute      bool   // nobody hears it, and it hears nobody
		cut       map[string]bool
		stalled   time.Duration
		logSilent bool
		asked     int
	}
}

func newWorld(t *testing.T, members int) *world {
	w := &world{t: t, nodes: map[string]*node{}}
	for id := 1; id <= members; id++ {
		w.peers = append(w.peers, Peer{ID: id, Address: fmt.Sprintf("node%d:1", id)})
	}
	for id := 1; id <= members; id++ {
		w.make(id)
	}
	for _, n := range w.nodes {
		n.start()
	}
	t.Cleanup(func() {
		for _, n := range w.nodes {
			n.halt()
		}
	})
	return w
}

func (w *world) make(id int) {
	n := &node{world: w, id: id, address: w.peers[id-1].Address, handlers: map[string]rpc.Handler{}}
	n.mu.cut = map[string]bool{}
	var err error
	n.member, err = New(Config{NodeID: id, Peers: w.peers, Caller: n, Self: n.self, LogAnswers: func(context.Context) bool {
		n.mu.Lock()
		defer n.mu.Unlock()
		return !n.mu.logSilent
	}})
	if err != nil {
		w.t.Fatal(err)
	}
	n.member.Register(n)
	w.nodes[n.address] = n
}

// start has the node take its turns.
func (n *node) start() {
	ctx, stop := context.WithCancel(context.Background())
	n.stop = stop
	n.running.Go(func() { n.member.Run(ctx) })
	n.running.Go(func() {
		for n.member.AwaitTurn(ctx) == nil {
			n.reign(ctx)
		}
	})
}

// reign leads until the log names another.
func (n *node) reign(ctx context.Context) {
	w := n.world
	began := time.Now()
	w.mu.Lock()
	w.mu.epoch++
	epoch := w.mu.epoch
	w.mu.leader = n.address
	w.mu.wins = append(w.mu.wins, n.id)
	w.mu.Unlock()
	n.lead(epoch)
	for {
		select {
		case <-ctx.Done():
			n.lead(0)
			return
		case <-n.member.Deposed():
		}
		w.mu.Lock()
		succeeded := w.mu.epoch > epoch
		w.mu.Unlock()
		if succeeded {
			n.lead(0)
			n.member.Lost(time.Since(began))
			return
		}
	}
}

func (n *node) lead(epoch uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.mu.epoch = epoch
}

func (n *node) set(change func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	change()
}

// self knows the log's leader at once, unless this node believes that it leads.
func (n *node) self() Self {
	w := n.world
	w.mu.Lock()
	defer w.mu.Unlock()
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.mu.epoch > 0 {
		return Self{Epoch: n.mu.epoch, Leader: n.address, Leading: true, Stalled: n.mu.stalled}
	}
	return Self{Epoch: w.mu.epoch, Leader: w.mu.leader}
}

// Handle implements rpc.Registrar.
func (n *node) Handle(method string, h rpc.Handler) { n.handlers[method] = h }

// Call implements Caller.
func (n *node) Call(ctx context.Context, address, method string, request, response proto.Message) error {
	there := n.world.nodes[address]
	n.mu.Lock()
	n.mu.asked++
	lost := n.mu.mute || n.mu.cut[address]
	n.mu.Unlock()
	there.mu.Lock()
	refused := there.mu.down
	lost = lost || there.mu.mute || there.mu.cut[n.address]
	there.mu.Unlock()
	switch {
	case lost:
		<-ctx.Done()
		return fmt.Errorf("%w: %w", rpc.ErrBroken, ctx.Err())
	case refused:
		return fmt.Errorf("%w: %w", rpc.ErrUnreachable, syscall.ECONNREFUSED)
	}
	body, err := proto.Marshal(request)
	if err != nil {
		return err
	}
	answer, err := there.handlers[method](ctx, body)
	if err != nil {
		return err
	}
	encoded, err := proto.Marshal(answer)
	if err != nil {
		return err
	}
	return proto.Unmarshal(encoded, response)
}

// halt ends the node for good, as SIGKILL does.
func (n *node) halt() {
	n.set(func() { n.mu.down = true })
	n.stop()
	n.running.Wait()
}

// awaitLeader returns the next that takes over after the wins so far, and how long it took.
func (w *world) awaitLeader(after int) (*node, time.Duration) {
	w.t.Helper()
	began := time.Now()
	for time.Since(began) < time.Minute {
		w.mu.Lock()
		wins := w.mu.wins
		w.mu.Unlock()
		if len(wins) > after {
			return w.nodes[w.peers[wins[after]-1].Address], time.Since(began)
		}
		time.Sleep(time.Millisecond) // of virtual time
	}
	w.t.Fatalf("nobody took over after %d", after)
	return nil, 0
}

func (w *world) wins() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.mu.wins)
}

// steady says that nobody takes over for d.
func (w *world) steady(d time.Duration) {
	w.t.Helper()
	before := w.wins()
	time.Sleep(d)
	if after := w.wins(); after != before {
		w.t.Errorf("%d takeovers in %v: %v", after-before, d, w.mu.wins)
	}
}

func TestOneOfAGroupThatStartsLeads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3)
		if _, took := w.awaitLeader(0); took > time.Second {
			t.Errorf("the first leader took %v", took)
		}
		w.steady(3 * time.Minute)
	})
}

func TestWhoHearsTheLeaderAsksOthersSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3)
		leader, _ := w.awaitLeader(0)
		time.Sleep(10 * time.Second)
		for _, n := range w.nodes {
			n.set(func() { n.mu.asked = 0 })
		}
		time.Sleep(time.Minute)
		for _, n := range w.nodes {
			want := 60 * 16 / calmIntervals // the leader, and the other one
			if n == leader {
				want = 60 * 8 / calmIntervals
			}
			n.set(func() {
				if n.mu.asked > want*11/10 || n.mu.asked < want*9/10 {
					t.Errorf("node %d asked %d times in a minute, want about %d", n.id, n.mu.asked, want)
				}
			})
		}
	})
}

func TestAMemberAloneLeadsAfterAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3)
		for _, n := range w.nodes {
			if n.id != 3 {
				n.set(func() { n.mu.mute = true })
				n.halt()
			}
		}
		if n, took := w.awaitLeader(w.wins()); n.id != 3 || took > 3*time.Second {
			t.Errorf("node %d leads after %v", n.id, took)
		}
	})
}

func TestALeaderThatCannotBeThereIsSucceededSoonerThanASilentOne(t *testing.T) {
	for name, end := range map[string]struct {
		fault     func(*node)
		from, to_ time.Duration
	}{
		"its port is closed": {(*node).halt, 300 * time.Millisecond, 1300 * time.Millisecond},
		"it is silent":       {func(n *node) { n.set(func() { n.mu.mute = true }) }, 1200 * time.Millisecond, 2700 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 3)
				first, _ := w.awaitLeader(0)
				w.steady(time.Minute)
				end.fault(first)
				second, took := w.awaitLeader(1)
				if took < end.from || took > end.to_ || second == first {
					t.Errorf("node %d took over after %v, want %v to %v", second.id, took, end.from, end.to_)
				}
				w.steady(time.Minute)
			})
		})
	}
}

func TestALeaderThatAnotherMemberHearsIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3)
		first, _ := w.awaitLeader(0)
		for _, n := range w.nodes {
			if n != first {
				n.set(func() { n.mu.cut[first.address] = true }) // one of the two only
				break
			}
		}
		w.steady(3 * time.Minute)
	})
}

// Two members that hear nobody else, and not each other, would take the lead from each other all the time.
func TestMembersThatCannotHearEachOtherFightLessAndLess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2)
		w.awaitLeader(0)
		w.steady(time.Minute)
		a, b := w.nodes["node1:1"], w.nodes["node2:1"]
		a.set(func() { a.mu.cut[b.address] = true })
		time.Sleep(10 * time.Minute)
		// Neither hears that it was deposed, so each takes over once.
		if wins := w.wins(); wins > 2 {
			t.Errorf("%d takeovers in ten minutes", wins)
		}
	})
}

func TestALeaderThatYieldsIsSucceededAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3)
		first, _ := w.awaitLeader(0)
		w.steady(time.Minute)
		epoch := first.self().Epoch
		first.lead(0)
		first.member.Leave()
		if err := first.member.Yield(t.Context(), epoch); err != nil {
			t.Fatal(err)
		}
		second, took := w.awaitLeader(1)
		if took > 10*time.Millisecond || second == first {
			t.Errorf("node %d took over after %v", second.id, took)
		}
		first.halt()
		w.steady(time.Minute)
	})
}

func TestNobodyTakesOverWhoKnowsOfALaterLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3)
		first, _ := w.awaitLeader(0)
		w.steady(time.Minute)
		first.halt()
		w.awaitLeader(1)
		time.Sleep(time.Second)
		for _, n := range w.nodes {
			if _, err := n.member.yield(t.Context(), &metapb.PeerYieldRequest{Epoch: 1}); err == nil {
				t.Errorf("node %d yields to the request of a leader that was succeeded", n.id)
			}
		}
	})
}

// A process that was stopped finds, when it goes on, that it has heard nothing for long.
func TestOnesOwnSleepIsNotTheLeadersSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3)
		first, _ := w.awaitLeader(0)
		time.Sleep(time.Minute)
		for _, n := range w.nodes {
			if n == first {
				continue
			}
			if why := n.member.turn(time.Now().Add(time.Hour)); why != "" {
				t.Errorf("node %d: %s", n.id, why)
			}
		}
	})
}

func TestALeaderThatFindsThatItWasSucceededStandsBy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3)
		first, _ := w.awaitLeader(0)
		w.steady(time.Minute)
		first.set(func() { first.mu.mute = true })
		w.awaitLeader(1)
		time.Sleep(time.Minute)
		if !first.self().Leading {
			t.Fatal("a leader that hears nobody has noticed")
		}
		first.set(func() { first.mu.mute = false })
		time.Sleep(3 * time.Second)
		if first.self().Leading {
			t.Error("it still believes that it leads")
		}
		w.steady(3 * time.Minute)
	})
}

func TestALeaderWhoseLogDoesNotAnswerItIsSucceededByOneWhoseDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3)
		first, _ := w.awaitLeader(0)
		w.steady(time.Minute)
		for _, n := range w.nodes {
			n.set(func() { n.mu.logSilent = true })
		}
		first.set(func() { first.mu.stalled = time.Minute })
		w.steady(time.Minute) // nobody would do better
		able := w.nodes["node3:1"]
		if able == first {
			able = w.nodes["node2:1"]
		}
		able.set(func() { able.mu.logSilent = false })
		if second, took := w.awaitLeader(1); second != able || took > 5*time.Second {
			t.Errorf("node %d took over after %v", second.id, took)
		}
	})
}

func TestRivalsSeldomRace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		races := 0
		const rounds = 40
		for range rounds {
			w := newWorld(t, 3)
			first, _ := w.awaitLeader(0)
			time.Sleep(10 * time.Second)
			before := w.wins()
			first.set(func() { first.mu.mute = true })
			w.awaitLeader(before)
			time.Sleep(10 * time.Second)
			if w.wins() > before+1 {
				races++
			}
			for _, n := range w.nodes {
				n.halt()
			}
		}
		if races > rounds/20 {
			t.Errorf("%d races in %d takeovers", races, rounds)
		}
	})
}

func TestMisfitsAreNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3)
		w.awaitLeader(0)
		check := func(change func(*Config)) error {
			c := Config{NodeID: 2, Peers: w.peers, Caller: w.nodes["node1:1"], Self: func() Self { return Self{} }}
			change(&c)
			m, err := New(c)
			if err != nil {
				return err
			}
			return m.Check(t.Context())
		}
		other := append(Peers{}, w.peers...)
		other[2].Address = "node1:1"
		for name, c := range map[string]struct {
			change func(*Config)
			want   bool
		}{
			"another process has its number": {func(*Config) {}, true},
			"it is not among the peers":      {func(c *Config) { c.NodeID = 4 }, true},
			"the lists differ":               {func(c *Config) { c.NodeID, c.Peers = 3, other }, true},
			"another cluster's bucket":       {func(c *Config) { c.Caller = stranger{} }, true},
			"nobody is there":                {func(c *Config) { c.Caller = nobody{} }, false},
		} {
			err := check(c.change)
			if (err != nil) != c.want {
				t.Errorf("%s: %v", name, err)
			}
			t.Log(name, ":", err)
		}
	})
}

type stranger struct{}

func (stranger) Call(context.Context, string, string, proto.Message, proto.Message) error {
	return fmt.Errorf("call: %w", rpc.ErrUnauthorized)
}

type nobody struct{}

func (nobody) Call(context.Context, string, string, proto.Message, proto.Message) error {
	return errors.New("nobody")
}
