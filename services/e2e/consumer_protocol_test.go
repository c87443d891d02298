package e2e

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varvelog/varve/services/e2e/cluster"
)

// member of another language's client, in a process of its own. It says a line for each thing that becomes of it.
type foreignMember struct {
	t     *testing.T
	name  string
	input io.WriteCloser
	ended chan struct{}
	mu    struct {
		sync.Mutex
		lines []string
	}
}

// kafkaLibs is the class path of Apache Kafka's own client and tools.
func kafkaLibs(t *testing.T) string {
	t.Helper()
	libs := filepath.Join(cluster.Root(), ".cache", "kafka", "libs")
	if found, err := filepath.Glob(filepath.Join(libs, "kafka-clients-4*.jar")); err != nil || len(found) == 0 {
		t.Skip("Apache Kafka's jars are not in .cache/kafka/libs")
	}
	if _, err := exec.LookPath("javac"); err != nil {
		t.Skip("there is no JDK")
	}
	return filepath.Join(libs, "*")
}

// awaitHeartbeats waits until n has answered so many more heartbeats, by the name of their API.
func awaitHeartbeats(t *testing.T, n *cluster.Node, more map[string]int) {
	t.Helper()
	for api, count := range more {
		answered := func() (float64, error) { return n.Metric("varve_kafka_requests_total", fmt.Sprintf("api=%q", api)) }
		before, err := answered()
		if err != nil {
			t.Fatal(err)
		}
		cluster.Eventually(t, patience, "heartbeats", func() error {
			now, err := answered()
			if err == nil && now < before+float64(count) {
				err = fmt.Errorf("%v more of %s, want %d", now-before, api, count)
			}
			return err
		})
	}
}

func javaMember(t *testing.T, n *cluster.Node, group, topic string, settings ...string) *foreignMember {
	t.Helper()
	args := append([]string{"-Xmx96m", "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", kafkaLibs(t), filepath.Join("testdata", "GroupMember.java"),
		topic, "bootstrap.servers=" + n.Kafka, "group.id=" + group, "reconnect.backoff.max.ms=500"}, settings...)
	return startMember(t, "java "+strings.Join(settings, " "), "java", args...)
}

func pythonMember(t *testing.T, n *cluster.Node, group, topic string) *foreignMember {
	t.Helper()
	interpreter := filepath.Join(cluster.Root(), ".cache", "venv", "bin", "python")
	if _, err := os.Stat(interpreter); err != nil {
		t.Skip("Confluent's Python client is not installed: run services/e2e/python.sh")
	}
	return startMember(t, "python", interpreter, filepath.Join("testdata", "group_member.py"), n.Kafka, group, topic)
}

func startMember(t *testing.T, name, program string, args ...string) *foreignMember {
	t.Helper()
	m := &foreignMember{t: t, name: name, ended: make(chan struct{})}
	command := exec.Command(program, args...)
	output, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if m.input, err = command.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	command.Stderr = os.Stderr
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(m.ended)
		for lines := bufio.NewScanner(output); lines.Scan(); {
			m.mu.Lock()
			m.mu.lines = append(m.mu.lines, lines.Text())
			m.mu.Unlock()
		}
		_ = command.Wait() // what it said is what counts
	}()
	t.Cleanup(m.quit)
	return m
}

// quit ends the member, which leaves the group.
func (m *foreignMember) quit() {
	_ = m.input.Close() // or it has ended by itself
	select {
	case <-m.ended:
	case <-time.After(patience):
		m.t.Errorf("%s does not end", m.name)
	}
}

func (m *foreignMember) said(prefix string) (lines []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, line := range m.mu.lines {
		if strings.HasPrefix(line, prefix) {
			lines = append(lines, line)
		}
	}
	return lines
}

func (m *foreignMember) await(what string, ok func() bool) {
	m.t.Helper()
	cluster.Eventually(m.t, patience, m.name+": "+what, func() error {
		if !ok() {
			m.mu.Lock()
			defer m.mu.Unlock()
			return fmt.Errorf("it said %q", m.mu.lines[max(0, len(m.mu.lines)-5):])
		}
		return nil
	})
}

// commit commits, and returns what the member says of it: its epoch and how many partitions it has.
func (m *foreignMember) commit() string {
	m.t.Helper()
	before := len(m.said("committed"))
	if _, err := io.WriteString(m.input, "commit\n"); err != nil {
		m.t.Fatalf("%s: %v", m.name, err)
	}
	m.await("commit", func() bool { return len(m.said("committed")) > before })
	return m.said("committed")[before]
}

