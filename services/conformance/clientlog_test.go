package conformance

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// complaint is what Java clients may log above INFO, and why.
type complaint struct {
	shape  string // an expression of the line without its numbers
	reason string
}

// usualWarnings are those that have nothing to do with the server.
var usualWarnings = []complaint{
	{`WARN .*StateDirectory - Using an OS temp directory.*`, "where the test keeps its files"},
	{`WARN .*InternalTopologyBuilder - Explicit naming for internal resources.*`, "advice"},
	{`(WARN|ERROR) .*(did not find checkpoint offsets while stores are not empty|TaskCorruptedException|states of tasks .* are corrupted|Encounter corrupted task).*`, "an instance that was killed finds state that it cannot trust; what else may corrupt a task has a line of its own before these"},
	{`WARN .*NetworkClient - .*The metadata response from the cluster reported a recoverable issue.*UNKNOWN_TOPIC_OR_PARTITION.*`, "internal topics are asked for before the application has created them"},
	{`WARN .*StreamsConfig - (The streams rebalance protocol is|Warmup replicas are|Standby replicas are) .*`, "advice on the streams protocol"},
	{`(ERROR|WARN) .*StreamsMembershipManager - .*(callback invocation failed for tasks|after onTasksAssigned callback failed).*`, "an instance that is being closed is handed the tasks of the one that was closed before it; tasks that fail at any other time end the instance, and the test"},
	{`WARN .*StreamsGroupHeartbeatRequestManager - .*Internal topics are missing: .*`, "the first heartbeat of a streams group finds none; Kafka names them in another order"},
}

// restartWarnings come on top while a server is down.
var restartWarnings = []complaint{
	{`WARN .*(disconnected|could not be established|NETWORK_EXCEPTION|NetworkException).*`, "the server is down"},
}

var (
	logLine     = regexp.MustCompile(`(?m)^\[[^\n]*\] ((WARN|ERROR) [^\n]*)$`)
	logIdentity = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|\d+`)
)

// shapes are the warnings and errors of a log of a Java client, without ids and numbers.
func shapes(text string) map[string]string {
	seen := map[string]string{}
	for _, match := range logLine.FindAllStringSubmatch(text, -1) {
		shape := logIdentity.ReplaceAllString(match[1], "N")
		if _, ok := seen[shape]; !ok {
			seen[shape] = match[1]
		}
	}
	return seen
}

// checkLog fails the test for warnings and errors of a client that neither are expected nor came on Apache Kafka too.
func checkLog(t testing.TB, p *javaProcess, onKafka map[string]string, expected ...complaint) {
	t.Helper()
	seen := shapes(p.text())
	for _, shape := range slices.Sorted(maps.Keys(seen)) {
		_, same := onKafka[shape]
		if same || slices.ContainsFunc(expected, func(w complaint) bool { return matches(w.shape, shape) }) {
			continue
		}
		t.Errorf("%s logged what it would not on Apache Kafka: %s", p.name, strings.TrimSpace(seen[shape]))
	}
}
