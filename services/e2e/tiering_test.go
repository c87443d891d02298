package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/services/e2e/cluster"
)

// quickTiering ships soon after records came, and deletes soon after nothing refers to an object any more.
var quickTiering = []string{"--seal-age=200ms", "--hot-segment-bytes=16MiB", "--delete-delay=0s", "--sweep-interval=1s"}

// Special timestamps of ListOffsets.
const (
	latestOffset       = -1
	earliestOffset     = -2
	earliestLocal      = -4
	latestTieredOffset = -5
)

// listOffsets asks one node for a timestamp's offset in each partition of a topic.
func listOffsets(ctx context.Context, client *kgo.Client, topic string, partitions int32, timestamp int64) (map[int32]kmsg.ListOffsetsResponseTopicPartition, error) {
	request := kmsg.NewPtrListOffsetsRequest()
	wanted := kmsg.NewListOffsetsRequestTopic()
	wanted.Topic = topic
	for p := range partitions {
		asked := kmsg.NewListOffsetsRequestTopicPartition()
		asked.Partition, asked.Timestamp = p, timestamp
		wanted.Partitions = append(wanted.Partitions, asked)
	}
	request.Topics = append(request.Topics, wanted)
	response, err := client.SeedBrokers()[0].RetriableRequest(ctx, request)
	if err != nil {
		return nil, fmt.Errorf("list offsets at %d: %w", timestamp, err)
	}
	answers := map[int32]kmsg.ListOffsetsResponseTopicPartition{}
	for _, p := range response.(*kmsg.ListOffsetsResponse).Topics[0].Partitions {
		if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
			return nil, fmt.Errorf("list offsets at %d: partition %d: %w", timestamp, p.Partition, err)
		}
		answers[p.Partition] = p
	}
	return answers, nil
}

// newestVersions has the client use every version it knows, as some special timestamps need.
func newestVersions() kgo.Opt { return kgo.MaxVersions(nil) }

// awaitShipped returns when the bucket holds all records that each of the topic's partitions has now.
func awaitShipped(t *testing.T, n *cluster.Node, topic string, partitions int32) {
	t.Helper()
	client := dial(t, n, newestVersions())
	ctx := within(t, 2*patience) // longer than the wait, so that what is said is why
	ends, err := listOffsets(ctx, client, topic, partitions, latestOffset)
	if err != nil {
		t.Fatal(err)
	}
	cluster.Eventually(t, patience, "records of "+topic+" in the bucket", func() error {
		tiered, err := listOffsets(ctx, client, topic, partitions, latestTieredOffset)
		if err != nil {
			return err
		}
		for p, end := range ends {
			if at := tiered[p].Offset; at < end.Offset-1 {
				return fmt.Errorf("partition %d: tiered up to %d, high watermark %d", p, at, end.Offset)
			}
		}
		return nil
	})
}

// awaitHotLogReleased returns when at most the active segment is left of a node's hot log.
func awaitHotLogReleased(t *testing.T, n *cluster.Node) {
	t.Helper()
	cluster.Eventually(t, patience, "hot log released", func() error {
		if files := cluster.Files(t, n.HotLogDir(), "seg"); len(files) > 1 {
			return fmt.Errorf("files %v", files)
		}
		return nil
	})
}

