package e2e

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varvelog/varve/services/e2e/cluster"
)

// steady is a producer that sends a record every few milliseconds, and a consumer of a group that follows it, both with the client's
// default settings. It knows every error that they were told, how long each acknowledgement took, and how long each record took to its reader.
type steady struct {
	topic      string
	partitions int32
	producer   *kgo.Client
	consumer   *kgo.Client
	stop       context.CancelFunc
	running    sync.WaitGroup

	mu struct {
		sync.Mutex
		errors   []error
		sent     map[int32]int64
		acked    []passage
		received map[int32]map[int64]int // partition, number, how often
		read     []passage
		moved    int       // rebalances that took something away
		metadata time.Time // when one of the clients last heard which nodes there are
	}
}

// OnBrokerRead implements kgo.HookBrokerRead.
func (s *steady) OnBrokerRead(_ kgo.BrokerMetadata, key int16, _ int, _, _ time.Duration, _ error) {
	if key == 3 {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.mu.metadata = time.Now()
	}
}

// rest returns when everything that was sent is read, and the clients would ask for metadata again: a franz-go client does not ask more
// often than every five seconds, whatever happens. It returns the instant.
func (s *steady) rest(t *testing.T) time.Time {
	t.Helper()
	cluster.Eventually(t, patience, "clients would ask for metadata", func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.mu.read) == 0 {
			return errors.New("nothing has been read")
		}
		if age := time.Since(s.mu.metadata); age < 5100*time.Millisecond {
			return fmt.Errorf("they did %v ago", age)
		}
		return nil
	})
	s.settle(t)
	return time.Now()
}

// passage is the way of one record.
type passage struct{ sent, done time.Time }

func (p passage) took() time.Duration { return p.done.Sub(p.sent) }

const steadyInterval = 5 * time.Millisecond

// startSteady starts both over all nodes as seeds. The topic is there.
func startSteady(t *testing.T, nodes []*cluster.Node, topic string, partitions int32, options ...kgo.Opt) *steady {
	t.Helper()
	s := &steady{topic: topic, partitions: partitions}
	s.mu.sent, s.mu.received = map[int32]int64{}, map[int32]map[int64]int{}
	var seeds []string
	for _, n := range nodes {
		seeds = append(seeds, n.Kafka)
	}
	client := func(more ...kgo.Opt) *kgo.Client {
		if path := os.Getenv("VARVE_CLIENT_LOG"); path != "" {
			if file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600); err == nil {
				more = append(more, kgo.WithLogger(kgo.BasicLogger(file, kgo.LogLevelDebug, func() string { return time.Now().Format("05.000 ") })))
			}
		}
		c, err := kgo.NewClient(append(append([]kgo.Opt{kgo.SeedBrokers(seeds...), kgo.WithHooks(s)}, options...), more...)...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.CloseAllowingRebalance)
		return c
	}
	s.producer = client(kgo.RecordPartitioner(kgo.ManualPartitioner()))
	s.consumer = client(kgo.ConsumerGroup("steady-"+topic), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.OnPartitionsRevoked(func(context.Context, *kgo.Client, map[string][]int32) { s.mu.Lock(); s.mu.moved++; s.mu.Unlock() }),
		kgo.OnPartitionsLost(func(context.Context, *kgo.Client, map[string][]int32) { s.mu.Lock(); s.mu.moved++; s.mu.Unlock() }))
	ctx, stop := context.WithCancel(t.Context())
	t.Cleanup(stop)
	s.stop = stop
	s.running.Go(func() { s.produce(ctx) })
	go s.consume()
	return s
}

func (s *steady) produce(ctx context.Context) {
	tick := time.NewTicker(steadyInterval)
	defer tick.Stop()
	for i := int32(0); ; i++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		partition := i % s.partitions
		s.mu.Lock()
		number := s.mu.sent[partition]
		s.mu.sent[partition]++
		s.mu.Unlock()
		sent := time.Now()
		value := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, uint64(number)), uint64(sent.UnixNano()))
		s.running.Add(1)
		s.producer.Produce(context.WithoutCancel(ctx), &kgo.Record{Topic: s.topic, Partition: partition, Value: value}, func(_ *kgo.Record, err error) {
			defer s.running.Done()
			s.mu.Lock()
			defer s.mu.Unlock()
			if err != nil {
				s.mu.errors = append(s.mu.errors, fmt.Errorf("produce: %w", err))
			}
			s.mu.acked = append(s.mu.acked, passage{sent, time.Now()})
		})
	}
}

func (s *steady) consume() {
	for {
		fetches := s.consumer.PollFetches(context.Background())
		if fetches.IsClientClosed() {
			return
		}
		now := time.Now()
		s.mu.Lock()
		for _, e := range fetches.Errors() {
			if !errors.Is(e.Err, context.Canceled) {
				s.mu.errors = append(s.mu.errors, fmt.Errorf("consume %s-%d: %w", e.Topic, e.Partition, e.Err))
			}
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if s.mu.received[r.Partition] == nil {
				s.mu.received[r.Partition] = map[int64]int{}
			}
			s.mu.received[r.Partition][int64(binary.BigEndian.Uint64(r.Value))]++
			s.mu.read = append(s.mu.read, passage{time.Unix(0, int64(binary.BigEndian.Uint64(r.Value[8:]))), now})
		})
		s.mu.Unlock()
	}
}

// around returns the longest passages of what was sent from half a second before an instant to another.
func (s *steady) around(t *testing.T, from, to time.Time) (acknowledged, read time.Duration) {
	t.Helper()
	cluster.Eventually(t, patience, "the time is over", func() error {
		if wait := time.Until(to); wait > 0 {
			return fmt.Errorf("%v are to come", wait)
		}
		return nil
	})
	s.settle(t)
	return s.longest(from.Add(-500*time.Millisecond), to)
}

// longest are the longest passages of what was sent between two instants: to the acknowledgement, and to the reader.
func (s *steady) longest(from, to time.Time) (acknowledged, read time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	longest := func(passages []passage) (d time.Duration) {
		for _, p := range passages {
			if !p.sent.Before(from) && p.sent.Before(to) {
				d = max(d, p.took())
			}
		}
		return d
	}
	return longest(s.mu.acked), longest(s.mu.read)
}

// settle returns when everything that has been sent up to now is acknowledged and read.
func (s *steady) settle(t *testing.T) {
	t.Helper()
	s.mu.Lock()
	goal := make(map[int32]int64, len(s.mu.sent))
	for p, n := range s.mu.sent {
		goal[p] = n
	}
	s.mu.Unlock()
	cluster.Eventually(t, patience, "everything is acknowledged and read", func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		for p, n := range goal {
			if got := int64(len(s.mu.received[p])); got < n {
				return fmt.Errorf("partition %d: %d of %d records; errors %v", p, got, n, s.mu.errors)
			}
		}
		return nil
	})
}

// finish stops the producer and fails the test where a client was told an error, a record is missing or there twice, or the group was
// disturbed.
func (s *steady) finish(t *testing.T) {
	t.Helper()
	s.stop()
	s.running.Wait()
	s.settle(t)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, err := range s.mu.errors {
		t.Errorf("a client was told: %v", err)
	}
	if s.mu.moved > 0 {
		t.Errorf("the group's member lost partitions %d times", s.mu.moved)
	}
	for p, numbers := range s.mu.received {
		for n := range s.mu.sent[p] {
			if numbers[n] != 1 {
				t.Errorf("partition %d: record %d was read %d times", p, n, numbers[n])
			}
		}
	}
}
