package replica

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metalog"
	"github.com/varvelog/varve/coordinator/metalog/mem"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/infra/bus"
	memstore "github.com/varvelog/varve/infra/objstore/mem"
	"github.com/varvelog/varve/infra/rpc"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const cluster = "MkU3OEVBNTcwNTJENDM2Qg"

var busKey = bus.NewKey([]byte("secret"), cluster)

var logID = [16]byte{0xfe, 0xed}

// writer appends well-formed entries to a log, as a leader would.
type writer struct {
	t    *testing.T
	log  metalog.Log
	seq  uint64
	hash []byte
	id   [16]byte
	// epoch is that of the entries.
	epoch uint64
}

func newWriter(t *testing.T, log metalog.Log) *writer {
	w := &writer{t: t, log: log, id: logID}
	w.takeOver()
	return w
}

// takeOver begins the next leader's epoch.
func (w *writer) takeOver() (encoded []byte) {
	w.epoch++
	return w.append(&metapb.Command{Kind: &metapb.Command_LeaderStart{LeaderStart: &metapb.LeaderStart{
		Epoch: w.epoch, InternalAddress: fmt.Sprintf("a:%d", w.epoch), FeatureLevel: 1,
	}}})
}

func (w *writer) append(commands ...*metapb.Command) (encoded []byte) {
	w.t.Helper()
	encoded, err := meta.EncodeEntry(&metapb.Entry{LogId: w.id[:], PreviousHash: w.hash, LeaderEpoch: w.epoch, TimeMillis: int64(w.seq), Commands: commands})
	if err != nil {
		w.t.Fatal(err)
	}
	w.seq++
	if err := w.log.Append(context.Background(), w.seq, encoded, metalog.Ordinary); err != nil {
		w.t.Fatal(err)
	}
	w.hash = meta.HashEntry(encoded)
	return encoded
}

func allocate() *metapb.Command {
	return &metapb.Command{Kind: &metapb.Command_AllocateProducerId{AllocateProducerId: &metapb.AllocateProducerId{}}}
}

func createTopic(name string) *metapb.Command {
	id := make([]byte, 16)
	copy(id, name)
	return &metapb.Command{Kind: &metapb.Command_CreateTopic{CreateTopic: &metapb.CreateTopic{
		Name: name, TopicId: id, Partitions: 1, Configs: []*metapb.ConfigEntry{{Name: "varve.durability", Value: "local"}},
	}}}
}

func openReplica(t *testing.T, cfg Config) *Replica {
	t.Helper()
	cfg.LogID = logID
	r, err := Open(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

func timeout(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func await(t *testing.T, condition func() bool) {
	t.Helper()
	ctx := timeout(t)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-ctx.Done():
			t.Fatal("condition not reached")
		case <-tick.C:
		}
	}
}

func hashOf(r *Replica) (h [32]byte) {
	r.View(func(s *meta.State) { h = s.Hash() })
	return h
}

func follow(t *testing.T, r *Replica, b Bus) (ended <-chan error) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	result, done := make(chan error, 1), make(chan struct{})
	go func() { defer close(done); result <- r.Follow(ctx, b, busKey) }()
	t.Cleanup(func() { stop(); <-done })
	return result
}

// fakeBus delivers what the test says, when it says so.
type fakeBus struct {
	handle chan func([]byte)
	down   atomic.Bool
}

func newFakeBus() *fakeBus { return &fakeBus{handle: make(chan func([]byte), 1)} }

func (b *fakeBus) Subscribe(_ string, handle func([]byte)) (func(), error) {
	b.handle <- handle
	return func() {}, nil
}

func (b *fakeBus) Ready() error {
	if b.down.Load() {
		return bus.ErrDisconnected
	}
	return nil
}

func TestHintsAreAppliedAtOnceAndGapsFilledFromTheLog(t *testing.T) {
	backing := mem.New()
	w := newWriter(t, backing.Open())
	r := openReplica(t, Config{Log: backing.Open(), PollInterval: time.Hour})
	b := newFakeBus()
	follow(t, r, b)
	hint := <-b.handle

	hint(busKey.AppendEntryHint(nil, 2, w.append(allocate())))
	if r.Seq() != 2 {
		t.Fatalf("a hint that fits was not applied: at %d", r.Seq())
	}
	w.append(allocate()) // its hint is lost
	hint(busKey.AppendEntryHint(nil, 4, w.append(allocate())))
	if err := r.WaitSeq(timeout(t), 4); err != nil {
		t.Fatal(err)
	}
	hint(busKey.AppendEntryHint(nil, 3, []byte("an old one")))
	hint([]byte("garbage"))
	hint(busKey.AppendEntryHint(nil, 5, []byte("forged")))
	w.append(allocate())
	if err := r.WaitSeq(timeout(t), 5); err != nil {
		t.Fatal(err)
	}
	again := openReplica(t, Config{Log: backing.Open()})
	if hashOf(again) != hashOf(r) {
		t.Fatal("two replicas of one log differ")
	}
}

