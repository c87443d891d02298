package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varvelog/varve/services/e2e/cluster"
	"github.com/varvelog/varve/services/recovery"
)

// zombieEnd is how soon an old coordinator that wakes up must have noticed that the cluster was recovered without it.
const zombieEnd = 15 * time.Second

// TestRecoverAClusterFromItsBucketAlone: all processes of a cluster die at one moment under load of every class, and their disks and NATS's state are
// gone, but for a few that sleep and wake up later. A new cluster goes on from the bucket.
func TestRecoverAClusterFromItsBucketAlone(t *testing.T) {
	t.Parallel()
	for _, metalog := range []string{"jetstream", "bucket"} {
		t.Run(metalog, func(t *testing.T) {
			t.Parallel()
			bucket := minioBucket(t)
			config := cluster.RolesConfig{Bucket: bucket, Coordinators: 3, Flags: append([]string{"--metalog=" + metalog, "--object-puts-per-second=50"}, quickTiering...)}
			r := cluster.StartRoles(t, config)
			awaitNodes(t, r.Ingest[0], r.Ingest...)
			leader, standbys := cluster.AwaitLeader(t, patience, r.Coordinators...)
			kept := writeWhatIsKept(t, r.Ingest[1])
			awaitLogInBucket(t, metalog, leader)

			const partitions = 2
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			loads := map[string]*load{}
			for _, class := range []string{"local", "replicated", "object"} {
				createTopic(t, r.Ingest[0], class, partitions, "varve.durability", class, "max.message.bytes", "123456")
				loads[class] = startLoad(t, ctx, r.Ingest, class, partitions, true, true)
			}
			for _, l := range loads {
				l.await(t, 1000)
			}
			zombies := []*cluster.Node{leader, r.Ingest[0], r.Tiering}
			for _, n := range zombies {
				n.Freeze()
			}
			for _, n := range append(standbys, r.Ingest[1]) {
				n.Kill()
				if err := os.RemoveAll(n.DataDir); err != nil {
					t.Fatal(err)
				}
			}
			stop()
			for _, l := range loads {
				l.giveUp()
			}

			report := recoverURL(t, bucket)
			recovered := cluster.StartRoles(t, config)
			awaitNodes(t, recovered.Ingest[0], recovered.Ingest...)
			for class, l := range loads {
				markEnds(t, recovered.Ingest[0], class, partitions)
				l.checkRecovered(t, readAll(t, recovered.Ingest[0], class), report, class == "object", metalog == "bucket")
			}
			kept.check(t, recovered.Ingest[0])
			after := startLoad(t, t.Context(), recovered.Ingest, "object", partitions, true)
			after.await(t, 100)
			for _, n := range zombies {
				n.Thaw()
			}
			refusesProduce(t, r.Ingest[0], "local")
			awaitEnd(t, leader)
			after.await(t, 100)
			want := flatten(readAll(t, recovered.Ingest[1], "replicated"))
			awaitShipped(t, recovered.Ingest[1], "replicated", partitions)
			compare(t, flatten(readAll(t, recovered.Ingest[0], "replicated")), want)
			kept.check(t, recovered.Ingest[1])
			after.giveUp()
			if report, code := verifyURL(t, bucket); code != 0 {
				t.Errorf("verify: %+v", report.Findings)
			}
		})
	}
}

// TestRecoverTakesCopiesFromTheDisksThatAreThere: of two nodes one has lost its disk, and with it the chunks that the other has copies of. Producers, which
// wait meanwhile, go on with what was never answered, and double nothing.
func TestRecoverTakesCopiesFromTheDisksThatAreThere(t *testing.T) {
	t.Parallel()
	for _, lost := range []string{"", "meta"} {
		t.Run("lost "+lost, func(t *testing.T) {
			t.Parallel()
			bucket := filepath.Join(t.TempDir(), "bucket")
			r := cluster.StartRoles(t, cluster.RolesConfig{Bucket: "file://" + bucket, Flags: append([]string{"--metalog=bucket"}, unshipped...)})
			awaitNodes(t, r.Ingest[0], r.Ingest...)
			const partitions = 4
			createTopic(t, r.Ingest[0], "twice", partitions, "varve.durability", "replicated")
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			l := startLoad(t, ctx, []*cluster.Node{r.Ingest[1], r.Ingest[0]}, "twice", partitions, true, true)
			l.await(t, 2000)
			for _, n := range append([]*cluster.Node{r.Coordinator, r.Tiering}, r.Ingest...) {
				n.Kill()
			}
			for _, gone := range []string{r.Coordinator.DataDir, r.Ingest[0].DataDir, filepath.Join(bucket, lost)} {
				if gone != bucket {
					if err := os.RemoveAll(gone); err != nil {
						t.Fatal(err)
					}
				}
			}
			report := recoverBucket(t, bucket, "--hotlog", r.Ingest[1].DataDir)
			if report.LostOffsets != 0 || len(report.Disks) != 1 || report.Topics != 1 {
				t.Errorf("%+v", report)
			}
			r.Coordinator.Start()
			r.Ingest[1].Start()
			topic := "twice"
			if lost != "" {
				stop()
				l.giveUp()
				topic = report.NewTopics[0] // its name is lost, too
				l.checkRecovered(t, readAll(t, r.Ingest[1], topic), report, true, false)
			} else {
				r.Ingest[0].Start() // with an empty disk, for copies
				l.await(t, 500)
				stop()
				l.finish(t)
				l.check(t, readAll(t, r.Ingest[1], topic))
			}
			want := flatten(readAll(t, r.Ingest[1], topic))
			r.Tiering.Start()
			cluster.Eventually(t, patience, "segments in the bucket", func() error {
				if len(cluster.Files(t, bucket, "segment/")) == 0 {
					return errors.New("none")
				}
				return nil
			})
			compare(t, flatten(readAll(t, r.Ingest[1], topic)), want)
		})
	}
}

