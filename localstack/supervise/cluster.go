package supervise

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Binaries are what a cluster is made of.
type Binaries struct {
	Varve, MinIO string
}

// Coordinators is how many coordinators a cluster has.
const Coordinators = 3

// Cluster is a small cluster in directory Dir: MinIO, three coordinators with their NATS servers, two ingest nodes in zones a and b, and a tiering
// worker.
type Cluster struct {
	Dir      string
	Binaries Binaries
	Metalog  string // jetstream or bucket
	Ports    Ports
	// Flags are given to every role of Varve.
	Flags []string
	Tell  io.Writer

	// Environment is how tools and further processes find the cluster, NAME=value each; Prepare sets it.
	Environment []string

	MinIO, IngestA, IngestB, Tiering *Process
	Coordinators                     []*Process
}

// Ports are where the cluster listens on loopback.
type Ports struct {
	MinIO, KafkaA, KafkaB int
	// HTTP is the first of six status ports, Internal of five internal ones: coordinators', ingest nodes', the worker's. NATS is the first of six for
	// NATS: three for clients, three for the servers among themselves.
	HTTP, Internal, NATS int
}

// The root user of a store that listens on loopback alone.
const (
	MinIOUser     = "varve"
	MinIOPassword = "varve-local-stack"
)

// Processes lists the cluster in the order in which it starts.
func (c *Cluster) Processes() []*Process {
	return slices.Concat(c.stages()...)
}

// stages are what is started together: a new metadata log begins when all coordinators are there. What is stopped last is started first: ingest
// nodes that stop have the worker ship what they hold.
func (c *Cluster) stages() [][]*Process {
	return [][]*Process{{c.MinIO}, c.Coordinators, {c.Tiering}, {c.IngestA}, {c.IngestB}}
}

// Prepare makes the directories and the processes; nothing is started.
func (c *Cluster) Prepare() error {
	for _, dir := range []string{"logs", "minio"} {
		if err := os.MkdirAll(filepath.Join(c.Dir, dir), 0o750); err != nil {
			return err
		}
	}
	minioAddr := loopback(c.Ports.MinIO)
	c.MinIO = &Process{
		Name: "minio", Command: []string{c.Binaries.MinIO, "server", "--address", minioAddr, filepath.Join(c.Dir, "minio")},
		Env: []string{"MINIO_UPDATE=off", "MINIO_BROWSER=off"}, Ready: HTTPReady("http://" + minioAddr + "/minio/health/ready"),
	}
	var peers, urls []string
	for i := range Coordinators {
		peers = append(peers, fmt.Sprintf("%d=%s:%d", i+1, loopback(c.Ports.Internal+i), c.Ports.NATS+Coordinators+i))
		urls = append(urls, "nats://"+loopback(c.Ports.NATS+i))
	}
	group := []string{"--peers", strings.Join(peers, ",")}
	outside := append(slices.Clone(group), "--nats-url", strings.Join(urls, ","))
	c.Coordinators = nil
	for i := range Coordinators {
		own := append([]string{"--node-id", strconv.Itoa(i + 1), "--nats-addr", loopback(c.Ports.NATS + i)}, group...)
		c.Coordinators = append(c.Coordinators, c.role(fmt.Sprintf("coordinator-%d", i+1), "coordinator", i, i, own...))
	}
	c.IngestA = c.role("ingest-a", "ingest", 3, 3, append([]string{"--kafka-addr", loopback(c.Ports.KafkaA), "--zone", "a"}, outside...)...)
	c.IngestB = c.role("ingest-b", "ingest", 4, 4, append([]string{"--kafka-addr", loopback(c.Ports.KafkaB), "--zone", "b"}, outside...)...)
	c.Tiering = c.role("tiering", "tiering", 5, -1, outside...)
	c.Environment = []string{
		"VARVE_BROKERS=" + loopback(c.Ports.KafkaA) + "," + loopback(c.Ports.KafkaB), "VARVE_BUCKET=" + c.bucket(), "VARVE_PEERS=" + strings.Join(peers, ","),
		"VARVE_NATS_URL=" + strings.Join(urls, ","), "MINIO_ROOT_USER=" + MinIOUser, "MINIO_ROOT_PASSWORD=" + MinIOPassword,
	}
	for _, p := range c.Processes() {
		p.Env = append(p.Env, "MINIO_ROOT_USER="+MinIOUser, "MINIO_ROOT_PASSWORD="+MinIOPassword)
		p.Log, p.Tell = filepath.Join(c.Dir, "logs", p.Name+".log"), c.Tell
	}
	return nil
}

// role is one process of Varve; internal is below 0 where it has no internal listener.
func (c *Cluster) role(name, role string, http, internal int, more ...string) *Process {
	command := []string{
		c.Binaries.Varve, role, "--data-dir", filepath.Join(c.Dir, name), "--http-addr", loopback(c.Ports.HTTP + http),
		"--metalog", c.Metalog,
		"--bucket", c.bucket() + "&create=true",
	}
	if internal >= 0 {
		command = append(command, "--internal-addr", loopback(c.Ports.Internal+internal))
	}
	command = append(append(command, more...), c.Flags...)
	return &Process{Name: name, Command: command, Ready: HTTPReady("http://" + loopback(c.Ports.HTTP+http) + "/readyz")}
}

func (c *Cluster) bucket() string {
	return "minio://" + loopback(c.Ports.MinIO) + "/varve?secure=false"
}

// Up starts the processes, each when those before it are ready.
func (c *Cluster) Up(ctx context.Context) error {
	for _, stage := range c.stages() {
		for _, p := range stage {
			p.Start()
		}
		for _, p := range stage {
			if err := p.AwaitReady(ctx); err != nil {
				return err
			}
			if c.Tell != nil {
				fmt.Fprintf(c.Tell, "%-14s ready, log in %s\n", p.Name, p.Log)
			}
		}
	}
	return nil
}

// Down stops the processes that were started, the last first.
func (c *Cluster) Down() {
	processes := c.Processes()
	for i := len(processes) - 1; i >= 0; i-- {
		processes[i].Stop()
	}
}

func loopback(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }
