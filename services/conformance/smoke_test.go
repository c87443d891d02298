package conformance

import (
	"fmt"
	"strings"
	"testing"

	"github.com/varvelog/varve/services/e2e/cluster"
)

// tools are the classes behind Kafka's scripts.
const (
	topicsTool       = "org.apache.kafka.tools.TopicCommand"
	producerTool     = "org.apache.kafka.tools.ConsoleProducer"
	consumerTool     = "org.apache.kafka.tools.consumer.ConsoleConsumer"
	groupsTool       = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"
	offsetsTool      = "org.apache.kafka.tools.GetOffsetShell"
	configsTool      = "kafka.admin.ConfigCommand"
	producerPerfTool = "org.apache.kafka.tools.ProducerPerformance"
	consumerPerfTool = "org.apache.kafka.tools.ConsumerPerformance"
	versionsTool     = "org.apache.kafka.tools.BrokerApiVersionsCommand"
)

// TestKafkaTools runs the tools that come with Kafka against Varve.
func TestKafkaTools(t *testing.T) {
	needGate(t)
	classes, address := jars(t), startVarve(t).address
	run := func(t *testing.T, input, class string, args ...string) string {
		t.Helper()
		all := append([]string{"-Xmx256m", "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", classes, class}, args...)
		r := cluster.Command(t, input, "java", all...)
		if r.Code != 0 {
			t.Fatalf("%s %q: exit code %d\n%s%s", class, args, r.Code, r.Stdout, r.Stderr)
		}
		return r.Stdout
	}
	steps := []struct {
		name, input, class string
		args               []string
		want               []string // in the output
	}{
		{"topics create", "", topicsTool, []string{"--create", "--topic", "smoke", "--partitions", "3", "--config", "retention.ms=86400000"}, []string{"Created topic smoke"}},
		{"topics list", "", topicsTool, []string{"--list"}, []string{"smoke"}},
		{"topics describe", "", topicsTool, []string{"--describe", "--topic", "smoke"}, []string{"PartitionCount: 3", "retention.ms=86400000", "Partition: 2"}},
		{"topics alter", "", topicsTool, []string{"--alter", "--topic", "smoke", "--partitions", "4"}, nil},
		{"console producer", lines(100), producerTool, []string{"--topic", "smoke"}, nil},
		{"console consumer", "", consumerTool, []string{"--topic", "smoke", "--from-beginning", "--max-messages", "100", "--timeout-ms", "20000"}, []string{"line 0\n", "line 99\n"}},
		{"console consumer in a group", "", consumerTool, []string{"--topic", "smoke", "--from-beginning", "--group", "smokers", "--max-messages", "100", "--timeout-ms", "20000"}, []string{"line 50\n"}},
		{"consumer-groups list", "", groupsTool, []string{"--list"}, []string{"smokers"}},
		{"consumer-groups describe", "", groupsTool, []string{"--describe", "--group", "smokers"}, []string{"smoke", "LAG"}},
		{"consumer-groups state", "", groupsTool, []string{"--describe", "--state", "--group", "smokers"}, []string{"Empty"}},
		{"consumer-groups reset-offsets", "", groupsTool, []string{"--reset-offsets", "--to-earliest", "--topic", "smoke", "--group", "smokers", "--execute"}, []string{"smokers"}},
		{"console consumer after the reset", "", consumerTool, []string{"--topic", "smoke", "--group", "smokers", "--max-messages", "100", "--timeout-ms", "20000"}, []string{"line 7\n"}},
		{"consumer-groups delete", "", groupsTool, []string{"--delete", "--group", "smokers"}, []string{"successful"}},
		{"get-offsets", "", offsetsTool, []string{"--topic", "smoke"}, []string{"smoke:0:", "smoke:3:"}},
		{"get-offsets earliest", "", offsetsTool, []string{"--topic", "smoke", "--time", "earliest"}, []string{"smoke:0:0"}},
		{"configs alter", "", configsTool, []string{"--alter", "--entity-type", "topics", "--entity-name", "smoke", "--add-config", "max.message.bytes=2000000"}, []string{"Completed"}},
		{"configs describe", "", configsTool, []string{"--describe", "--entity-type", "topics", "--entity-name", "smoke"}, []string{"max.message.bytes=2000000"}},
		{"configs delete", "", configsTool, []string{"--alter", "--entity-type", "topics", "--entity-name", "smoke", "--delete-config", "max.message.bytes"}, []string{"Completed"}},
		{"configs describe all", "", configsTool, []string{"--describe", "--all", "--entity-type", "topics", "--entity-name", "smoke"}, []string{"segment.bytes"}},
		{"producer-perf-test", "", producerPerfTool, []string{"--topic", "smoke", "--num-records", "20000", "--record-size", "200", "--throughput", "-1", "--producer-props", "bootstrap.servers=" + address}, []string{"20000 records sent"}},
		{"consumer-perf-test", "", consumerPerfTool, []string{"--topic", "smoke", "--messages", "20000", "--timeout", "20000"}, []string{"MB.sec"}},
		{"broker-api-versions", "", versionsTool, nil, []string{"Produce(0)"}},
		{"topics delete", "", topicsTool, []string{"--delete", "--topic", "smoke"}, nil},
	}
	for _, step := range steps {
		t.Run(step.name, func(t *testing.T) {
			args := step.args
			if step.class != producerPerfTool {
				args = append([]string{"--bootstrap-server", address}, args...)
			}
			output := run(t, step.input, step.class, args...)
			for _, want := range step.want {
				if !strings.Contains(output, want) {
					t.Errorf("%q is not in the output:\n%s", want, output)
				}
			}
		})
	}
}

func lines(n int) string {
	var text strings.Builder
	for i := range n {
		fmt.Fprintf(&text, "line %d\n", i)
	}
	return text.String()
}
