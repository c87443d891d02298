package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varvelog/varve/services/e2e/cluster"
)

// load keeps producers busy until it is stopped, and knows what was acknowledged.
type load struct {
	topic        string
	partitions   int32
	acknowledged atomic.Int64
	producers    []*loadProducer
}

// maxInFlight is how many records a producer of a load has without acknowledgements at most.
const maxInFlight = 200

type loadProducer struct {
	name       string
	idempotent bool
	client     *kgo.Client
	done       chan struct{}
	sent       []int // per partition
	mu         struct {
		sync.Mutex
		offsets map[string]string // value to partition@offset, of acknowledged records
		failed  error
	}
}

// startLoad produces to every partition in turn, a bounded number of records ahead of the acknowledgements.
func startLoad(t *testing.T, ctx context.Context, nodes []*cluster.Node, topic string, partitions int32, idempotent ...bool) *load {
	t.Helper()
	l := &load{topic: topic, partitions: partitions}
	for i, id := range idempotent {
		p := &loadProducer{name: fmt.Sprintf("p%d", i), idempotent: id, done: make(chan struct{}), sent: make([]int, partitions)}
		p.mu.offsets = map[string]string{}
		// A node that is killed before its first answer on a connection looks to this client like one that wants SASL, and its records fail, unless told otherwise.
		options := []kgo.Opt{kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.MaxBufferedRecords(maxInFlight), kgo.ProducerBatchMaxBytes(32 << 10), kgo.AlwaysRetryEOF()}
		if !id {
			options = append(options, kgo.DisableIdempotentWrite(), kgo.MaxProduceRequestsInflightPerBroker(1))
		}
		p.client = dial(t, nodes[i%len(nodes)], options...)
		l.producers = append(l.producers, p)
		go func() {
			defer close(p.done)
			l.run(ctx, p)
		}()
	}
	return l
}

func (l *load) run(ctx context.Context, p *loadProducer) {
	for i := 0; ctx.Err() == nil; i++ {
		partition := int32(i) % l.partitions
		r := &kgo.Record{Topic: l.topic, Partition: partition, Value: fmt.Appendf(nil, "%s/%d/%d", p.name, partition, p.sent[partition])}
		p.sent[partition]++
		// Not the load's context: what was begun is brought to its end.
		p.client.Produce(context.WithoutCancel(ctx), r, func(r *kgo.Record, err error) {
			p.mu.Lock()
			defer p.mu.Unlock()
			if err != nil {
				p.mu.failed = fmt.Errorf("%s: %w", r.Value, err)
				return
			}
			p.mu.offsets[string(r.Value)] = fmt.Sprintf("%d@%d", r.Partition, r.Offset)
			l.acknowledged.Add(1)
		})
	}
}

// await returns when count more records have been acknowledged.
func (l *load) await(t *testing.T, count int64) {
	t.Helper()
	target := l.acknowledged.Load() + count
	cluster.Eventually(t, patience, fmt.Sprintf("%d more acknowledgements", count), func() error {
		if got := l.acknowledged.Load(); got < target {
			return fmt.Errorf("%d missing", target-got)
		}
		return nil
	})
}

// finish waits for every acknowledgement. The load's context has ended.
func (l *load) finish(t *testing.T) {
	t.Helper()
	for _, p := range l.producers {
		<-p.done
		if err := p.client.Flush(within(t, patience)); err != nil {
			t.Fatalf("%s: flush: %v", p.name, err)
		}
		if p.mu.failed != nil {
			t.Fatalf("a record failed, though its producer was to try until it succeeds: %v", p.mu.failed)
		}
	}
}

