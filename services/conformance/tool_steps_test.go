package conformance

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The classes behind Kafka's scripts.
const (
	topicsTool          = "org.apache.kafka.tools.TopicCommand"
	producerTool        = "org.apache.kafka.tools.ConsoleProducer"
	consumerTool        = "org.apache.kafka.tools.consumer.ConsoleConsumer"
	groupsTool          = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"
	offsetsTool         = "org.apache.kafka.tools.GetOffsetShell"
	configsTool         = "kafka.admin.ConfigCommand"
	deleteRecordsTool   = "org.apache.kafka.tools.DeleteRecordsCommand"
	transactionsTool    = "org.apache.kafka.tools.TransactionsCommand"
	logDirsTool         = "org.apache.kafka.tools.LogDirsCommand"
	clientMetricsTool   = "org.apache.kafka.tools.ClientMetricsCommand"
	electionTool        = "org.apache.kafka.tools.LeaderElectionCommand"
	reassignTool        = "org.apache.kafka.tools.reassign.ReassignPartitionsCommand"
	clusterTool         = "org.apache.kafka.tools.ClusterTool"
	featuresTool        = "org.apache.kafka.tools.FeatureCommand"
	quorumTool          = "org.apache.kafka.tools.MetadataQuorumCommand"
	versionsTool        = "org.apache.kafka.tools.BrokerApiVersionsCommand"
	aclsTool            = "org.apache.kafka.tools.AclCommand"
	delegationTool      = "org.apache.kafka.tools.DelegationTokenCommand"
	producerPerfTool    = "org.apache.kafka.tools.ProducerPerformance"
	consumerPerfTool    = "org.apache.kafka.tools.ConsumerPerformance"
	verifiableProducer  = "org.apache.kafka.tools.VerifiableProducer"
	endToEndLatencyTool = "org.apache.kafka.tools.EndToEndLatency"
	verifiableConsumer  = "org.apache.kafka.tools.VerifiableConsumer"
)

// toolSteps are the commands, in the order in which a person would try them.
func toolSteps(t *testing.T, dir string) []toolStep {
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	left := leftRunning{}
	var steps []toolStep
	steps = append(steps, topicSteps()...)
	steps = append(steps, consoleSteps()...)
	steps = append(steps, offsetSteps(file)...)
	steps = append(steps, groupSteps(left, file)...)
	steps = append(steps, configSteps()...)
	steps = append(steps, transactionSteps(left)...)
	steps = append(steps, clusterSteps(file)...)
	return append(steps, loadSteps(file)...)
}

