package e2e

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/services/e2e/cluster"
)

// shareLedger is what members of a share group have been given and have acknowledged.
type shareLedger struct {
	t  *testing.T
	mu struct {
		sync.Mutex
		given        map[string]int // how often, by partition and offset
		acknowledged map[string]bool
	}
}

func newShareLedger(t *testing.T) *shareLedger {
	l := &shareLedger{t: t}
	l.mu.given, l.mu.acknowledged = map[string]int{}, map[string]bool{}
	return l
}

func recordKey(r *kgo.Record) string { return fmt.Sprintf("%d-%d", r.Partition, r.Offset) }

// OnFetchRecordBuffered is called when a record has come to a member, which may look at it much later (kgo.HookFetchRecordBuffered). One that was
// acknowledged before is nobody's any more.
func (l *shareLedger) OnFetchRecordBuffered(r *kgo.Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.acknowledged[recordKey(r)] {
		l.t.Errorf("%s was given after it was acknowledged", recordKey(r))
	}
	l.mu.given[recordKey(r)]++
}

func (l *shareLedger) acknowledge(records []*kgo.Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range records {
		l.mu.acknowledged[recordKey(r)] = true
	}
}

// await waits until so many records have been given.
func (l *shareLedger) await(what string, want int) {
	l.t.Helper()
	cluster.Eventually(l.t, 2*patience, what, func() error {
		l.mu.Lock()
		defer l.mu.Unlock()
		if got := len(l.mu.given); got < want {
			return fmt.Errorf("%d of %d records were given", got, want)
		}
		return nil
	})
}

// awaitShareEnd waits until a group is done with all records of a topic.
func awaitShareEnd(t *testing.T, n *cluster.Node, group string, records int64) {
	t.Helper()
	client := dial(t, n)
	cluster.Eventually(t, 2*patience, "the group is done with all records", func() error {
		r := kmsg.NewPtrDescribeShareGroupOffsetsRequest()
		r.Groups = []kmsg.DescribeShareGroupOffsetsRequestGroup{{GroupID: group}}
		answer, err := r.RequestWith(within(t, patience), client)
		if err != nil || len(answer.Groups[0].Topics) == 0 {
			return fmt.Errorf("describe offsets: %+v %w", answer, err)
		}
		var done int64
		for _, p := range answer.Groups[0].Topics[0].Partitions {
			done += max(p.StartOffset, 0)
		}
		if done < records {
			return fmt.Errorf("%d of %d", done, records)
		}
		return nil
	})
}

// shareMember reads as a member of a share group until it is left, and accepts everything.
type shareMember struct {
	client *kgo.Client
	stop   context.CancelFunc
	ended  chan struct{}
}

func joinShare(t *testing.T, n *cluster.Node, group, topic string, ledger *shareLedger) *shareMember {
	t.Helper()
	var mu sync.Mutex
	failed := map[int32]bool{} // partitions of which an acknowledgement failed in this round
	client := dial(t, n, kgo.ShareGroup(group), kgo.ConsumeTopics(topic), kgo.ShareMaxRecords(50), kgo.FetchMaxWait(200*time.Millisecond), kgo.WithHooks(ledger),
		kgo.ShareAckCallback(func(_ *kgo.Client, results kgo.ShareAckResults) {
			mu.Lock()
			defer mu.Unlock()
			for _, r := range results {
				if r.Err != nil {
					failed[r.Partition] = true
				}
			}
		}))
	ctx, stop := context.WithCancel(t.Context())
	m := &shareMember{client, stop, make(chan struct{})}
	go func() {
		defer close(m.ended)
		for ctx.Err() == nil {
			records := client.PollRecords(ctx, 50).Records()
			for _, r := range records {
				r.Ack(kgo.AckAccept)
			}
			if err := client.FlushAcks(ctx); err != nil {
				if !errors.Is(err, context.Canceled) {
					t.Errorf("flush acknowledgements: %v", err)
				}
				return
			}
			mu.Lock()
			var done []*kgo.Record
			for _, r := range records {
				if !failed[r.Partition] {
					done = append(done, r)
				}
			}
			clear(failed)
			mu.Unlock()
			ledger.acknowledge(done)
		}
	}()
	t.Cleanup(m.leave)
	return m
}

func (m *shareMember) leave() {
	m.stop()
	<-m.ended
	m.client.Close()
}

func configureGroup(t *testing.T, n *cluster.Node, group, name, value string) {
	t.Helper()
	r := kmsg.NewPtrIncrementalAlterConfigsRequest()
	resource := kmsg.NewIncrementalAlterConfigsRequestResource()
	resource.ResourceType, resource.ResourceName = kmsg.ConfigResourceTypeGroupConfig, group
	resource.Configs = []kmsg.IncrementalAlterConfigsRequestResourceConfig{{Name: name, Value: &value}}
	r.Resources = append(r.Resources, resource)
	answer, err := r.RequestWith(within(t, patience), dial(t, n))
	if err != nil || answer.Resources[0].ErrorCode != 0 {
		t.Fatalf("set %s of group %s: %v %+v", name, group, err, answer)
	}
}

