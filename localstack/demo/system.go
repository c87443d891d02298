package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varvelog/varve/localstack/supervise"
)

// system is what the demo runs against: one process, or a cluster.
type system struct {
	processes []*supervise.Process // in order of start
	cluster   *supervise.Cluster   // nil for one process
	ingest    []*supervise.Process
	hotLogs   []string
	kafka     []string
	status    map[*supervise.Process]string // of Varve's own processes
	bucket    string
	counted   counters // of process lives that have ended
}

// flags let the demo see in seconds what otherwise takes minutes.
var flags = []string{"--seal-age", "2s", "--hot-segment-bytes", "32MiB", "--log-level", "info"}

func newSystem(dir string, binaries supervise.Binaries, asCluster bool) (*system, error) {
	ports, err := freePorts(20)
	if err != nil {
		return nil, err
	}
	s := &system{status: map[*supervise.Process]string{}, counted: counters{}}
	if asCluster {
		return s, s.prepareCluster(dir, binaries, ports)
	}
	address := func(i int) string { return fmt.Sprintf("127.0.0.1:%d", ports[i]) }
	data := filepath.Join(dir, "data")
	p := &supervise.Process{
		Name: "serve", Log: filepath.Join(dir, "logs", "serve.log"), Tell: os.Stdout, Ready: supervise.HTTPReady("http://" + address(1) + "/readyz"),
		Command: append([]string{binaries.Varve, "serve", "--data-dir", data, "--kafka-addr", address(0), "--http-addr", address(1), "--internal-addr", address(2), "--nats-addr", address(3)}, flags...),
	}
	s.processes, s.ingest = []*supervise.Process{p}, []*supervise.Process{p}
	s.hotLogs, s.kafka, s.bucket = []string{filepath.Join(data, "hotlog")}, []string{address(0)}, filepath.Join(data, "bucket")
	s.status[p] = address(1)
	return s, nil
}

func (s *system) prepareCluster(dir string, binaries supervise.Binaries, ports []int) error {
	c := &supervise.Cluster{
		Dir: dir, Binaries: binaries, Metalog: "jetstream", Flags: flags, Tell: os.Stdout,
		Ports: supervise.Ports{MinIO: ports[0], KafkaA: ports[1], KafkaB: ports[2], HTTP: ports[3], Internal: ports[9], NATS: ports[14]},
	}
	if err := c.Prepare(); err != nil {
		return err
	}
	s.cluster = c
	s.processes, s.ingest = c.Processes(), []*supervise.Process{c.IngestA, c.IngestB}
	s.hotLogs = []string{filepath.Join(dir, "ingest-a", "hotlog"), filepath.Join(dir, "ingest-b", "hotlog")}
	s.kafka = []string{fmt.Sprintf("127.0.0.1:%d", ports[1]), fmt.Sprintf("127.0.0.1:%d", ports[2])}
	s.bucket = filepath.Join(dir, "minio", "varve")
	for i, p := range append(slices.Clone(c.Coordinators), c.IngestA, c.IngestB, c.Tiering) {
		s.status[p] = fmt.Sprintf("127.0.0.1:%d", ports[3]+i)
	}
	return nil
}

// freePorts returns n ports that follow one another and are free now.
func freePorts(n int) ([]int, error) {
	for base := 20000 + os.Getpid()%1000*20; base < 60000; base += n {
		ports := make([]int, 0, n)
		for port := base; port < base+n; port++ {
			l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
			if err != nil {
				break
			}
			if err := l.Close(); err != nil {
				return nil, err
			}
			ports = append(ports, port)
		}
		if len(ports) == n {
			return ports, nil
		}
	}
	return nil, fmt.Errorf("no %d free ports in a row", n)
}

func (s *system) brokers() string { return strings.Join(s.kafka, ",") }

func (s *system) up(ctx context.Context) error {
	if s.cluster != nil {
		return s.cluster.Up(ctx)
	}
	for _, p := range s.processes {
		p.Start()
		if err := p.AwaitReady(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (s *system) down() {
	for i := len(s.processes) - 1; i >= 0; i-- {
		s.processes[i].Stop()
	}
}

// highWatermarks is the sum over the topic's partitions.
func (s *system) highWatermarks(ctx context.Context) (int64, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(s.kafka...))
	if err != nil {
		return 0, err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	ends, err := kadm.NewClient(client).ListEndOffsets(ctx, topic)
	if err != nil {
		return 0, err
	}
	var sum int64
	ends.Each(func(o kadm.ListedOffset) { sum += max(0, o.Offset) })
	return sum, ends.Error()
}

// killOne sends SIGKILL to a process that serves clients, and waits until it serves again.
func (s *system) killOne(ctx context.Context) (name string, err error) {
	victim := s.ingest[0]
	if err := s.count(ctx, victim); err != nil {
		return "", err
	}
	if err := victim.Kill(); err != nil {
		return "", err
	}
	return victim.Name, victim.AwaitReady(ctx)
}

// awaitShipped returns when the hot logs hold nothing but an empty segment.
func (s *system) awaitShipped(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 90*time.Second)
	defer cancel()
	return supervise.Poll(ctx, func() error {
		for _, p := range s.ingest {
			now, err := scrape(ctx, s.status[p])
			if err != nil {
				return err
			}
			if size := now["varve_hotlog_size_bytes"]; size > 4096 {
				return fmt.Errorf("%s has %.0f bytes in its hot log", p.Name, size)
			}
		}
		return nil
	})
}

// removeHotLogs stops the ingest nodes, removes what they had on disk, and starts them again.
func (s *system) removeHotLogs(ctx context.Context) error {
	for i, p := range s.ingest {
		if err := s.count(ctx, p); err != nil {
			return err
		}
		p.Stop()
		if err := os.RemoveAll(s.hotLogs[i]); err != nil {
			return err
		}
	}
	for _, p := range s.ingest {
		p.Start()
		if err := p.AwaitReady(ctx); err != nil {
			return err
		}
	}
	return nil
}

// counters are Prometheus counters by name with labels.
type counters map[string]float64

// count adds the counters of a process whose life is about to end.
func (s *system) count(ctx context.Context, p *supervise.Process) error {
	now, err := scrape(ctx, s.status[p])
	if err != nil {
		return err
	}
	for name, value := range now {
		s.counted[name] += value
	}
	return nil
}

// scrape reads Varve's own metrics from a status address.
func scrape(ctx context.Context, address string) (counters, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	found := counters{}
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		name, text, ok := strings.Cut(lines.Text(), " ")
		if !ok || !strings.HasPrefix(name, "varve_") {
			continue
		}
		value, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return nil, fmt.Errorf("metric %q: %w", lines.Text(), err)
		}
		found[name] = value
	}
	return found, lines.Err()
}
