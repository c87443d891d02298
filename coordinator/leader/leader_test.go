package leader

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metalog"
	"github.com/varvelog/varve/coordinator/metalog/bucket"
	"github.com/varvelog/varve/coordinator/metalog/jetstream"
	"github.com/varvelog/varve/coordinator/metalog/mem"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/coordinator/replica"
	"github.com/varvelog/varve/infra/bus"
	"github.com/varvelog/varve/infra/objstore"
	"github.com/varvelog/varve/infra/objstore/faulty"
	memstore "github.com/varvelog/varve/infra/objstore/mem"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const cluster = "MkU3OEVBNTcwNTJENDM2Qg"

var logID = [16]byte{0xfe, 0xed}

// backends opens handles on one fresh log of each kind.
var backends = map[string]func(t testing.TB) func() metalog.Log{
	"mem": func(testing.TB) func() metalog.Log {
		backing := mem.New()
		return func() metalog.Log { return backing.Open() }
	},
	"bucket": func(t testing.TB) func() metalog.Log {
		store := memstore.New("metalog")
		return func() metalog.Log {
			log, err := bucket.Open(context.Background(), store)
			if err != nil {
				t.Fatal(err)
			}
			return log
		}
	},
	"jetstream": func(t testing.TB) func() metalog.Log {
		conn := startBus(t)
		return func() metalog.Log {
			log, err := jetstream.Open(context.Background(), conn, jetstream.Config{ClusterID: cluster, LogID: logID})
			if err != nil {
				t.Fatal(err)
			}
			return log
		}
	},
}

