package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varvelog/varve/services/e2e/cluster"
)

// awayCluster is two ingest nodes with an unshipped `local` topic whose partitions lie on either, and what was written there.
type awayCluster struct {
	*cluster.Roles
	bucket string
	sent   map[int32][]string // values by partition, in order
	home   map[int32]int      // which of the nodes a partition lies on
}

const awayPartitions = 24

func startAway(t *testing.T) *awayCluster {
	t.Helper()
	bucket := filepath.Join(t.TempDir(), "bucket")
	r := cluster.StartRoles(t, cluster.RolesConfig{Bucket: "file://" + bucket, Flags: []string{"--seal-age=1h"}})
	awaitNodes(t, r.Ingest[0], r.Ingest...)
	createTopic(t, r.Ingest[0], "away", awayPartitions, "varve.durability", "local")
	a := &awayCluster{Roles: r, bucket: bucket, sent: map[int32][]string{}, home: map[int32]int{}}
	a.produce(t, r.Ingest[0], "before", 20)
	metadata, err := admin(t, r.Ingest[0]).Metadata(within(t, patience), "away")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range metadata.Topics["away"].Partitions.Sorted() {
		for i, n := range r.Ingest {
			for _, b := range metadata.Brokers {
				if b.NodeID == p.Leader && fmt.Sprintf("%s:%d", b.Host, b.Port) == n.Kafka {
					a.home[p.Partition] = i
				}
			}
		}
	}
	if a.on(0) == 0 || a.on(1) == 0 {
		t.Fatalf("all %d partitions lie on one node: %v", awayPartitions, a.home)
	}
	return a
}

func (a *awayCluster) on(node int) (partitions int) {
	for _, at := range a.home {
		if at == node {
			partitions++
		}
	}
	return partitions
}

// produce sends records to every partition, one behind the other.
func (a *awayCluster) produce(t *testing.T, n *cluster.Node, prefix string, count int) {
	t.Helper()
	client := dial(t, n, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	defer client.Close()
	var records []*kgo.Record
	for p := range int32(awayPartitions) {
		for i := range count {
			value := fmt.Sprintf("%s/%d/%d", prefix, p, i)
			records = append(records, &kgo.Record{Topic: "away", Partition: p, Value: []byte(value)})
			a.sent[p] = append(a.sent[p], value)
		}
	}
	produce(t, client, records...)
}

// read returns what is read of some partitions from the beginning, until each has given want records.
func (a *awayCluster) read(t *testing.T, n *cluster.Node, want map[int32][]string) {
	t.Helper()
	at := map[int32]kgo.Offset{}
	for p := range want {
		at[p] = kgo.NewOffset().AtStart()
	}
	client := dial(t, n, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"away": at}), kgo.FetchMaxWait(200*time.Millisecond))
	defer client.Close()
	ctx := within(t, patience)
	got := map[int32][]string{}
	for done := 0; done < len(want); {
		fetches := client.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			t.Fatalf("read %v: %v", counts(got), err)
		}
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		done = 0
		fetches.EachRecord(func(r *kgo.Record) { got[r.Partition] = append(got[r.Partition], string(r.Value)) })
		for p := range want {
			if len(got[p]) >= len(want[p]) {
				done++
			}
		}
	}
	for p := range want {
		if strings.Join(got[p], " ") != strings.Join(want[p], " ") {
			t.Fatalf("partition %d: read %v\nwant %v", p, got[p], want[p])
		}
	}
}

func counts(values map[int32][]string) map[int32]int {
	out := map[int32]int{}
	for p, v := range values {
		out[p] = len(v)
	}
	return out
}

// sentTo is what was sent to the partitions that lie on a node.
func (a *awayCluster) sentTo(node int) map[int32][]string {
	out := map[int32][]string{}
	for p, at := range a.home {
		if at == node {
			out[p] = append([]string(nil), a.sent[p]...)
		}
	}
	return out
}

