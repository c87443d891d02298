package conformance

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/services/e2e/cluster"
)

// shareClasses compiles the consumer of shares/ and returns a class path with it.
func shareClasses(t testing.TB) string {
	t.Helper()
	libs := jars(t)
	classes := t.TempDir()
	cluster.MustCommand(t, "", "javac", "-d", classes, "-cp", libs, filepath.Join(cluster.Root(), "services", "conformance", "shares", "ShareConsumers.java"))
	return classes + string(os.PathListSeparator) + libs
}

// sharing is a Varve with a topic, and share consumers on it.
type sharing struct {
	t       *testing.T
	address string
	classes string
	client  *kgo.Client
}

func newSharing(t *testing.T, address, classes string) *sharing {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.AllowAutoTopicCreation(), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return &sharing{t: t, address: address, classes: classes, client: client}
}

// configure sets a group's configuration, or the cluster's where there is no group.
func (s *sharing) configure(group, name, value string) {
	s.t.Helper()
	r := kmsg.NewPtrIncrementalAlterConfigsRequest()
	resource := kmsg.NewIncrementalAlterConfigsRequestResource()
	resource.ResourceType, resource.ResourceName = kmsg.ConfigResourceTypeBroker, group
	if group != "" {
		resource.ResourceType = kmsg.ConfigResourceTypeGroupConfig
	}
	c := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
	c.Name, c.Value = name, kmsg.StringPtr(value)
	resource.Configs = append(resource.Configs, c)
	r.Resources = append(r.Resources, resource)
	answer, err := r.RequestWith(s.t.Context(), s.client)
	if err != nil || answer.Resources[0].ErrorCode != 0 {
		s.t.Fatalf("set %s of group %q: %v %+v", name, group, err, answer)
	}
}

// produce writes records to partition 0, ten to a batch.
func (s *sharing) produce(topic string, n int) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	for i := 0; i < n; i += 10 {
		var batch []*kgo.Record
		for j := i; j < min(i+10, n); j++ {
			batch = append(batch, &kgo.Record{Topic: topic, Value: fmt.Appendf(nil, "%s-%d", topic, j)})
		}
		if err := s.client.ProduceSync(ctx, batch...).FirstErr(); err != nil {
			s.t.Fatal(err)
		}
	}
}

// consume starts a share consumer.
func (s *sharing) consume(name, group, topic, mode string, wanted int, limit time.Duration) *shareConsumer {
	s.t.Helper()
	p := newJava(s.t, name, s.classes, "ShareConsumers", s.address, group, topic, mode, fmt.Sprint(wanted), fmt.Sprint(limit.Milliseconds()))
	p.start()
	return &shareConsumer{s.t, p}
}

type shareConsumer struct {
	t *testing.T
	*javaProcess
}

// given is a line that the consumer has written of a record.
type given struct {
	offset     int
	deliveries int
}

func (c *shareConsumer) records() (all []given) {
	for line := range strings.Lines(c.text()) {
		var partition int
		var g given
		if n, err := fmt.Sscanf(line, "record %d %d %d ", &partition, &g.offset, &g.deliveries); err == nil && n == 3 {
			all = append(all, g)
		}
	}
	return all
}

// await waits for a line.
func (c *shareConsumer) await(text string) {
	c.t.Helper()
	cluster.Eventually(c.t, time.Minute, c.name+" says "+text, func() error {
		if !strings.Contains(c.text(), text) {
			if !c.running() {
				c.t.Fatalf("%s has ended:\n%s", c.name, c.text())
			}
			return fmt.Errorf("not yet")
		}
		return nil
	})
}

// finish waits for the consumer to end by itself, and fails the test for what it was told of errors.
func (c *shareConsumer) finish() []given {
	c.t.Helper()
	select {
	case <-c.exited:
	case <-time.After(2 * time.Minute):
		c.t.Fatalf("%s does not end:\n%s", c.name, c.text())
	}
	if text := c.text(); !strings.Contains(text, "closed\n") || strings.Contains(text, "error ") {
		c.t.Errorf("%s:\n%s", c.name, text)
	}
	return c.records()
}

