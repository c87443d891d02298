package leader

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metalog"
	"github.com/varvelog/varve/coordinator/metalog/mem"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/coordinator/replica"
	"github.com/varvelog/varve/infra/bus"
	memstore "github.com/varvelog/varve/infra/objstore/mem"
	"github.com/varvelog/varve/infra/rpc"
	"github.com/varvelog/varve/ingest/chunk"
)

var (
	secret = []byte("secret of the cluster")
	busKey = bus.NewKey(secret, cluster)
)

// coordinator is a node whose methods are served on a listener of its own.
func coordinator(t *testing.T, log metalog.Log, conn *bus.Conn) *node {
	t.Helper()
	server, err := rpc.Listen(rpc.ServerConfig{Secret: secret, ClusterID: cluster})
	if err != nil {
		t.Fatal(err)
	}
	n := start(t, log, nil, func(c *Config) {
		c.InternalAddress = server.Addr()
		if conn != nil {
			c.Bus, c.Key = conn, busKey
		}
	})
	n.Register(server)
	server.Serve()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := server.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	})
	if conn != nil {
		stop, err := conn.Respond(bus.LeaderSubject(cluster), n.AnswerLeader)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(stop)
	}
	return n
}

// follower is a replica in a process without a leader.
func follower(t *testing.T, log metalog.Log, conn *bus.Conn) (*replica.Replica, *replica.Remote) {
	t.Helper()
	r, err := replica.Open(context.Background(), replica.Config{LogID: logID, Log: log, PollInterval: 200 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	client := rpc.NewClient(rpc.ClientConfig{Secret: secret, ClusterID: cluster})
	cfg := replica.RemoteConfig{Client: client, Key: busKey, Replica: r}
	var follows replica.Bus
	if conn != nil {
		cfg.Bus, follows = conn, conn
	}
	remote := replica.NewRemote(cfg)
	r.SetSubmitter(remote)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Follow(ctx, follows, busKey) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("follow: %v", err)
		}
		r.Close()
		client.Close()
	})
	return r, remote
}

func TestFollowerProposesAndReadsWhatWasAnswered(t *testing.T) {
	for name, conn := range map[string]*bus.Conn{"with the bus": startBus(t), "without": nil} {
		t.Run(name, func(t *testing.T) {
			ctx, backing := timeout(t), mem.New()
			leads := coordinator(t, backing.Open(), conn)
			r, _ := follower(t, backing.Open(), conn)
			for want := int64(1); want <= 20; want++ {
				v, err := r.Propose(ctx, allocate())
				if err != nil || v.ProducerID != want {
					t.Fatalf("propose %d: %+v, %v", want, v, err)
				}
			}
			seq, err := leads.Submit(ctx, []*metapb.Command{allocate()})
			if err != nil {
				t.Fatal(err)
			}
			if err := r.Barrier(ctx); err != nil || r.Seq() < seq {
				t.Fatalf("after a barrier at %d, want %d: %v", r.Seq(), seq, err)
			}
			want := leads.hash()
			r.View(func(s *meta.State) {
				if s.Seq() == leads.replica.Seq() && s.Hash() != want {
					t.Error("follower and leader differ")
				}
			})
		})
	}
}

// observed counts what an Observer hears.
type observed struct{ entries, commands, snapshots, rewritten atomic.Int64 }

func (o *observed) Appended(commands, _ int, _ time.Duration) {
	o.entries.Add(1)
	o.commands.Add(int64(commands))
}
func (o *observed) Snapshotted(int64, time.Duration) { o.snapshots.Add(1) }
func (o *observed) Rewrote(objects int)              { o.rewritten.Add(int64(objects)) }

func TestObserverHearsOfEntriesAndTheFirstSnapshot(t *testing.T) {
	ctx, o := timeout(t), new(observed)
	n := start(t, mem.New().Open(), memstore.New("snapshots"), func(c *Config) { c.Observer = o })
	if _, err := n.Submit(ctx, []*metapb.Command{allocate(), allocate()}); err != nil {
		t.Fatal(err)
	}
	if o.entries.Load() != 2 || o.commands.Load() != 3 {
		t.Fatalf("%d entries of %d commands, want the start and one of two", o.entries.Load(), o.commands.Load())
	}
	await(t, func() bool { return o.snapshots.Load() == 1 })
}

func TestExclusiveLeaderNeedsNoRoundForABarrier(t *testing.T) {
	log := &countingLog{Log: mem.New().Open()}
	n := start(t, log, nil, func(c *Config) { c.Exclusive = true })
	before := log.bounds.Load()
	if err := n.replica.Barrier(timeout(t)); err != nil || log.bounds.Load() != before {
		t.Fatalf("a free barrier asked the log %d times: %v", log.bounds.Load()-before, err)
	}
}