// check compares a topic's content with what was sent and acknowledged.
func (l *load) check(t *testing.T, content map[int32][]*kgo.Record) {
	t.Helper()
	for _, p := range l.producers {
		for partition, records := range content {
			last, seen := -1, map[string]bool{}
			for i, r := range records {
				if i > 0 && r.Offset != records[i-1].Offset+1 {
					t.Fatalf("partition %d: offset %d follows %d", partition, r.Offset, records[i-1].Offset)
				}
				value := string(r.Value)
				if !strings.HasPrefix(value, p.name+"/") {
					continue
				}
				var at int32
				var n int
				if _, err := fmt.Sscanf(value, p.name+"/%d/%d", &at, &n); err != nil || at != partition || n >= p.sent[partition] {
					t.Fatalf("partition %d: %q was never sent there", partition, value)
				}
				if p.idempotent && n != last+1 {
					t.Fatalf("partition %d offset %d: %q follows number %d: a duplicate, a gap or disorder", partition, r.Offset, value, last)
				}
				last = n
				seen[value] = true
				if place, ok := p.mu.offsets[value]; p.idempotent && ok && place != fmt.Sprintf("%d@%d", partition, r.Offset) {
					t.Fatalf("%q is at %d@%d, and was acknowledged at %s", value, partition, r.Offset, place)
				}
			}
			for n := range p.sent[partition] {
				if value := fmt.Sprintf("%s/%d/%d", p.name, partition, n); !seen[value] {
					t.Fatalf("%q was acknowledged and is lost", value)
				}
			}
		}
	}
}

// crashSeed makes the instants of kills differ from run to run; a failed test prints it.
func crashSeed(t *testing.T) *rand.Rand {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("seed of the instants: %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

func TestNothingAcknowledgedIsLostWhenTheProcessIsKilled(t *testing.T) {
	t.Parallel()
	for name, flags := range map[string][]string{
		"hot log alone":     {"--snapshot-entries=50"},
		"while it ships":    append([]string{"--snapshot-entries=50"}, quickTiering...),
		"bucket metalog":    {"--metalog=bucket", "--snapshot-entries=50"},
		"object durability": {"--metalog=bucket", "--object-puts-per-second=200"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n, content := killUnderLoad(t, flags, strings.HasPrefix(name, "object"))
			if name == "while it ships" {
				// Nothing waits for the lease of a worker that was killed.
				awaitShipped(t, n, "killed", 4)
				compare(t, flatten(readAll(t, n, "killed")), flatten(content))
			}
		})
	}
}

func killUnderLoad(t *testing.T, flags []string, objects bool) (*cluster.Node, map[int32][]*kgo.Record) {
	const partitions, rounds = 4, 4
	n := cluster.Serve(t, flags...)
	var configs []string
	if objects {
		configs = []string{"varve.durability", "object"}
	}
	createTopic(t, n, "killed", partitions, configs...)
	random := crashSeed(t)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	l := startLoad(t, ctx, []*cluster.Node{n}, "killed", partitions, true, true, false)
	var received tally
	reader := join(t, n, "survivors", "killed", &received)
	for range rounds {
		l.await(t, 1+random.Int64N(1500))
		before := committedOffsets(t, n, "survivors")
		n.Kill()
		n.Start()
		for partition, offset := range committedOffsets(t, n, "survivors") {
			if offset < before[partition] {
				t.Errorf("partition %d: committed offset %d after the kill, %d before", partition, offset, before[partition])
			}
		}
	}
	l.await(t, 100)
	stop()
	l.finish(t)
	content := readAll(t, n, "killed")
	l.check(t, content)
	cluster.Eventually(t, patience, "the group has received everything", func() error {
		if got, want := received.distinct(), len(flatten(content)); got != want {
			return fmt.Errorf("%d of %d records", got, want)
		}
		return nil
	})
	reader.leave()
	return n, content
}

// committedOffsets are a group's, of all partitions in which it has committed.
func committedOffsets(t *testing.T, n *cluster.Node, group string) map[int32]int64 {
	t.Helper()
	fetched, err := admin(t, n).FetchOffsets(within(t, patience), group)
	if err != nil {
		t.Fatalf("fetch offsets of %s: %v", group, err)
	}
	committed := map[int32]int64{}
	for _, partitions := range fetched {
		for p, offset := range partitions {
			if offset.Err != nil {
				t.Fatalf("committed offset of partition %d: %v", p, offset.Err)
			}
			committed[p] = offset.At
		}
	}
	return committed
}

func TestADrainingProcessAnswersWhatItTook(t *testing.T) {
	t.Parallel()
	n := cluster.Serve(t)
	createTopic(t, n, "drained", 2)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	l := startLoad(t, ctx, []*cluster.Node{n}, "drained", 2, true, true)
	for range 2 {
		l.await(t, 500)
		started := time.Now()
		n.Stop()
		if took := time.Since(started); took > 15*time.Second {
			t.Errorf("stopping took %v", took)
		}
		n.Start()
	}
	stop()
	l.finish(t)
	l.check(t, readAll(t, n, "drained"))
}
