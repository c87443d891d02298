package meta

import "math"

// streamsConfigDefs are the configurations of streams groups and the cluster's that they take their defaults from (KIP-1071).
var streamsConfigDefs = []ConfigDef{
	{Name: "streams.heartbeat.interval.ms", Scope: ScopeGroup, Type: TypeInt, Default: "5000", min: 5000, max: 15_000,
		Synonym: "group.streams.heartbeat.interval.ms", Doc: "How often members of the streams protocol are asked to heartbeat."},
	{Name: "streams.num.standby.replicas", Scope: ScopeGroup, Type: TypeInt, Default: "0", min: 0, max: 2,
		Synonym: "group.streams.num.standby.replicas", Doc: "How many standby tasks each task with state has."},
	{Name: "streams.session.timeout.ms", Scope: ScopeGroup, Type: TypeInt, Default: "45000", min: 45_000, max: 60_000,
		Synonym: "group.streams.session.timeout.ms", Doc: "After how long without a heartbeat a member of the streams protocol is taken out."},

	{Name: "group.coordinator.rebalance.protocols", Scope: ScopeBroker, Type: TypeList, Default: "classic,consumer,streams",
		allowed: []string{"classic,consumer,streams"}, ReadOnly: true, Doc: "The protocols that groups may use."},
	{Name: "group.streams.heartbeat.interval.ms", Scope: ScopeBroker, Type: TypeInt, Default: "5000", min: 5000, max: 15_000,
		Doc: "The default of groups' streams.heartbeat.interval.ms."},
	{Name: "group.streams.max.heartbeat.interval.ms", Scope: ScopeBroker, Type: TypeInt, Default: "15000", min: 15_000, max: 15_000, ReadOnly: true,
		Doc: "The longest streams.heartbeat.interval.ms of a group."},
	{Name: "group.streams.max.session.timeout.ms", Scope: ScopeBroker, Type: TypeInt, Default: "60000", min: 60_000, max: 60_000, ReadOnly: true,
		Doc: "The longest streams.session.timeout.ms of a group."},
	{Name: "group.streams.max.size", Scope: ScopeBroker, Type: TypeInt, Default: "2147483647", min: 1, max: math.MaxInt32,
		Doc: "The most members a streams group may have."},
	{Name: "group.streams.max.standby.replicas", Scope: ScopeBroker, Type: TypeInt, Default: "2", min: 2, max: 2, ReadOnly: true,
		Doc: "The most streams.num.standby.replicas of a group."},
	{Name: "group.streams.min.heartbeat.interval.ms", Scope: ScopeBroker, Type: TypeInt, Default: "5000", min: 5000, max: 5000, ReadOnly: true,
		Doc: "The shortest streams.heartbeat.interval.ms of a group."},
	{Name: "group.streams.min.session.timeout.ms", Scope: ScopeBroker, Type: TypeInt, Default: "45000", min: 45_000, max: 45_000, ReadOnly: true,
		Doc: "The shortest streams.session.timeout.ms of a group."},
	{Name: "group.streams.num.standby.replicas", Scope: ScopeBroker, Type: TypeInt, Default: "0", min: 0, max: 2,
		Doc: "The default of groups' streams.num.standby.replicas."},
	{Name: "group.streams.session.timeout.ms", Scope: ScopeBroker, Type: TypeInt, Default: "45000", min: 45_000, max: 60_000,
		Doc: "The default of groups' streams.session.timeout.ms."},
}

// StreamsConfig is what holds for a streams group.
type StreamsConfig struct {
	HeartbeatMillis int32
	SessionMillis   int32
	StandbyReplicas int
	MaxSize         int
}

// StreamsConfig is the configuration in effect for a streams group.
func (s *State) StreamsConfig(name string) StreamsConfig {
	cluster := s.configs[configKey{ScopeBroker, ""}]
	group := effective{scope: ScopeGroup, own: s.configs[configKey{ScopeGroup, name}], cluster: cluster}
	broker := effective{scope: ScopeBroker, own: cluster}
	return StreamsConfig{
		HeartbeatMillis: int32(group.number("streams.heartbeat.interval.ms")),
		SessionMillis:   int32(group.number("streams.session.timeout.ms")),
		StandbyReplicas: int(group.number("streams.num.standby.replicas")),
		MaxSize:         int(broker.number("group.streams.max.size")),
	}
}
