package config

import (
	"fmt"
	"strings"
)

// ZoneListener is an address on which clients of one zone are served.
type ZoneListener struct {
	Zone       string
	Addr       string // listened on
	Advertised string // that clients are told to connect to
}

const zoneListenersField = "zone-listeners"

// ParseZoneListeners reads the field: zone=host:port, or zone=host:port@advertised-host:port, with commas between them.
func (c *Config) ParseZoneListeners() (listeners []ZoneListener, err error) {
	refuse := func(format string, args ...any) error {
		return c.sourced(&FieldError{Field: zoneListenersField, Value: c.ZoneListeners, Reason: fmt.Sprintf(format, args...)})
	}
	if c.ZoneListeners == "" {
		return nil, nil
	}
	addresses := map[string]string{c.KafkaAddr: "kafka-addr"}
	advertised := map[string]string{c.AdvertisedAddr: "advertised-addr"}
	for text := range strings.SplitSeq(c.ZoneListeners, ",") {
		zone, rest, found := strings.Cut(strings.TrimSpace(text), "=")
		if !found || zone == "" || rest == "" {
			return nil, refuse("%q: want zone=host:port or zone=host:port@advertised-host:port, with commas between them", text)
		}
		l := ZoneListener{Zone: zone}
		l.Addr, l.Advertised, _ = strings.Cut(rest, "@")
		if err := checkListener(l.Addr); err != nil {
			return nil, refuse("zone %s: %v", zone, err)
		}
		if err := advertise(&l.Advertised, zoneListenersField, l.Addr, "the listener of zone "+zone); err != nil {
			return nil, refuse("zone %s: want an address behind @ that clients can connect to, host:port with a port from 1 to 65535", zone)
		}
		for _, other := range listeners {
			if other.Zone == zone {
				return nil, refuse("zone %s stands twice", zone)
			}
		}
		if owner, taken := addresses[l.Addr]; taken && !strings.HasSuffix(l.Addr, ":0") {
			return nil, refuse("zone %s: %s is the address of %s too", zone, l.Addr, owner)
		}
		if owner, taken := advertised[l.Advertised]; taken && !strings.HasSuffix(l.Advertised, ":0") {
			return nil, refuse("zone %s: clients are told %s for %s too", zone, l.Advertised, owner)
		}
		addresses[l.Addr], advertised[l.Advertised] = "zone "+zone, "zone "+zone
		listeners = append(listeners, l)
	}
	return listeners, nil
}
