package supervise

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Binaries are what a cluster is made of.
type Binaries struct {
	Varve, MinIO, NATS string
}

// Cluster is a small cluster in directory Dir: MinIO, NATS, a coordinator, two ingest nodes in zones a and b, and a tiering worker.
type Cluster struct {
	Dir      string
	Binaries Binaries
	Metalog  string // jetstream or bucket
	Ports    Ports
	// Flags are given to every role of Varve.
	Flags []string
	Tell  io.Writer

	MinIO, NATS, Coordinator, IngestA, IngestB, Tiering *Process
}

// Ports are where the cluster listens on loopback.
type Ports struct {
	MinIO, NATS, KafkaA, KafkaB int
	// HTTP is the first of four status ports, Internal of three internal ones.
	HTTP, Internal int
}

// The root user of a store that listens on loopback alone.
const (
	MinIOUser     = "varve"
	MinIOPassword = "varve-local-stack"
)

// Processes lists the cluster in the order in which it starts.
func (c *Cluster) Processes() []*Process {
	return []*Process{c.MinIO, c.NATS, c.Coordinator, c.IngestA, c.IngestB, c.Tiering}
}

// Prepare makes the directories and the processes; nothing is started.
func (c *Cluster) Prepare() error {
	for _, dir := range []string{"logs", "minio", "nats"} {
		if err := os.MkdirAll(filepath.Join(c.Dir, dir), 0o750); err != nil {
			return err
		}
	}
	minioAddr, natsAddr := loopback(c.Ports.MinIO), loopback(c.Ports.NATS)
	conf := filepath.Join(c.Dir, "nats.conf")
	// Varve's own state needs every write synced before it is acknowledged.
	text := fmt.Sprintf("listen: %q\nserver_name: varve-local\nmax_payload: 1MB\njetstream { store_dir: %q, sync_interval: always }\n", natsAddr, filepath.Join(c.Dir, "nats"))
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		return err
	}
	c.MinIO = &Process{
		Name: "minio", Command: []string{c.Binaries.MinIO, "server", "--address", minioAddr, filepath.Join(c.Dir, "minio")},
		Env: []string{"MINIO_UPDATE=off", "MINIO_BROWSER=off"}, Ready: HTTPReady("http://" + minioAddr + "/minio/health/ready"),
	}
	c.NATS = &Process{Name: "nats", Command: []string{c.Binaries.NATS, "--config", conf}, Ready: DialReady(natsAddr)}
	c.Coordinator = c.role("coordinator", "coordinator", 0, 0)
	c.IngestA = c.role("ingest-a", "ingest", 1, 1, "--kafka-addr", loopback(c.Ports.KafkaA), "--zone", "a")
	c.IngestB = c.role("ingest-b", "ingest", 2, 2, "--kafka-addr", loopback(c.Ports.KafkaB), "--zone", "b")
	c.Tiering = c.role("tiering", "tiering", 3, -1)
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
		"--nats-url", "nats://" + loopback(c.Ports.NATS), "--metalog", c.Metalog,
		"--bucket", "minio://" + loopback(c.Ports.MinIO) + "/varve?secure=false&create=true",
	}
	if internal >= 0 {
		command = append(command, "--internal-addr", loopback(c.Ports.Internal+internal))
	}
	command = append(append(command, more...), c.Flags...)
	return &Process{Name: name, Command: command, Ready: HTTPReady("http://" + loopback(c.Ports.HTTP+http) + "/readyz")}
}

// Up starts the processes, each when the one before is ready.
func (c *Cluster) Up(ctx context.Context) error {
	for _, p := range c.Processes() {
		p.Start()
		if err := p.AwaitReady(ctx); err != nil {
			return err
		}
		if c.Tell != nil {
			fmt.Fprintf(c.Tell, "%-12s ready, log in %s\n", p.Name, p.Log)
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