func topicSteps() []toolStep {
	return []toolStep{
		// The quick start's commands, as it writes them.
		{name: "kafka-topics quick start create", class: topicsTool, args: "--create --topic quickstart-events --bootstrap-server ADDRESS", want: []string{"Created topic quickstart-events."}},
		{name: "kafka-topics quick start describe", class: topicsTool, args: "--describe --topic quickstart-events --bootstrap-server ADDRESS", want: []string{"PartitionCount: 1", "Leader: 1"}},
		{name: "kafka-topics create", class: topicsTool, args: "--create --topic smoke --partitions 3 --config retention.ms=86400000", want: []string{"Created topic smoke."}},
		{name: "kafka-topics create again", class: topicsTool, args: "--create --topic smoke --partitions 3", want: []string{"Topic 'smoke' already exists.", "exit code 1"}},
		{name: "kafka-topics create if not exists", class: topicsTool, args: "--create --topic smoke --partitions 3 --if-not-exists", want: []string{"exit code 0"}},
		{name: "kafka-topics create with a period", class: topicsTool, args: "--create --topic smoke.dotted", want: []string{"WARNING", "Created topic smoke.dotted."}},
		{name: "kafka-topics create a colliding name", class: topicsTool, args: "--create --topic smoke_dotted", want: []string{"collides"}},
		{name: "kafka-topics create a bad name", class: topicsTool, args: "--create --topic smoke/dotted", want: []string{"exit code 1"}},
		{name: "kafka-topics create with more replicas than brokers", class: topicsTool, args: "--create --topic replicated --replication-factor 3", want: []string{"cannot be reached"}, varve: []string{"Created topic replicated."}, differs: "copies are the object store's to keep, so any factor is taken"},
		{name: "kafka-topics delete it if exists", class: topicsTool, args: "--delete --topic replicated --if-exists", want: []string{"exit code 0"}},
		{name: "kafka-topics create with an assignment", class: topicsTool, args: "--create --topic assigned --replica-assignment 1,1", want: []string{"Created topic assigned."}},
		{name: "kafka-topics create with a bad setting", class: topicsTool, args: "--create --topic bad --config no.such=1", want: []string{"Unknown topic config name: no.such"}},
		{name: "kafka-topics list", class: topicsTool, args: "--list", want: []string{"smoke\n", "quickstart-events\n"}},
		{name: "kafka-topics list by a pattern", class: topicsTool, args: "--list --topic smo.*", want: []string{"smoke\n"}},
		{name: "kafka-topics list without internal ones", class: topicsTool, args: "--list --exclude-internal", want: []string{"smoke\n"}},
		{name: "kafka-topics describe", class: topicsTool, args: "--describe --topic smoke", want: []string{"PartitionCount: 3", "retention.ms=86400000", "Partition: 2"}},
		{name: "kafka-topics describe what is not there", class: topicsTool, args: "--describe --topic nobody", want: []string{"exit code 1"}},
		{name: "kafka-topics describe if exists", class: topicsTool, args: "--describe --topic nobody --if-exists", want: []string{"exit code 0"}},
		{name: "kafka-topics under-replicated", class: topicsTool, args: "--describe --under-replicated-partitions", want: []string{"exit code 0"}},
		{name: "kafka-topics unavailable", class: topicsTool, args: "--describe --unavailable-partitions", want: []string{"exit code 0"}},
		{name: "kafka-topics under min isr", class: topicsTool, args: "--describe --under-min-isr-partitions", want: []string{"exit code 0"}},
		{name: "kafka-topics at min isr", class: topicsTool, args: "--describe --at-min-isr-partitions --topic smoke", want: []string{"Partition: 2"}},
		{name: "kafka-topics with overrides", class: topicsTool, args: "--describe --topics-with-overrides", want: []string{"retention.ms=86400000"}},
		{name: "kafka-topics alter", class: topicsTool, args: "--alter --topic smoke --partitions 4", want: []string{"exit code 0"}},
		{name: "kafka-topics alter to fewer", class: topicsTool, args: "--alter --topic smoke --partitions 2", want: []string{"exit code 1"}},
		{name: "kafka-topics describe after alter", class: topicsTool, args: "--describe --topic smoke", want: []string{"PartitionCount: 4"}},
		{name: "kafka-topics delete", class: topicsTool, args: "--delete --topic assigned", want: []string{"exit code 0"}},
		{name: "kafka-topics delete again", class: topicsTool, args: "--delete --topic assigned", want: []string{"exit code 1"}},
		{name: "kafka-topics delete if exists", class: topicsTool, args: "--delete --topic assigned --if-exists", want: []string{"exit code 0"}},
	}
}

func consoleSteps() []toolStep {
	read := " --timeout-ms 20000"
	return []toolStep{
		{name: "kafka-console-producer quick start", class: producerTool, args: "--topic quickstart-events --bootstrap-server ADDRESS", input: "This is my first event\nThis is my second event\n"},
		{name: "kafka-console-consumer quick start", class: consumerTool, args: "--topic quickstart-events --from-beginning --bootstrap-server ADDRESS --max-messages 2" + read, want: []string{"This is my first event\nThis is my second event\n"}},
		{name: "kafka-console-producer keys", class: producerTool, args: "--topic quickstart-events --property parse.key=true --property key.separator=:", input: "k1:v1\nk2:v2\n"},
		{name: "kafka-console-producer headers", class: producerTool, args: "--topic quickstart-events --property parse.key=true --property key.separator=: --property parse.headers=true --property null.marker=NULL", input: "h1:a,h2:b\tk3:v3\nh1:NULL\tk4:NULL\n"},
		{name: "kafka-console-producer codecs", class: producerTool, args: "--topic quickstart-events --compression-codec zstd --producer-property linger.ms=5", input: "compressed\n"},
		{name: "kafka-console-producer sync", class: producerTool, args: "--topic quickstart-events --sync --request-required-acks all", input: "synchronous\n"},
		{name: "kafka-console-consumer all of it", class: consumerTool, args: "--topic quickstart-events --from-beginning --max-messages 8 --property print.key=true --property print.headers=true --property print.offset=true --property print.partition=true --property print.timestamp=true --property print.epoch=true" + read, want: []string{"h1:a,h2:b", "k4", "synchronous", "Processed a total of 8 messages"}},
		{name: "kafka-console-consumer partition and offset", class: consumerTool, args: "--topic quickstart-events --partition 0 --offset 3 --max-messages 2 --property print.key=true" + read, want: []string{"k2"}},
		{name: "kafka-console-consumer from the earliest offset", class: consumerTool, args: "--topic quickstart-events --partition 0 --offset earliest --max-messages 1" + read, want: []string{"first event"}},
		{name: "kafka-console-consumer nothing more", class: consumerTool, args: "--topic quickstart-events --partition 0 --offset latest --timeout-ms 1500", want: []string{"Processed a total of 0 messages"}},
		{name: "kafka-console-consumer in a group", class: consumerTool, args: "--topic quickstart-events --group readers --from-beginning --max-messages 3" + read, want: []string{"Processed a total of 3 messages"}},
		{name: "kafka-console-consumer in the group again", class: consumerTool, args: "--topic quickstart-events --group readers --max-messages 2" + read, want: []string{"Processed a total of 2 messages"}},
		{name: "kafka-console-consumer of the consumer protocol", class: consumerTool, args: "--topic quickstart-events --group new-readers --from-beginning --max-messages 3 --consumer-property group.protocol=consumer" + read, want: []string{"Processed a total of 3 messages"}},
		{name: "kafka-console-consumer by a pattern", class: consumerTool, args: "--include quickstart.* --group pattern-readers --from-beginning --max-messages 8" + read, want: []string{"Processed a total of 8 messages"}},
		{name: "kafka-console-consumer committed", class: consumerTool, args: "--topic quickstart-events --from-beginning --isolation-level read_committed --max-messages 8" + read, want: []string{"Processed a total of 8 messages"}},
		{name: "kafka-console-consumer of what is not there", class: consumerTool, args: "--topic smoke --partition 9 --offset 0 --timeout-ms 3000", want: []string{"Processed a total of 0 messages"}},
	}
}

