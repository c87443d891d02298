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

// steadyForeign is a producer of another client that sends a record every few milliseconds, with its default settings.
type steadyForeign struct {
	*foreignMember
	name string
}

// startSteadyForeign starts those whose clients are installed.
func startSteadyForeign(t *testing.T, nodes []*cluster.Node, topic string, partitions int32) (producers []*steadyForeign) {
	t.Helper()
	var seeds []string
	for _, n := range nodes {
		seeds = append(seeds, n.Kafka)
	}
	args := []string{strings.Join(seeds, ","), topic, fmt.Sprint(partitions)}
	python := filepath.Join(cluster.Root(), ".cache", "venv", "bin", "python")
	if _, err := os.Stat(python); err == nil {
		m := startMember(t, "librdkafka", python, append([]string{filepath.Join("testdata", "steady_producer.py")}, args...)...)
		producers = append(producers, &steadyForeign{m, "librdkafka"})
	}
	libraries := filepath.Join(cluster.Root(), ".cache", "kafka", "libs")
	_, missing := os.Stat(libraries)
	if _, err := exec.LookPath("java"); err == nil && missing == nil {
		m := startMember(t, "Java", "java", append([]string{
			"-Xmx96m", "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp", filepath.Join(libraries, "*"),
			filepath.Join("testdata", "SteadyProducer.java"),
		}, args...)...)
		producers = append(producers, &steadyForeign{m, "Java"})
	}
	for _, p := range producers {
		p.await("the producer begins", func() bool { return len(p.said("begins")) > 0 })
	}
	return producers
}

// longest is the longest acknowledgement of what was sent between two instants; 0 where none took long.
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

// finish stops the producer, and fails the test where it was told an error or has an acknowledgement missing.
func (p *steadyForeign) finish() {
	p.t.Helper()
	if _, err := fmt.Fprintln(p.input); err != nil {
		p.t.Errorf("stop %s: %v", p.name, err)
	}
	p.await("the producer ends", func() bool { return len(p.said("sent")) > 0 })
	var sent, acknowledged int
	if _, err := fmt.Sscanf(p.said("sent")[0], "sent %d acknowledged %d", &sent, &acknowledged); err != nil || sent != acknowledged || sent == 0 {
		p.t.Errorf("%s: %q, %v", p.name, p.said("sent"), err)
	}
	for _, line := range p.said("error") {
		p.t.Errorf("%s was told: %s", p.name, line)
	}
}