func shareRecords(topic string, partitions, n int) (records []*kgo.Record) {
	for i := range n {
		records = append(records, &kgo.Record{Topic: topic, Partition: int32(i % partitions), Value: fmt.Appendf(nil, "value %d", i)})
	}
	return records
}

func TestShareConsumersOfOnePartition(t *testing.T) {
	t.Parallel()
	n := cluster.Serve(t)
	createTopic(t, n, "tasks", 1)
	configureGroup(t, n, "workers", "share.auto.offset.reset", "earliest")
	producer := dial(t, n, kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.MaxBufferedRecords(100), kgo.ProducerBatchMaxBytes(1<<10))
	ledger := newShareLedger(t)
	joinShare(t, n, "workers", "tasks", ledger)
	joinShare(t, n, "workers", "tasks", ledger)
	const records = 2000
	produce(t, producer, shareRecords("tasks", 1, records)...)
	awaitShareEnd(t, n, "workers", records)
	ledger.mu.Lock()
	defer ledger.mu.Unlock()
	for key, times := range ledger.mu.given {
		if times != 1 {
			t.Errorf("%s was given %d times", key, times)
		}
	}
}

// TestShareConsumersWhileProcessesAreKilled: any node serves any share fetch, what was acknowledged is not given again, and nothing is lost.
func TestShareConsumersWhileProcessesAreKilled(t *testing.T) {
	t.Parallel()
	r := cluster.StartRoles(t, cluster.RolesConfig{})
	const partitions, records = 3, 1500
	createTopic(t, r.Ingest[0], "tasks", partitions, "varve.durability", "local")
	awaitNodes(t, r.Ingest[0], r.Ingest...)
	configureGroup(t, r.Ingest[0], "workers", "share.auto.offset.reset", "earliest")
	configureGroup(t, r.Ingest[0], "workers", "share.record.lock.duration.ms", "15000")
	producer := dial(t, r.Ingest[0], kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchMaxBytes(1<<10))
	ledger := newShareLedger(t)
	joinShare(t, r.Ingest[0], "workers", "tasks", ledger)
	joinShare(t, r.Ingest[1], "workers", "tasks", ledger)
	for round, victim := range []*cluster.Node{r.Coordinator, r.Ingest[0], r.Ingest[1]} {
		produce(t, producer, shareRecords("tasks", partitions, records/3)...)
		ledger.await(fmt.Sprintf("half of round %d is given", round), round*records/3+records/6)
		victim.Kill()
		victim.Start()
	}
	awaitShareEnd(t, r.Ingest[0], "workers", records)
	ledger.await("nothing is lost", records)
	produce(t, producer, shareRecords("tasks", partitions, records/3)...)
	awaitShareEnd(t, r.Ingest[0], "workers", records+records/3)
	ledger.await("nothing is lost", records+records/3)
}

// TestShareConsumersWhenTheLeaderChanges: what a member has is memory of the leader's, and free again at the next one; what was acknowledged is not, as
// soon as there is nothing left in anybody's hands that a former leader has given out.
func TestShareConsumersWhenTheLeaderChanges(t *testing.T) {
	t.Parallel()
	r := cluster.StartRoles(t, cluster.RolesConfig{Coordinators: 3, Flags: []string{"--metalog=bucket"}})
	const partitions, records = 3, 500
	createTopic(t, r.Ingest[0], "tasks", partitions, "varve.durability", "local")
	awaitNodes(t, r.Ingest[0], r.Ingest...)
	configureGroup(t, r.Ingest[0], "workers", "share.auto.offset.reset", "earliest")
	configureGroup(t, r.Ingest[0], "workers", "share.record.lock.duration.ms", "15000")
	producer := dial(t, r.Ingest[0], kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchMaxBytes(1<<10))
	ledger := newShareLedger(t)
	joinShare(t, r.Ingest[0], "workers", "tasks", ledger)
	joinShare(t, r.Ingest[1], "workers", "tasks", ledger)
	ends := []func(*cluster.Node){(*cluster.Node).Kill, (*cluster.Node).Freeze, (*cluster.Node).Stop}
	for round, end := range ends {
		produce(t, producer, shareRecords("tasks", partitions, records)...)
		ledger.await(fmt.Sprintf("half of round %d is given", round), round*records+records/2)
		leader, others := cluster.AwaitLeader(t, patience, r.Coordinators...)
		end(leader)
		cluster.AwaitLeader(t, patience, others...)
		if leader.Running() {
			leader.Thaw()
		} else {
			leader.Start()
		}
	}
	awaitShareEnd(t, r.Ingest[0], "workers", int64(len(ends)*records))
	ledger.await("nothing is lost", len(ends)*records)
	produce(t, producer, shareRecords("tasks", partitions, records)...)
	awaitShareEnd(t, r.Ingest[0], "workers", int64((len(ends)+1)*records))
	ledger.await("nothing is lost", (len(ends)+1)*records)
}
