package meta

import (
	"math"
	"slices"
	"strings"
)

// Settings that bound connections. They are a node's own, so that they can be set on one node as well as on all.
var connectionDefs = []ConfigDef{
	{Name: MaxConnections, Scope: ScopeBroker, Type: TypeInt, Default: "2147483647", min: 0, max: math.MaxInt32, PerBroker: true,
		Doc: "How many connections of clients a node takes; more are closed at once. The bound given on the node's command line holds too."},
	{Name: MaxConnectionsPerIP, Scope: ScopeBroker, Type: TypeInt, Default: "2147483647", min: 0, max: math.MaxInt32, PerBroker: true,
		Doc: "How many connections from one address a node takes; more are closed at once. 0 needs an override for each address that may connect."},
	{Name: MaxConnectionsPerIPOverrides, Scope: ScopeBroker, Type: TypeString, Default: "", PerBroker: true, check: checkOverrides,
		Doc: "Bounds for certain addresses instead of max.connections.per.ip: address:count, separated by commas."},
	{Name: MaxConnectionCreationRate, Scope: ScopeBroker, Type: TypeInt, Default: "2147483647", min: 0, max: math.MaxInt32, PerBroker: true,
		Doc: "How many connections a second a node takes; above it, connections wait."},
}

// Settings of the lanes, which are a node's own as well.
var laneDefs = []ConfigDef{
	{Name: ObjectPutsPerSecond, Scope: ScopeBroker, Type: TypeDouble, Default: "10.0", check: checkRate, PerBroker: true,
		Doc: "How many PUTs a second a node may make for topics with varve.durability=object; chunks become as large as that needs. Full chunks, " +
			"repeats and hedges are charged but do not wait. The default is what the node was started with (--object-puts-per-second)."},
}

// Names of settings that a node reads itself.
const (
	ObjectPutsPerSecond          = "varve.object.puts.per.second"
	MaxConnections               = "max.connections"
	MaxConnectionsPerIP          = "max.connections.per.ip"
	MaxConnectionsPerIPOverrides = "max.connections.per.ip.overrides"
	MaxConnectionCreationRate    = "max.connection.creation.rate"
)

// Settings of what clients are asked to report (KIP-714).
var clientMetricsDefs = []ConfigDef{
	{Name: "interval.ms", Scope: ScopeClientMetrics, Type: TypeInt, Default: "300000", min: 100, max: 3_600_000,
		Doc: "How often clients that match push their metrics."},
	{Name: "match", Scope: ScopeClientMetrics, Type: TypeList, Default: "", check: checkClientMatch,
		Doc: "Which clients: name=pattern, separated by commas, all of which must match. The names are client_id, client_instance_id, " +
			"client_software_name, client_software_version, client_source_address and client_source_port. Empty: all clients."},
	{Name: "metrics", Scope: ScopeClientMetrics, Type: TypeList, Default: "",
		Doc: "Which metrics: prefixes of their names, separated by commas. \"*\" is all of them, empty none."},
}

// Settings of topics that are what they are here: only what is true can be set.
var fixedTopicDefs = []ConfigDef{
	only("remote.log.copy.disable", TypeBoolean, "false", "", "every topic's records end in the bucket"),
	only("unclean.leader.election.enable", TypeBoolean, "false", "unclean.leader.election.enable", "there are no elections: what was acknowledged is never given up"),
}

func only(name string, kind ConfigType, value, synonym, why string) ConfigDef {
	return ConfigDef{Name: name, Scope: ScopeTopic, Type: kind, Default: value, Synonym: synonym, Why: why, only: true, Doc: sentence(why)}
}

// sentence makes a reason a sentence.
func sentence(why string) string { return strings.ToUpper(why[:1]) + why[1:] + "." }

// allConfigDefs are all definitions. Of two with one scope and name the first counts.
func allConfigDefs() []ConfigDef {
	return slices.Concat(configDefs, connectionDefs, laneDefs, clientMetricsDefs, fixedTopicDefs, levelDefs, metDefs(), fixedBrokerDefs)
}

var refusedByName = func() map[string]string {
	m := map[string]string{}
	for why, names := range refusedBrokerConfigs {
		for _, name := range names {
			m[name] = why
		}
	}
	return m
}()

// WhyRefused says why a setting that Kafka knows means nothing here; empty where Kafka does not know it either, or it is defined.
func WhyRefused(scope Scope, name string) string {
	if scope != ScopeBroker || LookupConfig(scope, name) != nil {
		return ""
	}
	return refusedByName[name]
}
