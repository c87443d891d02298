//go:build linux

package netns

import (
	"fmt"
	"sync"
)

// Network is a bridge in the program's own namespace, with the hosts that are attached to it. The program itself is on it under Outside's addresses.
type Network struct {
	hosts []*Host

	mu struct {
		sync.Mutex
		blocked map[link]int // how many keep the direction blocked
	}
}

type link struct{ from, to *Host }

// Host is one address of the network. The program's own have no namespace.
type Host struct {
	Name    string
	Address string

	namespace string // empty: the program's own
	mac       string
}

const (
	bridge    = "bridge"
	prefix    = "10.77.0."
	bridgeMAC = "02:00:00:00:00:01"
	// nobody is a hardware address that no host has.
	nobody = "02:00:00:00:ff:ff"
)

// New makes a network without hosts. The program must be in namespaces of its own (Enter).
func New() (*Network, error) {
	n := &Network{}
	n.mu.blocked = map[link]int{}
	for _, command := range [][]string{
		{"ip", "link", "add", bridge, "address", bridgeMAC, "type", "bridge"},
		{"ip", "link", "set", bridge, "up"},
	} {
		if err := run(command...); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrNotPermitted, err)
		}
	}
	return n, nil
}

// Outside gives the program another address on the network, 1 to 99.
func (n *Network) Outside(name string, number int) (*Host, error) {
	h := &Host{Name: name, Address: fmt.Sprint(prefix, number), mac: bridgeMAC}
	if err := run("ip", "address", "add", h.Address+"/24", "dev", bridge); err != nil {
		return nil, err
	}
	return h, n.attach(h)
}

// Host makes a namespace with one address, 100 to 250.
func (n *Network) Host(name string, number int) (*Host, error) {
	h := &Host{Name: name, Address: fmt.Sprint(prefix, number), namespace: name, mac: fmt.Sprintf("02:00:00:00:01:%02x", number)}
	outer := fmt.Sprint("veth", number)
	for _, command := range [][]string{
		{"ip", "netns", "add", name},
		{"ip", "link", "add", outer, "type", "veth", "peer", "name", "eth0", "address", h.mac, "netns", name},
		{"ip", "link", "set", outer, "master", bridge, "up"},
		h.ip("link", "set", "lo", "up"),
		h.ip("address", "add", h.Address+"/24", "dev", "eth0"),
		h.ip("link", "set", "eth0", "up"),
	} {
		if err := run(command...); err != nil {
			return nil, fmt.Errorf("host %s: %w", name, err)
		}
	}
	return h, n.attach(h)
}

// attach tells all hosts of each other, so that none ever has to ask.
func (n *Network) attach(h *Host) error {
	for _, other := range n.hosts {
		if h.namespace == other.namespace {
			continue
		}
		for _, l := range []link{{h, other}, {other, h}} {
			if err := l.neighbour(l.to.mac); err != nil {
				return err
			}
		}
	}
	n.hosts = append(n.hosts, h)
	return nil
}

// ip is the command that runs ip in the host's namespace.
func (h *Host) ip(args ...string) []string {
	if h.namespace == "" {
		return append([]string{"ip"}, args...)
	}
	return append([]string{"ip", "-n", h.namespace}, args...)
}

// Command is the command that runs another in the host's namespace, under the same process id.
func (h *Host) Command(command ...string) []string {
	if h.namespace == "" {
		return command
	}
	return append([]string{"ip", "netns", "exec", h.namespace}, command...)
}

func (l link) neighbour(mac string) error {
	device := "eth0"
	if l.from.namespace == "" {
		device = bridge
	}
	return run(l.from.ip("neighbour", "replace", l.to.Address, "lladdr", mac, "dev", device, "nud", "permanent")...)
}

// Block loses all packets from one host to another until as many calls of Unblock.
func (n *Network) Block(from, to *Host) error { return n.change(from, to, 1) }

// Unblock takes back one Block.
func (n *Network) Unblock(from, to *Host) error { return n.change(from, to, -1) }

func (n *Network) change(from, to *Host, by int) error {
	if from.namespace == to.namespace {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	l := link{from, to}
	before := n.mu.blocked[l]
	after := max(0, before+by)
	n.mu.blocked[l] = after
	switch {
	case before == 0 && after > 0:
		return l.neighbour(nobody)
	case before > 0 && after == 0:
		return l.neighbour(to.mac)
	}
	return nil
}
