package torture

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/ingest/recordbatch"
	"github.com/varvelog/varve/tiering/ship"
	"github.com/varvelog/varve/tiering/sweep"
)

func fromEnv(name string, otherwise uint64) uint64 {
	n, err := strconv.ParseUint(os.Getenv(name), 10, 64)
	if err != nil {
		return otherwise
	}
	return n
}

func TestTorture(t *testing.T) {
	seed := fromEnv("TORTURE_SEED", rand.Uint64N(1_000_000))
	rounds := fromEnv("TORTURE_ROUNDS", 3)
	t.Logf("TORTURE_SEED=%d", seed)
	c := newCluster(t, seed)
	w := newWorkload(c)
	for round := range rounds {
		c.note("round %d", round)
		w.round()
		w.check()
		if t.Failed() {
			t.Logf("TORTURE_SEED=%d failed in round %d, after\n%s", seed, round, strings.Join(c.events.list, "\n"))
			break
		}
	}
	w.close()
}

// workload is what happens to a cluster.
type workload struct {
	c         *cluster
	topics    topics
	producers []*idempotent
	created   int
	stale     []*metapb.Command // registrations that are still on their way
}

func newWorkload(c *cluster) *workload {
	w := &workload{c: c, topics: topics{models: map[meta.TopicPartition]*model{}, names: map[meta.TopicID]string{}, gone: map[meta.TopicID]bool{}}}
	w.must(&metapb.Command{Kind: &metapb.Command_AlterConfig{AlterConfig: &metapb.AlterConfig{
		Resource: metapb.AlterConfig_BROKER, Entries: []*metapb.ConfigEntry{{Name: "log.retention.check.interval.ms", Value: "20"}}}}})
	for _, name := range []string{"a", "b", "c"} {
		w.create(name)
	}
	for i := range 3 {
		w.producers = append(w.producers, &idempotent{id: int64(1000 + i), parts: map[meta.TopicPartition]*sequence{}})
	}
	return w
}

// propose proposes to whoever leads.
func (w *workload) propose(command *metapb.Command) (meta.Verdict, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return w.c.leading.Load().replica.Propose(ctx, command)
}

func (w *workload) must(command *metapb.Command) {
	for range 20 {
		if v, err := w.propose(command); err == nil && v.Code == meta.OK {
			return
		}
		command.Id = nil
	}
	w.c.t.Fatalf("%v is not taken", command)
}

func (w *workload) create(name string) {
	w.created++
	id := meta.TopicID{15: byte(w.created), 14: byte(w.created >> 8), 0: name[0]}
	class := []string{"local", "object"}[w.c.dice.intN(2)]
	configs := []*metapb.ConfigEntry{{Name: "varve.durability", Value: class}, {Name: "segment.bytes", Value: strconv.Itoa(1 << 20)}}
	const partitions = 3
	command := &metapb.Command{Kind: &metapb.Command_CreateTopic{CreateTopic: &metapb.CreateTopic{Name: name, TopicId: id[:], Partitions: partitions, Configs: configs}}}
	if v, err := w.propose(command); err != nil || v.Code != meta.OK {
		w.c.note("create %s: %v %v", name, v, err)
		if err == nil {
			return
		}
		// It may have been created all the same.
		known := false
		for range 100 {
			w.c.leading.Load().replica.View(func(s *meta.State) { known = known || s.Topic(id) != nil })
			if known {
				break
			}
			time.Sleep(time.Millisecond)
		}
		if !known {
			return
		}
	}
	w.c.note("created %s (%s)", name, class)
	w.topics.mu.Lock()
	defer w.topics.mu.Unlock()
	w.topics.names[id] = name
	for p := range int32(partitions) {
		tp := meta.TopicPartition{Topic: id, Partition: p}
		w.topics.models[tp] = newModel(tp, w.c.fail)
		w.topics.order = append(w.topics.order, tp)
	}
}

func (w *workload) delete(tp meta.TopicPartition) {
	w.topics.mu.Lock()
	if len(w.topics.order) <= 3 {
		w.topics.mu.Unlock()
		return
	}
	name := w.topics.names[tp.Topic]
	w.topics.gone[tp.Topic] = true
	w.topics.order = slices.DeleteFunc(w.topics.order, func(other meta.TopicPartition) bool { return other.Topic == tp.Topic })
	w.topics.mu.Unlock()
	id := tp.Topic
	w.c.note("delete %s", name)
	w.must2(&metapb.Command{Kind: &metapb.Command_DeleteTopic{DeleteTopic: &metapb.DeleteTopic{TopicId: id[:]}}}, meta.UnknownTopic)
	w.create(name)
}

