package meta

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// ParseConnectionOverrides reads max.connections.per.ip.overrides.
func ParseConnectionOverrides(text string) (map[string]int, error) {
	if text = strings.TrimSpace(text); text == "" {
		return nil, nil
	}
	overrides := map[string]int{}
	for item := range strings.SplitSeq(text, ",") {
		at := strings.LastIndex(item, ":")
		if at < 0 {
			return nil, fmt.Errorf("%q is not address:count", item)
		}
		address, err := netip.ParseAddr(strings.Trim(strings.TrimSpace(item[:at]), "[]"))
		if err != nil {
			return nil, fmt.Errorf("%q names no address: %w", item, err)
		}
		count, err := strconv.Atoi(strings.TrimSpace(item[at+1:]))
		if err != nil || count < 0 {
			return nil, fmt.Errorf("%q has no count", item)
		}
		overrides[address.Unmap().String()] = count
	}
	return overrides, nil
}

func checkOverrides(value string) error {
	_, err := ParseConnectionOverrides(value)
	return err
}

// ClientMatchNames are what client metrics can tell clients apart by.
var ClientMatchNames = []string{
	"client_id", "client_instance_id", "client_software_name", "client_software_version", "client_source_address", "client_source_port",
}

// ParseClientMatch reads the match setting of client metrics: patterns that match the whole of what they are about.
func ParseClientMatch(text string) (map[string]*regexp.Regexp, error) {
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	patterns := map[string]*regexp.Regexp{}
	for item := range strings.SplitSeq(text, ",") {
		name, pattern, found := strings.Cut(strings.TrimSpace(item), "=")
		name, pattern = strings.TrimSpace(name), strings.TrimSpace(pattern)
		if !found || !slices.Contains(ClientMatchNames, name) {
			return nil, fmt.Errorf("illegal client matching pattern: %s", item)
		}
		compiled, err := regexp.Compile("^(?:" + pattern + ")$")
		if err != nil {
			return nil, fmt.Errorf("illegal client matching pattern: %s: %w", item, err)
		}
		patterns[name] = compiled
	}
	return patterns, nil
}

func checkClientMatch(value string) error {
	_, err := ParseClientMatch(value)
	return err
}

// NodeConfig is a node's setting in effect: its own, else the cluster's, else the default.
func (s *State) NodeConfig(node, name string) string {
	if value, ok := s.configs[configKey{ScopeBroker, node}][name]; ok {
		return value
	}
	return effective{scope: ScopeBroker, own: s.configs[configKey{ScopeBroker, ""}]}.text(name)
}

// NodeNumber is NodeConfig as a number.
func (s *State) NodeNumber(node, name string) int {
	if n, err := strconv.Atoi(s.NodeConfig(node, name)); err == nil {
		return n
	}
	return 0 // what is not a number has been refused before it was set
}
