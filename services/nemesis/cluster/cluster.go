//go:build linux

package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/varvelog/varve/services/nemesis/faultystore"
	"github.com/varvelog/varve/services/nemesis/netns"
)

// Config says what to run.
type Config struct {
	Dir                            string // takes logs and disks
	Varve, MinIO                   string // binaries
	Metalog                        string // jetstream or bucket
	Coordinators, Ingest, Tierings int
	Flags                          []string // of every process of Varve
	DiskBytes                      int64    // of each process
	// Tell takes a line for people.
	Tell func(format string, args ...any)
}

// Cluster is a running cluster.
type Cluster struct {
	Network         *netns.Network
	Clients, Bucket *netns.Host // the program's own addresses
	Store           *faultystore.Proxy
	MinIO           *Process   // what is behind Store
	Processes       []*Process // of Varve

	config Config
	stop   chan struct{}
	done   sync.WaitGroup
	mu     struct {
		sync.Mutex
		complaints []string
		lost       []int32 // nodes whose disks were lost, and which are not forgotten yet
	}
}

const (
	storeUser     = "varve"
	storePassword = "varve-nemesis"
	storePort     = "9000"
)

var storeCredentials = []string{"MINIO_ROOT_USER=" + storeUser, "MINIO_ROOT_PASSWORD=" + storePassword}

func (c *Cluster) bucketURL() string {
	return "minio://" + c.Bucket.Address + ":" + storePort + "/varve?secure=false&create=true"
}

// Start makes the network and the disks and starts everything. On an error the caller's end takes along what was started.
func Start(ctx context.Context, config Config) (*Cluster, error) {
	c := &Cluster{config: config, stop: make(chan struct{})}
	var err error
	if c.Network, err = netns.New(); err != nil {
		return nil, err
	}
	if c.Clients, err = c.Network.Outside("clients", 1); err != nil {
		return nil, err
	}
	if c.Bucket, err = c.Network.Outside("store", 2); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(config.Dir, "logs"), 0o750); err != nil {
		return nil, err
	}
	if err := c.startStore(ctx); err != nil {
		return nil, err
	}
	if err := c.prepare(); err != nil {
		return nil, err
	}
	for _, p := range c.Processes {
		if err := p.Start(); err != nil {
			return nil, err
		}
	}
	c.done.Go(c.measure)
	return c, c.AwaitReady(ctx)
}

func (c *Cluster) startStore(ctx context.Context) error {
	address := "127.0.0.1:" + storePort
	c.MinIO = &Process{
		Name: "minio", Role: Store, complain: c.Complain, log: filepath.Join(c.config.Dir, "logs", "minio.log"), health: "http://" + address + "/minio/health/ready",
		command: []string{c.config.MinIO, "server", "--quiet", "--address", address, filepath.Join(c.config.Dir, "minio")},
		env:     []string{"MINIO_UPDATE=off", "MINIO_BROWSER=off", "CI=true"},
	}
	c.MinIO.env = append(c.MinIO.env, storeCredentials...)
	err := c.MinIO.Start()
	if err == nil {
		err = until(ctx, c.MinIO.Ready)
	}
	if err != nil {
		return fmt.Errorf("MinIO does not come up: %w", err)
	}
	c.Store, err = faultystore.Listen(c.Bucket.Address+":"+storePort, "http://"+address)
	return err
}

// Kafka is the address of an ingest node's Kafka listener.
func (p *Process) Kafka() string { return p.Host.Address + ":9092" }

// Bootstrap is where clients begin.
func (c *Cluster) Bootstrap() []string {
	var addresses []string
	for _, p := range c.Of(Ingest) {
		addresses = append(addresses, p.Kafka())
	}
	return addresses
}

// Of are the processes of a role.
func (c *Cluster) Of(role Role) (processes []*Process) {
	for _, p := range c.Processes {
		if p.Role == role {
			processes = append(processes, p)
		}
	}
	return processes
}

// prepare makes the hosts, the disks and the commands.
func (c *Cluster) prepare() error {
	if err := shareMounts(filepath.Join(c.config.Dir, "disks")); err != nil {
		return err
	}
	for _, kind := range []struct {
		role         Role
		count, first int
	}{{Coordinator, c.config.Coordinators, 101}, {Ingest, c.config.Ingest, 111}, {Tiering, c.config.Tierings, 121}} {
		for i := range kind.count {
			p := &Process{Name: fmt.Sprintf("%s-%d", kind.role, i+1), Role: kind.role, complain: c.Complain}
			p.log = filepath.Join(c.config.Dir, "logs", p.Name+".log")
			p.clockFile = filepath.Join(c.config.Dir, p.Name+".clock")
			var err error
			if p.Host, err = c.Network.Host(p.Name, kind.first+i); err != nil {
				return err
			}
			p.health = "http://" + p.Host.Address + ":8080/readyz"
			if err := c.addDisk(p); err != nil {
				return fmt.Errorf("disk of %s: %w", p.Name, err)
			}
			c.Processes = append(c.Processes, p)
		}
	}
	var nats, peers []string
	for i, p := range c.Of(Coordinator) {
		nats = append(nats, "nats://"+p.Host.Address+":4222")
		peers = append(peers, fmt.Sprintf("%d=%s:9644:6222", i+1, p.Host.Address))
	}
	numbers := map[Role]int{}
	for _, p := range c.Processes {
		numbers[p.Role]++
		p.command = p.Host.Command(append(c.arguments(p, numbers[p.Role], strings.Join(nats, ","), strings.Join(peers, ",")), c.config.Flags...)...)
		p.env = append([]string{"NEMESIS_CLOCK=" + p.clockFile}, storeCredentials...)
	}
	return nil
}

