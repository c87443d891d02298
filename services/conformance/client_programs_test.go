package conformance

import "path/filepath"

// clientPrograms are the clients that are run against Varve.
var clientPrograms = []clientProgram{
	{
		name: "java", kind: "java", protocols: []string{"classic", "consumer"}, command: java,
	},
	{
		name: "franz-go", kind: "golang", protocols: []string{"classic", "consumer"}, command: golang("franz"),
	},
	{
		name: "sarama", kind: "golang", protocols: []string{"classic"}, command: golang("sarama"),
		warns: []warning{{`\[fenced\] transition from .* to ProducerTxnStateInError`, fenced}},
	},
	{
		name: "kafka-go", kind: "golang", protocols: []string{"classic"}, command: golang("kafkago"),
		lacks: []string{"idempotent", "transaction", "transaction-offsets", "transaction-fence", "admin-delete-records"},
	},
	{
		name: "confluent-kafka", kind: "python", protocols: []string{"classic", "consumer"},
		command: python("confluent.py"),
	},
	{
		name: "kafkajs", kind: "node", protocols: []string{"classic"}, noNullHeaders: true, lacks: []string{"produce-lz4"},
		command: func(in clients) []string {
			return []string{"env", "CLIENT_PACKAGES=" + filepath.Join(in.cache, "node"), "node", filepath.Join(in.sources, "kafkajs", "client.js")}
		},
		warns: []warning{
			{`The group is rebalancing`, "the coordinator says so when a member joins"},
			{`KafkaJS v2.0.0 switched default partitioner`, "the client tells everybody so"},
			{`Response CreateTopics.*Topic creation errors`, "a check creates a topic twice"},
			{`Response EndTxn.*old epoch`, fenced},
			{`Response DeleteGroups|DeleteGroups.*GROUP_ID_NOT_FOUND`, "a check deletes a group twice"},
		},
	},
	{
		name: "aiokafka", kind: "python", protocols: []string{"classic"}, command: python("aiokafka_client.py"),
		warns: []warning{{`Heartbeat failed for group \S+ because it is rebalancing`, "the coordinator says so when a member joins"}},
	},
	{
		name: "kafka-python", kind: "python", protocols: []string{"classic"}, noNullHeaders: true,
		command: python("kafkapython.py"),
		warns: []warning{
			{`Fatal Error handling request EndTxnRequest: .*ProducerFencedError`, fenced},
			{`Task .* ran for [0-9.]+s \(>0.100s threshold\)`, "the client waits for a processor, which other clients share"},
		},
	},
}

// fenced is what clients say of the producer whose transaction another took over, in transaction-fence.
const fenced = "a check fences this producer on purpose"

func golang(program string) func(clients) []string {
	return func(in clients) []string { return []string{filepath.Join(in.cache, "golang", program)} }
}

func java(in clients) []string {
	return []string{
		"java", "-Xmx128m", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-Dorg.slf4j.simpleLogger.defaultLogLevel=info",
		"-cp", filepath.Join(in.cache, "java") + string(filepath.ListSeparator) + in.jars, "Client",
	}
}

func python(program string) func(clients) []string {
	return func(in clients) []string {
		return []string{filepath.Join(in.cache, "python", "bin", "python"), filepath.Join(in.sources, "python", program)}
	}
}