// must2 proposes until the verdict is OK or other.
func (w *workload) must2(command *metapb.Command, other meta.Code) {
	for range 20 {
		if v, err := w.propose(command); err == nil && (v.Code == meta.OK || v.Code == other) {
			return
		}
		command.Id = nil
	}
	w.c.t.Fatalf("%v is not taken", command)
}

// round lets everything happen at once for a while, and then come to rest.
func (w *workload) round() {
	c := w.c
	c.storm()
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(150+c.dice.intN(200))*time.Millisecond)
	defer cancel()
	all, cancelAll := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancelAll()
	var running, producing sync.WaitGroup
	for i := range 3 {
		running.Go(func() { c.plain(ctx, &w.topics, fmt.Sprintf("p%d.%d", i, c.dice.intN(1<<30))) })
	}
	for _, p := range w.producers {
		producing.Go(func() { p.produce(ctx, all, c, &w.topics) })
	}
	for range 2 {
		running.Go(func() { c.consume(ctx, &w.topics) })
		running.Go(func() { w.ship(ctx) })
	}
	running.Go(func() { w.sweep(ctx) })
	running.Go(func() { w.administrate(ctx) })
	running.Wait()
	c.settle()
	producing.Wait()
}

// administrate does what operators and fate do.
func (w *workload) administrate(ctx context.Context) {
	c := w.c
	for ctx.Err() == nil {
		n := c.nodes[c.dice.intN(len(c.nodes))]
		tp, m := w.topics.pick(c.dice)
		switch c.dice.intN(24) {
		case 0:
			c.note("%s crashes", n.name)
			n.restart(true)
		case 1:
			c.note("%s restarts", n.name)
			n.restart(false)
		case 2:
			c.note("another leader")
			c.lead()
		case 3:
			c.note("%s is registered by somebody else", n.name)
			_, _ = w.propose(n.registration())
		case 4:
			w.stale = append(w.stale, n.registration())
		case 5:
			if len(w.stale) > 0 {
				c.note("a late registration")
				_, _ = w.propose(w.stale[0])
				w.stale = w.stale[1:]
			}
		case 6, 7:
			_, high := m.floor()
			if high > 0 {
				topic := tp.Topic
				_, _ = w.propose(&metapb.Command{Kind: &metapb.Command_AdvanceLogStart{AdvanceLogStart: &metapb.AdvanceLogStart{
					TopicId: topic[:], Partition: tp.Partition, Offset: int64(c.dice.intN(int(high) + 1))}}})
			}
		case 8:
			w.delete(tp)
		case 9, 10:
			w.alter(tp, "varve.durability", []string{"local", "object"}[c.dice.intN(2)])
		case 11:
			w.alter(tp, "retention.bytes", []string{"-1", "20000", "200000"}[c.dice.intN(3)])
		case 12:
			w.alter(tp, "local.retention.ms", []string{"0", "30", "10000"}[c.dice.intN(3)])
		case 13:
			w.alter(tp, "local.retention.bytes", []string{"-2", "0", "20000"}[c.dice.intN(3)])
		case 14:
			w.alter(tp, "retention.ms", []string{"-1", "100", "60000"}[c.dice.intN(3)])
		case 15:
			c.log.Deliver()
		case 16:
			// A worker that takes a job and dies.
			_, _ = c.leading.Load().leader.LeaseJob(ctx, &metapb.JobLeaseRequest{Worker: "dead", MaxBytes: 1 << 20, LeaseMillis: 10})
		case 17:
			c.note("%s's disk is full for a moment", n.name)
			n.disk.SetLimit(int64(c.dice.intN(400 << 10)))
			time.Sleep(5 * time.Millisecond)
			n.disk.SetLimit(1 << 40)
		}
		time.Sleep(time.Duration(c.dice.intN(8)) * time.Millisecond)
	}
	for _, n := range c.nodes {
		n.disk.SetLimit(1 << 40)
	}
}

func (w *workload) alter(tp meta.TopicPartition, name, value string) {
	w.topics.mu.Lock()
	topic := w.topics.names[tp.Topic]
	w.topics.mu.Unlock()
	_, _ = w.propose(&metapb.Command{Kind: &metapb.Command_AlterConfig{AlterConfig: &metapb.AlterConfig{
		Resource: metapb.AlterConfig_TOPIC, Name: topic, Entries: []*metapb.ConfigEntry{{Name: name, Value: value}}}}})
}

// office is a leader as tiering sees it: whoever leads, and sometimes slow.
type office struct{ w *workload }