// addDisk gives the process a disk whose power can be cut, where it keeps something that counts and this machine can do so.
func (c *Cluster) addDisk(p *Process) error {
	p.disk = &disk{dir: filepath.Join(c.config.Dir, "disks", p.Name), sizeBytes: c.config.DiskBytes}
	if p.Role == Tiering {
		return p.disk.create()
	}
	images := filepath.Join(c.config.Dir, "images")
	if _, err := os.Stat(images); err != nil {
		if err := os.MkdirAll(images, 0o750); err != nil {
			return err
		}
		if err := unix.Mount("tmpfs", images, "tmpfs", 0, ""); err != nil {
			return err
		}
	}
	p.disk.image = filepath.Join(images, p.Name)
	err := p.disk.create()
	if errors.Is(err, errNoPower) {
		c.config.Tell("%s: %v", p.Name, err)
		p.disk.image = ""
		return p.disk.create()
	}
	return err
}

// Powered tells whether the power of every process that keeps something can be cut.
func (c *Cluster) Powered() bool {
	return !slices.ContainsFunc(c.Processes, func(p *Process) bool { return p.Role != Tiering && !p.Powered() })
}

func (c *Cluster) arguments(p *Process, number int, nats, peers string) []string {
	arguments := []string{
		c.config.Varve, string(p.Role), "--data-dir", filepath.Join(p.disk.dir, "data"), "--http-addr", p.Host.Address + ":8080", "--metalog", c.config.Metalog,
		"--bucket", c.bucketURL(),
	}
	zone := string(rune('a' + (number-1)%3))
	if c.config.Coordinators > 1 {
		arguments = append(arguments, "--peers", peers)
	}
	switch p.Role {
	case Coordinator:
		arguments = append(arguments, "--internal-addr", p.Host.Address+":9644", "--nats-addr", p.Host.Address+":4222", "--zone", zone)
		if c.config.Coordinators > 1 {
			arguments = append(arguments, "--node-id", fmt.Sprint(number))
		}
	case Ingest:
		arguments = append(arguments, "--nats-url", nats, "--internal-addr", p.Host.Address+":9644", "--kafka-addr", p.Kafka(), "--zone", zone)
	case Tiering:
		arguments = append(arguments, "--nats-url", nats, "--zone", zone)
	}
	return arguments
}

// Complain notes what should not have happened.
func (c *Cluster) Complain(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	c.config.Tell("COMPLAINT: %s", text)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.complaints = append(c.mu.complaints, text)
}

// Complaints are what should not have happened.
func (c *Cluster) Complaints() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string{}, c.mu.complaints...)
}

func (c *Cluster) measure() {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-c.stop:
			return
		case <-ticker.C:
			for _, p := range c.Processes {
				p.measure()
			}
		}
	}
}

// AwaitReady waits until every process serves, as long as ctx allows.
func (c *Cluster) AwaitReady(ctx context.Context) error {
	for _, p := range append([]*Process{c.MinIO}, c.Processes...) {
		if err := until(ctx, p.Ready); err != nil {
			return fmt.Errorf("%s is not ready: %w, see %s", p.Name, err, p.log)
		}
	}
	return nil
}

// until calls check until it returns nil or ctx ends, and then returns the last error that is not ctx's.
func until(ctx context.Context, check func(context.Context) error) error {
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	var last error
	for {
		err := check(ctx)
		if err == nil {
			return nil
		}
		if last == nil || ctx.Err() == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			return last
		case <-ticker.C:
		}
	}
}

// Close kills everything.
func (c *Cluster) Close() {
	close(c.stop)
	c.done.Wait()
	for _, p := range c.Processes {
		if err := p.Kill(); err != nil {
			c.config.Tell("%v", err)
		}
	}
	if err := c.Store.Close(); err != nil {
		c.config.Tell("%v", err)
	}
	if err := c.MinIO.Kill(); err != nil {
		c.config.Tell("%v", err)
	}
	for _, p := range c.Processes {
		_ = unix.Unmount(p.disk.dir, unix.MNT_DETACH) // fails only where nothing is mounted; the namespace takes the mounts with it anyway
	}
}

// Tails prints the end of every log.
func (c *Cluster) Tails(w io.Writer, bytes int64) {
	for _, p := range c.Processes {
		file, err := os.Open(p.log)
		if err != nil {
			continue
		}
		if size, err := file.Seek(0, io.SeekEnd); err == nil {
			_, _ = file.Seek(max(0, size-bytes), io.SeekStart)
			fmt.Fprintf(w, "── %s\n", p.Name)
			_, _ = io.Copy(w, file)
		}
		_ = file.Close()
	}
}
