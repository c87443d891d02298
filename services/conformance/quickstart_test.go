package conformance

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/varvelog/varve/services/e2e/cluster"
)

const (
	standaloneWorker = "org.apache.kafka.connect.cli.ConnectStandalone"
	resetTool        = "org.apache.kafka.tools.StreamsResetter"
)

// tool runs one of Kafka's tools to its end, and returns its output.
func tool(t testing.TB, classes, input, class string, args ...string) string {
	t.Helper()
	return cluster.MustCommand(t, input, "java", slices.Concat(javaOptions, []string{"-cp", classes, class}, args)...)
}

// TestConnectQuickStart is the section "Import/export your data as streams of events with Kafka Connect" of Kafka's quick start: a
// standalone worker copies a file to another through a topic that does not exist.
func TestConnectQuickStart(t *testing.T) {
	needGate(t)
	address, libs, dir := cluster.Serve(t).Kafka, jars(t), t.TempDir()
	in, out := filepath.Join(dir, "test.txt"), filepath.Join(dir, "test.sink.txt")
	if err := os.WriteFile(in, []byte("foo\nbar\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	// Those that come with Kafka, apart from addresses and directories.
	workerFile := writeProperties(t, filepath.Join(dir, "connect-standalone.properties"), map[string]string{
		"bootstrap.servers": address, "key.converter": "org.apache.kafka.connect.json.JsonConverter", "value.converter": "org.apache.kafka.connect.json.JsonConverter",
		"key.converter.schemas.enable": "true", "value.converter.schemas.enable": "true", "offset.storage.file.filename": filepath.Join(dir, "connect.offsets"),
		"offset.flush.interval.ms": "10000", "plugin.path": fileConnectors(t), "plugin.discovery": "service_load", "listeners": "http://" + cluster.FreeAddress(t),
	})
	sourceFile := writeProperties(t, filepath.Join(dir, "connect-file-source.properties"), map[string]string{
		"name": "local-file-source", "connector.class": "FileStreamSource", "tasks.max": "1", "file": in, "topic": "connect-test",
	})
	sinkFile := writeProperties(t, filepath.Join(dir, "connect-file-sink.properties"), map[string]string{
		"name": "local-file-sink", "connector.class": "FileStreamSink", "tasks.max": "1", "file": out, "topics": "connect-test",
	})
	worker := newJava(t, "standalone", libs, standaloneWorker, workerFile, sourceFile, sinkFile)
	worker.start()
	awaitFile := func(want string) {
		cluster.Eventually(t, patience, fmt.Sprintf("%q is in the sink's file", want), func() error {
			worker.mustRun()
			text, err := os.ReadFile(out)
			if err == nil && string(text) != want {
				err = fmt.Errorf("it is %q", text)
			}
			return err
		})
	}
	awaitFile("foo\nbar\n")
	consume := []string{"--bootstrap-server", address, "--topic", "connect-test", "--from-beginning", "--timeout-ms", "20000", "--max-messages"}
	output := tool(t, libs, "", consumerTool, append(consume, "2")...)
	if want := `{"schema":{"type":"string","optional":false},"payload":"foo"}` + "\n" + `{"schema":{"type":"string","optional":false},"payload":"bar"}` + "\n"; output != want {
		t.Errorf("the topic has %q", output)
	}
	file, err := os.OpenFile(in, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = file.WriteString("Another line\n")
	if err = errors.Join(err, file.Close()); err != nil {
		t.Fatal(err)
	}
	awaitFile("foo\nbar\nAnother line\n")
	worker.stop()
	checkLog(t, worker, nil, slices.Concat(usualWarnings, connectWarnings)...)
	if !t.Failed() {
		holds("connect, quick start: foo, bar and another line go from file to topic to file")
	}
}

// TestStreamsQuickStart is the quick start of Kafka Streams: the topics, the word count, its output in the console consumer;
// and then the tool that resets the application.
func TestStreamsQuickStart(t *testing.T) {
	needGate(t)
	// Nothing is shipped, and so not compacted, while its output is looked at: Kafka compacts no segment that is still written to.
	address, classes, dir := cluster.Serve(t, "--seal-age=2h").Kafka, streamsClasses(t, "StreamsApp"), t.TempDir()
	server := []string{"--bootstrap-server", address}
	create := append(server, "--create", "--replication-factor", "1", "--partitions", "1", "--topic")
	tool(t, classes, "", topicsTool, append(create, "streams-plaintext-input")...)
	tool(t, classes, "", topicsTool, append(create, "streams-wordcount-output", "--config", "cleanup.policy=compact")...)
	described := tool(t, classes, "", topicsTool, append(server, "--describe")...)
	for _, want := range []string{"Topic: streams-plaintext-input", "Topic: streams-wordcount-output", "cleanup.policy=compact"} {
		if !strings.Contains(described, want) {
			t.Errorf("%q is not in the description:\n%s", want, described)
		}
	}
	app := newJava(t, "demo", classes, "StreamsApp", "demo", writeProperties(t, filepath.Join(dir, "demo.properties"), map[string]string{
		"application.id": "streams-wordcount", "bootstrap.servers": address, "statestore.cache.max.bytes": "0", "commit.interval.ms": "1000", "state.dir": dir,
		"default.key.serde": "org.apache.kafka.common.serialization.Serdes$StringSerde", "default.value.serde": "org.apache.kafka.common.serialization.Serdes$StringSerde",
		"auto.offset.reset": "earliest", "group.protocol": streamsProtocol(),
	}))
	app.start()
	produce := append(server, "--topic", "streams-plaintext-input")
	consume := append(server, "--topic", "streams-wordcount-output", "--from-beginning", "--property", "print.key=true", "--property", "print.value=true",
		"--property", "key.deserializer=org.apache.kafka.common.serialization.StringDeserializer",
		"--property", "value.deserializer=org.apache.kafka.common.serialization.LongDeserializer", "--timeout-ms", "30000", "--max-messages")
	want := ""
	for _, step := range []struct{ line, counts string }{
		{"all streams lead to kafka", "all\t1\nstreams\t1\nlead\t1\nto\t1\nkafka\t1\n"},
		{"hello kafka streams", "hello\t1\nkafka\t2\nstreams\t2\n"},
		{"join kafka summit", "join\t1\nkafka\t3\nsummit\t1\n"},
	} {
		tool(t, classes, step.line+"\n", producerTool, produce...)
		want += step.counts
		if output := tool(t, classes, "", consumerTool, append(consume, fmt.Sprint(strings.Count(want, "\n")))...); output != want {
			t.Errorf("after %q the counts are %q, not %q", step.line, output, want)
		}
	}
	// What the application has made for itself.
	admin := kadm.NewClient(newClient(t, address))
	topics, err := admin.ListTopics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"streams-wordcount-KSTREAM-AGGREGATE-STATE-STORE-0000000003-changelog", "streams-wordcount-KSTREAM-AGGREGATE-STATE-STORE-0000000003-repartition"} {
		if !topics.Has(name) {
			t.Errorf("there is no topic %s among %q", name, topics.Names())
		}
	}
	app.stop()
	checkLog(t, app, nil, usualWarnings...)
	tool(t, classes, "", resetTool, append(server, "--application-id", "streams-wordcount", "--input-topics", "streams-plaintext-input", "--force")...)
	topics, err = admin.ListTopics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	offsets, err := admin.FetchOffsets(t.Context(), "streams-wordcount")
	if err != nil {
		t.Fatal(err)
	}
	if o, ok := offsets.Lookup("streams-plaintext-input", 0); len(topics.Names()) != 2 || !ok || o.At != 0 {
		t.Errorf("after the reset there are the topics %q, and the offset is %+v", topics.Names(), o)
	}
	if !t.Failed() {
		holds("streams, quick start: the word counts of three lines")
	}
}
