package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varvelog/varve/services/e2e/cluster"
	"github.com/varvelog/varve/services/verify"
)

// verifyBucket runs varve verify and returns its report and exit code.
func verifyBucket(t *testing.T, bucket string, args ...string) (*verify.Report, int) {
	t.Helper()
	return verifyURL(t, "file://"+bucket, args...)
}

func verifyURL(t *testing.T, url string, args ...string) (*verify.Report, int) {
	t.Helper()
	args = append([]string{"verify", "--json", "--bucket", url}, args...)
	result := cluster.Command(t, "", cluster.Binary(), args...)
	var report verify.Report
	if err := json.Unmarshal([]byte(result.Stdout), &report); err != nil {
		t.Fatalf("varve verify: exit code %d, no report: %v\n%s%s", result.Code, err, result.Stdout, result.Stderr)
	}
	return &report, result.Code
}

// writeABitOfEverything leaves in the bucket what there can be: segments of several topics, transactions' markers, object chunks, compacted
// parts, offsets of a group.
func writeABitOfEverything(t *testing.T, n *cluster.Node) (plain []*kgo.Record) {
	t.Helper()
	createTopic(t, n, "plain", 3)
	createTopic(t, n, "transacted", 2)
	createTopic(t, n, "direct", 1, "varve.durability", "object")
	createTopic(t, n, "table", 1, "cleanup.policy", "compact", "min.cleanable.dirty.ratio", "0.01")
	plain = numbered("plain", "r", 0, 500)
	client := dial(t, n)
	produce(t, client, plain...)
	produce(t, client, numbered("direct", "d", 0, 50)...)
	for round := range 3 {
		produce(t, client, updates("table", string(rune('a'+round)), 0, 50, func(int) bool { return false })...)
		awaitShipped(t, n, "table", 1)
	}
	producer := dial(t, n, kgo.TransactionalID("verified"))
	transaction(t, producer, "transacted", "committed", 20, kgo.TryCommit)
	transaction(t, producer, "transacted", "aborted", 20, kgo.TryAbort)
	awaitShipped(t, n, "plain", 3)
	awaitShipped(t, n, "transacted", 2)
	return plain
}

func TestVerifyFindsWhatIsWrong(t *testing.T) {
	t.Parallel()
	n := cluster.Serve(t, quickTiering...)
	writeABitOfEverything(t, n)
	produce(t, dial(t, n), numbered("plain", "hot", 0, 20)...)

	t.Run("beside a cluster that works", func(t *testing.T) {
		report, code := verifyBucket(t, n.BucketDir(), "--hotlog", n.DataDir)
		if code != 0 || !report.OK() {
			t.Fatalf("exit code %d, %+v", code, report.Findings)
		}
		if report.Segments.Objects == 0 || report.Records < 500 || len(report.HotLogs) != 1 || report.HotLogs[0].Node != 1 {
			t.Errorf("%+v", report)
		}
	})
	n.Stop()
	strange := filepath.Join(n.BucketDir(), "segment", "notes.txt")
	if err := os.WriteFile(strange, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	report, code := verifyBucket(t, n.BucketDir(), "--hotlog", n.DataDir)
	if code != 0 || report.Strange.Objects != 1 || report.Unknown[0] != "segment/notes.txt" {
		t.Errorf("a strange object: exit code %d, %+v", code, report)
	}

	damage := func(name string, change func(b []byte) []byte, want ...string) {
		t.Run("damaged "+filepath.Base(filepath.Dir(filepath.Dir(name))), func(t *testing.T) {
			before, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(name, change(append([]byte(nil), before...)), 0o600); err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := os.WriteFile(name, before, 0o600); err != nil {
					t.Fatal(err)
				}
			}()
			report, code := verifyBucket(t, n.BucketDir(), "--hotlog", n.DataDir)
			if code != 1 || report.Problems == 0 {
				t.Fatalf("%s: exit code %d, %d problems", name, code, report.Problems)
			}
			said := report.Findings[0].Where + ": " + report.Findings[0].Problem
			for _, text := range want {
				if !strings.Contains(said, text) {
					t.Errorf("%q lacks %q", said, text)
				}
			}
		})
	}
	flip := func(b []byte) []byte { b[len(b)/2] ^= 4; return b }
	for _, prefix := range []string{"segment", "meta/snapshot", "meta/archive"} {
		for _, key := range cluster.Files(t, n.BucketDir(), prefix) {
			if key != "segment/notes.txt" {
				damage(filepath.Join(n.BucketDir(), key), flip, filepath.ToSlash(filepath.Dir(key)))
				break
			}
		}
	}
	for _, name := range cluster.Files(t, n.HotLogDir(), "") {
		if strings.HasSuffix(name, ".seg") {
			damage(filepath.Join(n.HotLogDir(), name), func(b []byte) []byte { b[200] ^= 1; return b }, n.HotLogDir())
			break
		}
	}
	damage(filepath.Join(n.BucketDir(), "cluster.json"), func(b []byte) []byte { return []byte(strings.Replace(string(b), `"format": 1`, `"format": 9`, 1)) },
		"cluster.json", "format 9")
}