func startBus(t testing.TB) *bus.Conn {
	t.Helper()
	server, err := bus.StartServer(bus.ServerConfig{StoreDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Shutdown)
	conn, err := bus.Connect(context.Background(), bus.ConnConfig{Server: server})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	return conn
}

// node is a process with a leader and its replica.
type node struct {
	*Leader
	replica *replica.Replica
	stop    context.CancelFunc
	ended   chan error
}

type option func(*Config)

func start(t testing.TB, log metalog.Log, store objstore.Store, options ...option) *node {
	t.Helper()
	r, err := replica.Open(context.Background(), replica.Config{LogID: logID, Log: log, Store: store})
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{ClusterID: cluster, LogID: logID, Log: log, Replica: r, InternalAddress: "127.0.0.1:1", AppendTimeout: time.Second}
	for _, o := range options {
		o(&cfg)
	}
	l, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r.SetSubmitter(l)
	ctx, stop := context.WithCancel(context.Background())
	n := &node{Leader: l, replica: r, stop: stop, ended: make(chan error, 1)}
	started := make(chan struct{})
	go func() { n.ended <- l.Run(ctx, func() { close(started) }) }()
	t.Cleanup(func() {
		stop()
		<-n.ended
		r.Close()
	})
	select {
	case <-started:
	case err := <-n.ended:
		n.ended <- err
		t.Fatalf("leader did not start: %v", err)
	}
	return n
}

// halt stops the leader and waits, as a process that ends.
func (n *node) halt(t testing.TB) {
	t.Helper()
	n.stop()
	err := <-n.ended
	n.ended <- nil
	if err != nil {
		t.Fatalf("leader ended with %v", err)
	}
}

// timeout ends what hangs. Snapshots leave the state alone two hundred times as long as they hold it, which takes seconds on a loaded machine.
func timeout(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func allocate() *metapb.Command {
	return &metapb.Command{Kind: &metapb.Command_AllocateProducerId{AllocateProducerId: &metapb.AllocateProducerId{}}}
}

func (n *node) hash() (h [32]byte) {
	n.replica.View(func(s *meta.State) { h = s.Hash() })
	return h
}

func forEachBackend(t *testing.T, run func(t *testing.T, open func() metalog.Log)) {
	for name, backend := range backends {
		t.Run(name, func(t *testing.T) { run(t, backend(t)) })
	}
}

func TestConcurrentProposalsAreSequencedAndReplayed(t *testing.T) {
	forEachBackend(t, func(t *testing.T, open func() metalog.Log) {
		ctx, n := timeout(t), start(t, open(), nil)
		var mu sync.Mutex
		seen := map[int64]bool{}
		var group sync.WaitGroup
		for range 8 {
			group.Go(func() {
				for range 25 {
					v, err := n.replica.Propose(ctx, allocate())
					mu.Lock()
					if err != nil || v.Code != meta.OK || seen[v.ProducerID] {
						t.Errorf("propose: %+v, %v, seen before: %v", v, err, seen[v.ProducerID])
					}
					seen[v.ProducerID] = true
					mu.Unlock()
				}
			})
		}
		group.Wait()
		if len(seen) != 200 {
			t.Fatalf("%d ids, want 200", len(seen))
		}
		want := n.hash()
		n.halt(t)
		again, err := replica.Open(ctx, replica.Config{LogID: logID, Log: open()})
		if err != nil {
			t.Fatal(err)
		}
		defer again.Close()
		again.View(func(s *meta.State) {
			if s.Hash() != want {
				t.Error("a replay of the log has another state")
			}
		})
	})
}

func TestSecondCoordinatorFencesTheFirst(t *testing.T) {
	forEachBackend(t, func(t *testing.T, open func() metalog.Log) {
		ctx := timeout(t)
		first := start(t, open(), nil)
		if _, err := first.replica.Propose(ctx, allocate()); err != nil {
			t.Fatal(err)
		}
		second := start(t, open(), nil)
		short, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
		defer cancel()
		if v, err := first.replica.Propose(short, allocate()); !errors.Is(err, replica.ErrNoLeader) {
			t.Fatalf("the first sequenced: %+v, %v", v, err)
		}
		err := <-first.ended
		first.ended <- nil
		if !errors.Is(err, ErrFenced) {
			t.Fatalf("the first ended with %v, want ErrFenced", err)
		}
		if v, err := second.replica.Propose(ctx, allocate()); err != nil || v.ProducerID != 2 {
			t.Fatalf("the second: %+v, %v; want producer id 2", v, err)
		}
	})
}

func TestIdleFencedLeaderFindsOutAtABarrier(t *testing.T) {
	forEachBackend(t, func(t *testing.T, open func() metalog.Log) {
		first, _ := start(t, open(), nil), start(t, open(), nil)
		if err := first.replica.Barrier(timeout(t)); err == nil {
			t.Fatal("a barrier passed at a leader that had been succeeded")
		}
		err := <-first.ended
		first.ended <- nil
		if !errors.Is(err, ErrFenced) {
			t.Fatalf("the first ended with %v, want ErrFenced", err)
		}
	})
}

func TestLivingLeaderIsLeftAlone(t *testing.T) {
	backing := mem.New()
	start(t, backing.Open(), nil)
	r, err := replica.Open(context.Background(), replica.Config{LogID: logID, Log: backing.Open()})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	l, err := New(Config{ClusterID: cluster, LogID: logID, Log: backing.Open(), Replica: r, InternalAddress: "127.0.0.1:2",
		LeaderAlive: func(_ context.Context, address string) bool { return address == "127.0.0.1:1" }})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Run(timeout(t), nil); !errors.Is(err, ErrLeaderAlive) {
		t.Fatalf("run: %v, want ErrLeaderAlive", err)
	}
	if _, err := l.Submit(timeout(t), []*metapb.Command{allocate()}); !errors.Is(err, replica.ErrNotLeader) {
		t.Fatalf("submit: %v, want ErrNotLeader", err)
	}
}

// TestAmbiguousAppendsAreSettled loses requests and answers at random; every proposal is answered all the same, and exactly
// once in effect.
func TestAmbiguousAppendsAreSettled(t *testing.T) {
	backing := mem.New()
	random := rand.New(rand.NewPCG(1, 2))
	fates := []mem.Fate{mem.RequestLost, mem.AnswerLost, mem.Late, mem.Delivered, mem.Delivered, mem.Delivered}
	backing.SetFate(func(uint64, metalog.Kind) mem.Fate { return fates[random.IntN(len(fates))] })
	ctx, n := timeout(t), start(t, backing.Open(), nil)
	for want := int64(1); want <= 40; want++ {
		v, err := n.replica.Propose(ctx, allocate())
		if err != nil || v.ProducerID != want {
			t.Fatalf("proposal %d: %+v, %v", want, v, err)
		}
	}
	backing.Deliver() // requests that arrive after everything are refused
	if v, err := n.replica.Propose(ctx, allocate()); err != nil || v.ProducerID != 41 {
		t.Fatalf("after late requests: %+v, %v", v, err)
	}
}

// TestBucketThatFailsAndLiesIsSettled: PUTs fail before they begin, and report failure after they succeeded.
func TestBucketThatFailsAndLiesIsSettled(t *testing.T) {
	ctx, inner := timeout(t), memstore.New("metalog")
	store := faulty.New(inner, faulty.Config{Seed: 7, Rules: []faulty.Rule{
		{Ops: faulty.PutIfAbsent, Chance: 0.2, Fail: true},
		{Ops: faulty.PutIfAbsent, Chance: 0.2, FailAfter: true},
		{Ops: faulty.Get | faulty.Head, Chance: 0.1, Fail: true},
	}})
	log, err := bucket.Open(ctx, store)
	if err != nil {
		t.Fatal(err)
	}
	n := start(t, log, nil)
	for want := int64(1); want <= 40; want++ {
		if v, err := n.replica.Propose(ctx, allocate()); err != nil || v.ProducerID != want {
			t.Fatalf("proposal %d: %+v, %v", want, v, err)
		}
	}
	want := n.hash()
	n.halt(t)
	clean, err := bucket.Open(ctx, inner)
	if err != nil {
		t.Fatal(err)
	}
	again, err := replica.Open(ctx, replica.Config{LogID: logID, Log: clean})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	again.View(func(s *meta.State) {
		if s.Hash() != want {
			t.Error("a replay of the log has another state")
		}
	})
}

// TestLateAppendOfTheFormerLeaderIsAdopted: the former leader's last entry arrives between the successor's look at the log and
// its start.
func TestLateAppendOfTheFormerLeaderIsAdopted(t *testing.T) {
	backing := mem.New()
	former := start(t, backing.Open(), nil)
	backing.SetFate(func(uint64, metalog.Kind) mem.Fate { return mem.Late })
	ctx, cancel := context.WithCancel(timeout(t))
	proposed := make(chan error, 1)
	before := backing.Appends()
	go func() { _, err := former.replica.Propose(ctx, allocate()); proposed <- err }()
	await(t, func() bool { return backing.Appends() > before })
	var once sync.Once
	backing.SetFate(nil)
	late := &lateLog{Log: backing.Open(), before: func() { once.Do(func() { backing.Deliver() }) }}
	successor := start(t, late, nil)
	if v, err := successor.replica.Propose(ctx, allocate()); err != nil || v.ProducerID != 2 {
		t.Fatalf("after the adopted entry: %+v, %v; want producer id 2", v, err)
	}
	cancel()
	<-proposed
}

// lateLog lets something happen just before the first append.
type lateLog struct {
	metalog.Log
	before func()
}

func (l *lateLog) Append(ctx context.Context, seq uint64, entry []byte, kind metalog.Kind) error {
	l.before()
	return l.Log.Append(ctx, seq, entry, kind)
}

func TestLostTailEndsTheReign(t *testing.T) {
	backing := mem.New()
	n := start(t, backing.Open(), nil)
	ctx := timeout(t)
	for range 3 {
		if _, err := n.replica.Propose(ctx, allocate()); err != nil {
			t.Fatal(err)
		}
	}
	backing.Cut(3)
	short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	if _, err := n.replica.Propose(short, allocate()); err == nil {
		t.Fatal("a proposal passed on a log that has lost its tail")
	}
	err := <-n.ended
	n.ended <- nil
	if !errors.Is(err, ErrLogLost) {
		t.Fatalf("ended with %v, want ErrLogLost", err)
	}
}

// A coordinator that stood by has applied what the log has lost, and another goes on from what is left.
func TestNobodyLeadsWhoHasAppliedWhatTheLogHasLost(t *testing.T) {
	backing := mem.New()
	former := start(t, backing.Open(), nil)
	if _, err := former.replica.Propose(timeout(t), allocate()); err != nil {
		t.Fatal(err)
	}
	former.halt(t)
	backing.Cut(former.replica.Seq())
	other := start(t, backing.Open(), nil)
	if _, err := other.replica.Propose(timeout(t), allocate()); err != nil {
		t.Fatal(err)
	}
	other.halt(t)
	again, err := New(former.cfg)
	if err != nil {
		t.Fatal(err)
	}
	err = again.Run(timeout(t), func() { t.Error("it leads") })
	if !errors.Is(err, ErrLogLost) || !strings.Contains(err.Error(), "`varve recover --hotlog`") {
		t.Errorf("ended with %v, want ErrLogLost", err)
	}
}

func TestLargeCommandTravelsInFrames(t *testing.T) {
	backing := mem.New()
	ctx, n := timeout(t), start(t, backing.Open(), nil)
	member := &metapb.GroupMember{MemberId: "m", Assignment: make([]byte, 3*meta.FrameBytes)}
	command := &metapb.Command{Kind: &metapb.Command_StoreGroup{StoreGroup: &metapb.StoreGroup{Group: "g", Members: []*metapb.GroupMember{member}}}}
	if v, err := n.replica.Propose(ctx, command); err != nil || v.Code != meta.OK {
		t.Fatalf("propose: %+v, %v", v, err)
	}
	n.replica.View(func(s *meta.State) {
		if g := s.Group("g"); g == nil || len(g.Stored.Members[0].Assignment) != 3*meta.FrameBytes {
			t.Error("the group was not stored whole")
		}
	})
	if seq := n.replica.Seq(); seq < 5 {
		t.Errorf("the command took %d entries", seq-1)
	}
}

func TestFullQueuePushesBack(t *testing.T) {
	backing := mem.New()
	n := start(t, backing.Open(), nil, func(c *Config) { c.MaxQueuedCommands = 4 })
	backing.SetFate(func(uint64, metalog.Kind) mem.Fate { return mem.RequestLost })
	ctx, cancel := context.WithCancel(timeout(t))
	defer cancel()
	var group sync.WaitGroup
	defer group.Wait()
	for {
		ready := make(chan error, 1)
		group.Go(func() { _, err := n.Submit(ctx, []*metapb.Command{allocate()}); ready <- err })
		select {
		case err := <-ready:
			if !errors.Is(err, replica.ErrBusy) {
				t.Fatalf("submit: %v, want ErrBusy", err)
			}
			cancel()
			backing.SetFate(nil)
			return
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func TestSnapshotTruncatesAndRestartContinues(t *testing.T) {
	forEachBackend(t, func(t *testing.T, open func() metalog.Log) {
		ctx, store := timeout(t), memstore.New("snapshots")
		small := func(c *Config) { c.SnapshotEntries = 20 }
		n := start(t, open(), store, small)
		var last int64
		await(t, func() bool {
			v, err := n.replica.Propose(ctx, allocate())
			if err != nil {
				t.Fatal(err)
			}
			last = v.ProducerID
			first, _, err := open().Bounds(ctx)
			return err == nil && first > 20
		})
		want := n.hash()
		n.halt(t)
		again := start(t, open(), store, small)
		if again.replica.SnapshotSeq() == 0 {
			t.Error("the restart did not begin with a snapshot")
		}
		if v, err := again.replica.Propose(ctx, allocate()); err != nil || v.ProducerID != last+1 {
			t.Fatalf("after a restart: %+v, %v; want producer id %d", v, err, last+1)
		}
		if again.hash() == want {
			t.Error("the hash does not tell states apart")
		}
	})
}

func await(t testing.TB, condition func() bool) {
	t.Helper()
	ctx := timeout(t)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-ctx.Done():
			t.Fatal("condition not reached")
		case <-tick.C:
		}
	}
}

func TestIdleLeaderWritesNothing(t *testing.T) {
	backing := mem.New()
	rounds := make(chan struct{}, 100)
	now := func() time.Time {
		select {
		case rounds <- struct{}{}:
		default:
		}
		return time.Now()
	}
	start(t, backing.Open(), nil, func(c *Config) { c.UpkeepInterval, c.Now = time.Millisecond, now })
	before := backing.Appends()
	for range 50 {
		<-rounds
	}
	if after := backing.Appends(); after != before {
		t.Fatalf("an idle leader appended %d times", after-before)
	}
}

func register(t testing.TB, n *node) meta.Verdict {
	t.Helper()
	v, err := n.replica.Propose(timeout(t), &metapb.Command{Kind: &metapb.Command_RegisterNode{RegisterNode: &metapb.RegisterNode{
		DiskId: []byte("disk-disk-disk-1"), Incarnation: []byte(fmt.Sprintf("%016d", rand.Uint32())), KafkaHost: "h", KafkaPort: 1, InternalAddress: "h:2",
	}}})
	if err != nil || v.Code != meta.OK {
		t.Fatalf("register: %+v, %v", v, err)
	}
	return v
}

func TestStateTimeOnlyGrows(t *testing.T) {
	wall := time.Unix(1000, 0)
	c := newClock(func() time.Time { return wall }, wall, 0)
	if got := c.millis(); got != 1000_000 {
		t.Fatalf("starts at %d", got)
	}
	wall = time.Unix(900, 0) // set back, on a clock without a monotonic reading
	if got := c.millis(); got != 1000_000 {
		t.Fatalf("after being set back: %d", got)
	}
	wall = time.Unix(910, 0)
	if got := c.millis(); got != 1009_000 {
		t.Fatalf("ten seconds later: %d, want nine seconds more", got)
	}
	if got := newClock(func() time.Time { return wall }, wall, 5000_000).millis(); got != 5000_000 {
		t.Fatalf("does not begin at the log's time: %d", got)
	}
}

func BenchmarkPropose(b *testing.B) {
	for _, name := range []string{"mem", "jetstream", "jetstream with hints"} {
		for _, clients := range []int{1, 64} {
			b.Run(fmt.Sprintf("%s/clients=%d", name, clients), func(b *testing.B) {
				backend, hints := strings.CutSuffix(name, " with hints")
				n := start(b, backends[backend](b)(), nil, func(c *Config) {
					if hints {
						c.Bus = startBus(b)
					}
				})
				ctx := context.Background()
				b.ReportAllocs()
				b.SetParallelism(clients / 2)
				b.ResetTimer()
				if clients == 1 {
					for b.Loop() {
						if _, err := n.replica.Propose(ctx, allocate()); err != nil {
							b.Fatal(err)
						}
					}
					return
				}
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						if _, err := n.replica.Propose(ctx, allocate()); err != nil {
							b.Error(err)
							return
						}
					}
				})
			})
		}
	}
}

