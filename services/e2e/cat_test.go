package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varvelog/varve/services/e2e/cluster"
)

const catFormat = `%p %o %T %k %v %h\n`

// catLine is a record in catFormat.
func catLine(r *kgo.Record) string {
	var headers []string
	for _, h := range r.Headers {
		headers = append(headers, fmt.Sprintf("%s=%s", h.Key, h.Value))
	}
	return fmt.Sprintf("%d %d %s %s %s %s", r.Partition, r.Offset, r.Timestamp.UTC().Format(time.RFC3339Nano), r.Key, r.Value, strings.Join(headers, ","))
}

// cat runs varve cat and returns its lines, and what it says about them.
func cat(t *testing.T, n *cluster.Node, topic string, args ...string) (lines []string, said string) {
	t.Helper()
	result := cluster.Command(t, "", cluster.Binary(), append([]string{"cat", topic, "--bucket", "file://" + n.BucketDir(), "--format", catFormat}, args...)...)
	if result.Code != 0 {
		t.Fatalf("varve cat: exit code %d: %s", result.Code, result.Stderr)
	}
	if result.Stdout != "" {
		lines = strings.Split(strings.TrimSuffix(result.Stdout, "\n"), "\n")
	}
	return lines, result.Stderr
}

// A bucket alone tells what is in a topic.
func TestCat(t *testing.T) {
	t.Parallel()
	n := cluster.Serve(t, quickTiering...)
	writeABitOfEverything(t, n)
	want := map[string][]string{}
	for _, topic := range []string{"plain", "direct"} {
		for _, r := range flatten(readAll(t, n, topic)) {
			want[topic] = append(want[topic], catLine(r))
		}
	}
	n.Stop()
	for topic, lines := range want {
		if got, said := cat(t, n, topic); !slices.Equal(got, lines) || said != "" {
			t.Errorf("%s: %d lines, want %d; %s", topic, len(got), len(lines), said)
		}
	}
	last := func(lines []string) string { return strings.Fields(lines[len(lines)-1])[2] }
	ofOne := slices.DeleteFunc(slices.Clone(want["plain"]), func(line string) bool { return !strings.HasPrefix(line, "1 ") })
	if got, _ := cat(t, n, "plain", "--partition", "1", "--from", "7"); !slices.Equal(got, ofOne[7:]) {
		t.Errorf("from an offset on: %d lines, want %d", len(got), len(ofOne)-7)
	}
	if got, _ := cat(t, n, "plain", "--count", "5"); !slices.Equal(got, want["plain"][:5]) {
		t.Errorf("a few: %q", got)
	}
	moment, err := time.Parse(time.RFC3339Nano, last(ofOne))
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := cat(t, n, "plain", "--from", moment.Add(time.Second).Format(time.RFC3339)); len(got) > 0 {
		t.Errorf("from after the end on: %q", got)
	}
	committed, _ := cat(t, n, "transacted")
	if all, _ := cat(t, n, "transacted", "--uncommitted"); len(committed) != 20 || len(all) != 40 {
		t.Errorf("%d committed of %d", len(committed), len(all))
	}
	for _, line := range committed {
		if !strings.Contains(line, "committed") {
			t.Errorf("a line that was aborted: %q", line)
		}
	}
	for name, args := range map[string][]string{
		`no topic "nowhere"`: {"nowhere"}, "no partition 9": {"plain", "--partition", "9"}, "--from": {"plain", "--from", "then"},
	} {
		result := cluster.Command(t, "", cluster.Binary(), append([]string{"cat", "--bucket", "file://" + n.BucketDir()}, args...)...)
		if result.Code == 0 || !strings.Contains(result.Stderr, name) {
			t.Errorf("%v: exit code %d, %s", args, result.Code, result.Stderr)
		}
	}
}

// What only a disk has is named.
func TestCatNamesWhatIsMissing(t *testing.T) {
	t.Parallel()
	n := cluster.Serve(t, "--snapshot-entries=10")
	createTopic(t, n, "hot", 1)
	produce(t, dial(t, n), numbered("hot", "h", 0, 20)...)
	cluster.Eventually(t, patience, "metadata in the bucket", func() error {
		result := cluster.Command(t, "", cluster.Binary(), "cat", "hot", "--bucket", "file://"+n.BucketDir())
		if result.Code != 0 || !strings.Contains(result.Stderr, "partition 0: offsets 0 to 19 are on the disk of node 1, and not in the bucket") {
			return fmt.Errorf("exit code %d: %s", result.Code, result.Stderr)
		}
		return nil
	})
}