// expect checks that each of the offsets [0, n) was given deliveries times in all, and that the counts went from 1 up.
func expectDeliveries(t *testing.T, n, deliveries int, consumers ...[]given) {
	t.Helper()
	seen := make([]map[int]int, n)
	for _, all := range consumers {
		for _, g := range all {
			if g.offset >= n {
				t.Errorf("offset %d was given", g.offset)
				continue
			}
			if seen[g.offset] == nil {
				seen[g.offset] = map[int]int{}
			}
			seen[g.offset][g.deliveries]++
		}
	}
	for offset, counts := range seen {
		for count := 1; count <= deliveries; count++ {
			if counts[count] != 1 {
				t.Errorf("offset %d was given %d times as the delivery %d", offset, counts[count], count)
			}
		}
		if len(counts) != deliveries {
			t.Errorf("offset %d was given as %v", offset, counts)
		}
	}
}

// TestShareConsumers runs Kafka's share consumer against Varve.
func TestShareConsumers(t *testing.T) {
	needGate(t)
	classes, node := shareClasses(t), cluster.Serve(t)
	begin := func(t *testing.T, group string) *sharing {
		s := newSharing(t, node.Kafka, classes)
		s.configure(group, "share.auto.offset.reset", "earliest")
		return s
	}

	t.Run("two consumers have all records of a partition between them, and none of them both", func(t *testing.T) {
		s := begin(t, "pair")
		s.produce("pair", 400)
		a, b := s.consume("a", "pair", "pair", "accept", 200, time.Minute), s.consume("b", "pair", "pair", "accept", 200, time.Minute)
		of, more := a.finish(), b.finish()
		if len(of) == 0 || len(more) == 0 {
			t.Errorf("%d and %d records", len(of), len(more))
		}
		expectDeliveries(t, 400, 1, of, more)
	})

	t.Run("implicit acknowledgement", func(t *testing.T) {
		s := begin(t, "implicit")
		s.produce("implicit", 100)
		expectDeliveries(t, 100, 1, s.consume("first", "implicit", "implicit", "implicit", 100, time.Minute).finish())
		expectDeliveries(t, 0, 1, s.consume("second", "implicit", "implicit", "implicit", 1, 5*time.Second).finish())
	})

	t.Run("what is released is given again, with a higher count", func(t *testing.T) {
		s := begin(t, "once")
		s.produce("once", 50)
		expectDeliveries(t, 50, 2, s.consume("c", "once", "once", "release-once", 100, time.Minute).finish())
	})

	t.Run("what is released as often as it may be is archived", func(t *testing.T) {
		s := begin(t, "limit")
		s.produce("limit", 20)
		expectDeliveries(t, 20, 5, s.consume("c", "limit", "limit", "release", 101, 15*time.Second).finish())
	})

	t.Run("what is rejected is not given again", func(t *testing.T) {
		s := begin(t, "rejected")
		s.produce("rejected", 30)
		rejected := s.consume("rejecting", "rejected", "rejected", "reject", 30, time.Minute).finish()
		expectDeliveries(t, 30, 1, rejected, s.consume("later", "rejected", "rejected", "accept", 1, 5*time.Second).finish())
	})

	t.Run("a member whose connection ends gives back what it has", func(t *testing.T) {
		s := begin(t, "killed")
		s.produce("killed", 50)
		holder := s.consume("holder", "killed", "killed", "hold", 1, time.Hour)
		holder.await("holding")
		holder.kill()
		// As if it had never been given out: long before its lock ends, and counted once.
		expectDeliveries(t, 50, 1, s.consume("heir", "killed", "killed", "accept", 50, 20*time.Second).finish())
	})

	t.Run("what is locked for too long is given to another", func(t *testing.T) {
		s := begin(t, "locked")
		s.configure("locked", "share.record.lock.duration.ms", "15000")
		s.produce("locked", 50)
		holder := s.consume("holder", "locked", "locked", "hold", 1, time.Hour)
		holder.await("holding")
		holder.suspend() // its client goes on asking for records as long as it runs, and may be the next to be given them
		heir := s.consume("heir", "locked", "locked", "accept", 50, time.Minute).finish()
		for _, g := range heir {
			if g.deliveries != 2 {
				t.Errorf("offset %d was given as delivery %d", g.offset, g.deliveries)
			}
		}
		expectDeliveries(t, 50, 2, holder.records(), heir)
	})

	t.Run("latest is the default", func(t *testing.T) {
		s := newSharing(t, node.Kafka, classes)
		s.produce("latest", 10)
		c := s.consume("c", "latest", "latest", "accept", 10, time.Minute)
		cluster.Eventually(t, time.Minute, "the group has a start offset", func() error { return s.startsAt("latest", 10) })
		s.produce("latest", 10)
		for _, g := range c.finish() {
			if g.offset < 10 {
				t.Errorf("offset %d was given", g.offset)
			}
		}
	})

	t.Run("read_committed leaves out aborted transactions", func(t *testing.T) {
		s := begin(t, "committed")
		s.configure("committed", "share.isolation.level", "read_committed")
		producer, err := kgo.NewClient(kgo.SeedBrokers(node.Kafka), kgo.AllowAutoTopicCreation(), kgo.TransactionalID("sharing"))
		if err != nil {
			t.Fatal(err)
		}
		defer producer.Close()
		// The last transaction's records, which are given too, tell that what stands before them has been passed.
		ends := []kgo.TransactionEndTry{kgo.TryAbort, kgo.TryCommit, kgo.TryAbort, kgo.TryCommit, kgo.TryAbort, kgo.TryCommit}
		for i, commit := range ends {
			if err := producer.BeginTransaction(); err != nil {
				t.Fatal(err)
			}
			for j := range 10 {
				if err := producer.ProduceSync(t.Context(), &kgo.Record{Topic: "committed", Value: fmt.Appendf(nil, "%v-%d-%d", commit, i, j)}).FirstErr(); err != nil {
					t.Fatal(err)
				}
			}
			if err := producer.EndTransaction(t.Context(), commit); err != nil {
				t.Fatal(err)
			}
		}
		c := s.consume("c", "committed", "committed", "accept", 30, time.Minute)
		if got := c.finish(); len(got) != 30 || strings.Contains(c.text(), fmt.Sprintf(" %v-", kgo.TryAbort)) {
			t.Errorf("%d records:\n%s", len(got), c.text())
		}
	})
}

