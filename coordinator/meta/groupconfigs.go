package meta

import "math"

// groupConfigDefs are the configurations of groups and the cluster's that groups take their defaults from (KIP-848).
var groupConfigDefs = []ConfigDef{
	{Name: "consumer.heartbeat.interval.ms", Scope: ScopeGroup, Type: TypeInt, Default: "5000", min: 5000, max: 15_000,
		Synonym: "group.consumer.heartbeat.interval.ms", Doc: "How often members of the consumer protocol are asked to heartbeat."},
	{Name: "consumer.session.timeout.ms", Scope: ScopeGroup, Type: TypeInt, Default: "45000", min: 45_000, max: 60_000,
		Synonym: "group.consumer.session.timeout.ms", Doc: "After how long without a heartbeat a member of the consumer protocol is taken out."},

	{Name: "group.consumer.assignors", Scope: ScopeBroker, Type: TypeList, Default: "uniform,range", allowed: []string{"uniform,range"}, ReadOnly: true,
		Doc: "The server-side assignors, the default one first."},
	{Name: "group.consumer.heartbeat.interval.ms", Scope: ScopeBroker, Type: TypeInt, Default: "5000", min: 5000, max: 15_000,
		Doc: "The default of groups' consumer.heartbeat.interval.ms."},
	{Name: "group.consumer.max.heartbeat.interval.ms", Scope: ScopeBroker, Type: TypeInt, Default: "15000", min: 15_000, max: 15_000, ReadOnly: true,
		Doc: "The longest consumer.heartbeat.interval.ms of a group."},
	{Name: "group.consumer.max.session.timeout.ms", Scope: ScopeBroker, Type: TypeInt, Default: "60000", min: 60_000, max: 60_000, ReadOnly: true,
		Doc: "The longest consumer.session.timeout.ms of a group."},
	{Name: "group.consumer.max.size", Scope: ScopeBroker, Type: TypeInt, Default: "2147483647", min: 1, max: math.MaxInt32,
		Doc: "The most members a group of the consumer protocol may have."},
	{Name: "group.consumer.migration.policy", Scope: ScopeBroker, Type: TypeString, Default: "bidirectional",
		allowed: []string{"bidirectional", "upgrade", "downgrade", "disabled"},
		Doc:     "Whether a group with members may turn from the classic to the consumer protocol (upgrade) and back (downgrade)."},
	{Name: "group.consumer.min.heartbeat.interval.ms", Scope: ScopeBroker, Type: TypeInt, Default: "5000", min: 5000, max: 5000, ReadOnly: true,
		Doc: "The shortest consumer.heartbeat.interval.ms of a group."},
	{Name: "group.consumer.min.session.timeout.ms", Scope: ScopeBroker, Type: TypeInt, Default: "45000", min: 45_000, max: 45_000, ReadOnly: true,
		Doc: "The shortest consumer.session.timeout.ms of a group."},
	{Name: "group.consumer.session.timeout.ms", Scope: ScopeBroker, Type: TypeInt, Default: "45000", min: 45_000, max: 60_000,
		Doc: "The default of groups' consumer.session.timeout.ms."},
	{Name: "group.max.size", Scope: ScopeBroker, Type: TypeInt, Default: "2147483647", min: 1, max: math.MaxInt32,
		Doc: "The most members a classic group may have."},
}

// GroupConfig is what holds for a group.
type GroupConfig struct {
	ConsumerHeartbeatMillis int32
	ConsumerSessionMillis   int32
	ConsumerMaxSize         int32
	ClassicMaxSize          int32
	MayUpgrade              bool // from the classic protocol, with members
	MayDowngrade            bool
}

// GroupConfig is the configuration in effect for a group.
func (s *State) GroupConfig(name string) GroupConfig {
	cluster := s.configs[configKey{ScopeBroker, ""}]
	group := effective{scope: ScopeGroup, own: s.configs[configKey{ScopeGroup, name}], cluster: cluster}
	broker := effective{scope: ScopeBroker, own: cluster}
	policy := broker.text("group.consumer.migration.policy")
	return GroupConfig{
		ConsumerHeartbeatMillis: int32(group.number("consumer.heartbeat.interval.ms")),
		ConsumerSessionMillis:   int32(group.number("consumer.session.timeout.ms")),
		ConsumerMaxSize:         int32(broker.number("group.consumer.max.size")),
		ClassicMaxSize:          int32(broker.number("group.max.size")),
		MayUpgrade:              policy == "bidirectional" || policy == "upgrade",
		MayDowngrade:            policy == "bidirectional" || policy == "downgrade",
	}
}
