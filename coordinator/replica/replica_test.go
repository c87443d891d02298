package replica

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metalog"
	"github.com/varvelog/varve/coordinator/metalog/mem"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/infra/bus"
	"github.com/varvelog/varve/infra/objstore"
	memstore "github.com/varvelog/varve/infra/objstore/mem"
	"github.com/varvelog/varve/infra/rpc"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const cluster = "MkU3OEVBNTcwNTJENDM2Qg"

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
	go func() { defer close(done); result <- r.Follow(ctx, b, cluster) }()
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

	hint(bus.AppendEntryHint(nil, 2, w.append(allocate())))
	if r.Seq() != 2 {
		t.Fatalf("a hint that fits was not applied: at %d", r.Seq())
	}
	w.append(allocate()) // its hint is lost
	hint(bus.AppendEntryHint(nil, 4, w.append(allocate())))
	if err := r.WaitSeq(timeout(t), 4); err != nil {
		t.Fatal(err)
	}
	hint(bus.AppendEntryHint(nil, 3, []byte("an old one")))
	hint([]byte("garbage"))
	hint(bus.AppendEntryHint(nil, 5, []byte("forged")))
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

func TestSnapshotsAreContentAddressedAndPruned(t *testing.T) {
	ctx, backing, store := timeout(t), mem.New(), memstore.New("snapshots")
	w := newWriter(t, backing.Open())
	r := openReplica(t, Config{Log: backing.Open(), Store: store})
	for i := range 4 {
		w.append(createTopic(fmt.Sprintf("topic-%d", i)))
		if err := r.CatchUp(ctx); err != nil {
			t.Fatal(err)
		}
		if _, err := r.SaveSnapshot(ctx); err != nil {
			t.Fatal(err)
		}
	}
	saved, err := r.SaveSnapshot(ctx)
	if err != nil || saved.NewParts != 0 || saved.Parts == 0 {
		t.Fatalf("a snapshot of the same state: %+v, %v", saved, err)
	}
	before, err := r.PruneSnapshots(ctx)
	if err != nil || before != 5 {
		t.Fatalf("prune: log needed from %d, %v; want 5", before, err)
	}
	if seqs, err := ListManifests(ctx, store); err != nil || len(seqs) != 2 || seqs[1] != 5 {
		t.Fatalf("snapshots %v, %v", seqs, err)
	}
	again := openReplica(t, Config{Log: backing.Open(), Store: store})
	if again.SnapshotSeq() != 5 || hashOf(again) != hashOf(r) {
		t.Fatalf("restored from %d", again.SnapshotSeq())
	}
}