type countingLog struct {
	metalog.Log
	bounds atomic.Int64
}

func (l *countingLog) Bounds(ctx context.Context) (uint64, uint64, error) {
	l.bounds.Add(1)
	return l.Log.Bounds(ctx)
}

func TestFollowerFindsTheSuccessor(t *testing.T) {
	for name, conn := range map[string]*bus.Conn{"with the bus": startBus(t), "without": nil} {
		t.Run(name, func(t *testing.T) {
			ctx, backing := timeout(t), mem.New()
			first := coordinator(t, backing.Open(), conn)
			r, _ := follower(t, backing.Open(), conn)
			if _, err := r.Propose(ctx, allocate()); err != nil {
				t.Fatal(err)
			}
			first.halt(t)
			coordinator(t, backing.Open(), conn)
			if v, err := r.Propose(ctx, allocate()); err != nil || v.ProducerID != 2 {
				t.Fatalf("propose to the successor: %+v, %v", v, err)
			}
		})
	}
}

// batch is what a node would commit of topic "orders".
func commitOf(v meta.Verdict, seq uint64, topic [16]byte, partition int32, records int) *metapb.Command {
	var b chunk.Builder
	if !b.Add(chunk.Batch{Topic: topic, Partition: partition, Records: uint32(records), Data: make([]byte, 100), ProducerID: -1}) {
		panic("batch does not fit")
	}
	sealed := b.Seal(chunk.Header{NodeID: int32(v.NodeID), NodeEpoch: v.NodeEpoch, Seq: seq})
	return &metapb.Command{Kind: &metapb.Command_CommitChunk{CommitChunk: &metapb.CommitChunk{
		NodeId: int32(v.NodeID), NodeEpoch: v.NodeEpoch, Seq: seq, Durability: metapb.Durability_DURABILITY_LOCAL, Segment: 1,
		Position: uint32(seq) * 1000, ChunkBytes: uint64(sealed.Header.ChunkBytes()), RunTable: slices.Clone(sealed.Table.Bytes()),
	}}}
}

type sinkFunc func(c *metapb.CommitChunk, v *meta.ChunkVerdict)

func (f sinkFunc) ChunkVerdict(c *metapb.CommitChunk, v *meta.ChunkVerdict) { f(c, v) }

func TestCommittedChunkWakesPollsAndNotifiesAnyNATSClient(t *testing.T) {
	ctx, backing, conn := timeout(t), mem.New(), startBus(t)
	n := coordinator(t, backing.Open(), conn)
	r, remote := follower(t, backing.Open(), conn)

	notified := make(chan bus.CommitNotification, 10)
	stop, err := conn.Subscribe("varve.commit.*.orders.eu", func(data []byte) {
		var c bus.CommitNotification
		if err := json.Unmarshal(data, &c); err != nil {
			t.Error(err)
		}
		notified <- c
	})
	if err != nil {
		t.Fatal(err)
	}
	defer stop()

	topic := [16]byte{7}
	created, err := r.Propose(ctx, &metapb.Command{Kind: &metapb.Command_CreateTopic{CreateTopic: &metapb.CreateTopic{
		Name: "orders.eu", TopicId: topic[:], Partitions: 3, Configs: []*metapb.ConfigEntry{{Name: "varve.durability", Value: "local"}},
	}}})
	if err != nil || created.Code != meta.OK {
		t.Fatalf("create: %+v, %v", created, err)
	}
	registered := register(t, n)
	offsets := make(chan int64, 10)
	defer r.SubscribeChunks(registered.NodeID, registered.NodeEpoch, sinkFunc(func(_ *metapb.CommitChunk, v *meta.ChunkVerdict) {
		if v.Code == meta.OK {
			offsets <- v.Runs[0].BaseOffset
		}
	}))()
	woken := make(chan struct{}, 1)
	defer r.Watch([]meta.TopicPartition{{Topic: topic, Partition: 2}}, woken)()

	if err := r.SubmitChunks(ctx, []*metapb.Command{commitOf(registered, 1, topic, 2, 5), commitOf(registered, 2, topic, 2, 5)}); err != nil {
		t.Fatal(err)
	}
	if first, second := <-offsets, <-offsets; first != 0 || second != 5 {
		t.Fatalf("offsets %d, %d; want 0, 5", first, second)
	}
	<-woken
	if got := <-notified; got != (bus.CommitNotification{Topic: "orders.eu", Partition: 2, HighWatermark: 10}) {
		t.Fatalf("notified of %+v", got)
	}
	leaseAndFinish(t, ctx, n, r, remote, registered)
}

