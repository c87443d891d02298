package meta

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/varvelog/varve/coordinator/metapb"
)

// QuotaEntity is whom a quota is for (KIP-546): a user, a client id, a client id of a user, or an IP address. A component
// that is zero is no part of the entity.
type QuotaEntity struct {
	User, ClientID, IP QuotaName
}

// QuotaName is one component of an entity: absent, the default of all that have none of their own, or a name.
type QuotaName struct {
	Kind QuotaNameKind
	Name string // of QuotaNamed
}

// QuotaNameKind tells what a QuotaName is.
type QuotaNameKind uint8

// The kinds.
const (
	QuotaAbsent QuotaNameKind = iota
	QuotaDefault
	QuotaNamed
)

// The quotas, by Kafka's names, in the order in which they are listed.
const (
	ProducerByteRate       = "producer_byte_rate"
	ConsumerByteRate       = "consumer_byte_rate"
	RequestPercentage      = "request_percentage"
	ControllerMutationRate = "controller_mutation_rate"
	ConnectionCreationRate = "connection_creation_rate"
)

// String is the entity as the state names it: user/alice/client-id/app. What is named is escaped and begins with ":", the default is "*".
func (e QuotaEntity) String() string {
	var parts []string
	add := func(kind string, n QuotaName) {
		switch n.Kind {
		case QuotaDefault:
			parts = append(parts, kind, "*")
		case QuotaNamed:
			parts = append(parts, kind, ":"+url.PathEscape(n.Name))
		case QuotaAbsent:
		}
	}
	add("user", e.User)
	add("client-id", e.ClientID)
	add("ip", e.IP)
	return strings.Join(parts, "/")
}

// ParseQuotaEntity reads what String wrote.
func ParseQuotaEntity(text string) (e QuotaEntity, err error) {
	parts := strings.Split(text, "/")
	for ; len(parts) >= 2; parts = parts[2:] {
		n := QuotaName{Kind: QuotaDefault}
		if escaped, named := strings.CutPrefix(parts[1], ":"); named {
			n.Kind = QuotaNamed
			if n.Name, err = url.PathUnescape(escaped); err != nil {
				return QuotaEntity{}, fmt.Errorf("read quota entity %q: %w", text, err)
			}
		}
		switch parts[0] {
		case "user":
			e.User = n
		case "client-id":
			e.ClientID = n
		case "ip":
			e.IP = n
		}
	}
	if len(parts) > 0 || e.String() != text {
		return QuotaEntity{}, fmt.Errorf("read quota entity %q: it is not in its one form", text)
	}
	return e, nil
}

// validate says what is wrong with an entity or the quotas set on it.
func (e QuotaEntity) validate(entries []*metapb.ConfigEntry) error {
	switch {
	case e == QuotaEntity{}:
		return fmt.Errorf("invalid empty client quota entity")
	case e.IP.Kind != QuotaAbsent && (e.User.Kind != QuotaAbsent || e.ClientID.Kind != QuotaAbsent):
		return fmt.Errorf("invalid quota entity combination, ip entity cannot be used with other entities")
	}
	if e.IP.Kind == QuotaNamed {
		if _, err := netip.ParseAddr(e.IP.Name); err != nil {
			return fmt.Errorf("%s is not a valid IP or resolvable host", e.IP.Name)
		}
	}
	for _, entry := range entries {
		if known := entry.Name == ConnectionCreationRate; known != (e.IP.Kind != QuotaAbsent) || !known && !slices.Contains(userQuotas, entry.Name) {
			return fmt.Errorf("invalid configuration key %s", entry.Name)
		}
		if entry.Unset {
			continue
		}
		value, err := strconv.ParseFloat(entry.Value, 64)
		switch {
		case err != nil || math.IsNaN(value) || math.IsInf(value, 0):
			return fmt.Errorf("quota %s is not a number: %s", entry.Name, entry.Value)
		case value <= 0 && entry.Name != ConnectionCreationRate, value < 0:
			return fmt.Errorf("quota %s must be greater than 0", entry.Name)
		case wholeQuotas[entry.Name] && value != math.Trunc(value):
			return fmt.Errorf("%s must be a whole number", entry.Name)
		}
	}
	return nil
}

