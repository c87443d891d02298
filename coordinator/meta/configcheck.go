package meta

import (
	"errors"
	"fmt"
	"math"
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

// What cleanup.policy may say. Neither is taken as Kafka takes it: nothing is done.
const (
	PolicyDelete  = "delete"
	PolicyCompact = "compact"
)

var cleanupPolicies = []string{PolicyCompact, PolicyDelete}

// list are the items of a list's value.
func (d *ConfigDef) list(value string) []string {
	if d.Type != TypeList || strings.TrimSpace(value) == "" {
		return nil
	}
	items := strings.Split(value, ",")
	for i := range items {
		items[i] = strings.TrimSpace(items[i])
	}
	return items
}

// normal is a valid value as it is kept and shown: Kafka parses values and shows what it parsed.
func (d *ConfigDef) normal(value string) string {
	switch d.Type {
	case TypeBoolean:
		return strings.ToLower(strings.TrimSpace(value))
	case TypeList:
		return strings.Join(d.list(value), ",")
	case TypeDouble:
		if n, err := strconv.ParseFloat(strings.TrimSpace(value), 64); err == nil {
			return FormatDouble(n)
		}
	}
	return strings.TrimSpace(value)
}

// FormatDouble writes a number as Java does: always with a point, with an exponent below a thousandth and from ten millions on.
func FormatDouble(n float64) string {
	format := byte('f')
	if abs := math.Abs(n); abs != 0 && (abs < 1e-3 || abs >= 1e7) {
		format = 'E'
	}
	text := strconv.FormatFloat(n, format, -1, 64)
	digits, exponent, scientific := strings.Cut(text, "E")
	if !strings.Contains(digits, ".") {
		digits += ".0"
	}
	if !scientific {
		return digits
	}
	sign := strings.TrimSuffix(exponent[:1], "+")
	return digits + "E" + sign + strings.TrimLeft(exponent[1:], "0")
}

func checkRatio(value string) error {
	n, err := strconv.ParseFloat(value, 64)
	switch {
	case err != nil || math.IsNaN(n):
		return errors.New("Not a number of type DOUBLE")
	case n < 0:
		return errors.New("Value must be at least 0")
	case n > 1:
		return errors.New("Value must be no more than 1")
	}
	return nil
}

// ratio is text as a number; what is not one has been refused before it was set.
func (e effective) ratio(name string) float64 {
	n, err := strconv.ParseFloat(e.text(name), 64)
	if err != nil {
		n, _ = strconv.ParseFloat(LookupConfig(e.scope, name).Default, 64) // a number, by a test
	}
	return n
}

// checkRate is checkRatio for rates, which have no bound.
func checkRate(value string) error {
	n, err := strconv.ParseFloat(value, 64)
	switch {
	case err != nil || math.IsNaN(n) || math.IsInf(n, 0):
		return errors.New("Not a number of type DOUBLE")
	case n <= 0:
		return errors.New("Value must be greater than 0")
	}
	return nil
}

// NodeOverride is what administrators have set for a node: its own value, else the cluster's; false where there is neither.
func (s *State) NodeOverride(node, name string) (value string, set bool) {
	if value, set = s.configs[configKey{ScopeBroker, node}][name]; !set {
		value, set = s.configs[configKey{ScopeBroker, ""}][name]
	}
	return value, set
}

// NodeConfig is a node's setting in effect: its own, else the cluster's, else the default.
func (s *State) NodeConfig(node, name string) string {
	if value, set := s.NodeOverride(node, name); set {
		return value
	}
	return LookupConfig(ScopeBroker, name).Default
}

// NodeNumber is NodeConfig as a number.
func (s *State) NodeNumber(node, name string) int {
	if n, err := strconv.Atoi(s.NodeConfig(node, name)); err == nil {
		return n
	}
	return 0 // what is not a number has been refused before it was set
}
