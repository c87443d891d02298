// Package lanetest holds what the tests of ingest share: a coordinator reduced to its state machine, and record batches.
package lanetest

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/coordinator/replica"
	"github.com/varvelog/varve/ingest/lane"
	"github.com/varvelog/varve/ingest/recordbatch"
)

// Cluster is leader, log and replica in one: what is submitted is applied at once. It is one node's view, too: its Renew
// registers the disk with DiskID.
type Cluster struct {
	DiskID [16]byte

	mu struct {
		sync.RWMutex
		state    *meta.State
		sinks    map[lane.Registration]replica.ChunkSink
		watchers map[meta.TopicPartition][]chan<- struct{}
		onSubmit func(attempt int, commands []*metapb.Command) (apply bool, err error)
		attempts int
		barrier  func(ctx context.Context) error
		barriers int
		verdicts map[string]meta.Verdict
		commands []*metapb.Command
	}
}

// NewCluster returns a cluster with a leader and nothing else.
func NewCluster() *Cluster {
	c := &Cluster{DiskID: [16]byte{0xd1}}
	c.mu.state = meta.New([16]byte{1})
	c.mu.sinks = make(map[lane.Registration]replica.ChunkSink)
	c.mu.watchers = make(map[meta.TopicPartition][]chan<- struct{})
	c.mu.verdicts = make(map[string]meta.Verdict)
	c.Apply(&metapb.Command{Kind: &metapb.Command_LeaderStart{LeaderStart: &metapb.LeaderStart{Epoch: 1, FeatureLevel: meta.FeatureLevel}}})
	return c
}

// OnSubmit makes decide judge every submission, counted from 1, before it is applied: whether it is, and what its
// submitter is told. It is called without locks and may block.
func (c *Cluster) OnSubmit(decide func(attempt int, commands []*metapb.Command) (apply bool, err error)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.onSubmit, c.mu.attempts = decide, 0
}

// OnBarrier makes answer take the place of barriers that cost nothing.
func (c *Cluster) OnBarrier(answer func(ctx context.Context) error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.barrier = answer
}

// Barriers counts the barriers passed or tried.
func (c *Cluster) Barriers() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.barriers
}

// Barrier implements fetch.Replica.
func (c *Cluster) Barrier(ctx context.Context) error {
	c.mu.Lock()
	c.mu.barriers++
	answer := c.mu.barrier
	c.mu.Unlock()
	if answer == nil {
		return nil
	}
	return answer(ctx)
}

// SubmitChunks implements lane.Replica.
func (c *Cluster) SubmitChunks(_ context.Context, commands []*metapb.Command) error {
	commands = slices.Clone(commands)
	c.mu.Lock()
	c.mu.attempts++
	attempt, decide := c.mu.attempts, c.mu.onSubmit
	c.mu.Unlock()
	if decide == nil {
		c.Apply(commands...)
		return nil
	}
	apply, err := decide(attempt, commands)
	if apply {
		c.Apply(commands...)
	}
	return err
}

// SubscribeChunks implements lane.Replica.
func (c *Cluster) SubscribeChunks(node meta.NodeID, epoch uint64, sink replica.ChunkSink) func() {
	key := lane.Registration{Node: node, Epoch: epoch}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.sinks[key] = sink
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.mu.sinks, key)
	}
}

// Renew implements lane.Epochs.
func (c *Cluster) Renew(context.Context) (lane.Registration, error) {
	incarnation := make([]byte, 16)
	if _, err := rand.Read(incarnation); err != nil {
		return lane.Registration{}, err
	}
	v := c.Propose(&metapb.Command{Kind: &metapb.Command_RegisterNode{RegisterNode: &metapb.RegisterNode{
		DiskId: c.DiskID[:], Incarnation: incarnation, InternalAddress: "node:1",
	}}})
	if v.Code != meta.OK {
		return lane.Registration{}, fmt.Errorf("register node: %v", v.Code)
	}
	return lane.Registration{Node: v.NodeID, Epoch: v.NodeEpoch}, nil
}

