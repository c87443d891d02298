package conformance

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varvelog/varve/services/e2e/cluster"
)

// patience is how long a test waits for what Java clients take seconds for on an idle machine.
const patience = 2 * time.Minute

// newClient returns a client of a server that is closed with the test, and that outlives the server's restarts.
func newClient(t testing.TB, address string, options ...kgo.Opt) *kgo.Client {
	t.Helper()
	client, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(strings.Split(address, ",")...), kgo.MetadataMinAge(50 * time.Millisecond), kgo.MetadataMaxAge(2 * time.Second), kgo.UnknownTopicRetries(20),
		kgo.FetchMaxWait(200 * time.Millisecond), kgo.ProducerLinger(0), kgo.RetryBackoffFn(func(int) time.Duration { return 100 * time.Millisecond }),
	}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.CloseAllowingRebalance)
	return client
}

// mustCreate creates topics; configs are name, value, name, value.
func mustCreate(t testing.TB, address string, partitions int32, topics []string, configs ...string) {
	t.Helper()
	settings := map[string]*string{}
	for i := 0; i < len(configs); i += 2 {
		settings[configs[i]] = &configs[i+1]
	}
	answers, err := kadm.NewClient(newClient(t, address)).CreateTopics(t.Context(), partitions, -1, settings, topics...)
	if err != nil {
		t.Fatal(err)
	}
	for _, answer := range answers {
		if answer.Err != nil && !errors.Is(answer.Err, kerr.TopicAlreadyExists) {
			t.Fatalf("create topic %s: %v %s", answer.Topic, answer.Err, answer.ErrMessage)
		}
	}
}

// mustProduce returns when all records are acknowledged.
func mustProduce(t testing.TB, client *kgo.Client, records []*kgo.Record) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := client.ProduceSync(ctx, records...).FirstErr(); err != nil {
		t.Fatalf("produce: %v", err)
	}
}

// readCommitted reads topics from their start to their end, and fails the test where a transaction stays open.
func readCommitted(t testing.TB, address string, topics ...string) map[string][]*kgo.Record {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	admin := kadm.NewClient(newClient(t, address))
	ends, err := admin.ListEndOffsets(ctx, topics...)
	if err != nil || ends.Error() != nil {
		t.Fatalf("list ends of %q: %v %v", topics, err, ends.Error())
	}
	cluster.Eventually(t, patience, fmt.Sprintf("no open transaction in %q", topics), func() error {
		stable, err := admin.ListCommittedOffsets(ctx, topics...)
		if err = errors.Join(err, stable.Error()); err != nil {
			return err
		}
		ends.Each(func(end kadm.ListedOffset) {
			if s, ok := stable.Lookup(end.Topic, end.Partition); !ok || s.Offset < end.Offset {
				err = fmt.Errorf("%s %d is stable up to %d of %d", end.Topic, end.Partition, s.Offset, end.Offset)
			}
		})
		return err
	})
	offsets := map[string]map[int32]kgo.Offset{}
	missing := map[string]map[int32]int64{}
	left := 0
	ends.Each(func(end kadm.ListedOffset) {
		if offsets[end.Topic] == nil {
			offsets[end.Topic], missing[end.Topic] = map[int32]kgo.Offset{}, map[int32]int64{}
		}
		offsets[end.Topic][end.Partition] = kgo.NewOffset().AtStart()
		if end.Offset > 0 {
			missing[end.Topic][end.Partition] = end.Offset
			left++
		}
	})
	// Control records tell that a partition was read to its end, which is one of them.
	client := newClient(t, address, kgo.ConsumePartitions(offsets), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords())
	all := map[string][]*kgo.Record{}
	for left > 0 {
		fetches := client.PollFetches(ctx)
		if err := errors.Join(ctx.Err(), fetches.Err()); err != nil {
			t.Fatalf("read %q: not to their ends %v: %v", topics, missing, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if !r.Attrs.IsControl() {
				all[r.Topic] = append(all[r.Topic], r)
			}
			if end, open := missing[r.Topic][r.Partition]; open && r.Offset >= end-1 {
				delete(missing[r.Topic], r.Partition)
				left--
			}
		})
	}
	return all
}