func recoverURL(t *testing.T, url string, args ...string) *recovery.Report {
	t.Helper()
	args = append([]string{"recover", "--json", "--yes", "--bucket", url}, args...)
	var report recovery.Report
	if err := json.Unmarshal([]byte(cluster.MustCommand(t, "", cluster.Binary(), args...)), &report); err != nil {
		t.Fatalf("varve recover: no report: %v", err)
	}
	return &report
}

// awaitLogInBucket returns when the bucket knows all of the metadata log up to now.
func awaitLogInBucket(t *testing.T, metalog string, leader *cluster.Node) {
	t.Helper()
	if metalog == "jetstream" {
		awaitArchived(t, leader)
	}
}

// awaitEnd returns when a process that is told by nobody has ended, with an error.
func awaitEnd(t *testing.T, n *cluster.Node) {
	t.Helper()
	select {
	case <-n.Exited():
		if code := n.ExitCode(); code == 0 || !strings.Contains(n.Log(), "recovered without this process") {
			t.Errorf("%s: exit code %d", n, code)
		}
	case <-time.After(zombieEnd):
		t.Errorf("%s goes on though the cluster was recovered without it", n)
	}
}

// refusesProduce demands that a node acknowledges nothing: nobody would find it.
func refusesProduce(t *testing.T, n *cluster.Node, topic string) {
	t.Helper()
	client := dial(t, n, kgo.RecordDeliveryTimeout(3*time.Second), kgo.DisableIdempotentWrite(), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if r, err := client.ProduceSync(within(t, 10*time.Second), &kgo.Record{Topic: topic, Value: []byte("for nobody")}).First(); err == nil {
		t.Errorf("%s, of the former cluster, has acknowledged a record at offset %d", n, r.Offset)
	}
}

// markEnds writes a record behind whatever is lost at the end of each partition, which a reader to the end waits for.
func markEnds(t *testing.T, n *cluster.Node, topic string, partitions int32) {
	t.Helper()
	client := dial(t, n, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	for p := range partitions {
		produce(t, client, &kgo.Record{Topic: topic, Partition: p, Value: fmt.Appendf(nil, "end of %d", p)})
	}
}

// giveUp ends producers whose cluster is gone.
func (l *load) giveUp() {
	for _, p := range l.producers {
		p.client.Close()
	}
}

// checkRecovered demands that every acknowledged record is where it was said to be, once, unless its offset is in the report, or behind what the
// recovered log knows. whole says that no record may be missing, exact that the log was known to its end.
func (l *load) checkRecovered(t *testing.T, content map[int32][]*kgo.Record, report *recovery.Report, whole, exact bool) {
	t.Helper()
	places := map[string]string{}
	ends := map[int32]int64{}
	for partition, records := range content {
		for _, r := range records {
			if other, twice := places[string(r.Value)]; twice {
				t.Errorf("%s: %q is at %s and at %d@%d", l.topic, r.Value, other, partition, r.Offset)
			}
			places[string(r.Value)] = fmt.Sprintf("%d@%d", partition, r.Offset)
			ends[partition] = max(ends[partition], r.Offset) // the last marks the end, and was given the next offset
		}
	}
	lost := func(partition int32, offset int64) bool {
		return slices.ContainsFunc(report.Lost, func(x recovery.Lost) bool {
			return x.Topic == l.topic && x.Partition == partition && x.BaseOffset <= offset && offset < x.NextOffset
		})
	}
	var there, declared, behind int
	for _, p := range l.producers {
		p.mu.Lock()
		defer p.mu.Unlock()
		for value, place := range p.mu.offsets {
			var partition int32
			var offset int64
			if _, err := fmt.Sscanf(place, "%d@%d", &partition, &offset); err != nil {
				t.Fatal(err)
			}
			got, found := places[value]
			switch {
			case found && (got == place || !exact):
				there++
			case found:
				t.Errorf("%s: %q was acknowledged at %s and is at %s", l.topic, value, place, got)
			case whole:
				t.Errorf("%s: %q, acknowledged at %s, is lost (reported: %v)", l.topic, value, place, lost(partition, offset))
			case lost(partition, offset):
				declared++
			case exact || offset < ends[partition]:
				t.Errorf("%s: %q, acknowledged at %s, is lost, and nobody says so", l.topic, value, place)
			default:
				behind++
			}
		}
	}
	t.Logf("%s: %d acknowledged records there, %d declared lost, %d beyond the metadata", l.topic, there, declared, behind)
}

// keptThings is what a recovered cluster must know besides records.
type keptThings struct {
	offsets map[int32]int64
	quotas  string
	visible []string
}

// writeWhatIsKept writes what the bucket is to know for certain: transactions of each end and one that is open, a group's offsets, a share group that is done
// with its records, settings of a topic, of the cluster's clients and of a group.
func writeWhatIsKept(t *testing.T, n *cluster.Node) *keptThings {
	t.Helper()
	k := &keptThings{}
	createTopic(t, n, "transacted", 2, "varve.durability", "object", "retention.ms", "123456789")
	producer := dial(t, n, kgo.TransactionalID("mover"))
	transaction(t, producer, "transacted", "aborted", 20, kgo.TryAbort)
	transaction(t, producer, "transacted", "committed", 20, kgo.TryCommit)
	k.visible = valuesOf(t, n, "transacted", kgo.ReadCommitted())
	slices.Sort(k.visible)
	if len(k.visible) != 20 {
		t.Fatalf("%d committed records", len(k.visible))
	}
	open := dial(t, n, kgo.TransactionalID("left-open"))
	if err := open.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	produce(t, open, numbered("transacted", "open", 0, 10)...)

	offsets := kadm.Offsets{}
	offsets.AddOffset("transacted", 0, 7, -1)
	offsets.AddOffset("transacted", 1, 3, -1)
	if err := admin(t, n).CommitAllOffsets(within(t, patience), "readers", offsets); err != nil {
		t.Fatal(err)
	}
	k.offsets = committedOffsets(t, n, "readers")

	createTopic(t, n, "shared", 1, "varve.durability", "object")
	configureGroup(t, n, "sharers", "share.auto.offset.reset", "earliest")
	produce(t, dial(t, n), numbered("shared", "s", 0, 50)...)
	ledger := newShareLedger(t)
	member := joinShare(t, n, "sharers", "shared", ledger)
	ledger.await("records of the share group", 50)
	awaitShareEnd(t, n, "sharers", 50)
	member.leave()

	_, err := admin(t, n).AlterClientQuotas(within(t, patience), []kadm.AlterClientQuotaEntry{{
		Entity: kadm.ClientQuotaEntity{{Type: "client-id", Name: kadm.StringPtr("greedy")}}, Ops: []kadm.AlterClientQuotaOp{{Key: "producer_byte_rate", Value: 1e6}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	k.quotas = quotasOf(t, n)
	return k
}

func quotasOf(t *testing.T, n *cluster.Node) string {
	t.Helper()
	described, err := admin(t, n).DescribeClientQuotas(within(t, patience), true, []kadm.DescribeClientQuotaComponent{{Type: "client-id", MatchName: kadm.StringPtr("greedy")}})
	if err != nil || len(described) != 1 {
		t.Fatalf("quotas: %+v, %v", described, err)
	}
	return fmt.Sprint(described[0].Values)
}

func (k *keptThings) check(t *testing.T, n *cluster.Node) {
	t.Helper()
	visible := valuesOf(t, n, "transacted", kgo.ReadCommitted())
	if slices.Sort(visible); !slices.Equal(visible, k.visible) {
		t.Errorf("read_committed sees %d records, saw %d: %.500q", len(visible), len(k.visible), visible)
	}
	offsets := committedOffsets(t, n, "readers")
	if fmt.Sprint(offsets) != fmt.Sprint(k.offsets) {
		t.Errorf("the group's offsets are %v, were %v", offsets, k.offsets)
	}
	if quotas := quotasOf(t, n); quotas != k.quotas {
		t.Errorf("quotas are %s, were %s", quotas, k.quotas)
	}
	awaitShareEnd(t, n, "sharers", 50)
	got := settingsOf(t, n, "transacted", "replicated")
	for name, want := range map[string]string{
		"transacted varve.durability": "object", "transacted retention.ms": "123456789", "replicated varve.durability": "replicated", "replicated max.message.bytes": "123456",
	} {
		if got[name] != want {
			t.Errorf("%s is %q, want %q", name, got[name], want)
		}
	}
}