// TestShareConsumersSurviveKills kills Varve under a share consumer: what it was told is acknowledged is not given again, and nothing is lost.
func TestShareConsumersSurviveKills(t *testing.T) {
	needGate(t)
	classes, node := shareClasses(t), cluster.Serve(t)
	s := newSharing(t, node.Kafka, classes)
	s.configure("kills", "share.auto.offset.reset", "earliest")
	const records = 2000
	s.produce("kills", records)
	c := s.consume("c", "kills", "kills", "accept", 1<<30, 3*time.Minute)
	for round := 1; round <= 3; round++ {
		cluster.Eventually(t, time.Minute, "more is acknowledged", func() error {
			if n := strings.Count(c.text(), "committed "); n < round*records/8 {
				return fmt.Errorf("%d", n)
			}
			return c.mustRun()
		})
		node.Kill()
		node.Start()
	}
	cluster.Eventually(t, 2*time.Minute, "all is acknowledged", func() error { return errors.Join(s.startsAt("kills", records), c.mustRun()) })
	c.kill()
	given := map[int]bool{}
	for _, g := range c.records() {
		given[g.offset] = true
	}
	if len(given) != records {
		t.Errorf("%d of %d records were given", len(given), records)
	}
	// Where Varve was killed between an acknowledgement and its answer, the consumer is told that the records are not its any more.
	if left := unacknowledged(c.text(), records); left > 0 && !strings.Contains(c.text(), "\nerror ") {
		t.Errorf("the consumer was not told of %d records that they are acknowledged, nor why not", left)
	}
	acknowledged := map[int]bool{}
	for line := range strings.Lines(c.text()) {
		var partition, offset int
		if n, _ := fmt.Sscanf(line, "committed %d %d", &partition, &offset); n == 2 {
			acknowledged[offset] = true
		}
		if n, _ := fmt.Sscanf(line, "record %d %d", &partition, &offset); n == 2 && acknowledged[offset] {
			t.Errorf("offset %d was given after it was acknowledged", offset)
		}
	}
}

