package config

import (
	"fmt"
	"net"

	"github.com/varvelog/varve/coordinator/election"
)

// validatePeers reads the list of coordinators, and lets a coordinator's addresses default to its own in it.
func (c *Config) validatePeers(role Role) error {
	switch {
	case c.PeerList == "" && c.NodeID != 0:
		return &FieldError{Field: "node-id", Value: fmt.Sprint(c.NodeID), Reason: "needs --peers, the list of all coordinators"}
	case c.PeerList == "":
		return nil
	case role == RoleServe:
		return &FieldError{Field: "peers", Value: c.PeerList, Reason: "varve serve is a single node; run several varve coordinator instead"}
	}
	peers, err := election.ParsePeers(c.PeerList)
	if err != nil {
		return &FieldError{Field: "peers", Value: c.PeerList, Reason: err.Error()}
	}
	c.Peers = peers
	if role&RoleCoordinator == 0 {
		return nil
	}
	own, found := peers.Find(c.NodeID)
	if c.NodeID == 0 {
		return &FieldError{Field: "node-id", Value: "0", Reason: "must be this coordinator's number among --peers " + peers.String()}
	}
	if !found {
		return &FieldError{Field: "node-id", Value: fmt.Sprint(c.NodeID), Reason: "is not among --peers " + peers.String()}
	}
	if c.AdvertisedInternalAddr == "" {
		c.AdvertisedInternalAddr = own.Address
	} else if c.AdvertisedInternalAddr != own.Address {
		return &FieldError{Field: "advertised-internal-addr", Value: c.AdvertisedInternalAddr, Reason: fmt.Sprintf("--peers says that node %d is at %s", own.ID, own.Address)}
	}
	if isLoopback(c.InternalAddr) && !isLoopback(own.Address) {
		return &FieldError{Field: "internal-addr", Value: c.InternalAddr, Reason: fmt.Sprintf("listens on loopback alone, while --peers says that node %d is at %s", own.ID, own.Address)}
	}
	if c.Metalog == "jetstream" && len(peers)%2 == 0 {
		return &FieldError{Field: "peers", Value: c.PeerList, Reason: "the JetStream metadata log needs an odd number of coordinators"}
	}
	if c.NATSURL != "" {
		return nil
	}
	for _, p := range peers {
		if p.RouteAddress == "" {
			return &FieldError{Field: "peers", Value: c.PeerList, Reason: fmt.Sprintf("node %d has no NATS port: want number=host:internalport:natsport, or --nats-url", p.ID)}
		}
	}
	if c.NATSClusterAddr == "" {
		c.NATSClusterAddr = own.RouteAddress
	}
	if err := checkListener(c.NATSClusterAddr); err != nil {
		return &FieldError{Field: "nats-cluster-addr", Value: c.NATSClusterAddr, Reason: err.Error()}
	}
	return nil
}

// Coordinators are the internal addresses where a tool asks for the leader: those of --peers, else the listener of a coordinator that is alone.
func (c *Config) Coordinators() ([]string, error) {
	if c.PeerList == "" {
		return []string{c.InternalAddr}, nil
	}
	peers, err := election.ParsePeers(c.PeerList)
	if err != nil {
		return nil, c.sourced(&FieldError{Field: "peers", Value: c.PeerList, Reason: err.Error()})
	}
	return peers.Addresses(), nil
}

func isLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	ip := net.ParseIP(host)
	return err == nil && (host == "localhost" || (ip != nil && ip.IsLoopback()))
}