var (
	userQuotas  = []string{ProducerByteRate, ConsumerByteRate, RequestPercentage, ControllerMutationRate}
	wholeQuotas = map[string]bool{ProducerByteRate: true, ConsumerByteRate: true, ConnectionCreationRate: true}
)

// ClientQuota is one entity's quotas.
type ClientQuota struct {
	Entity QuotaEntity
	Values map[string]float64
}

// ClientQuotas are all quotas. It is never changed; quotas that change are a new one.
type ClientQuotas struct {
	list     []ClientQuota // in order of the entities' names
	byEntity map[QuotaEntity]map[string]float64
}

// All are the quotas, in order. Not to be changed.
func (q *ClientQuotas) All() []ClientQuota { return q.list }

// Empty tells whether there are none.
func (q *ClientQuotas) Empty() bool { return len(q.list) == 0 }

// Lookup finds the value of a quota for a user and client id, and the entity it is set on. The most specific entity that sets it counts, in
// Kafka's order.
func (q *ClientQuotas) Lookup(quota, user, clientID string) (value float64, on QuotaEntity, ok bool) {
	u, c, d := QuotaName{QuotaNamed, user}, QuotaName{QuotaNamed, clientID}, QuotaName{Kind: QuotaDefault}
	for _, e := range [...]QuotaEntity{
		{User: u, ClientID: c}, {User: u, ClientID: d}, {User: u}, {User: d, ClientID: c}, {User: d, ClientID: d}, {User: d}, {ClientID: c}, {ClientID: d},
	} {
		if value, ok := q.byEntity[e][quota]; ok {
			return value, e, true
		}
	}
	return 0, QuotaEntity{}, false
}

// LookupIP finds an address's bound on new connections.
func (q *ClientQuotas) LookupIP(ip string) (value float64, ok bool) {
	for _, e := range [...]QuotaEntity{{IP: QuotaName{QuotaNamed, ip}}, {IP: QuotaName{Kind: QuotaDefault}}} {
		if value, ok := q.byEntity[e][ConnectionCreationRate]; ok {
			return value, true
		}
	}
	return 0, false
}

// ClientQuotas are the quotas in force.
func (s *State) ClientQuotas() *ClientQuotas {
	if s.quotas == nil {
		return noQuotas
	}
	return s.quotas
}

var noQuotas = &ClientQuotas{}

// refreshQuotas derives the quotas from what is set.
func (s *State) refreshQuotas() {
	q := &ClientQuotas{byEntity: map[QuotaEntity]map[string]float64{}}
	for key, set := range s.configs {
		if key.scope != ScopeClientQuota {
			continue
		}
		entity, err := ParseQuotaEntity(key.name)
		if err != nil {
			continue // refused before it was set
		}
		values := make(map[string]float64, len(set))
		for name, text := range set {
			if value, err := strconv.ParseFloat(text, 64); err == nil {
				values[name] = value
			}
		}
		q.byEntity[entity] = values
	}
	for entity, values := range q.byEntity {
		q.list = append(q.list, ClientQuota{entity, values})
	}
	slices.SortFunc(q.list, func(x, y ClientQuota) int { return cmp.Compare(x.Entity.String(), y.Entity.String()) })
	s.quotas = q
}

// changeQuotas applies entries to an entity's quotas.
func changeQuotas(name string, set map[string]string, entries []*metapb.ConfigEntry) (map[string]string, error) {
	entity, err := ParseQuotaEntity(name)
	if err != nil {
		return nil, err
	}
	if err := entity.validate(entries); err != nil {
		return nil, err
	}
	out := maps.Clone(set)
	if out == nil {
		out = map[string]string{}
	}
	for _, e := range entries {
		if e.Unset {
			delete(out, e.Name)
		} else {
			out[e.Name] = e.Value
		}
	}
	return out, nil
}

// ConfiguredNames are the names of a scope's resources on which something is set, in order. Topics and the cluster's default are not told.
func (s *State) ConfiguredNames(scope Scope) (names []string) {
	for key := range s.configs {
		if key.scope == scope && key.name != "" {
			names = append(names, key.name)
		}
	}
	slices.Sort(names)
	return names
}