func TestWhatWasShippedIsReadFromTheBucketAlone(t *testing.T) {
	t.Parallel()
	n := cluster.Serve(t, quickTiering...)
	const partitions = 5
	createTopic(t, n, "settled", partitions)
	producer := dial(t, n)
	manual := dial(t, n, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	var want []*kgo.Record
	for i := range 3 {
		records := numbered("settled", fmt.Sprintf("round%d", i), 0, 5_000)
		produce(t, producer, records...)
		odd := oddRecords("settled", int32(i))
		produce(t, manual, odd...)
		want = append(append(want, records...), odd...)
		awaitShipped(t, n, "settled", partitions)
	}
	compare(t, flatten(readAll(t, n, "settled")), want)

	n.Stop()
	if err := os.RemoveAll(n.HotLogDir()); err != nil {
		t.Fatal(err)
	}
	n.Start()
	compare(t, flatten(readAll(t, n, "settled")), want)
	// And it goes on behind them, with producers that were there before.
	more := numbered("settled", "after", 0, 500)
	produce(t, producer, more...)
	compare(t, flatten(readAll(t, n, "settled")), append(want, more...))
}

func TestRetentionByTimeDeletesTheOldest(t *testing.T) {
	t.Parallel()
	n := cluster.Serve(t, quickTiering...)
	createTopic(t, n, "aging", 1)
	producer := dial(t, n)
	old := numbered("aging", "old", 0, 100)
	for _, r := range old {
		r.Timestamp = time.Now().Add(-2 * time.Hour)
	}
	produce(t, producer, old...)
	awaitShipped(t, n, "aging", 1)
	fresh := numbered("aging", "fresh", 0, 100)
	produce(t, producer, fresh...)
	awaitShipped(t, n, "aging", 1)
	before := len(cluster.Files(t, n.BucketDir(), "segment/"))
	setConfig(t, n, "aging", "retention.ms", "3600000")
	awaitLogStart(t, n, "aging", func(start int64) bool { return start == 100 })
	compare(t, flatten(readAll(t, n, "aging")), fresh)
	cluster.Eventually(t, patience, "objects of deleted records deleted", func() error {
		if after := len(cluster.Files(t, n.BucketDir(), "segment/")); after >= before {
			return fmt.Errorf("%d segment objects, %d before", after, before)
		}
		return nil
	})
	// Log start is what a restarted process says, too.
	n.Kill()
	n.Start()
	awaitLogStart(t, n, "aging", func(start int64) bool { return start == 100 })
	compare(t, flatten(readAll(t, n, "aging")), fresh)
}

func TestRetentionBySizeKeepsTheNewest(t *testing.T) {
	t.Parallel()
	n := cluster.Serve(t, quickTiering...)
	createTopic(t, n, "sized", 1, "compression.type", "producer")
	producer := dial(t, n, kgo.ProducerBatchCompression(kgo.NoCompression()))
	var all []*kgo.Record
	for i := range 6 {
		records := numbered("sized", fmt.Sprintf("r%d", i), 0, 20)
		for j, r := range records {
			r.Value = noise(10_000, uint64(i*100+j))
		}
		produce(t, producer, records...)
		awaitShipped(t, n, "sized", 1)
		all = append(all, records...)
	}
	before := len(cluster.Files(t, n.BucketDir(), "segment/"))
	setConfig(t, n, "sized", "retention.bytes", "500000")
	// Kafka deletes whole segments, and only while what is left is at least retention.bytes.
	awaitLogStart(t, n, "sized", func(start int64) bool { return start > 0 })
	start := logStart(t, n, "sized")
	if kept := (120 - start) * 10_000; kept < 500_000 || kept > 900_000 {
		t.Errorf("log start %d keeps about %d bytes of 500,000", start, kept)
	}
	compare(t, flatten(readAll(t, n, "sized")), all[start:])
	cluster.Eventually(t, patience, "objects deleted", func() error {
		if after := len(cluster.Files(t, n.BucketDir(), "segment/")); after >= before {
			return fmt.Errorf("%d segment objects, %d before", after, before)
		}
		return nil
	})
}

func TestDeletingATopicDeletesItsObjects(t *testing.T) {
	t.Parallel()
	n := cluster.Serve(t, quickTiering...)
	createTopic(t, n, "doomed", 3)
	createTopic(t, n, "kept", 1)
	createTopic(t, n, "doomed-objects", 1, "varve.durability", "object")
	producer := dial(t, n)
	produce(t, producer, numbered("doomed", "r", 0, 2_000)...)
	produce(t, producer, numbered("doomed-objects", "r", 0, 10)...)
	awaitShipped(t, n, "doomed", 3)
	kept := numbered("kept", "r", 0, 10)
	produce(t, producer, kept...)
	awaitShipped(t, n, "kept", 1)
	awaitShipped(t, n, "doomed-objects", 1)
	produce(t, producer, numbered("doomed", "unshipped", 0, 100)...)
	if answers, err := admin(t, n).DeleteTopics(within(t, patience), "doomed", "doomed-objects"); err != nil || answers.Error() != nil {
		t.Fatal(err, answers.Error())
	}
	cluster.Eventually(t, patience, "objects of deleted topics deleted", func() error {
		segments, chunks := cluster.Files(t, n.BucketDir(), "segment/"), cluster.Files(t, n.BucketDir(), "chunk/")
		if len(segments) != 1 || len(chunks) != 0 {
			return fmt.Errorf("segments %v, chunks %v", segments, chunks)
		}
		return nil
	})
	awaitHotLogReleased(t, n)
	compare(t, flatten(readAll(t, n, "kept")), kept)
}

func TestLocalRetentionKeepsCopiesOnTheNode(t *testing.T) {
	t.Parallel()
	n := cluster.Serve(t, quickTiering...)
	createTopic(t, n, "near", 1, "local.retention.ms", "3600000")
	createTopic(t, n, "far", 1, "local.retention.ms", "0")
	client := dial(t, n, newestVersions())
	produce(t, client, numbered("near", "r", 0, 100)...)
	awaitShipped(t, n, "near", 1)
	produce(t, client, numbered("far", "r", 0, 100)...)
	awaitShipped(t, n, "far", 1)
	earliest := func(topic string) int64 {
		t.Helper()
		answer, err := listOffsets(within(t, patience), client, topic, 1, earliestLocal)
		if err != nil {
			t.Fatal(err)
		}
		return answer[0].Offset
	}
	if at := earliest("near"); at != 0 {
		t.Errorf("earliest local offset %d, want 0: it is to be kept for an hour", at)
	}
	if at := earliest("far"); at != 100 {
		t.Errorf("earliest local offset %d, want 100: it is not to be kept", at)
	}
	// What is kept is read from the node, with no request to the bucket.
	gets := func() float64 {
		t.Helper()
		count, err := n.Metric("varve_object_requests_total", `op="get"`)
		if err != nil {
			t.Fatal(err)
		}
		return count
	}
	before := gets()
	if got := flatten(readAll(t, n, "near")); len(got) != 100 {
		t.Errorf("%d records", len(got))
	}
	if after := gets(); after != before {
		t.Errorf("reading local copies took %v GETs", after-before)
	}
	if got := flatten(readAll(t, n, "far")); len(got) != 100 {
		t.Errorf("%d records", len(got))
	}
	if after := gets(); after == before {
		t.Errorf("reading what is in the bucket alone took no GET")
	}
	setConfig(t, n, "near", "local.retention.ms", "100")
	cluster.Eventually(t, patience, "local copies released", func() error {
		if at := earliest("near"); at != 100 {
			return fmt.Errorf("earliest local offset %d", at)
		}
		return nil
	})
	awaitHotLogReleased(t, n)
}

func setConfig(t *testing.T, n *cluster.Node, topic, name, value string) {
	t.Helper()
	answers, err := admin(t, n).AlterTopicConfigs(within(t, patience), []kadm.AlterConfig{{Op: kadm.SetConfig, Name: name, Value: &value}}, topic)
	if err != nil {
		t.Fatal(err)
	}
	if answer, err := answers.On(topic, nil); errors.Join(err, answer.Err) != nil {
		t.Fatalf("set %s=%s: %v %s", name, value, errors.Join(err, answer.Err), answer.ErrMessage)
	}
}

func logStart(t *testing.T, n *cluster.Node, topic string) int64 {
	t.Helper()
	starts, err := admin(t, n).ListStartOffsets(within(t, patience), topic)
	if err = errors.Join(err, starts.Error()); err != nil {
		t.Fatal(err)
	}
	start, _ := starts.Lookup(topic, 0)
	return start.Offset
}

func awaitLogStart(t *testing.T, n *cluster.Node, topic string, reached func(int64) bool) {
	t.Helper()
	cluster.Eventually(t, patience, "log start of "+topic, func() error {
		if start := logStart(t, n, topic); !reached(start) {
			return errors.New("it is at " + strconv.FormatInt(start, 10))
		}
		return nil
	})
}