func TestDamagedSnapshotFallsBackToTheOneBefore(t *testing.T) {
	ctx, backing, store := timeout(t), mem.New(), memstore.New("snapshots")
	w := newWriter(t, backing.Open())
	r := openReplica(t, Config{Log: backing.Open(), Store: store})
	for range 2 {
		w.append(allocate())
		if err := r.CatchUp(ctx); err != nil {
			t.Fatal(err)
		}
		if _, err := r.SaveSnapshot(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := store.Put(ctx, SnapshotKey(3), []byte("rot")); err != nil {
		t.Fatal(err)
	}
	again := openReplica(t, Config{Log: backing.Open(), Store: store})
	if again.SnapshotSeq() != 2 || hashOf(again) != hashOf(r) {
		t.Fatalf("restored from %d", again.SnapshotSeq())
	}
}

func TestAnyFlippedBitOfASnapshotFallsBackToTheOneBefore(t *testing.T) {
	ctx, backing, store := timeout(t), mem.New(), memstore.New("snapshots")
	w := newWriter(t, backing.Open())
	r := openReplica(t, Config{Log: backing.Open(), Store: store})
	former := map[string]bool{}
	for i := range 2 {
		for info, err := range store.List(ctx, "", "") {
			if err != nil {
				t.Fatal(err)
			}
			former[info.Key] = true
		}
		w.append(createTopic(fmt.Sprintf("topic-%d", i)))
		if err := r.CatchUp(ctx); err != nil {
			t.Fatal(err)
		}
		if _, err := r.SaveSnapshot(ctx); err != nil {
			t.Fatal(err)
		}
	}
	flipped := 0
	for info, err := range store.List(ctx, "", "") {
		if err != nil {
			t.Fatal(err)
		}
		if former[info.Key] {
			continue // the one before needs it too
		}
		whole, _, err := objstore.ReadAll(ctx, store, info.Key, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		for range 40 {
			bad := slices.Clone(whole)
			bad[rand.IntN(len(bad))] ^= 1 << rand.IntN(8)
			if _, err := store.Put(ctx, info.Key, bad); err != nil {
				t.Fatal(err)
			}
			again := openReplica(t, Config{Log: backing.Open(), Store: store})
			if again.SnapshotSeq() != 2 || hashOf(again) != hashOf(r) {
				t.Fatalf("%s is damaged: restored from %d", info.Key, again.SnapshotSeq())
			}
			again.Close()
		}
		if _, err := store.Put(ctx, info.Key, whole); err != nil {
			t.Fatal(err)
		}
		flipped++
	}
	if flipped < 2 {
		t.Errorf("%d objects of the newest snapshot, want its manifest and a part at least", flipped)
	}
}

func TestWhatDoesNotFitIsRefusedInOneLine(t *testing.T) {
	ctx := context.Background()
	for _, row := range []struct {
		name   string
		wants  error
		damage func(t *testing.T, backing *mem.Backing, store objstore.Store, w *writer)
	}{
		{"a log shorter than its snapshot", ErrLogShort, func(_ *testing.T, backing *mem.Backing, _ objstore.Store, _ *writer) {
			backing.Cut(3)
		}},
		{"a truncated log without a snapshot", ErrNoSnapshot, func(t *testing.T, backing *mem.Backing, store objstore.Store, w *writer) {
			if err := errors.Join(store.Delete(ctx, SnapshotKey(w.seq)), backing.Open().Truncate(ctx, 3)); err != nil {
				t.Fatal(err)
			}
		}},
		{"another cluster's log", meta.ErrForeignLog, func(_ *testing.T, _ *mem.Backing, _ objstore.Store, w *writer) {
			w.id = [16]byte{1}
			w.append(allocate())
		}},
		{"an entry that does not follow", ErrForked, func(_ *testing.T, _ *mem.Backing, _ objstore.Store, w *writer) {
			w.hash = meta.HashEntry([]byte("another history"))
			w.append(allocate())
		}},
		{"another history of the same length", ErrForked, func(_ *testing.T, backing *mem.Backing, _ objstore.Store, w *writer) {
			backing.Cut(w.seq)
			w.seq--
			w.append(allocate(), allocate())
		}},
		{"rot", meta.ErrCorrupt, func(t *testing.T, backing *mem.Backing, _ objstore.Store, w *writer) {
			if err := backing.Open().Append(ctx, w.seq+1, []byte("rot"), metalog.Ordinary); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			backing, store := mem.New(), memstore.New("bucket-x")
			w := newWriter(t, backing.Open())
			w.append(allocate())
			w.append(allocate())
			w.append(allocate())
			r := openReplica(t, Config{Log: backing.Open(), Store: store})
			if _, err := r.SaveSnapshot(ctx); err != nil {
				t.Fatal(err)
			}
			row.damage(t, backing, store, w)
			again, err := Open(ctx, Config{LogID: logID, Log: backing.Open(), Store: store})
			if err == nil {
				again.Close()
				t.Fatal("it was opened")
			}
			if !errors.Is(err, row.wants) {
				t.Fatalf("error %v, want %v", err, row.wants)
			}
			for _, part := range []string{store.String(), "varve recover"} {
				if !strings.Contains(err.Error(), part) || strings.Contains(err.Error(), "\n") {
					t.Errorf("%q does not name %q in one line", err, part)
				}
			}
		})
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

// BenchmarkEncodeSnapshotOfTenThousandPartitions is how long entries wait for a snapshot.
func BenchmarkEncodeSnapshotOfTenThousandPartitions(b *testing.B) {
	r := &Replica{}
	r.mu.state = meta.New(logID)
	for i := range 100 {
		c := createTopic(fmt.Sprintf("topic-%d", i))
		c.GetCreateTopic().Partitions = 100
		entry := &metapb.Entry{Format: meta.EntryFormat, LogId: logID[:], TimeMillis: 1, Commands: []*metapb.Command{c}}
		if err := r.mu.state.Apply(uint64(i+1), entry, nil); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, _, _, err := r.encodeState(); err != nil {
			b.Fatal(err)
		}
	}
}
