package e2e

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/varvelog/varve/infra/vfs"
	"github.com/varvelog/varve/ingest/hotlog"
	"github.com/varvelog/varve/services/e2e/cluster"
	"github.com/varvelog/varve/tiering/segment"
)

// flipBits flips bits all over what a hot log has, one in about every 512 bytes.
func flipBits(t *testing.T, dir string) (flipped int) {
	t.Helper()
	for _, name := range cluster.Files(t, dir, "") {
		if !strings.HasSuffix(name, ".seg") {
			continue
		}
		file, err := os.OpenFile(filepath.Join(dir, name), os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		whole, err := os.ReadFile(file.Name())
		if err != nil {
			t.Fatal(err)
		}
		written := len(bytes.TrimRight(whole, "\x00")) // the rest is preallocated
		const segmentHeader = 64
		for at := segmentHeader + rand.IntN(512); at < written; at += 1 + rand.IntN(1024) {
			if _, err := file.WriteAt([]byte{whole[at] ^ 1<<rand.IntN(8)}, int64(at)); err != nil {
				t.Fatal(err)
			}
			flipped++
		}
	}
	return flipped
}

// TestFlippedBitsInOneCopyLoseNothing: one node's disk is damaged all over; what is replicated is read and shipped from the other copies.
func TestFlippedBitsInOneCopyLoseNothing(t *testing.T) {
	t.Parallel()
	r := cluster.StartRoles(t, cluster.RolesConfig{Ingest: 2, Flags: quickTiering})
	awaitNodes(t, r.Ingest[0], r.Ingest...)
	const partitions = 24 // so many that the node whose disk is damaged leads some: a worker reads what it wrote from there first
	createTopic(t, r.Ingest[0], "twice", partitions, "varve.durability", "replicated")
	r.Tiering.Stop()
	client := dial(t, r.Ingest[0])
	var want []*kgo.Record
	for round := range 10 {
		records := numbered("twice", string(rune('a'+round)), 0, 100)
		produce(t, client, records...)
		want = append(want, records...)
	}
	if flipped := flipBits(t, r.Ingest[0].HotLogDir()); flipped < 20 {
		t.Fatalf("only %d bits flipped", flipped)
	}
	for _, n := range r.Ingest {
		compare(t, flatten(readAll(t, n, "twice")), want)
	}
	r.Tiering.Start()
	awaitShipped(t, r.Ingest[1], "twice", partitions)
	if taken, err := r.Tiering.Metric("varve_ship_damaged_runs_total", `outcome="copy"`); err != nil || taken == 0 {
		t.Errorf("%v runs were taken from the other copy: %v", taken, err)
	}
	for _, text := range []string{"bytes are damaged", "hot segment", "disk", "position"} {
		if !strings.Contains(r.Tiering.Log(), text) {
			t.Errorf("the worker's log lacks %q", text)
		}
	}
	compare(t, flatten(readAll(t, r.Ingest[1], "twice")), want)
	for _, n := range r.Ingest {
		awaitHotLogReleased(t, n)
	}
}

// rawFetch reads one partition from an offset, once.
func rawFetch(t *testing.T, client *kgo.Client, topic string, partition int32, offset int64) (recordBytes int, err error) {
	t.Helper()
	request := kmsg.NewPtrFetchRequest()
	request.MaxWaitMillis, request.MinBytes, request.MaxBytes = 500, 1, 1<<20
	asked := kmsg.NewFetchRequestTopicPartition()
	asked.Partition, asked.FetchOffset, asked.PartitionMaxBytes = partition, offset, 1<<20
	request.Topics = []kmsg.FetchRequestTopic{{Topic: topic, Partitions: []kmsg.FetchRequestTopicPartition{asked}}}
	response, err := client.SeedBrokers()[0].Request(within(t, patience), request)
	if err != nil {
		t.Fatalf("fetch: %v", err)
	}
	answer := response.(*kmsg.FetchResponse).Topics[0].Partitions[0]
	return len(answer.RecordBatches), kerr.ErrorForCode(answer.ErrorCode)
}

// TestAFlippedBitInASegmentHurtsItsPartitionAlone: the damage is answered with a storage error and named, and all other partitions of the
// same object go on.
func TestAFlippedBitInASegmentHurtsItsPartitionAlone(t *testing.T) {
	t.Parallel()
	n := cluster.Serve(t, quickTiering...)
	const partitions = 3
	createTopic(t, n, "settled", partitions)
	want := numbered("settled", "r", 0, 300)
	produce(t, dial(t, n), want...)
	awaitShipped(t, n, "settled", partitions)
	n.Stop()
	if err := os.RemoveAll(n.HotLogDir()); err != nil {
		t.Fatal(err)
	}
	// One bit of the first part of one object.
	name := filepath.Join(n.BucketDir(), cluster.Files(t, n.BucketDir(), "segment/")[0])
	body, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	object, err := segment.Open(body)
	if err != nil {
		t.Fatal(err)
	}
	part := object.Parts[0]
	const covered = 21 // a batch's first byte that its checksum covers
	bad := slices.Clone(body)
	bad[part.Position+covered+rand.Uint64N(part.LengthBytes-covered)] ^= 1 << rand.IntN(8)
	if err := os.WriteFile(name, bad, 0o600); err != nil {
		t.Fatal(err)
	}
	if report, code := verifyBucket(t, n.BucketDir()); code != 1 || report.Problems != 1 || !strings.Contains(name, report.Findings[0].Where) {
		t.Errorf("verify: exit code %d, %+v", code, report.Findings)
	}
	n.Start()
	client := dial(t, n, kgo.MaxVersions(kversion.V2_7_0())) // which name topics in Fetch
	for partition := range int32(partitions) {
		got, err := rawFetch(t, client, "settled", partition, 0)
		if partition != part.Partition && (err != nil || got == 0) {
			t.Errorf("partition %d: %d bytes: %v", partition, got, err)
		}
		if partition == part.Partition && got == 0 && !errors.Is(err, kerr.KafkaStorageError) {
			t.Errorf("the damaged partition: %d bytes: %v", got, err)
		}
	}
	if !strings.Contains(n.Log(), "bytes are damaged") {
		t.Error("the node's log does not name the damage")
	}
	if err := os.WriteFile(name, body, 0o600); err != nil {
		t.Fatal(err)
	}
	compare(t, flatten(readAll(t, n, "settled")), want) // what a restored object has is there at once
}

// TestADamagedHotLogIsRepaired: a bit flips in what a killed node alone has. It refuses to start, says what to do, and after that everything but that
// one run is there.
func TestADamagedHotLogIsRepaired(t *testing.T) {
	t.Parallel()
	n := cluster.Serve(t)
	const partitions, rounds = 4, 5
	createTopic(t, n, "hot", partitions)
	client := dial(t, n, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	for round := range rounds {
		for partition := range int32(partitions) {
			r := numbered("hot", string(rune('a'+round)), 0, 10)
			for i := range r {
				r[i].Partition = partition
			}
			produce(t, client, r...)
		}
	}
	n.Kill()
	segments := cluster.Files(t, n.HotLogDir(), "")
	segments = slices.DeleteFunc(segments, func(name string) bool { return !strings.HasSuffix(name, ".seg") })
	name := filepath.Join(n.HotLogDir(), segments[0])
	var last int64 // byte of the third chunk
	chunks := 0
	if _, err := hotlog.Scan(vfs.OS{}, name, func(f hotlog.Frame) error {
		if f.Kind == hotlog.KindChunk {
			if chunks++; chunks == 3 {
				last = int64(f.Position) + int64(f.Length) - 1
			}
		}
		return nil
	}); err != nil || last == 0 {
		t.Fatalf("%d chunks in %s: %v", chunks, name, err)
	}
	flipBit(t, name, last)
	refuses(t, n, segments[0], "varve repair "+n.HotLogDir())
	repair := func(flags ...string) string {
		result := cluster.Command(t, "", cluster.Binary(), append([]string{"repair", n.DataDir}, flags...)...)
		if result.Code != 0 {
			t.Fatalf("repair: exit code %d\n%s%s", result.Code, result.Stdout, result.Stderr)
		}
		return result.Stdout
	}
	contains(t, repair("--dry-run"), "damaged", segments[0], "payload checksum differs")
	contains(t, repair("--yes"), "damaged", "done")
	n.Start()
	contains(t, repair("--dry-run"), "payload checksum differs") // it stays damaged, but for the node
	again := dial(t, n, kgo.MaxVersions(kversion.V2_7_0()))
	damaged := 0
	for partition := range int32(partitions) {
		for offset := int64(0); offset < rounds*10; offset += 10 {
			got, err := rawFetch(t, again, "hot", partition, offset)
			switch {
			case errors.Is(err, kerr.KafkaStorageError):
				damaged++
			case err != nil || got == 0:
				t.Errorf("partition %d at %d: %d bytes: %v", partition, offset, got, err)
			}
		}
	}
	if damaged != 1 {
		t.Errorf("%d batches are damaged, want 1", damaged)
	}
	produce(t, again, numbered("hot", "later", 0, 10)...)
}

// flipBit flips a bit of a file.
func flipBit(t *testing.T, name string, at int64) {
	t.Helper()
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = file.WriteAt([]byte{whole[at] ^ 1<<rand.IntN(8)}, at)
	if err := errors.Join(err, file.Close()); err != nil {
		t.Fatal(err)
	}
}