// has waits until the member has so many partitions.
func (m *foreignMember) has(partitions int) {
	m.t.Helper()
	m.await(fmt.Sprintf("%d partitions", partitions), func() bool { return strings.HasSuffix(m.commit(), fmt.Sprintf(" %d", partitions)) })
}

// moves counts what changed of its assignment.
func (m *foreignMember) moves() int {
	return len(m.said("assigned")) + len(m.said("revoked")) + len(m.said("lost"))
}

func TestConsumerProtocolSurvivesARestartWithoutARejoin(t *testing.T) {
	t.Parallel()
	n := cluster.Serve(t)
	createTopic(t, n, "shared", 6)
	members := []*foreignMember{
		javaMember(t, n, "modern", "shared", "group.protocol=consumer"),
		javaMember(t, n, "modern", "~sha.*", "group.protocol=consumer"),
		pythonMember(t, n, "modern", "shared"),
	}
	producer := dial(t, n, kgo.DefaultProduceTopic("shared"))
	for _, m := range members {
		m.has(2)
	}
	produce(t, producer, numbered("shared", "before", 0, 600)...)
	received := func() (count int) {
		for _, m := range members {
			count += len(m.said("record"))
		}
		return count
	}
	members[0].await("all records", func() bool { return received() >= 600 })
	var moves []int
	var epochs []string
	for _, m := range members {
		epochs, moves = append(epochs, m.commit()), append(moves, m.moves())
	}
	n.Kill()
	n.Start()
	produce(t, dial(t, n), numbered("shared", "after", 0, 600)...)
	members[0].await("all records after the restart", func() bool { return received() >= 1200 })
	awaitHeartbeats(t, n, map[string]int{"ConsumerGroupHeartbeat": 2 * len(members)}) // what nobody asked for would show by now
	for i, m := range members {
		if got := m.commit(); got != epochs[i] || m.moves() != moves[i] {
			t.Errorf("%s: %q before and %q after, %d moves and %d", m.name, epochs[i], got, moves[i], m.moves())
		}
	}
	if received() != 1200 {
		t.Errorf("received %d records, want 1200", received())
	}
}

func TestClassicConsumersMigrateOnlineAndBack(t *testing.T) {
	t.Parallel()
	for _, assignor := range []string{"RangeAssignor", "CooperativeStickyAssignor"} {
		t.Run(assignor, func(t *testing.T) {
			t.Parallel()
			n := cluster.Serve(t)
			createTopic(t, n, "moving", 4)
			classic := []string{"group.protocol=classic", "heartbeat.interval.ms=500", "partition.assignment.strategy=org.apache.kafka.clients.consumer." + assignor}
			a := javaMember(t, n, "migrating", "moving", classic...)
			a.has(4)
			b := javaMember(t, n, "migrating", "moving", "group.protocol=consumer")
			b.has(2)
			a.has(2)
			produce(t, dial(t, n), numbered("moving", "both", 0, 400)...)
			a.await("all records", func() bool { return len(a.said("record"))+len(b.said("record")) >= 400 })
			b.commit()
			b.quit()
			a.has(4)
			produce(t, dial(t, n), numbered("moving", "alone", 0, 400)...)
			a.await("all records alone", func() bool { return len(a.said("record"))+len(b.said("record")) >= 800 })
		})
	}
}

func TestConsoleConsumerWithTheConsumerProtocol(t *testing.T) {
	t.Parallel()
	n := cluster.Serve(t)
	libs := kafkaLibs(t)
	createTopic(t, n, "console", 3)
	produce(t, dial(t, n), numbered("console", "line", 0, 100)...)
	tool := func(class string, args ...string) string {
		return cluster.MustCommand(t, "", "java", append([]string{"-Xmx128m", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", libs, class, "--bootstrap-server", n.Kafka}, args...)...)
	}
	got := tool("org.apache.kafka.tools.consumer.ConsoleConsumer", "--topic", "console", "--group", "shell", "--from-beginning", "--max-messages", "100",
		"--consumer-property", "group.protocol=consumer")
	if strings.Count(got, "line-") != 100 {
		t.Errorf("consumed %.500s", got)
	}
	const groups = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"
	if got := tool(groups, "--list", "--type", "consumer"); !strings.Contains(got, "shell") {
		t.Errorf("listed %s", got)
	}
	if got := tool(groups, "--delete-offsets", "--group", "shell", "--topic", "console"); strings.Count(got, "Successful") != 3 {
		t.Errorf("deleted %s", got)
	}
	if got := tool(groups, "--delete", "--group", "shell"); !strings.Contains(got, "successful") {
		t.Errorf("deleted %s", got)
	}
}
