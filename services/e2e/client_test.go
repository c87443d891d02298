package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/services/e2e/cluster"
)

// patience is how long a test waits for what takes milliseconds on an idle machine.
const patience = 60 * time.Second

// within returns a context that ends when the test has waited long enough.
func within(t *testing.T, limit time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}

// dial returns a client of one node that is closed with the test.
func dial(t *testing.T, n *cluster.Node, options ...kgo.Opt) *kgo.Client {
	t.Helper()
	options = append([]kgo.Opt{
		kgo.SeedBrokers(n.Kafka), kgo.MetadataMinAge(50 * time.Millisecond), kgo.MetadataMaxAge(time.Second), kgo.UnknownTopicRetries(20),
		kgo.ProducerLinger(0), kgo.RetryBackoffFn(func(int) time.Duration { return 50 * time.Millisecond }),
	}, options...)
	client, err := kgo.NewClient(options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.CloseAllowingRebalance)
	return client
}

func admin(t *testing.T, n *cluster.Node) *kadm.Client {
	t.Helper()
	return kadm.NewClient(dial(t, n))
}

// createTopic creates a topic; configs are name, value, name, value.
func createTopic(t *testing.T, n *cluster.Node, topic string, partitions int32, configs ...string) {
	t.Helper()
	settings := map[string]*string{}
	for pair := range slices.Chunk(configs, 2) {
		settings[pair[0]] = &pair[1]
	}
	answer, err := admin(t, n).CreateTopic(within(t, patience), partitions, -1, settings, topic)
	if err != nil {
		t.Fatalf("create topic %s: %v %s", topic, err, answer.ErrMessage)
	}
}

// produce sends records in order, waits for all their acknowledgements and fails the test unless all came. The records are
// completed with partition, offset and timestamp.
func produce(t *testing.T, client *kgo.Client, records ...*kgo.Record) {
	t.Helper()
	if err := tryProduce(t, client, records...); err != nil {
		t.Fatalf("produce: %v", err)
	}
}

func tryProduce(t *testing.T, client *kgo.Client, records ...*kgo.Record) error {
	t.Helper()
	ctx := within(t, patience)
	// The client gives up no record whose fate it does not know, so the wait has an end of its own.
	results := make(chan kgo.ProduceResults, 1)
	go func() { results <- client.ProduceSync(ctx, records...) }()
	limit := time.NewTimer(patience + 5*time.Second)
	defer limit.Stop()
	select {
	case r := <-results:
		return r.FirstErr()
	case <-limit.C:
		return fmt.Errorf("no answer within %v", patience)
	}
}

// numbered returns count records with the values prefix-from, prefix-from+1, ….
func numbered(topic, prefix string, from, count int) []*kgo.Record {
	records := make([]*kgo.Record, count)
	for i := range records {
		records[i] = &kgo.Record{Topic: topic, Key: fmt.Appendf(nil, "k%d", (from+i)%97), Value: fmt.Appendf(nil, "%s-%d", prefix, from+i)}
	}
	return records
}

// readAll reads a topic from its log start to the high watermark that each partition has now.
func readAll(t *testing.T, n *cluster.Node, topic string, options ...kgo.Opt) map[int32][]*kgo.Record {
	t.Helper()
	records, err := tryReadAll(within(t, patience), t, n, topic, options...)
	if err != nil {
		t.Fatalf("read all of %s: %v", topic, err)
	}
	return records
}