func (o office) LeaseJob(ctx context.Context, q *metapb.JobLeaseRequest) (*metapb.JobLeaseResponse, error) {
	return o.w.c.leading.Load().leader.LeaseJob(ctx, q)
}

func (o office) RenewJob(ctx context.Context, q *metapb.JobRenewRequest) (*metapb.JobRenewResponse, error) {
	return o.w.c.leading.Load().leader.RenewJob(ctx, q)
}

// FinishJob implements ship.Leader. Now and then the result comes when the lease is long over, or twice.
func (o office) FinishJob(_ context.Context, q *metapb.JobFinishRequest) (*metapb.JobFinishResponse, error) {
	c := o.w.c
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if !c.calm.Load() && c.dice.oneIn(5) {
		time.Sleep(time.Duration(c.dice.intN(80)) * time.Millisecond)
	}
	if !c.calm.Load() && c.dice.oneIn(5) {
		_, _ = c.leading.Load().leader.FinishJob(ctx, q)
	}
	return c.leading.Load().leader.FinishJob(ctx, q)
}

func (o office) Garbage(ctx context.Context, q *metapb.GarbageRequest) (*metapb.GarbageResponse, error) {
	return o.w.c.leading.Load().leader.Garbage(ctx, q)
}

func (o office) ForgetGarbage(ctx context.Context, q *metapb.GarbageForgetRequest) (*metapb.GarbageForgetResponse, error) {
	return o.w.c.leading.Load().leader.ForgetGarbage(ctx, q)
}

func (o office) Referenced(ctx context.Context, q *metapb.ReferencedRequest) (*metapb.ReferencedResponse, error) {
	return o.w.c.leading.Load().leader.Referenced(ctx, q)
}

// disks opens hot segments of both nodes.
type disks struct{ c *cluster }

type hotSegment struct {
	n  *node
	id uint64
}

func (d disks) OpenHot(_ context.Context, container *metapb.JobContainer) (ship.Container, error) {
	for _, n := range d.c.nodes {
		if n.address == container.NodeAddress {
			return hotSegment{n, container.Segment}, nil
		}
	}
	return nil, errDown
}

func (h hotSegment) ReadRun(_ context.Context, p []byte, r *metapb.JobRun, accept func(ship.Place, []byte) error) error {
	if !h.n.mu.TryRLock() {
		return errDown
	}
	defer h.n.mu.RUnlock()
	if err := h.n.log.ReadAt(h.id, r.Position, p); err != nil {
		return err
	}
	return accept(ship.Place{Address: h.n.address, Segment: h.id, Position: int64(r.Position)}, p)
}

func (hotSegment) Close() error { return nil }

type nobody struct{}

func (nobody) Shipped(int, int64, int64, time.Duration) {}
func (nobody) ShipFailed()                              {}
func (nobody) ShipDamaged(bool)                         {}
func (nobody) Deleted(int, int)                         {}

func (w *workload) worker() *ship.Worker {
	lease := 40 * time.Millisecond
	if w.c.calm.Load() {
		lease = 10 * time.Second
	}
	worker, err := ship.New(ship.Config{
		JobBytes: uint64(1 + w.c.dice.intN(200<<10)), ObjectBytes: 32 << 10, Lease: lease, Poll: time.Millisecond,
		Rebatch: recordbatch.RebatchOptions{TargetBytes: 4 << 10},
	}, office{w}, disks{w.c}, w.c.store, nil, nobody{}, w.c.logger)
	if err != nil {
		w.c.t.Fatal(err)
	}
	return worker
}

func (w *workload) ship(ctx context.Context) {
	for ctx.Err() == nil {
		shipped, err := w.worker().Once(ctx)
		if err != nil || !shipped {
			time.Sleep(time.Millisecond)
		}
	}
}

func (w *workload) sweeper() *sweep.Sweeper {
	s, err := sweep.New(sweep.Config{OrphanAge: 1}, office{w}, w.c.store, nobody{}, w.c.logger)
	if err != nil {
		w.c.t.Fatal(err)
	}
	return s
}

func (w *workload) sweep(ctx context.Context) {
	s := w.sweeper()
	for ctx.Err() == nil {
		_ = s.Garbage(ctx)
		if w.c.dice.oneIn(4) {
			_ = s.Orphans(ctx)
		}
		time.Sleep(time.Millisecond)
	}
}

func (w *workload) close() {
	for _, n := range w.c.nodes {
		n.mu.Lock()
		n.end(false)
		n.mu.Unlock()
	}
	w.c.leading.Load().close()
	_ = w.c.store.Close()
}