// leaseAndFinish has a tiering worker in a third process take the sealed segment as a job.
func leaseAndFinish(t *testing.T, ctx context.Context, n *node, r *replica.Replica, remote *replica.Remote, v meta.Verdict) {
	t.Helper()
	request := &metapb.JobLeaseRequest{Worker: "w", LeaseMillis: 60_000}
	lease := func() *metapb.Job {
		var answer metapb.JobLeaseResponse
		if err := remote.Call(ctx, replica.MethodJobLease, request, &answer); err != nil {
			t.Fatal(err)
		}
		return answer.Job
	}
	before := n.replica.Seq()
	if job := lease(); job != nil || n.replica.Seq() != before {
		t.Fatalf("leased %v, and the log grew from %d to %d, when nothing waits", job, before, n.replica.Seq())
	}
	seal := &metapb.Command{Kind: &metapb.Command_SealContainer{SealContainer: &metapb.SealContainer{
		NodeId: int32(v.NodeID), NodeEpoch: v.NodeEpoch, Segment: 1, SizeBytes: 1000,
	}}}
	if sealed, err := r.Propose(ctx, seal); err != nil || sealed.Code != meta.OK {
		t.Fatalf("seal: %+v, %v", sealed, err)
	}
	job := lease()
	if job == nil || len(job.Containers) != 1 || len(job.Containers[0].Runs) != 2 || job.Topics[0].Name != "orders.eu" ||
		job.Containers[0].NodeAddress != "h:2" || job.Containers[0].Segment != 1 {
		t.Fatalf("job %v", job)
	}
	renew := func() bool {
		t.Helper()
		var renewed metapb.JobRenewResponse
		if err := remote.Call(ctx, replica.MethodJobRenew, &metapb.JobRenewRequest{JobId: job.Id, LeaseMillis: 60_000}, &renewed); err != nil {
			t.Fatal(err)
		}
		return !renewed.Ended
	}
	if !renew() {
		t.Fatal("the lease of a job cannot be renewed")
	}
	finish := &metapb.JobFinishRequest{Finish: &metapb.FinishJob{JobId: job.Id, Failed: true}}
	var finished metapb.JobFinishResponse
	if err := remote.Call(ctx, replica.MethodJobFinish, finish, &finished); err != nil || !finished.Accepted {
		t.Fatalf("finish: %v, %v", &finished, err)
	}
	if renew() {
		t.Fatal("the lease of a job was renewed that has ended")
	}
	var judged metapb.ReferencedResponse
	keys := &metapb.ReferencedRequest{Keys: []string{meta.SegmentKey(meta.JobID(job.Id), 0), meta.SegmentKey(meta.JobID(job.Id+1), 0)}}
	if err := remote.Call(ctx, replica.MethodReferenced, keys, &judged); err != nil || !slices.Equal(judged.Referenced, []bool{false, true}) {
		t.Fatalf("referenced: %v, %v; want the ended job's object free, a future job's kept", judged.Referenced, err)
	}
	late := &metapb.JobFinishRequest{Finish: &metapb.FinishJob{JobId: job.Id}}
	for ordinal := range uint32(3) {
		late.Finish.Objects = append(late.Finish.Objects, &metapb.SegmentObject{JobId: job.Id, Ordinal: ordinal})
	}
	if err := remote.Call(ctx, replica.MethodJobFinish, late, &finished); err != nil || finished.Accepted {
		t.Fatalf("finish what has ended: %v, %v", &finished, err)
	}
	garbage(t, ctx, remote, meta.JobID(job.Id))
}

// garbage asks for the three objects of a job that had ended, from all sides.
func garbage(t *testing.T, ctx context.Context, remote *replica.Remote, job meta.JobID) {
	t.Helper()
	keys := []string{meta.SegmentKey(job, 0), meta.SegmentKey(job, 1), meta.SegmentKey(job, 2)}
	for _, row := range []struct {
		max, skip uint32
		want      []string
	}{{0, 0, keys}, {2, 0, keys[:2]}, {1, 1, keys[1:2]}, {2, 2, keys[2:]}, {0, 3, nil}, {0, 1 << 31, nil}} {
		var answer metapb.GarbageResponse
		if err := remote.Call(ctx, replica.MethodGarbage, &metapb.GarbageRequest{Max: row.max, Skip: row.skip}, &answer); err != nil || !slices.Equal(answer.Keys, row.want) {
			t.Errorf("at most %d garbage behind %d: %v, %v, want %v", row.max, row.skip, answer.Keys, err, row.want)
		}
	}
}

