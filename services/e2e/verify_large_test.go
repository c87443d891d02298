package e2e

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/services/e2e/cluster"
	"github.com/varvelog/varve/services/verify"
)

// TestVerifyOfALargeBucket says how fast verify is, in bounded memory, and that it names what a single flipped bit, a missing object and an orphan are. The
// bucket has 24 MB; VARVE_LARGE_BUCKET_MB makes it larger.
func TestVerifyOfALargeBucket(t *testing.T) {
	t.Parallel()
	megabytes := 24
	if text := os.Getenv("VARVE_LARGE_BUCKET_MB"); text != "" {
		var err error
		if megabytes, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	random := crashSeed(t)
	n := cluster.Serve(t, append([]string{"--metalog=bucket"}, quickTiering...)...)
	const partitions = 8
	createTopic(t, n, "large", partitions, "varve.durability", "local", "local.retention.ms", "0")
	client := dial(t, n, kgo.ProducerBatchMaxBytes(900_000), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	for i := range megabytes {
		var records []*kgo.Record
		for j := range partitions {
			records = append(records, &kgo.Record{Topic: "large", Partition: int32(j), Value: noise(1<<17, uint64(i*partitions+j))})
		}
		produce(t, client, records...)
	}
	awaitShipped(t, n, "large", partitions)
	n.Stop()

	report, code, used := measuredVerify(t, n.BucketDir())
	if code != 0 || report.Records != int64(megabytes*partitions) {
		t.Fatalf("exit code %d: %+v", code, report)
	}
	t.Logf("%d MB: %v, processor %v", report.Segments.Bytes>>20, used.took.Round(time.Millisecond), used.processor.Round(time.Millisecond))

	keys := slices.DeleteFunc(cluster.Files(t, n.BucketDir(), "segment/"), func(key string) bool { return !strings.Contains(key, "-") })
	key := keys[random.IntN(len(keys))]
	name := filepath.Join(n.BucketDir(), key)
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	bit := random.IntN(8 * len(whole))
	names := func(problem string) {
		t.Helper()
		report, code, _ := measuredVerify(t, n.BucketDir())
		if code != 1 || report.Problems != 1 || report.Findings[0].Where != key || !strings.Contains(report.Findings[0].Problem, problem) {
			t.Errorf("%s, bit %d: exit code %d, %+v", key, bit, code, report.Findings)
		}
	}
	whole[bit/8] ^= 1 << (bit % 8)
	writeWhole(t, name, whole)
	names("")
	whole[bit/8] ^= 1 << (bit % 8)
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	names("not there")
	writeWhole(t, name, whole)
	orphan := meta.SegmentKey(1, 12345)
	writeWhole(t, filepath.Join(n.BucketDir(), orphan), whole)
	if report, code, _ := measuredVerify(t, n.BucketDir()); code != 0 || !slices.Equal(report.Orphaned, []string{orphan}) {
		t.Errorf("an orphan: exit code %d, %v", code, report.Orphaned)
	}
}

func writeWhole(t *testing.T, name string, content []byte) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o700), os.WriteFile(name, content, 0o600)); err != nil {
		t.Fatal(err)
	}
}

// usage is what a process has taken.
type usage struct {
	took, processor time.Duration
}

func measuredVerify(t *testing.T, bucket string) (*verify.Report, int, usage) {
	t.Helper()
	began := time.Now()
	command := exec.CommandContext(t.Context(), cluster.Binary(), "verify", "--json", "--bucket", "file://"+bucket)
	output, err := command.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	var report verify.Report
	if err := json.Unmarshal(output, &report); err != nil {
		t.Fatalf("varve verify: no report: %v", err)
	}
	state := command.ProcessState
	return &report, state.ExitCode(), usage{took: time.Since(began), processor: state.UserTime() + state.SystemTime()}
}
