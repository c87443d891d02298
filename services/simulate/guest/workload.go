package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/services/simulate/world"
)

// workload is the users of a cluster: real clients over the simulated network.
type workload struct {
	c          *cluster
	w          *world.World
	history    *history
	topics     []string // one of each class, named after it
	partitions []partition
	hosts      []*world.Process // of clients

	running sync.WaitGroup
	stop    context.CancelFunc
	drained context.CancelFunc // ends producers that have not come to an end
}

func newWorkload(c *cluster) *workload {
	u := &workload{c: c, w: c.w, history: newHistory(c.w), topics: []string{"object", "replicated"}}
	if !c.w.Swarm.DiskLost {
		u.topics = append(u.topics, "local")
	}
	for i := range 3 {
		u.hosts = append(u.hosts, c.w.NewProcess(fmt.Sprintf("client-%d", i+1), fmt.Sprintf("client-%d", i+1)))
	}
	return u
}

// options are those of every client: little patience, so that a seed's time is used.
func (u *workload) options(host *world.Process, more ...kgo.Opt) []kgo.Opt {
	var seeds []string
	for _, s := range u.c.nodes {
		seeds = append(seeds, kafkaAddress(s.name))
	}
	return append([]kgo.Opt{
		kgo.SeedBrokers(seeds...), kgo.ClientID(host.Name),
		kgo.Dialer(func(ctx context.Context, network, address string) (c conn, err error) {
			ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
			defer cancel()
			return host.Dial(ctx, network, address)
		}),
		kgo.MetadataMinAge(100 * time.Millisecond), kgo.MetadataMaxAge(10 * time.Second), kgo.RequestTimeoutOverhead(3 * time.Second),
		kgo.RetryBackoffFn(func(tries int) time.Duration { return min(time.Duration(tries)*50*time.Millisecond, time.Second) }),
		kgo.RetryTimeout(20 * time.Second), kgo.ProducerBatchMaxBytes(8 << 10), kgo.UnknownTopicRetries(-1), kgo.WithLogger(clientLog{u.w, host.Name}),
	}, more...)
}

func (u *workload) client(host *world.Process, more ...kgo.Opt) *kgo.Client {
	cl, err := kgo.NewClient(u.options(host, more...)...)
	if err != nil {
		panic(err)
	}
	return cl
}

func newTopic(name, class string, partitions int32) kmsg.CreateTopicsRequestTopic {
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = name, partitions, 1
	compress := "false"
	for _, config := range [][2]string{{"varve.durability", class}, {"varve.compress.uncompressed", compress}} {
		c := kmsg.NewCreateTopicsRequestTopicConfig()
		c.Name, c.Value = config[0], &config[1]
		t.Configs = append(t.Configs, c)
	}
	return t
}