// Propose applies one command and returns its verdict.
func (c *Cluster) Propose(command *metapb.Command) meta.Verdict {
	id := make([]byte, 16)
	_, _ = rand.Read(id) // never fails
	command.Id = id
	c.Apply(command)
	c.mu.Lock()
	defer c.mu.Unlock()
	v := c.mu.verdicts[string(id)]
	delete(c.mu.verdicts, string(id))
	return v
}

// Apply applies commands as one entry.
func (c *Cluster) Apply(commands ...*metapb.Command) {
	c.mu.Lock()
	defer c.mu.Unlock()
	st := c.mu.state
	logID := st.LogID()
	c.mu.commands = append(c.mu.commands, commands...)
	entry := &metapb.Entry{Format: meta.EntryFormat, LogId: logID[:], LeaderEpoch: 1, TimeMillis: st.TimeMillis() + 1, Commands: commands}
	if err := st.Apply(st.Seq()+1, entry, observer{c}); err != nil {
		panic(err)
	}
}

// Commands are all commands applied so far.
func (c *Cluster) Commands() []*metapb.Command {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return slices.Clone(c.mu.commands)
}

// Forget empties what Commands returns.
func (c *Cluster) Forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.commands = nil
}

// View implements fetch.Replica.
func (c *Cluster) View(read func(*meta.State)) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	read(c.mu.state)
}

// Watch implements fetch.Replica.
func (c *Cluster) Watch(partitions []meta.TopicPartition, ch chan<- struct{}) func() {
	partitions = slices.Clone(partitions)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range partitions {
		c.mu.watchers[p] = append(c.mu.watchers[p], ch)
	}
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, p := range partitions {
			c.mu.watchers[p] = slices.DeleteFunc(c.mu.watchers[p], func(other chan<- struct{}) bool { return other == ch })
		}
	}
}

// Watching counts the watches of a partition.
func (c *Cluster) Watching(p meta.TopicPartition) int {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return len(c.mu.watchers[p])
}

// observer is the state's, under the cluster's lock.
type observer struct{ *Cluster }

func (observer) Wants([]byte) bool                    { return true }
func (o observer) Verdict(id []byte, v meta.Verdict)  { o.mu.verdicts[string(id)] = v }
func (observer) WantsChunks(meta.NodeID, uint64) bool { return true }
func (observer) Changed(meta.ChangeKind)              {}
func (o observer) Committed(p meta.TopicPartition, _ int64) {
	for _, ch := range o.mu.watchers[p] {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
}

func (o observer) ChunkVerdict(c *metapb.CommitChunk, v *meta.ChunkVerdict) {
	if sink := o.mu.sinks[lane.Registration{Node: meta.NodeID(c.NodeId), Epoch: c.NodeEpoch}]; sink != nil {
		sink.ChunkVerdict(c, v)
	}
}

// CreateTopic creates a topic of a durability class, "local" or "object".
func (c *Cluster) CreateTopic(t testing.TB, name, durability string, partitions int32) meta.TopicID {
	t.Helper()
	var id meta.TopicID
	copy(id[:], name)
	v := c.Propose(&metapb.Command{Kind: &metapb.Command_CreateTopic{CreateTopic: &metapb.CreateTopic{
		Name: name, TopicId: id[:], Partitions: partitions, Configs: []*metapb.ConfigEntry{{Name: "varve.durability", Value: durability}},
	}}})
	if v.Code != meta.OK {
		t.Fatalf("create topic %s: %v %s", name, v.Code, v.Message)
	}
	return id
}

// RecordBatch builds a batch of records with these values and timestamps from millis on.
func RecordBatch(t testing.TB, producer *recordbatch.Producer, millis int64, values ...string) ([]byte, recordbatch.Header) {
	t.Helper()
	b := recordbatch.NewBuilder(recordbatch.BuilderOptions{Producer: producer})
	for i, value := range values {
		if err := b.Append(int64(i), millis+int64(i), nil, []byte(value), nil); err != nil {
			t.Fatal(err)
		}
	}
	data, header, err := b.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	return data, header
}
