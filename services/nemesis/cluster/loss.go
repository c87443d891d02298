//go:build linux

package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"time"
)

// Lost is a range of offsets that was declared lost with a node.
type Lost struct {
	Topic      string `json:"topic"`
	Partition  int32  `json:"partition"`
	BaseOffset int64  `json:"baseOffset"`
	NextOffset int64  `json:"nextOffset"` // exclusive
}

// node is an ingest node as `varve node list` tells of it.
type node struct {
	Node             int32  `json:"node"`
	State            string `json:"state"`
	Kafka            string `json:"kafka"`
	AloneContainers  uint64 `json:"unshippedContainersAlone"`
	CopiedContainers uint64 `json:"unshippedContainersCopied"`
}

// errNotNow: what a disk has, or one that was lost before had, is nowhere else yet.
var errNotNow = errors.New("not now")

// LoseDisk ends an ingest node or a coordinator and empties its disk. It does nothing, and says so, where more would be lost than Varve promises to survive: a second
// disk while anything of the first is not in the bucket, or not on the other coordinators, yet.
func (c *Cluster) LoseDisk(p *Process) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	prepare := c.spareCoordinator
	if p.Role == Ingest {
		prepare = c.spareNode
	}
	if err := prepare(ctx, p); err != nil {
		c.config.Tell("the disk of %s is not lost now: %v", p.Name, err)
		return nil
	}
	return errors.Join(p.Kill(), p.disk.wipe())
}

// spareCoordinator says whether every coordinator's copy counts, so that one can be lost.
func (c *Cluster) spareCoordinator(ctx context.Context, _ *Process) error {
	for _, other := range c.Of(Coordinator) {
		if err := other.Ready(ctx); err != nil {
			return fmt.Errorf("%w: %w", errNotNow, err)
		}
		if other.isFilled() {
			return fmt.Errorf("%w: the disk of %s is full", errNotNow, other.Name)
		}
	}
	return nil
}

// spareNode says whether nothing waits on account of a disk that was lost before, and remembers which node this is.
func (c *Cluster) spareNode(ctx context.Context, p *Process) error {
	c.mu.Lock()
	waiting := len(c.mu.lost)
	c.mu.Unlock()
	if waiting > 0 {
		return fmt.Errorf("%w: a node that lost its disk is not forgotten yet", errNotNow)
	}
	nodes, err := c.nodes(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", errNotNow, err)
	}
	var number int32
	for _, n := range nodes {
		switch {
		case n.State == "forgotten" && n.AloneContainers+n.CopiedContainers > 0:
			return fmt.Errorf("%w: of node %d, which is forgotten, %d containers are not shipped", errNotNow, n.Node, n.AloneContainers+n.CopiedContainers)
		case n.State != "forgotten" && n.Kafka == p.Kafka():
			number = n.Node
		}
	}
	if number == 0 {
		return fmt.Errorf("%w: nobody knows %s", errNotNow, p.Name)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.lost = append(c.mu.lost, number)
	return nil
}

// Forget gives up the nodes whose disks were lost, which takes until they are known to be dead, and returns what is declared lost with them.
func (c *Cluster) Forget(ctx context.Context) (lost []Lost, err error) {
	c.mu.Lock()
	numbers := slices.Clone(c.mu.lost)
	c.mu.Unlock()
	for _, number := range numbers {
		// Asked first, since the answer of what does it may be lost.
		var would []Lost
		err := until(ctx, func(ctx context.Context) (err error) {
			would, err = ask[Lost](ctx, c, "no\n", "forget", strconv.Itoa(int(number)))
			if errors.Is(err, errUnconfirmed) {
				return nil
			}
			return err
		})
		if err != nil {
			return lost, fmt.Errorf("ask what is lost with node %d: %w", number, err)
		}
		lost = append(lost, would...)
		err = until(ctx, func(ctx context.Context) error {
			_, err := ask[Lost](ctx, c, "", "forget", strconv.Itoa(int(number)), "--yes")
			return err
		})
		if err != nil {
			return lost, fmt.Errorf("forget node %d: %w", number, err)
		}
		c.config.Tell("node %d, whose disk is lost, is forgotten: %d ranges", number, len(would))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.lost = nil
	return lost, nil
}

func (c *Cluster) nodes(ctx context.Context) ([]node, error) { return ask[node](ctx, c, "", "list") }

var errUnconfirmed = errors.New("not confirmed")

// ask runs `varve node` beside the clients, and reads the documents that it prints.
func ask[row any](ctx context.Context, c *Cluster, input string, args ...string) (rows []row, err error) {
	args = append([]string{"node"}, args...)
	args = append(args, "--json", "--timeout=5s", "--bucket", c.bucketURL())
	for _, p := range c.Of(Coordinator) {
		args = append(args, "--coordinator", p.Host.Address+":9644")
	}
	command := exec.CommandContext(ctx, c.config.Varve, args...)
	command.Env = append(os.Environ(), storeCredentials...)
	var out, complaint bytes.Buffer
	command.Stdin, command.Stdout, command.Stderr = bytes.NewBufferString(input), &out, &complaint
	failure := command.Run()
	for decoder := json.NewDecoder(&out); ; {
		var r row
		if err := decoder.Decode(&r); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("varve node: %w", err)
		}
		rows = append(rows, r)
	}
	switch {
	case failure != nil && bytes.Contains(complaint.Bytes(), []byte("is not forgotten")):
		return rows, errUnconfirmed
	case failure != nil:
		return nil, fmt.Errorf("varve node: %w: %s", failure, bytes.TrimSpace(complaint.Bytes()))
	}
	return rows, nil
}