// TestOnlyWhatLiesOnANodeThatIsAwayWaitsForIt: its unshipped ranges are refused with an error that consumers retry, everything else goes
// on, and when its disk is back they are.
func TestOnlyWhatLiesOnANodeThatIsAwayWaitsForIt(t *testing.T) {
	t.Parallel()
	a := startAway(t)
	a.Ingest[0].Kill()
	awaitNodes(t, a.Ingest[1], a.Ingest[1])
	a.read(t, a.Ingest[1], a.sentTo(1))
	a.produce(t, a.Ingest[1], "meanwhile", 5)

	// A consumer of the other partitions gets nothing, and no wrong answer either.
	away := a.sentTo(0)
	at := map[int32]kgo.Offset{}
	for p := range away {
		at[p] = kgo.NewOffset().AtStart()
	}
	waiting := dial(t, a.Ingest[1], kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"away": at}), kgo.FetchMaxWait(200*time.Millisecond))
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	for ctx.Err() == nil {
		fetches := waiting.PollFetches(ctx)
		if n := fetches.NumRecords(); n > 0 {
			t.Fatalf("%d records of a disk that is away", n)
		}
	}

	a.Ingest[0].Start()
	a.read(t, a.Ingest[1], a.sent)
	a.read(t, a.Ingest[0], a.sent)
	want := 0
	for _, values := range away {
		want += len(values)
	}
	if got := len(collect(t, waiting, want)); got != want {
		t.Errorf("the consumer that waited got %d records of %d", got, want)
	}
}

// TestWhatLayOnAForgottenNodeIsPassedOver: a node that lives is refused; of one that is gone it is said what is lost, and then readers
// come to the end.
func TestWhatLayOnAForgottenNodeIsPassedOver(t *testing.T) {
	t.Parallel()
	a := startAway(t)
	node := func(args ...string) (string, error) {
		r := cluster.Command(t, "", cluster.Binary(), append(append([]string{"node"}, args...), "--bucket", "file://"+a.bucket, "--coordinator", a.Coordinator.Internal)...)
		if r.Code != 0 {
			return r.Stdout + r.Stderr, fmt.Errorf("exit code %d", r.Code)
		}
		return r.Stdout + r.Stderr, nil
	}
	id := func(n *cluster.Node) string {
		out, err := node("list", "--json")
		if err != nil {
			t.Fatal(err, out)
		}
		for _, d := range documents(t, strings.Join(jsonLines(out), "\n")) {
			if d["kafka"] == n.Kafka {
				return fmt.Sprint(d["node"])
			}
		}
		t.Fatalf("no node at %s in\n%s", n.Kafka, out)
		return ""
	}
	dead := id(a.Ingest[0])
	if out, err := node("forget", dead, "--yes"); err == nil || !strings.Contains(out, "lives") {
		t.Errorf("a node that lives is forgotten: %v\n%s", err, out)
	}
	a.Ingest[0].Kill()
	if err := os.RemoveAll(a.Ingest[0].DataDir); err != nil {
		t.Fatal(err)
	}
	awaitNodes(t, a.Ingest[1], a.Ingest[1])
	lost := a.sentTo(0)
	a.produce(t, a.Ingest[1], "after", 5)

	// Without --yes nothing happens but that it is said.
	if out, err := node("forget", dead); err == nil || !strings.Contains(out, "would be lost") {
		t.Errorf("forgotten without asking: %v\n%s", err, out)
	}
	out, err := node("forget", dead, "--yes", "--json")
	if err != nil {
		t.Fatal(err, out)
	}
	records := 0
	for _, d := range documents(t, strings.Join(jsonLines(out), "\n")) {
		records += int(d["records"].(float64))
		if want := lost[int32(d["partition"].(float64))]; d["baseOffset"] != 0.0 || d["nextOffset"] != float64(len(want)) {
			t.Errorf("lost is %v, want %d records", d, len(want))
		}
	}
	if want := 20 * len(lost); records != want {
		t.Errorf("%d records are said to be lost, want %d\n%s", records, want, out)
	}
	if !strings.Contains(a.Coordinator.Log(), "records are lost") {
		t.Error("the coordinator's log does not tell of the loss")
	}
	want := map[int32][]string{}
	for p, values := range a.sent {
		want[p] = values[len(lost[p]):]
	}
	a.read(t, a.Ingest[1], want)
	if out, err := node("list"); err != nil || !strings.Contains(out, "forgotten") {
		t.Errorf("node list: %v\n%s", err, out)
	}
	// A node with an empty disk at the same place is another node.
	a.Ingest[0].Start()
	a.produce(t, a.Ingest[0], "again", 5)
	for p, values := range a.sent {
		want[p] = values[len(lost[p]):]
	}
	a.read(t, a.Ingest[0], want)
}

// jsonLines are the lines of a command's output that are JSON documents.
func jsonLines(out string) (lines []string) {
	for line := range strings.Lines(out) {
		if strings.HasPrefix(line, "{") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}
