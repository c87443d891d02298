package ingestd

import (
	"fmt"
	"net"

	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/services/config"
)

// zoneListener is a listener for the clients of one zone, "" for all.
type zoneListener struct {
	net.Listener
	zone       string
	advertised string // host:port that clients are told
}

// listen opens the general listener and those of zones. What is opened when it fails is closed by Close.
func (n *Node) listen(c *config.Config) error {
	open := func(zone, address, advertised, field string) error {
		l, err := net.Listen("tcp", address)
		if err != nil {
			return fmt.Errorf("listen for Kafka clients (%s): %w", field, err)
		}
		n.listeners = append(n.listeners, zoneListener{l, zone, config.WithPort(advertised, l.Addr())})
		return nil
	}
	if err := open("", c.KafkaAddr, c.AdvertisedAddr, "--kafka-addr "+c.KafkaAddr); err != nil {
		return err
	}
	zones, err := c.ParseZoneListeners()
	if err != nil {
		return err
	}
	for _, z := range zones {
		if err := open(z.Zone, z.Addr, z.Advertised, "--zone-listeners "+z.Zone+"="+z.Addr); err != nil {
			return err
		}
	}
	n.failed = make(chan error, len(n.listeners)+1)
	return nil
}

// newRegistration says where the node is and how it is reached. The first of listeners is the general one.
func newRegistration(c *config.Config, listeners []zoneListener) (*metapb.RegisterNode, error) {
	r := &metapb.RegisterNode{Zone: c.Zone, InternalAddress: c.AdvertisedInternalAddr}
	for i, l := range listeners {
		host, port, err := config.SplitAddress(l.advertised)
		if err != nil {
			return nil, fmt.Errorf("advertised address %q: %w", l.advertised, err)
		}
		if i == 0 {
			r.KafkaHost, r.KafkaPort = host, int32(port)
			continue
		}
		r.ZoneListeners = append(r.ZoneListeners, &metapb.ZoneListener{Zone: l.zone, KafkaHost: host, KafkaPort: int32(port)})
	}
	return r, nil
}
