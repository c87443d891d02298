package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/varvelog/varve/services/e2e/cluster"
)

// steadyForeign is a producer of another client that sends a record every few milliseconds, or the consumer of a group that reads them, with default
// settings.
type steadyForeign struct {
	*foreignMember
	name string
	last string // the word that its last line begins with
}

// foreignClient is how to start another client's producer and consumer.
type foreignClient struct {
	name, program      string
	producer, consumer []string
}

// foreignClients are those that are installed.
func foreignClients() (clients []foreignClient) {
	script := func(name string) string { return filepath.Join("testdata", name) }
	python := filepath.Join(cluster.Root(), ".cache", "venv", "bin", "python")
	if _, err := os.Stat(python); err == nil {
		clients = append(clients, foreignClient{"librdkafka", python, []string{script("steady_producer.py")}, []string{script("steady_consumer.py")}})
	}
	libraries := filepath.Join(cluster.Root(), ".cache", "kafka", "libs")
	_, missing := os.Stat(libraries)
	if _, err := exec.LookPath("java"); err == nil && missing == nil {
		run := func(source string) []string {
			return []string{
				"-Xmx96m", "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp", filepath.Join(libraries, "*"), script(source),
			}
		}
		clients = append(clients, foreignClient{"Java", "java", run("SteadyProducer.java"), run("SteadyConsumer.java")})
	}
	return clients
}

// startSteadyForeign starts a producer and a consumer of each, on a topic that has its name.
func startSteadyForeign(t *testing.T, nodes []*cluster.Node, partitions int32) (running []*steadyForeign) {
	t.Helper()
	var addresses []string
	for _, n := range nodes {
		addresses = append(addresses, n.Kafka)
	}
	seeds := strings.Join(addresses, ",")
	for _, f := range foreignClients() {
		producer, consumer := f.name+" producer", f.name+" consumer"
		running = append(running,
			&steadyForeign{startMember(t, producer, f.program, append(f.producer, seeds, f.name, fmt.Sprint(partitions))...), producer, "sent"},
			&steadyForeign{startMember(t, consumer, f.program, append(f.consumer, seeds, f.name)...), consumer, "read"})
	}
	for _, p := range running {
		p.await("it begins", func() bool { return len(p.said("begins")) > 0 })
	}
	return running
}

// longest is the longest way of what was sent between two instants, to the acknowledgement or to the reader; 0 where none took long.
func (p *steadyForeign) longest(from, to time.Time) (longest time.Duration) {
	for _, line := range p.said("slow") {
		var began, took int64
		if _, err := fmt.Sscanf(line, "slow %d %d", &began, &took); err != nil {
			p.t.Errorf("%s: %q: %v", p.name, line, err)
			continue
		}
		if began >= from.UnixMilli() && began < to.UnixMilli() {
			longest = max(longest, time.Duration(took)*time.Millisecond)
		}
	}
	return longest
}

// finish ends the client, and fails the test where it was told an error, has an acknowledgement missing or lost its partitions.
func (p *steadyForeign) finish() {
	p.t.Helper()
	if _, err := fmt.Fprintln(p.input); err != nil {
		p.t.Errorf("stop %s: %v", p.name, err)
	}
	p.await("it ends", func() bool { return len(p.said(p.last)) > 0 })
	var count, other int
	switch line := p.said(p.last)[0]; p.last {
	case "sent":
		if _, err := fmt.Sscanf(line, "sent %d acknowledged %d", &count, &other); err != nil || count == 0 || other != count {
			p.t.Errorf("%s: %q, %v", p.name, line, err)
		}
	default:
		if _, err := fmt.Sscanf(line, "read %d moved %d", &count, &other); err != nil || count == 0 || other != 0 {
			p.t.Errorf("%s: %q, %v", p.name, line, err)
		}
	}
	for _, line := range p.said("error") {
		p.t.Errorf("%s was told: %s", p.name, line)
	}
}