func offsetSteps(file func(name, text string) string) []toolStep {
	deletion := file("delete.json", `{"version":1,"partitions":[{"topic":"smoke","partition":0,"offset":10},{"topic":"smoke","partition":1,"offset":3}]}`)
	beyond := file("beyond.json", `{"version":1,"partitions":[{"topic":"smoke","partition":0,"offset":1000}]}`)
	return []toolStep{
		{name: "kafka-console-producer many lines", class: producerTool, args: "--topic smoke --property parse.key=true --property key.separator=:", input: numberedLines(200)},
		{name: "kafka-get-offsets", class: offsetsTool, args: "--topic smoke", want: []string{"smoke:0:", "smoke:3:"}},
		{name: "kafka-get-offsets earliest", class: offsetsTool, args: "--topic smoke --time earliest", want: []string{"smoke:0:0"}},
		{name: "kafka-get-offsets latest", class: offsetsTool, args: "--topic smoke --time -1", want: []string{"smoke:0:"}},
		{name: "kafka-get-offsets max-timestamp", class: offsetsTool, args: "--topic quickstart-events --time max-timestamp", want: []string{"quickstart-events:0:7"}},
		{name: "kafka-get-offsets by time", class: offsetsTool, args: "--topic smoke --time 1000", want: []string{"exit code 0"}},
		{name: "kafka-get-offsets by a time to come", class: offsetsTool, args: "--topic smoke --time 99999999999999", want: []string{"exit code 0"}},
		{name: "kafka-get-offsets earliest-local", class: offsetsTool, args: "--topic smoke --time earliest-local", want: []string{"smoke:0:0"}},
		{name: "kafka-get-offsets latest-tiered", class: offsetsTool, args: "--topic smoke --time latest-tiered", want: []string{"exit code 0"}},
		{name: "kafka-get-offsets of partitions", class: offsetsTool, args: "--topic smoke --partitions 1,2", want: []string{"smoke:1:"}},
		{name: "kafka-get-offsets of topic-partitions", class: offsetsTool, args: "--topic-partitions smoke:0,quickstart.*:0", want: []string{"smoke:0:", "quickstart-events:0:8"}},
		{name: "kafka-get-offsets of everything", class: offsetsTool, args: "--exclude-internal-topics", want: []string{"smoke:0:"}},
		{name: "kafka-get-offsets of nothing", class: offsetsTool, args: "--topic nobody", want: []string{"exit code 1"}},
		{name: "kafka-delete-records", class: deleteRecordsTool, args: "--offset-json-file " + deletion, want: []string{"partition: smoke-0 low_watermark: 10"}},
		{name: "kafka-delete-records beyond the end", class: deleteRecordsTool, args: "--offset-json-file " + beyond, want: []string{"smoke-0"}},
		{name: "kafka-get-offsets after it", class: offsetsTool, args: "--topic smoke --time earliest", want: []string{"smoke:0:10"}},
	}
}

func numberedLines(n int) string {
	var text strings.Builder
	for i := range n {
		fmt.Fprintf(&text, "key %d:line %d\n", i, i)
	}
	return text.String()
}
