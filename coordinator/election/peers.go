package election

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
)

// Peer is one coordinator of a group.
type Peer struct {
	// ID is above 0 and unique in the group.
	ID int
	// Address is where its internal listener is reached, host:port.
	Address string
	// RouteAddress is where its embedded NATS server is reached by those of its peers, host:port; empty where there is none.
	RouteAddress string
}

// String is the peer in the form that ParsePeers reads.
func (p Peer) String() string {
	if p.RouteAddress == "" {
		return fmt.Sprintf("%d=%s", p.ID, p.Address)
	}
	_, port, _ := net.SplitHostPort(p.RouteAddress)
	return fmt.Sprintf("%d=%s:%s", p.ID, p.Address, port)
}

// Peers are a group, in order of their numbers.
type Peers []Peer

// String is the group in the form that ParsePeers reads, always the same for the same group.
func (ps Peers) String() string {
	texts := make([]string, len(ps))
	for i, p := range ps {
		texts[i] = p.String()
	}
	return strings.Join(texts, ",")
}

// Find returns the peer with a number.
func (ps Peers) Find(id int) (Peer, bool) {
	i := slices.IndexFunc(ps, func(p Peer) bool { return p.ID == id })
	if i < 0 {
		return Peer{}, false
	}
	return ps[i], true
}

// Addresses are the internal addresses of all.
func (ps Peers) Addresses() []string {
	addresses := make([]string, len(ps))
	for i, p := range ps {
		addresses[i] = p.Address
	}
	return addresses
}

// ParsePeers reads "1=host:internalport:natsport,2=…", where natsport, which other peers' NATS servers connect to, may be left out, and an IPv6
// host stands in brackets.
func ParsePeers(text string) (Peers, error) {
	var peers Peers
	addresses := map[string]int{}
	for _, part := range strings.Split(text, ",") {
		p, err := parsePeer(strings.TrimSpace(part))
		if err != nil {
			return nil, err
		}
		if _, twice := peers.Find(p.ID); twice {
			return nil, fmt.Errorf("number %d stands twice", p.ID)
		}
		for _, address := range []string{p.Address, p.RouteAddress} {
			if other, taken := addresses[address]; taken && address != "" {
				return nil, fmt.Errorf("peers %d and %d have the same address %s", other, p.ID, address)
			}
			addresses[address] = p.ID
		}
		peers = append(peers, p)
	}
	slices.SortFunc(peers, func(a, b Peer) int { return a.ID - b.ID })
	return peers, nil
}

func parsePeer(text string) (Peer, error) {
	wrong := func() (Peer, error) {
		return Peer{}, fmt.Errorf("%q is not number=host:internalport:natsport", text)
	}
	number, place, found := strings.Cut(text, "=")
	id, err := strconv.Atoi(number)
	if !found || err != nil || id < 1 {
		return wrong()
	}
	host, ports := place, ""
	if end := strings.Index(place, "]:"); strings.HasPrefix(place, "[") && end > 0 {
		host, ports = place[1:end], place[end+2:]
	} else if host, ports, found = strings.Cut(place, ":"); !found {
		return wrong()
	}
	internal, route, routed := strings.Cut(ports, ":")
	if host == "" || !isPort(internal) || (routed && !isPort(route)) {
		return wrong()
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		return Peer{}, fmt.Errorf("%q: nobody can connect to %s", text, host)
	}
	p := Peer{ID: id, Address: net.JoinHostPort(host, internal)}
	if routed {
		p.RouteAddress = net.JoinHostPort(host, route)
	}
	return p, nil
}

func isPort(text string) bool {
	port, err := strconv.Atoi(text)
	return err == nil && port > 0 && port < 1<<16
}