// prepare creates the topics.
func (u *workload) prepare() bool {
	cl := u.client(u.hosts[0])
	defer cl.Close()
	request := kmsg.NewPtrCreateTopicsRequest()
	request.TimeoutMillis = 5000
	for _, class := range u.topics {
		t := newTopic(class, class, int32(1+u.w.IntN(3)))
		request.Topics = append(request.Topics, t)
		for i := range t.NumPartitions {
			u.partitions = append(u.partitions, partition{class, i})
		}
	}
	if u.w.Swarm.Rot > 0 {
		// Nothing happens to it, and the part of snapshots that it fills, before all others, stays the same.
		request.Topics = append(request.Topics, newTopic("idle", "object", 256))
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	response, err := request.RequestWith(ctx, cl)
	if err != nil {
		u.w.Fail(world.Progress, "create topics: %v", err)
		return false
	}
	for _, t := range response.Topics {
		if t.ErrorCode != 0 {
			u.w.Fail(world.Progress, "create topic %s: %v", t.Topic, kerr.ErrorForCode(t.ErrorCode))
			return false
		}
	}
	return true
}

// run lets the users work for a while.
func (u *workload) run(long time.Duration) {
	ctx, stop := context.WithTimeout(context.Background(), long)
	u.stop = stop
	drained, cancel := context.WithCancel(context.Background())
	u.drained = cancel
	for i := range 2 {
		u.running.Go(func() { u.produce(ctx, drained, fmt.Sprintf("p%d", i), u.hosts[i]) })
	}
	u.running.Go(func() { u.pipeline(ctx, "q0", u.hosts[0]) })
	u.running.Go(func() { u.transact(ctx, drained, "t0", u.hosts[2]) })
	for i := range 2 {
		u.running.Go(func() { u.watch(ctx, u.hosts[i]) })
	}
	u.running.Go(func() { u.roam(ctx, u.hosts[0]) })
	u.running.Go(func() { u.follow(ctx, u.hosts[2]) })
	u.running.Go(func() { u.join(ctx, u.hosts[1]) })
	<-ctx.Done()
}

// finish waits for what producers have begun.
func (u *workload) finish() {
	defer u.drained()
	u.stop()
	done := make(chan struct{})
	go func() {
		u.running.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(2 * time.Minute):
		u.w.Fail(world.Progress, "clients are not done two minutes after faults are over")
	}
}

func (u *workload) pick() partition { return u.partitions[u.w.IntN(len(u.partitions))] }

// value says whose it is and makes it unlike any other; it has at least so many bytes.
func (u *workload) value(producer string, number, leastBytes int) string {
	return fmt.Sprintf("%s %d %s", producer, number, strings.Repeat("x", leastBytes+u.w.IntN(1+u.w.IntN(800))))
}

// produce is an idempotent producer.
func (u *workload) produce(ctx, drained context.Context, id string, host *world.Process) {
	generation := 0
	for number := 0; ctx.Err() == nil; generation++ {
		cl := u.client(host, kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchCompression(kgo.NoCompression()),
			kgo.ProduceRequestTimeout(5*time.Second), kgo.ProducerLinger(0), kgo.StopProducerOnDataLossDetected())
		producer, failed := fmt.Sprintf("%s.%d", id, generation), false
		for ctx.Err() == nil && !failed {
			count, least := 1+u.w.IntN(6), 0
			if u.w.OneIn(40) { // more at once than a node has memory for
				count, least = 10+u.w.IntN(20), 3<<10
			}
			for range count {
				number++
				r := &record{value: u.value(producer, number, least), producer: producer, number: number, at: u.pick()}
				u.history.send(r)
				cl.Produce(drained, &kgo.Record{Topic: r.at.topic, Partition: r.at.number, Value: []byte(r.value)}, func(k *kgo.Record, err error) {
					if err != nil {
						u.w.Count("produce failed")
						u.w.Trace("%s: %v: %v", producer, r.at, err)
						u.outOfOrder(producer, err)
						failed = true
						return
					}
					u.w.Count("produced")
					u.history.ack(r, k.Offset)
				})
			}
			_ = world.Sleep(ctx, u.w.Between(0, 150*time.Millisecond))
		}
		if err := cl.Flush(drained); err != nil {
			u.w.Trace("%s: flush: %v", producer, err)
		}
		cl.Close()
	}
}

// outOfOrder fails the seed where a sequence is refused: the clients here send none that a broker that loses nothing could refuse.
func (u *workload) outOfOrder(producer string, err error) {
	if errors.Is(err, kerr.OutOfOrderSequenceNumber) || errors.Is(err, kerr.UnknownProducerID) {
		u.w.Fail("6 producer order", "%s: %v", producer, err)
	}
}

// transact is a transactional producer.
func (u *workload) transact(ctx, drained context.Context, id string, host *world.Process) {
	number, round := 0, 0
	for ctx.Err() == nil {
		cl := u.client(host, kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchCompression(kgo.NoCompression()),
			kgo.ProduceRequestTimeout(5*time.Second), kgo.ProducerLinger(0), kgo.TransactionalID(id), kgo.TransactionTimeout(10*time.Second))
		for ctx.Err() == nil {
			round++
			t := &transaction{name: fmt.Sprintf("%s/%d", id, round)}
			if err := cl.BeginTransaction(); err != nil {
				u.w.Trace("%s: begin: %v", t.name, err)
				break
			}
			broken := false
			for range 1 + u.w.IntN(5) {
				number++
				r := &record{value: u.value(id, number, 0), producer: id, number: number, at: u.pick(), txn: t}
				u.history.send(r)
				cl.Produce(drained, &kgo.Record{Topic: r.at.topic, Partition: r.at.number, Value: []byte(r.value)}, func(k *kgo.Record, err error) {
					if err != nil {
						broken = true
						return
					}
					u.history.ack(r, k.Offset)
				})
				_ = world.Sleep(ctx, u.w.Between(0, 50*time.Millisecond))
			}
			if !u.end(drained, cl, t, &broken) {
				break
			}
		}
		cl.Close()
	}
}

// end commits, or aborts what is broken, and some of the rest; false where the client cannot go on.
func (u *workload) end(ctx context.Context, cl *kgo.Client, t *transaction, broken *bool) bool {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	commit := kgo.TryCommit
	if err := cl.Flush(ctx); err != nil || *broken || u.w.OneIn(3) {
		commit = kgo.TryAbort
	}
	err := cl.EndTransaction(ctx, commit)
	u.w.Trace("%s: end, commit %v: %v", t.name, commit, err)
	switch {
	case err == nil && bool(commit):
		t.fate = committed
		u.w.Count("transaction committed")
	case err == nil:
		t.fate = aborted
		u.w.Count("transaction aborted")
	case errors.Is(err, kerr.OperationNotAttempted):
		// Something in it has failed: it can only be aborted.
		if err := cl.EndTransaction(ctx, kgo.TryAbort); err != nil {
			return false
		}
		t.fate = aborted
		u.w.Count("transaction aborted")
	default:
		u.w.Count("transaction unknown")
		return false
	}
	return true
}