// startsAt says whether a share group is done with all records below an offset of the partition of the topic of its name, and with no more.
func (s *sharing) startsAt(group string, offset int64) error {
	r := kmsg.NewPtrDescribeShareGroupOffsetsRequest()
	r.Groups = []kmsg.DescribeShareGroupOffsetsRequestGroup{{GroupID: group}}
	answer, err := r.RequestWith(s.t.Context(), s.client)
	if err != nil || len(answer.Groups[0].Topics) == 0 || answer.Groups[0].Topics[0].Partitions[0].StartOffset != offset {
		return fmt.Errorf("%v %+v", err, answer)
	}
	return nil
}

// unacknowledged counts the offsets below n of which the consumer was not told that they are.
func unacknowledged(text string, n int) int {
	acknowledged := map[int]bool{}
	for line := range strings.Lines(text) {
		var partition, offset int
		if n, _ := fmt.Sscanf(line, "committed %d %d", &partition, &offset); n == 2 {
			acknowledged[offset] = true
		}
	}
	return n - len(acknowledged)
}

// TestShareGroupTools runs the tools for share groups that come with Kafka.
func TestShareGroupTools(t *testing.T) {
	needGate(t)
	const groups, consumer = "org.apache.kafka.tools.consumer.group.ShareGroupCommand", "org.apache.kafka.tools.consumer.ConsoleShareConsumer"
	classes, node := jars(t), cluster.Serve(t)
	s := newSharing(t, node.Kafka, classes)
	s.produce("shared", 100)
	run := func(class string, args ...string) cluster.Result {
		t.Helper()
		all := append(append([]string{}, javaOptions...), append([]string{"-cp", classes, class, "--bootstrap-server", node.Kafka}, args...)...)
		return cluster.Command(t, "", "java", all...)
	}
	for _, step := range []struct {
		name  string
		class string
		args  []string
		want  []string
	}{
		{"configs", configsTool, []string{"--alter", "--entity-type", "groups", "--entity-name", "readers", "--add-config", "share.auto.offset.reset=earliest,share.record.lock.duration.ms=15000"}, []string{"Completed"}},
		{"configs describe", configsTool, []string{"--describe", "--entity-type", "groups", "--entity-name", "readers"}, []string{"share.auto.offset.reset=earliest"}},
		{"console share consumer", consumer, []string{"--topic", "shared", "--group", "readers", "--max-messages", "100", "--timeout-ms", "30000"}, []string{"shared-0\n", "shared-99\n"}},
		{"list", groups, []string{"--list"}, []string{"readers"}},
		{"list states", groups, []string{"--list", "--state"}, []string{"readers", "Empty"}},
		{"describe", groups, []string{"--describe", "--group", "readers"}, []string{"readers", "shared", "0", "100"}},
		{"describe members", groups, []string{"--describe", "--members", "--group", "readers"}, nil},
		{"describe state", groups, []string{"--describe", "--state", "--group", "readers"}, []string{"readers", "Empty"}},
		{"describe offsets", groups, []string{"--describe", "--offsets", "--group", "readers"}, []string{"shared"}},
		{"delete offsets", groups, []string{"--delete-offsets", "--group", "readers", "--topic", "shared"}, []string{"shared"}},
		{"console share consumer again", consumer, []string{"--topic", "shared", "--group", "readers", "--max-messages", "100", "--timeout-ms", "30000"}, []string{"shared-0\n", "shared-99\n"}},
		{"delete", groups, []string{"--delete", "--group", "readers"}, []string{"successful"}},
	} {
		t.Run(step.name, func(t *testing.T) {
			r := run(step.class, step.args...)
			if r.Code != 0 || strings.Contains(r.Stdout, "Error") {
				t.Errorf("exit code %d\n%s%s", r.Code, r.Stdout, r.Stderr)
			}
			for _, want := range step.want {
				if !strings.Contains(r.Stdout, want) {
					t.Errorf("%q is not in the output:\n%s%s", want, r.Stdout, r.Stderr)
				}
			}
		})
	}
}
