package config

import (
	"errors"
	"fmt"
	"net"
	"strconv"
)

func (c *Config) validateAddresses(role Role) error {
	addresses := []struct {
		field string
		value string
		roles Role
	}{
		{"http-addr", c.HTTPAddr, RoleServe},
		{"internal-addr", c.InternalAddr, RoleCoordinator | RoleIngest},
		{"kafka-addr", c.KafkaAddr, RoleIngest},
		{"nats-addr", c.NATSAddr, RoleCoordinator},
	}
	for _, a := range addresses {
		if role&a.roles == 0 {
			continue
		}
		if err := checkListener(a.value); err != nil {
			return &FieldError{Field: a.field, Value: a.value, Reason: err.Error()}
		}
	}
	if role&RoleIngest != 0 {
		if err := advertise(&c.AdvertisedAddr, "advertised-addr", c.KafkaAddr, "kafka-addr"); err != nil {
			return err
		}
		if _, err := c.ParseZoneListeners(); err != nil {
			return err
		}
	}
	if role&(RoleIngest|RoleCoordinator) != 0 {
		return advertise(&c.AdvertisedInternalAddr, "advertised-internal-addr", c.InternalAddr, "internal-addr")
	}
	return nil
}

// checkListener says what is wrong with an address to listen on. Port 0 is any that is free.
func checkListener(address string) error {
	_, text, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("want host:port: %w", err)
	}
	if _, err := parsePort(text); err != nil {
		return fmt.Errorf("want host:port: %w", err)
	}
	return nil
}

// advertise lets address default to the listener's, unless that is a wildcard, which nobody can connect to. Port 0 stands for the one that the
// listener will have, where that is not known before (WithPort).
func advertise(address *string, field, listener, listenerField string) error {
	host, port, err := net.SplitHostPort(listener)
	if err != nil {
		return fmt.Errorf("split address of %s: %w", listenerField, err)
	}
	if *address == "" {
		if ip := net.ParseIP(host); host == "" || (ip != nil && ip.IsUnspecified()) {
			return &FieldError{Field: field, Value: "", Reason: fmt.Sprintf("must be set, since %s=%s listens on every address", listenerField, listener)}
		}
		*address = listener
		return nil
	}
	refuse := func(reason string) error { return &FieldError{Field: field, Value: *address, Reason: reason} }
	told, toldPort, err := SplitAddress(*address)
	switch ip := net.ParseIP(told); {
	case err != nil:
		return refuse("want host:port: " + err.Error())
	case ip != nil && ip.IsUnspecified():
		return refuse(fmt.Sprintf("want host:port: nobody can connect to %s", told))
	case toldPort == 0 && port != "0":
		return refuse("want host:port: nobody can connect to port 0")
	}
	return nil
}

// WithPort is an advertised address with, in the place of port 0, the port that its listener was given.
func WithPort(advertised string, listener net.Addr) string {
	host, port, err := net.SplitHostPort(advertised)
	if err != nil || port != "0" {
		return advertised
	}
	_, given, err := net.SplitHostPort(listener.String())
	if err != nil {
		return advertised
	}
	return net.JoinHostPort(host, given)
}

// SplitAddress splits an address that others connect to. Its port is a number.
func SplitAddress(address string) (host string, port uint16, err error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, fmt.Errorf("split address: %w", err)
	}
	if host == "" {
		return "", 0, errors.New("no host")
	}
	port, err = parsePort(text)
	return host, port, err
}

// parsePort takes numbers alone: a service's name may mean another port on another machine.
func parsePort(text string) (uint16, error) {
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return 0, fmt.Errorf("port %q is not a number from 1 to 65535", text)
	}
	return uint16(port), nil
}

// isNATSPort takes what may stand behind the host of a NATS server's URL; without a port it is NATS's own.
func isNATSPort(text string) bool {
	port, err := parsePort(text)
	return text == "" || err == nil && port != 0
}