func TestWithoutTheBusTheLogIsPolled(t *testing.T) {
	backing := mem.New()
	w := newWriter(t, backing.Open())
	b := newFakeBus()
	b.down.Store(true)
	for name, b := range map[string]Bus{"no bus": nil, "bus is down": b} {
		t.Run(name, func(t *testing.T) {
			r := openReplica(t, Config{Log: backing.Open(), PollInterval: time.Millisecond})
			follow(t, r, b)
			w.append(allocate())
			moved := make(chan struct{}, 1)
			r.Listen(listenFunc(func(*Applied) { signal(moved) }))
			for r.Seq() < w.seq {
				<-moved
			}
		})
	}
}

type listenFunc func(*Applied)

func (f listenFunc) Applied(a *Applied) { f(a) }

func TestFollowerThatFellBehindTheTruncationRestoresTheSnapshot(t *testing.T) {
	ctx, backing, store := timeout(t), mem.New(), memstore.New("snapshots")
	w := newWriter(t, backing.Open())
	sleeper := openReplica(t, Config{Log: backing.Open(), Store: store, PollInterval: time.Millisecond})
	for range 10 {
		w.append(allocate())
	}
	ahead := openReplica(t, Config{Log: backing.Open(), Store: store})
	if _, err := ahead.SaveSnapshot(ctx); err != nil {
		t.Fatal(err)
	}
	if err := backing.Open().Truncate(ctx, 9); err != nil {
		t.Fatal(err)
	}
	follow(t, sleeper, nil)
	if err := sleeper.WaitSeq(ctx, 11); err != nil {
		t.Fatal(err)
	}
	if hashOf(sleeper) != hashOf(ahead) {
		t.Fatal("the restored replica differs")
	}
}

// fakeLeader answers from functions.
type fakeLeader struct {
	submit  func([]*metapb.Command) (uint64, error)
	barrier func() (uint64, error)
}

func (f *fakeLeader) Submit(_ context.Context, c []*metapb.Command) (uint64, error) {
	return f.submit(c)
}
func (f *fakeLeader) Barrier(context.Context) (uint64, error) { return f.barrier() }
func (f *fakeLeader) Ping(context.Context, *metapb.PingRequest) (*metapb.PingResponse, error) {
	return nil, ErrNotLeader
}

func TestProposeRetriesWhileNothingWasTakenAndAnswersWhenApplied(t *testing.T) {
	backing := mem.New()
	w := newWriter(t, backing.Open())
	r := openReplica(t, Config{Log: backing.Open()})
	refusals := []error{ErrNotLeader, ErrBusy, ErrNoLeader}
	r.SetSubmitter(&fakeLeader{submit: func(c []*metapb.Command) (uint64, error) {
		if len(refusals) > 0 {
			err := refusals[0]
			refusals = refusals[1:]
			return 0, err
		}
		if err := r.ApplyEncoded(2, w.append(c...)); err != nil {
			t.Error(err)
		}
		return 2, nil
	}})
	v, err := r.Propose(timeout(t), allocate())
	if err != nil || v.ProducerID != 1 || len(refusals) != 0 {
		t.Fatalf("propose: %+v, %v", v, err)
	}
}

func TestProposeSaysWhatItDoesNotKnow(t *testing.T) {
	backing := mem.New()
	newWriter(t, backing.Open())
	r := openReplica(t, Config{Log: backing.Open()})
	for _, row := range []struct {
		name  string
		fails error
		wants error
	}{
		{"taken, but never applied here", nil, ErrAmbiguous},
		{"broken off", errors.New("connection reset"), ErrAmbiguous},
		{"never taken", ErrNotLeader, ErrNoLeader},
		{"too large", ErrTooLarge, ErrTooLarge},
	} {
		t.Run(row.name, func(t *testing.T) {
			r.SetSubmitter(&fakeLeader{submit: func([]*metapb.Command) (uint64, error) { return 9, row.fails }})
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
			defer cancel()
			if _, err := r.Propose(ctx, allocate()); !errors.Is(err, row.wants) {
				t.Fatalf("error %v, want %v", err, row.wants)
			}
		})
	}
	t.Run("no submitter", func(t *testing.T) {
		lonely := openReplica(t, Config{Log: backing.Open()})
		if err := lonely.Barrier(context.Background()); !errors.Is(err, ErrNoLeader) {
			t.Fatalf("barrier: %v, want ErrNoLeader", err)
		}
	})
}

