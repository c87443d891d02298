package e2e

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/varvelog/varve/services/e2e/cluster"
)

// varve runs a command of the binary against a node.
func varve(t *testing.T, n *cluster.Node, input string, args ...string) string {
	t.Helper()
	return cluster.MustCommand(t, input, cluster.Binary(), append(args, "--brokers", n.Kafka)...)
}

// documents parses one JSON document a line.
func documents(t *testing.T, text string) (parsed []map[string]any) {
	t.Helper()
	for line := range strings.Lines(text) {
		var document map[string]any
		if err := json.Unmarshal([]byte(line), &document); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		parsed = append(parsed, document)
	}
	return parsed
}

func contains(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%q is missing in\n%s", part, text)
		}
	}
}

func TestCommandLineForPeopleAndPrograms(t *testing.T) {
	t.Parallel()
	n := cluster.Serve(t, quickTiering...)

	contains(t, varve(t, n, "", "topic", "create", "orders", "--partitions", "3", "--config", "retention.ms=86400000"), "TOPIC", "orders", "created")
	contains(t, varve(t, n, "", "topic", "list"), "TOPIC", "PARTITIONS", "orders")
	if got := documents(t, varve(t, n, "", "topic", "list", "--json")); len(got) != 1 || got[0]["topic"] != "orders" || got[0]["partitions"] != 3.0 {
		t.Errorf("topic list --json: %v", got)
	}

	contains(t, varve(t, n, "a\tone\nb\ttwo\na\tthree\n", "produce", "orders", "--key-delimiter", "\t", "--quiet"), "RECORDS", "3")
	if got := documents(t, varve(t, n, "c\tfour\n", "produce", "orders", "--key-delimiter", "\t", "--json")); len(got) != 1 || got[0]["records"] != 1.0 {
		t.Errorf("produce --json: %v", got)
	}
	got := varve(t, n, "", "consume", "orders", "--from", "beginning", "--exit", "--format", `%k=%v\n`)
	if contains(t, got, "a=one\n", "b=two\n", "a=three\n", "c=four\n"); strings.Count(got, "\n") != 4 || strings.Index(got, "a=one") > strings.Index(got, "a=three") {
		t.Errorf("consumed\n%s", got)
	}
	records := documents(t, varve(t, n, "", "consume", "orders", "--from", "beginning", "--exit", "--json", "--group", "billing"))
	if len(records) != 4 || records[0]["topic"] != "orders" || records[0]["key"] == nil {
		t.Errorf("consume --json: %v", records)
	}
	if again := varve(t, n, "", "consume", "orders", "--exit", "--group", "billing", "--from", "beginning"); again != "" {
		t.Errorf("the group received again %q", again)
	}

	contains(t, varve(t, n, "", "group", "list"), "GROUP", "billing")
	contains(t, varve(t, n, "", "group", "describe", "billing"), "COMMITTED", "LAG", "orders")
	lag := 0.0
	for _, row := range documents(t, varve(t, n, "", "group", "describe", "billing", "--json")) {
		lag += row["lag"].(float64)
	}
	if lag != 0 {
		t.Errorf("lag %v", lag)
	}

	contains(t, varve(t, n, "", "topic", "alter", "orders", "--config", "segment.bytes=1048576", "--unset", "retention.ms", "--partitions", "4"), "altered")
	described := varve(t, n, "", "topic", "describe", "orders")
	contains(t, described, "HIGH WATERMARK", "segment.bytes", "1048576")
	if strings.Contains(described, "retention.ms") {
		t.Errorf("retention.ms was unset:\n%s", described)
	}
	if rows := documents(t, varve(t, n, "", "topic", "describe", "orders", "--json")); len(rows) < 5 {
		t.Errorf("topic describe --json: %v", rows)
	}

	refused := cluster.Command(t, "", cluster.Binary(), "topic", "create", "orders", "--brokers", n.Kafka)
	if refused.Code != 1 || strings.Count(refused.Stderr, "\n") != 1 {
		t.Errorf("create again: code %d, %q", refused.Code, refused.Stderr)
	}
	contains(t, varve(t, n, "", "topic", "delete", "orders"), "deleted")
	if left := documents(t, varve(t, n, "", "topic", "list", "--json")); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

func TestDumpShowsEveryFormat(t *testing.T) {
	t.Parallel()
	n := cluster.Serve(t, append([]string{"--metalog=bucket"}, quickTiering...)...)
	createTopic(t, n, "dumped", 1, "local.retention.ms", "3600000")
	produce(t, dial(t, n), numbered("dumped", "r", 0, 50)...)
	awaitShipped(t, n, "dumped", 1)
	n.Stop()
	run := func(args ...string) string {
		t.Helper()
		return cluster.MustCommand(t, "", cluster.Binary(), append([]string{"dump"}, args...)...)
	}
	bucket := "file://" + n.BucketDir()
	segment := cluster.Files(t, n.BucketDir(), "segment/")[0]
	contains(t, run("hotlog", n.HotLogDir(), "--batches"), "chunk node 1", "50 records", "crc ok")
	contains(t, run("segment", filepath.Join(n.BucketDir(), segment), "--batches"), "dumped")
	contains(t, run("segment", "--bucket", bucket, segment), "dumped")
	contains(t, run("metalog", "--bucket", bucket, "--metalog=bucket", "--data-dir", n.DataDir), "dumped")
	for _, args := range [][]string{{"hotlog", n.HotLogDir()}, {"segment", "--bucket", bucket, segment}, {"metalog", "--bucket", bucket, "--metalog=bucket", "--data-dir", n.DataDir}} {
		if got := documents(t, run(append(args, "--json")...)); len(got) == 0 {
			t.Errorf("dump %v --json: nothing", args)
		}
	}
}

func TestHelpAndCompletion(t *testing.T) {
	t.Parallel()
	for _, command := range []string{"serve", "coordinator", "ingest", "tiering", "topic", "produce", "consume", "group", "dump"} {
		contains(t, cluster.MustCommand(t, "", cluster.Binary(), command, "--help"), "Usage:")
	}
	contains(t, cluster.MustCommand(t, "", cluster.Binary(), "completion", "bash"), "varve")
	n := cluster.Serve(t)
	createTopic(t, n, "completed", 1)
	contains(t, cluster.MustCommand(t, "", cluster.Binary(), "__complete", "consume", "--brokers", n.Kafka, ""), "completed")
}
