package meta

// Broker settings of Apache Kafka 4.1 that are what they are here. They are described, and cannot be altered.

var fixedBrokerDefs = []ConfigDef{
	fixed("auto.leader.rebalance.enable", TypeBoolean, "true", "no partition is led by a node, so that none is ever out of balance"),
	fixed("connections.max.idle.ms", TypeLong, "600000", "set when the node starts"),
	fixed("controlled.shutdown.enable", TypeBoolean, "true", "a node that stops always drains"),
	fixed("controller.quota.window.num", TypeInt, "11", "quotas are token buckets that hold ten seconds"),
	fixed("controller.quota.window.size.seconds", TypeInt, "1", "quotas are token buckets that hold ten seconds"),
	fixed("delete.topic.enable", TypeBoolean, "true", "deleting topics is always allowed"),
	fixed("fetch.max.bytes", TypeInt, "57671680", "set when the node starts"),
	fixed("listener.security.protocol.map", TypeString, "PLAINTEXT:PLAINTEXT", "there is one listener, without encryption"),
	fixed("log.cleaner.enable", TypeBoolean, "true", "topics are compacted wherever their cleanup.policy says so"),
	fixed("max.incremental.fetch.session.cache.slots", TypeInt, "1000", "set when the node starts"),
	fixed("max.request.partition.size.limit", TypeInt, "2000", "one bound for all requests"),
	always("min.insync.replicas", TypeInt, "1", "there are no replica sets; what an acknowledgement promises is varve.durability"),
	fixed("log.retention.hours", TypeInt, "168", "the cluster's default is set with log.retention.ms"),
	fixed("log.roll.hours", TypeInt, "168", "the cluster's default is set with log.roll.ms"),
	unset("log.retention.minutes", TypeInt, "the cluster's default is set with log.retention.ms"),
	fixed("log.roll.jitter.hours", TypeInt, "0", "the cluster's default is set with log.roll.jitter.ms"),
	fixed("process.roles", TypeList, "broker", "the roles of a process are chosen by its command"),
	fixed("quota.window.num", TypeInt, "11", "quotas are token buckets that hold ten seconds"),
	fixed("quota.window.size.seconds", TypeInt, "1", "quotas are token buckets that hold ten seconds"),
	fixed("remote.log.storage.system.enable", TypeBoolean, "true", "every topic's records end in the bucket"),
	fixed("security.inter.broker.protocol", TypeString, "PLAINTEXT", "nodes speak to one another on the internal listener"),
	fixed("socket.request.max.bytes", TypeInt, "104857600", "set when the node starts"),
	fixed("telemetry.max.bytes", TypeInt, "1048576", "one bound for all clients"),
	always("transaction.partition.verification.enable", TypeBoolean, "true", "a transactional batch is always judged against its open transaction"),
	always("unclean.leader.election.enable", TypeBoolean, "false", "there are no elections: a record that was acknowledged is never given up"),
}

// always is one that Kafka lets administrators alter: its only value can be set.
func always(name string, kind ConfigType, value, why string) ConfigDef {
	d := fixed(name, kind, value, why)
	d.ReadOnly, d.only = false, true
	return d
}

// unset is one whose default is null in Kafka, and stays so.
func unset(name string, kind ConfigType, why string) ConfigDef {
	d := fixed(name, kind, "", why)
	d.Unset = true
	return d
}

func fixed(name string, kind ConfigType, value, why string) ConfigDef {
	return ConfigDef{Name: name, Scope: ScopeBroker, Type: kind, Default: value, ReadOnly: true, Why: why, Doc: sentence(why)}
}