// Behind a late entry of the former leader's there may be a successor's start. The leader went on behind both, and answered for entries that were void.
func TestASuccessorBehindALateAppendFences(t *testing.T) {
	log := mem.New().Open()
	start(t, log, nil).halt(t)
	n := start(t, log, nil)
	seq, hash := n.replica.Position()
	for _, e := range []*metapb.Entry{
		{LeaderEpoch: 1, Commands: []*metapb.Command{allocate()}},
		{LeaderEpoch: 3, Commands: []*metapb.Command{{Kind: &metapb.Command_LeaderStart{LeaderStart: &metapb.LeaderStart{Epoch: 3, FeatureLevel: meta.FeatureLevel}}}}},
	} {
		e.LogId, e.PreviousHash = logID[:], hash[:]
		encoded, err := meta.EncodeEntry(e)
		if err != nil {
			t.Fatal(err)
		}
		seq++
		if err := log.Append(timeout(t), seq, encoded, metalog.Ordinary); err != nil {
			t.Fatal(err)
		}
		hash = [32]byte(meta.HashEntry(encoded))
	}
	if _, err := n.Submit(timeout(t), []*metapb.Command{allocate()}); !errors.Is(err, replica.ErrNotLeader) {
		t.Fatalf("submit to a leader that was succeeded: %v, want %v", err, replica.ErrNotLeader)
	}
	err := <-n.ended
	n.ended <- nil
	if !errors.Is(err, ErrFenced) {
		t.Errorf("ended with %v, want %v", err, ErrFenced)
	}
}
