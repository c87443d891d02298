package ingestd

import (
	"fmt"
	"net"

	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/services/config"
	"github.com/varvelog/varve/services/process"
)

// zoneListener is a listener for the clients of one zone, "" for all.
type zoneListener struct {
	net.Listener
	zone string
}

// listen opens the general listener and those of zones. What is opened when it fails is closed by Close.
func (n *Node) listen(c *config.Config) error {
	open := func(zone, address, field string) error {
		l, err := net.Listen("tcp", address)
		if err != nil {
			return fmt.Errorf("listen for Kafka clients (%s): %w", field, err)
		}
		n.listeners = append(n.listeners, zoneListener{l, zone})
		return nil
	}
	if err := open("", c.KafkaAddr, "--kafka-addr "+c.KafkaAddr); err != nil {
		return err
	}
	zones, err := c.ParseZoneListeners()
	if err != nil {
		return err
	}
	for _, z := range zones {
		if err := open(z.Zone, z.Addr, "--zone-listeners "+z.Zone+"="+z.Addr); err != nil {
			return err
		}
	}
	n.failed = make(chan error, len(n.listeners)+1)
	return nil
}

// newRegistration says where the node is and how it is reached.
func newRegistration(c *config.Config) (*metapb.RegisterNode, error) {
	host, port, err := process.HostPort(c.AdvertisedAddr)
	if err != nil {
		return nil, err
	}
	r := &metapb.RegisterNode{Zone: c.Zone, KafkaHost: host, KafkaPort: port, InternalAddress: c.AdvertisedInternalAddr}
	zones, err := c.ParseZoneListeners()
	if err != nil {
		return nil, err
	}
	for _, z := range zones {
		l := &metapb.ZoneListener{Zone: z.Zone}
		if l.KafkaHost, l.KafkaPort, err = process.HostPort(z.Advertised); err != nil {
			return nil, err
		}
		r.ZoneListeners = append(r.ZoneListeners, l)
	}
	return r, nil
}