func TestBusGoneAndBackCostsNothingButTime(t *testing.T) {
	server, err := bus.StartServer(bus.ServerConfig{ListenAddr: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := bus.Connect(context.Background(), bus.ConnConfig{URL: "nats://" + server.Addr()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	ctx, backing := timeout(t), mem.New()
	coordinator(t, backing.Open(), conn)
	r, _ := follower(t, backing.Open(), conn)
	want := int64(0)
	propose := func() {
		want++
		if v, err := r.Propose(ctx, allocate()); err != nil || v.ProducerID != want {
			t.Fatalf("propose: %+v, %v", v, err)
		}
	}
	propose()
	addr := server.Addr()
	server.Shutdown()
	await(t, func() bool { return conn.Ready() != nil })
	propose()
	if err := r.Barrier(ctx); err != nil {
		t.Fatal(err)
	}
	again, err := bus.StartServer(bus.ServerConfig{ListenAddr: addr})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(again.Shutdown)
	await(t, func() bool { return conn.Ready() == nil })
	propose()
}

func TestLivingLeaderIsAskedOverTheWire(t *testing.T) {
	backing := mem.New()
	n := coordinator(t, backing.Open(), nil)
	client := rpc.NewClient(rpc.ClientConfig{Secret: secret, ClusterID: cluster})
	defer client.Close()
	alive := func(ctx context.Context, address string) bool {
		return client.Call(ctx, address, replica.MethodPing, &metapb.PingRequest{}, &metapb.PingResponse{}) == nil
	}
	if !alive(timeout(t), n.cfg.InternalAddress) {
		t.Error("a living leader is not recognised")
	}
	n.halt(t)
	if alive(timeout(t), n.cfg.InternalAddress) {
		t.Error("a process that does not lead any more is taken for the leader")
	}
	if alive(timeout(t), "127.0.0.1:1") {
		t.Error("nobody is taken for the leader")
	}
}

func TestCoordinatorThatDoesNotLeadNamesTheLeader(t *testing.T) {
	ctx, backing := timeout(t), mem.New()
	first := coordinator(t, backing.Open(), nil)
	address := first.cfg.InternalAddress
	second := coordinator(t, backing.Open(), nil)
	first.stop()
	if err := first.replica.CatchUp(ctx); err != nil {
		t.Fatal(err)
	}
	await(t, func() bool { _, leading := first.Leading(); return !leading })
	client := rpc.NewClient(rpc.ClientConfig{Secret: secret, ClusterID: cluster})
	defer client.Close()
	err := client.Call(ctx, address, replica.MethodBarrier, &metapb.BarrierRequest{}, &metapb.BarrierResponse{})
	if !errors.Is(err, replica.ErrNotLeader) || rpc.LeaderHint(err) != second.cfg.InternalAddress {
		t.Fatalf("error %v, hint %q; want %q", err, rpc.LeaderHint(err), second.cfg.InternalAddress)
	}
}

// A request that comes late, to a process that leads again, may have been repeated elsewhere meanwhile.
func TestASubmissionToAnEarlierLeaderIsRefused(t *testing.T) {
	ctx, n := timeout(t), coordinator(t, mem.New().Open(), nil)
	client := rpc.NewClient(rpc.ClientConfig{Secret: secret, ClusterID: cluster})
	defer client.Close()
	epoch, _ := n.Leading()
	for _, row := range []struct {
		epoch uint64
		want  error
	}{{epoch, nil}, {0, nil}, {epoch + 1, replica.ErrNotLeader}} {
		request := &metapb.SubmitRequest{Commands: []*metapb.Command{allocate()}, LeaderEpoch: row.epoch}
		if err := client.Call(ctx, n.cfg.InternalAddress, replica.MethodSubmit, request, &metapb.SubmitResponse{}); !errors.Is(err, row.want) {
			t.Errorf("epoch %d: %v, want %v", row.epoch, err, row.want)
		}
	}
}

// BenchmarkSubmitChunk is the commit path of one chunk with one run, without the log's own cost.
func BenchmarkSubmitChunk(b *testing.B) {
	ctx := context.Background()
	n := start(b, mem.New().Open(), nil)
	topic := [16]byte{7}
	if v, err := n.replica.Propose(ctx, &metapb.Command{Kind: &metapb.Command_CreateTopic{CreateTopic: &metapb.CreateTopic{
		Name: "t", TopicId: topic[:], Partitions: 1, Configs: []*metapb.ConfigEntry{{Name: "varve.durability", Value: "local"}},
	}}}); err != nil || v.Code != meta.OK {
		b.Fatalf("%+v, %v", v, err)
	}
	registered := register(b, n)
	committed := 0
	defer n.replica.SubscribeChunks(registered.NodeID, registered.NodeEpoch, sinkFunc(func(_ *metapb.CommitChunk, v *meta.ChunkVerdict) {
		if v.Code == meta.OK {
			committed++
		}
	}))()
	commands := make([]*metapb.Command, 1)
	b.ReportAllocs()
	sent := 0
	for b.Loop() {
		sent++
		commands[0] = commitOf(registered, uint64(sent), topic, 0, 1)
		if err := n.replica.SubmitChunks(ctx, commands); err != nil {
			b.Fatal(err)
		}
	}
	if committed != sent {
		b.Fatalf("%d of %d chunks were committed", committed, sent)
	}
}