// A leader that is killed leaves open what was submitted to it. The next LeaderStart settles it.
func TestWhatALeaderDidNotLogBeforeItWasSucceededGoesToTheNext(t *testing.T) {
	for name, logged := range map[string]bool{"it had logged it": true, "it had not": false} {
		t.Run(name, func(t *testing.T) {
			backing := mem.New()
			w := newWriter(t, backing.Open())
			r := openReplica(t, Config{Log: backing.Open()})
			apply := func(encoded []byte) {
				if err := r.ApplyEncoded(w.seq, encoded); err != nil {
					t.Error(err)
				}
			}
			submitted := 0
			r.SetSubmitter(&fakeLeader{submit: func(c []*metapb.Command) (uint64, error) {
				if submitted++; submitted > 1 {
					apply(w.append(c...))
					return w.seq, nil
				}
				if logged {
					apply(w.append(c...))
				}
				go apply(w.takeOver())
				return 0, &openError{w.epoch - 1, rpc.ErrBroken}
			}})
			v, err := r.Propose(timeout(t), allocate())
			if want := map[bool]int{true: 1, false: 2}[logged]; err != nil || v.ProducerID != 1 || submitted != want {
				t.Fatalf("verdict %+v, %v, submitted %d times, want %d", v, err, submitted, want)
			}
		})
	}
}

func TestBarriersShareRoundsAndWaitForTheirSequence(t *testing.T) {
	backing := mem.New()
	w := newWriter(t, backing.Open())
	r := openReplica(t, Config{Log: backing.Open()})
	entered, release := make(chan struct{}), make(chan struct{})
	var rounds atomic.Int32
	r.SetSubmitter(&fakeLeader{barrier: func() (uint64, error) {
		if rounds.Add(1) == 1 {
			close(entered)
			<-release
		}
		return 2, nil
	}})
	first := make(chan error, 1)
	go func() { first <- r.Barrier(timeout(t)) }()
	<-entered
	second := r.barriers.join(r)
	if third := r.barriers.join(r); third != second {
		t.Fatal("two that came during a round do not share the next")
	}
	close(release)
	select {
	case <-second.done:
		t.Fatal("a barrier passed before its sequence was applied")
	case err := <-first:
		t.Fatalf("a barrier passed before its sequence was applied: %v", err)
	case <-time.After(10 * time.Millisecond):
	}
	if err := r.ApplyEncoded(2, w.append(allocate())); err != nil {
		t.Fatal(err)
	}
	<-second.done
	if err := errors.Join(<-first, second.err); err != nil || rounds.Load() != 2 {
		t.Fatalf("%d rounds, %v; want 2", rounds.Load(), err)
	}
}

func TestWatchersWakeForTheirPartitionsAndForTopics(t *testing.T) {
	backing := mem.New()
	w := newWriter(t, backing.Open())
	r := openReplica(t, Config{Log: backing.Open()})
	mine, other := meta.TopicPartition{Partition: 1}, meta.TopicPartition{Partition: 2}
	ch := make(chan struct{}, 1)
	cancel := r.Watch([]meta.TopicPartition{mine}, ch)
	r.watchers.wake([]meta.TopicPartition{other})
	if len(ch) != 0 {
		t.Fatal("woken for another partition")
	}
	r.watchers.wake([]meta.TopicPartition{mine, mine})
	<-ch
	if err := r.ApplyEncoded(2, w.append(createTopic("t"))); err != nil {
		t.Fatal(err)
	}
	<-ch
	cancel()
	r.watchers.wake([]meta.TopicPartition{mine})
	if len(ch) != 0 {
		t.Fatal("woken after cancel")
	}
	r.watchers.wakeAll()
	for i := range r.watchers.shards {
		if len(r.watchers.shards[i].byPartition) != 0 {
			t.Fatal("a cancelled watch left something behind")
		}
	}
}

func TestCloseReleasesWaiters(t *testing.T) {
	backing := mem.New()
	newWriter(t, backing.Open())
	r := openReplica(t, Config{Log: backing.Open()})
	waited := make(chan error)
	go func() { waited <- r.WaitSeq(context.Background(), 100) }()
	await(t, func() bool { return r.sequences.count.Load() > 0 })
	r.Close()
	if err := <-waited; !errors.Is(err, ErrClosed) {
		t.Fatalf("error %v, want ErrClosed", err)
	}
}

func BenchmarkWakeOneOfTenThousandWatched(b *testing.B) {
	r := &Replica{}
	r.watchers.init()
	parts := make([]meta.TopicPartition, 10_000)
	for i := range parts {
		parts[i].Partition = int32(i)
		r.Watch(parts[i:i+1], make(chan struct{}, 1))
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		r.watchers.wake(parts[i%10_000 : i%10_000+1])
	}
}

func BenchmarkWatchAHundredPartitions(b *testing.B) {
	r := &Replica{}
	r.watchers.init()
	parts := make([]meta.TopicPartition, 100)
	for i := range parts {
		parts[i].Partition = int32(i)
	}
	ch := make(chan struct{}, 1)
	b.ReportAllocs()
	for b.Loop() {
		r.Watch(parts, ch)()
	}
}