func tryReadAll(ctx context.Context, t *testing.T, n *cluster.Node, topic string, options ...kgo.Opt) (map[int32][]*kgo.Record, error) {
	t.Helper()
	client := dial(t, n, append([]kgo.Opt{kgo.FetchMaxWait(200 * time.Millisecond)}, options...)...)
	defer client.Close()
	a := kadm.NewClient(client)
	starts, err := a.ListStartOffsets(ctx, topic)
	if err != nil {
		return nil, err
	}
	ends, err := a.ListEndOffsets(ctx, topic)
	if err = errors.Join(err, starts.Error(), ends.Error()); err != nil {
		return nil, err
	}
	all := map[int32][]*kgo.Record{}
	missing := map[int32]int64{} // partition to its end
	assigned := map[int32]kgo.Offset{}
	ends.Each(func(end kadm.ListedOffset) {
		start, _ := starts.Lookup(topic, end.Partition)
		all[end.Partition] = nil
		if start.Offset < end.Offset {
			missing[end.Partition] = end.Offset
			assigned[end.Partition] = kgo.NewOffset().At(start.Offset)
		}
	})
	client.AddConsumePartitions(map[string]map[int32]kgo.Offset{topic: assigned})
	for len(missing) > 0 {
		fetches := client.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			return all, fmt.Errorf("partitions not read to their ends %v: %w", missing, err)
		}
		if err := fetches.Err(); err != nil {
			return all, err
		}
		fetches.EachRecord(func(r *kgo.Record) {
			all[r.Partition] = append(all[r.Partition], r)
			if end, open := missing[r.Partition]; open && r.Offset >= end-1 {
				delete(missing, r.Partition)
			}
		})
	}
	return all, nil
}

// awaitNodes returns when a node's metadata name exactly the given nodes: one that died is named until its silence has been noticed.
func awaitNodes(t *testing.T, n *cluster.Node, want ...*cluster.Node) {
	t.Helper()
	var addresses []string
	for _, w := range want {
		addresses = append(addresses, w.Kafka)
	}
	slices.Sort(addresses)
	client := dial(t, n)
	started := time.Now()
	cluster.Eventually(t, patience, fmt.Sprintf("metadata that name %v", addresses), func() error {
		// Of n itself: the client would ask any node, even one that is frozen.
		answer, err := kmsg.NewPtrMetadataRequest().RequestWith(within(t, patience), client.SeedBrokers()[0])
		if err != nil {
			return err
		}
		var got []string
		for _, b := range answer.Brokers {
			got = append(got, fmt.Sprintf("%s:%d", b.Host, b.Port))
		}
		if slices.Sort(got); !slices.Equal(got, addresses) {
			return fmt.Errorf("they name %v", got)
		}
		return nil
	})
	t.Logf("metadata named %v after %v", addresses, time.Since(started).Round(time.Millisecond))
}

// flatten puts the records of all partitions behind each other.
func flatten(partitions map[int32][]*kgo.Record) (records []*kgo.Record) {
	for _, p := range sortedKeys(partitions) {
		records = append(records, partitions[p]...)
	}
	return records
}

func sortedKeys[V any](m map[int32]V) []int32 {
	var keys []int32
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// describe writes a record so that two are the same exactly if what Kafka keeps of them is: nil and empty differ.
func describe(r *kgo.Record) string {
	bytes := func(b []byte) string {
		if b == nil {
			return "nil"
		}
		return fmt.Sprintf("%q", b)
	}
	text := fmt.Sprintf("%s/%d@%d t=%d type=%d key=%s value=%s", r.Topic, r.Partition, r.Offset, r.Timestamp.UnixMilli(), r.Attrs.TimestampType(), bytes(r.Key), bytes(r.Value))
	for _, h := range r.Headers {
		text += fmt.Sprintf(" %s=%s", h.Key, bytes(h.Value))
	}
	return text
}

// compare fails the test unless got holds exactly the records of want, each with all that Kafka keeps of it.
func compare(t *testing.T, got, want []*kgo.Record) {
	t.Helper()
	byPlace := func(a, b *kgo.Record) int {
		if a.Partition != b.Partition {
			return int(a.Partition - b.Partition)
		}
		return int(a.Offset - b.Offset)
	}
	want = slices.SortedFunc(slices.Values(want), byPlace)
	if len(got) != len(want) {
		t.Errorf("%d records, want %d", len(got), len(want))
	}
	for i := range min(len(got), len(want)) {
		if g, w := describe(got[i]), describe(want[i]); g != w {
			t.Fatalf("record %d of %d:\n got %s\nwant %s", i, len(want), g, w)
		}
	}
}

// noise returns bytes that do not compress, the same for the same seed.
func noise(size int, seed uint64) []byte {
	b := make([]byte, size)
	source := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16)})
	_, _ = source.Read(b) // never fails
	return b
}
