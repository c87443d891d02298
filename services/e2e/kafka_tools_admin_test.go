package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varvelog/varve/services/conformance/kafkatools"
	"github.com/varvelog/varve/services/e2e/cluster"
)

// javaTool runs one of Apache Kafka's own tools in a process of its own.
func javaTool(t *testing.T, class string, args ...string) cluster.Result {
	t.Helper()
	command := append([]string{"-Xmx256m", "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp", kafkaLibs(t), class}, args...)
	return cluster.Command(t, "", "java", command...)
}

// adminTools runs Apache Kafka's own tools against a node, all in one process.
type adminTools struct {
	*kafkatools.Runner
	node *cluster.Node
}

func startAdminTools(t *testing.T, n *cluster.Node) adminTools {
	t.Helper()
	return adminTools{kafkatools.Start(t, filepath.Dir(kafkaLibs(t))), n}
}

// says fails the test unless the tool prints all of want.
func (a adminTools) says(t *testing.T, class string, args []string, want ...string) {
	t.Helper()
	result, err := a.Run(class, "", append([]string{"--bootstrap-server", a.node.Kafka}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range want {
		if !strings.Contains(result.Stdout+result.Stderr, line) {
			t.Errorf("%s %q does not say %q:\n%s%s", class, args, line, result.Stdout, result.Stderr)
		}
	}
}

func words(text string) []string { return strings.Fields(text) }

func writeFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file.json")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const (
	toolConfigs       = "kafka.admin.ConfigCommand"
	toolLogDirs       = "org.apache.kafka.tools.LogDirsCommand"
	toolDeleteRecords = "org.apache.kafka.tools.DeleteRecordsCommand"
	toolGetOffsets    = "org.apache.kafka.tools.GetOffsetShell"
	toolClientMetrics = "org.apache.kafka.tools.ClientMetricsCommand"
	toolFeatures      = "org.apache.kafka.tools.FeatureCommand"
	toolElection      = "org.apache.kafka.tools.LeaderElectionCommand"
	toolReassign      = "org.apache.kafka.tools.reassign.ReassignPartitionsCommand"
	toolTopics        = "org.apache.kafka.tools.TopicCommand"
	toolQuorum        = "org.apache.kafka.tools.MetadataQuorumCommand"
)

func TestKafkaConfigsTool(t *testing.T) {
	t.Parallel()
	n := cluster.Serve(t)
	tools := startAdminTools(t, n)
	createTopic(t, n, "t", 1)
	for _, step := range []struct {
		args string
		want []string
	}{
		{"--alter --entity-type topics --entity-name t --add-config retention.ms=100000", []string{"Completed updating config for topic t."}},
		{"--describe --entity-type topics --entity-name t", []string{"retention.ms=100000 sensitive=false synonyms={DYNAMIC_TOPIC_CONFIG:retention.ms=100000}"}},
		{"--alter --entity-type topics --entity-name t --add-config preallocate=true", []string{"Completed updating config for topic t."}},
		{"--alter --entity-type topics --entity-name t --add-config unclean.leader.election.enable=true", []string{"InvalidConfigurationException"}},
		{"--alter --entity-type topics --entity-name t --add-config no.such=1", []string{"Unknown topic config name: no.such"}},
		{"--alter --entity-type brokers --entity-name 1 --add-config max.connections=500", []string{"Completed updating config for broker 1."}},
		{"--alter --entity-type brokers --entity-default --add-config max.connections=600,log.retention.ms=5000000", []string{"Completed updating default config for brokers in the cluster."}},
		{"--describe --entity-type brokers --entity-name 1", []string{"max.connections=500 sensitive=false synonyms={DYNAMIC_BROKER_CONFIG:max.connections=500, DYNAMIC_DEFAULT_BROKER_CONFIG:max.connections=600, DEFAULT_CONFIG:max.connections=2147483647}"}},
		{"--describe --entity-type brokers --entity-name 1 --all", []string{"log.dirs=" + n.DataDir, "node.id=1", "min.insync.replicas=1"}},
		{"--alter --entity-type brokers --entity-name 1 --add-config log.retention.ms=1", []string{"is the cluster's, not one node's"}},
		{"--alter --entity-type brokers --entity-default --add-config num.io.threads=9", []string{"there are no thread pools to size"}},
		{"--alter --add-config producer_byte_rate=1024,consumer_byte_rate=2048 --entity-type clients --entity-name app", []string{"Completed updating config for client app."}},
		{"--alter --add-config controller_mutation_rate=5 --entity-type users --entity-default", []string{"Completed updating default config for users in the cluster."}},
		{"--alter --add-config connection_creation_rate=5 --entity-type ips --entity-name 10.0.0.1", []string{"Completed updating config for ip 10.0.0.1."}},
		{"--describe --entity-type clients", []string{"Quota configs for client-id 'app' are consumer_byte_rate=2048.0, producer_byte_rate=1024.0"}},
		{"--describe --entity-type users", []string{"Quota configs for the default user-principal are controller_mutation_rate=5.0"}},
		{"--describe --entity-type ips", []string{"Quota configs for ip '10.0.0.1' are connection_creation_rate=5.0"}},
	} {
		tools.says(t, toolConfigs, words(step.args), step.want...)
	}
}

func TestKafkaAdministrationTools(t *testing.T) {
	t.Parallel()
	n := cluster.Serve(t)
	tools := startAdminTools(t, n)
	createTopic(t, n, "t", 1)
	produce(t, dial(t, n), numbered("t", "r", 0, 10)...)
	deletion := writeFile(t, `{"version":1,"partitions":[{"topic":"t","partition":0,"offset":4}]}`)
	assignment := writeFile(t, `{"version":1,"partitions":[{"topic":"t","partition":0,"replicas":[1]}]}`)
	for _, step := range []struct {
		tool, args string
		want       []string
	}{
		{toolTopics, "--describe --topic t", []string{"Topic: t\tPartition: 0\tLeader: 1\tReplicas: 1\tIsr: 1\tElr:"}},
		{toolDeleteRecords, "--offset-json-file " + deletion, []string{"partition: t-0\tlow_watermark: 4"}},
		{toolGetOffsets, "--topic t --time earliest", []string{"t:0:4"}},
		{toolGetOffsets, "--topic t", []string{"t:0:10"}},
		{toolLogDirs, "--describe", []string{`"partition":"t-0"`, `"logDir":"` + n.DataDir + `"`, `"error":null`}},
		{toolClientMetrics, "--alter --name sub --metrics org.apache.kafka.producer. --interval 5000 --match client_id=p.*", []string{"Altered client metrics config for sub."}},
		{toolClientMetrics, "--list", []string{"sub"}},
		{toolClientMetrics, "--describe", []string{"interval.ms=5000", "match=client_id=p.*", "metrics=org.apache.kafka.producer."}},
		{toolClientMetrics, "--delete --name sub", []string{"Deleted client metrics config for sub."}},
		{toolFeatures, "describe", []string{"Feature: metadata.version\tSupportedMinVersion: 3.3-IV3\tSupportedMaxVersion: 4.1-IV1\tFinalizedVersionLevel: 4.1-IV1"}},
		{toolFeatures, "downgrade --feature metadata.version=25", []string{"It is fixed at 27 by this version of Varve"}},
		{toolElection, "--election-type preferred --topic t --partition 0", []string{"Valid replica already elected for partitions t-0"}},
		{toolReassign, "--execute --reassignment-json-file " + assignment, []string{"Successfully started partition reassignment for t-0"}},
		{toolReassign, "--verify --reassignment-json-file " + assignment, []string{"Reassignment of partition t-0 is completed."}},
		{toolReassign, "--list", []string{"No partition reassignments found."}},
		{toolQuorum, "describe --status", []string{"LeaderId:               1", `CurrentVoters:          [{"id": 1`}},
	} {
		tools.says(t, step.tool, words(step.args), step.want...)
	}
}

// TestKafkaProducerPushesItsMetrics runs a Java producer with a subscription and looks for what it pushed.
func TestKafkaProducerPushesItsMetrics(t *testing.T) {
	t.Parallel()
	n := cluster.Serve(t)
	tools := startAdminTools(t, n)
	createTopic(t, n, "t", 1)
	tools.says(t, toolClientMetrics, words("--alter --name all --metrics * --interval 100"), "Altered")
	producer, err := tools.Run("org.apache.kafka.tools.ProducerPerformance", "",
		words("--topic t --num-records 300 --throughput 100 --record-size 100 --producer-props bootstrap.servers="+n.Kafka)...)
	if err != nil || producer.Code != 0 {
		t.Fatalf("%v\n%s%s", err, producer.Stdout, producer.Stderr)
	}
	metrics, err := n.Get("/metrics")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(metrics, "varve_client_telemetry_pushes_total 0") || !strings.Contains(metrics, "varve_client_telemetry_pushes_total") {
		t.Error("no client pushed its metrics")
	}
	consumed := flatten(readAll(t, n, "t", kgo.ClientID("reader")))
	if len(consumed) != 300 {
		t.Errorf("%d records", len(consumed))
	}
}
