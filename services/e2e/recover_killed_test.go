package e2e

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/varvelog/varve/services/e2e/cluster"
)

// TestRecoverThatIsKilledIsRepeated: SIGKILL at random moments leaves a bucket that the next attempt recovers all the same, and says no less of.
func TestRecoverThatIsKilledIsRepeated(t *testing.T) {
	t.Parallel()
	random := crashSeed(t)
	n := cluster.Serve(t, append([]string{"--metalog=bucket", "--snapshot-entries=50"}, quickTiering...)...)
	writeABitOfEverything(t, n)
	awaitHotLogReleased(t, n)
	topics := []string{"plain", "transacted", "direct", "table"}
	want := contentsOf(t, n, topics...)
	n.Kill()
	loseAllButTheBucket(t, n)
	began := time.Now()
	first := recoverBucket(t, n.BucketDir(), "--dry-run")
	took := time.Since(began)
	const kills = 8
	ended := 0
	for range kills {
		command := exec.CommandContext(t.Context(), cluster.Binary(), "recover", "--yes", "--json", "--bucket", "file://"+n.BucketDir())
		if err := command.Start(); err != nil {
			t.Fatal(err)
		}
		kill := time.AfterFunc(time.Duration(random.Int64N(int64(6*took))), func() { _ = command.Process.Kill() })
		if err := command.Wait(); err == nil {
			ended++
		}
		kill.Stop()
	}
	t.Logf("%d of %d attempts came to their end; one takes %v", ended, kills, took)
	report := recoverBucket(t, n.BucketDir())
	if !report.Done || report.LostOffsets != 0 || report.FormerLog != first.FormerLog || report.Groups != first.Groups || report.Partitions != first.Partitions {
		t.Errorf("%+v\n%+v", report, first)
	}
	n.Start()
	for topic, got := range contentsOf(t, n, topics...) {
		if !slices.Equal(got, want[topic]) {
			t.Errorf("%s: %d records after the recovery, %d before", topic, len(got), len(want[topic]))
		}
	}
	// A hot log that is in use is not taken.
	result := cluster.Command(t, "", cluster.Binary(), "recover", "--dry-run", "--bucket", "file://"+n.BucketDir(), "--hotlog", n.DataDir)
	if result.Code != 1 || strings.Count(strings.TrimSpace(result.Stderr), "\n") != 0 {
		t.Errorf("beside the cluster: exit code %d: %s", result.Code, result.Stderr)
	}
	n.Stop()
	if report, code := verifyBucket(t, n.BucketDir(), "--hotlog", n.DataDir); code != 0 {
		t.Errorf("verify: %+v", report.Findings)
	}
}
