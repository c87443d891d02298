package meta

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Scope is what a configuration can be set on.
type Scope uint8

// The scopes, with the numbers of metapb.AlterConfig_Resource.
const (
	ScopeTopic         Scope = 0
	ScopeBroker        Scope = 1
	ScopeGroup         Scope = 2
	ScopeClientMetrics Scope = 3
	ScopeClientQuota   Scope = 4 // of quotas.go: no configuration to Kafka, but set and stored like one
)

func (s Scope) String() string {
	return [...]string{"topic", "broker", "group", "client-metrics", "client-quota"}[min(s, ScopeClientQuota)]
}

// ConfigType is a configuration's type, with Kafka's numbers in DescribeConfigs.
type ConfigType int8

// The types.
const (
	TypeBoolean ConfigType = 1
	TypeString  ConfigType = 2
	TypeInt     ConfigType = 3
	TypeShort   ConfigType = 4
	TypeLong    ConfigType = 5
	TypeDouble  ConfigType = 6
	TypeList    ConfigType = 7
)

// ConfigDef is one configuration: its row in the table is all that validation and DescribeConfigs know of it.
type ConfigDef struct {
	Name     string
	Scope    Scope
	Type     ConfigType
	Default  string
	Synonym  string // the cluster's configuration that gives a topic its default, empty for none
	Unset    bool   // Kafka's default is null; what then holds is Default
	Behind   string // the cluster's configuration that is shown behind Synonym where that is set
	ReadOnly bool   // cannot be altered, only described
	Doc      string

	PerBroker bool   // can be set on one node, too
	Why       string // why only some values are taken, or none; or why every value is met
	Quiet     bool   // described only where it is set
	Met       bool   // every value is kept: what any of them asks for holds anyway

	check    func(string) error // what else a value must be; nil for nothing
	only     bool               // the default is the only value taken
	min, max int64              // of numbers
	allowed  []string           // of strings; empty for any
	items    []string           // of lists: what each item must be one of; nil for any
	refused  map[string]string  // values Kafka knows and Varve cannot honour yet, and why
}

const day = 24 * 60 * 60 * 1000

var configDefs = slices.Concat(groupConfigDefs, streamsConfigDefs, shareGroupConfigDefs, []ConfigDef{
	{Name: "cleanup.policy", Scope: ScopeTopic, Type: TypeList, Default: "delete", Synonym: "log.cleanup.policy",
		items: cleanupPolicies,
		Doc: "What is done with old records: \"delete\" drops them by retention time and size, \"compact\" keeps the last record of each key, and both " +
			"can be given. Records without a key are refused where it compacts."},
	{Name: "compression.type", Scope: ScopeTopic, Type: TypeString, Default: "producer", Synonym: "compression.type",
		allowed: []string{"uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"},
		Doc: "The codec batches are kept in. \"producer\" keeps what the producer compressed as it is; batches that come uncompressed " +
			"are then subject to varve.compress.uncompressed."},
	{Name: "delete.retention.ms", Scope: ScopeTopic, Type: TypeLong, Default: strconv.Itoa(day), min: 0, max: math.MaxInt64,
		Synonym: "log.cleaner.delete.retention.ms",
		Doc:     "How long compaction keeps tombstones and the markers of transactions after it has first passed them."},
	{Name: "local.retention.bytes", Scope: ScopeTopic, Type: TypeLong, Default: "-2", min: -2, max: math.MaxInt64, Synonym: "log.local.retention.bytes",
		Doc: "How many bytes of a partition are kept on ingest nodes' disks after they were stored in the bucket. -2 means retention.bytes. " +
			"Bounds what local.retention.ms keeps."},
	{Name: "local.retention.ms", Scope: ScopeTopic, Type: TypeLong, Default: "0", min: -2, max: math.MaxInt64, Synonym: "log.local.retention.ms",
		Doc: "How long records are kept on ingest nodes' disks after they were stored in the bucket, by their timestamps. -2 means retention.ms. " +
			"Varve's default is 0: nothing is kept, reads come from the bucket through a cache."},
	{Name: "max.compaction.lag.ms", Scope: ScopeTopic, Type: TypeLong, Default: "9223372036854775807", min: 1, max: math.MaxInt64,
		Synonym: "log.cleaner.max.compaction.lag.ms",
		Doc:     "How old a stored record may become without compaction, whatever min.cleanable.dirty.ratio says."},
	{Name: "max.message.bytes", Scope: ScopeTopic, Type: TypeInt, Default: "1048588", min: 0, max: math.MaxInt32, Synonym: "message.max.bytes",
		Doc: "The largest record batch that is taken."},
	{Name: "message.timestamp.after.max.ms", Scope: ScopeTopic, Type: TypeLong, Default: "3600000", min: 0, max: math.MaxInt64,
		Synonym: "log.message.timestamp.after.max.ms", Doc: "How far a record's timestamp may be ahead of the ingest node's clock."},
	{Name: "message.timestamp.before.max.ms", Scope: ScopeTopic, Type: TypeLong, Default: "9223372036854775807", min: 0, max: math.MaxInt64,
		Synonym: "log.message.timestamp.before.max.ms", Doc: "How far a record's timestamp may be behind the ingest node's clock."},
	{Name: "message.timestamp.type", Scope: ScopeTopic, Type: TypeString, Default: "CreateTime", Synonym: "log.message.timestamp.type",
		allowed: []string{"CreateTime", "LogAppendTime"}, Doc: "Whether records keep the producer's timestamp or get the ingest node's."},
	{Name: "min.cleanable.dirty.ratio", Scope: ScopeTopic, Type: TypeDouble, Default: "0.5", check: checkRatio, Synonym: "log.cleaner.min.cleanable.ratio",
		Doc: "The share of a partition's stored bytes that must be new since the last compaction for there to be another."},
	{Name: "min.compaction.lag.ms", Scope: ScopeTopic, Type: TypeLong, Default: "0", min: 0, max: math.MaxInt64, Synonym: "log.cleaner.min.compaction.lag.ms",
		Doc: "How old a record must be, by its timestamp, to be compacted."},
	{Name: "min.insync.replicas", Scope: ScopeTopic, Type: TypeInt, Default: "1", min: 1, max: math.MaxInt32, Synonym: "min.insync.replicas",
		Doc: "How many copies an acknowledged record has at least. More than 1 asks for the bucket's copies: a topic that is created so is of " +
			"varve.durability=object, and one of varve.durability=local refuses it."},
	{Name: "remote.storage.enable", Scope: ScopeTopic, Type: TypeBoolean, Default: "true", allowed: []string{"true"},
		Doc: "Every topic's records end in the bucket. Only true is accepted."},
	{Name: "retention.bytes", Scope: ScopeTopic, Type: TypeLong, Default: "-1", min: -1, max: math.MaxInt64, Synonym: "log.retention.bytes",
		Doc: "The size of a partition above which its oldest records are dropped. -1 for no bound."},
	{Name: "retention.ms", Scope: ScopeTopic, Type: TypeLong, Default: strconv.Itoa(7 * day), min: -1, max: math.MaxInt64, Synonym: "log.retention.ms", Behind: "log.retention.hours",
		Doc: "The age, by their timestamps, at which records are dropped. -1 for no bound."},
	{Name: "segment.bytes", Scope: ScopeTopic, Type: TypeInt, Default: "1073741824", min: 1 << 20, max: math.MaxInt32, Synonym: "log.segment.bytes",
		Doc: "The bound on a stored segment object."},
	{Name: "segment.ms", Scope: ScopeTopic, Type: TypeLong, Default: strconv.Itoa(7 * day), min: 1, max: math.MaxInt64, Synonym: "log.roll.ms", Behind: "log.roll.hours",
		Doc: "The bound on the span of record timestamps in one part of a stored segment object."},
	{Name: "varve.compress.uncompressed", Scope: ScopeTopic, Type: TypeBoolean, Default: "true", Synonym: "varve.compress.uncompressed",
		allowed: []string{"true", "false"}, Doc: "With compression.type=producer: batches that come uncompressed are kept zstd-compressed. Consumers that are not known to read zstd get them uncompressed."},
	{Name: "varve.durability", Scope: ScopeTopic, Type: TypeString, Default: "local", Synonym: "varve.durability",
		allowed: []string{"local", "replicated", "object"},
		Doc:     "When a produce is acknowledged: once its bytes are on the ingest node's disk (local), on the disks of two nodes in different zones (replicated) or in the bucket (object). Resolved when the topic is created."},
	{Name: "varve.validate", Scope: ScopeTopic, Type: TypeString, Default: "basic", Synonym: "varve.validate", allowed: []string{"basic", "deep"},
		Doc: "Whether record batches that a producer compressed are inflated and checked record by record (deep)."},

	{Name: "auto.create.topics.enable", Scope: ScopeBroker, Type: TypeBoolean, Default: "true", allowed: []string{"true", "false"},
		Doc: "Whether topics that clients name are created."},
	{Name: "compression.type", Scope: ScopeBroker, Type: TypeString, Default: "producer",
		allowed: []string{"uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"}, Doc: "The default of topics' compression.type."},
	{Name: "default.replication.factor", Scope: ScopeBroker, Type: TypeInt, Default: "1", min: 1, max: 1, ReadOnly: true,
		Doc: "Varve has no replica sets; see varve.durability."},
	{Name: "group.initial.rebalance.delay.ms", Scope: ScopeBroker, Type: TypeInt, Default: "500", min: 0, max: math.MaxInt32,
		Doc: "How long a new classic group waits for more members before its first rebalance. Kafka's default is 3000."},
	{Name: "group.max.session.timeout.ms", Scope: ScopeBroker, Type: TypeInt, Default: "1800000", min: 1, max: math.MaxInt32,
		Doc: "The longest session timeout a group member may ask for."},
	{Name: "group.min.session.timeout.ms", Scope: ScopeBroker, Type: TypeInt, Default: "6000", min: 1, max: math.MaxInt32,
		Doc: "The shortest session timeout a group member may ask for."},
	{Name: "log.cleaner.delete.retention.ms", Scope: ScopeBroker, Type: TypeLong, Default: strconv.Itoa(day), min: 0, max: math.MaxInt64,
		Doc: "The default of topics' delete.retention.ms."},
	{Name: "log.cleaner.max.compaction.lag.ms", Scope: ScopeBroker, Type: TypeLong, Default: "9223372036854775807", min: 1, max: math.MaxInt64,
		Doc: "The default of topics' max.compaction.lag.ms."},
	{Name: "log.cleaner.min.cleanable.ratio", Scope: ScopeBroker, Type: TypeDouble, Default: "0.5", check: checkRatio,
		Doc: "The default of topics' min.cleanable.dirty.ratio."},
	{Name: "log.cleaner.min.compaction.lag.ms", Scope: ScopeBroker, Type: TypeLong, Default: "0", min: 0, max: math.MaxInt64,
		Doc: "The default of topics' min.compaction.lag.ms."},
	{Name: "log.cleanup.policy", Scope: ScopeBroker, Type: TypeList, Default: "delete", items: cleanupPolicies,
		Doc: "The default of topics' cleanup.policy."},
	{Name: "log.local.retention.bytes", Scope: ScopeBroker, Type: TypeLong, Default: "-2", min: -2, max: math.MaxInt64,
		Doc: "The default of topics' local.retention.bytes."},
	{Name: "log.local.retention.ms", Scope: ScopeBroker, Type: TypeLong, Default: "0", min: -2, max: math.MaxInt64,
		Doc: "The default of topics' local.retention.ms."},
	{Name: "log.message.timestamp.after.max.ms", Scope: ScopeBroker, Type: TypeLong, Default: "3600000", min: 0, max: math.MaxInt64,
		Doc: "The default of topics' message.timestamp.after.max.ms."},
	{Name: "log.message.timestamp.before.max.ms", Scope: ScopeBroker, Type: TypeLong, Default: "9223372036854775807", min: 0, max: math.MaxInt64,
		Doc: "The default of topics' message.timestamp.before.max.ms."},
	{Name: "log.message.timestamp.type", Scope: ScopeBroker, Type: TypeString, Default: "CreateTime", allowed: []string{"CreateTime", "LogAppendTime"},
		Doc: "The default of topics' message.timestamp.type."},
	{Name: "log.retention.bytes", Scope: ScopeBroker, Type: TypeLong, Default: "-1", min: -1, max: math.MaxInt64,
		Doc: "The default of topics' retention.bytes."},
	{Name: "log.retention.check.interval.ms", Scope: ScopeBroker, Type: TypeLong, Default: "300000", min: 1, max: math.MaxInt64,
		Doc: "The shortest time between two runs of retention."},
	{Name: "log.retention.ms", Scope: ScopeBroker, Type: TypeLong, Default: strconv.Itoa(7 * day), Unset: true, min: -1, max: math.MaxInt64,
		Doc: "The default of topics' retention.ms."},
	{Name: "log.roll.ms", Scope: ScopeBroker, Type: TypeLong, Default: strconv.Itoa(7 * day), Unset: true, min: 1, max: math.MaxInt64,
		Doc: "The default of topics' segment.ms."},
	{Name: "log.segment.bytes", Scope: ScopeBroker, Type: TypeInt, Default: "1073741824", min: 1 << 20, max: math.MaxInt32,
		Doc: "The default of topics' segment.bytes."},
	{Name: "message.max.bytes", Scope: ScopeBroker, Type: TypeInt, Default: "1048588", min: 0, max: math.MaxInt32,
		Doc: "The default of topics' max.message.bytes."},
	{Name: "num.partitions", Scope: ScopeBroker, Type: TypeInt, Default: "1", min: 1, max: MaxTopicPartitions,
		Doc: "The partitions of a topic that is created without saying how many."},
	{Name: "offset.metadata.max.bytes", Scope: ScopeBroker, Type: TypeInt, Default: "4096", min: 0, max: math.MaxInt32,
		Doc: "The longest metadata that may stand beside a committed offset."},
	{Name: "offsets.retention.minutes", Scope: ScopeBroker, Type: TypeInt, Default: "10080", min: 1, max: math.MaxInt32,
		Doc: "How long the offsets of a group without members are kept."},
	{Name: "producer.id.expiration.ms", Scope: ScopeBroker, Type: TypeInt, Default: "86400000", min: 1, max: math.MaxInt32,
		Doc: "How long the sequence numbers of an idle idempotent producer are remembered."},
	{Name: "transaction.max.timeout.ms", Scope: ScopeBroker, Type: TypeInt, Default: "900000", min: 1, max: math.MaxInt32,
		Doc: "The longest timeout a transactional producer may ask for."},
	{Name: "transactional.id.expiration.ms", Scope: ScopeBroker, Type: TypeInt, Default: "604800000", min: 1, max: math.MaxInt32,
		Doc: "How long a transactional id without an open transaction is remembered."},
	{Name: "varve.compress.uncompressed", Scope: ScopeBroker, Type: TypeBoolean, Default: "true", allowed: []string{"true", "false"},
		Doc: "The default of topics' varve.compress.uncompressed."},
	{Name: "varve.durability", Scope: ScopeBroker, Type: TypeString, Default: "local", allowed: []string{"local", "replicated", "object"}, ReadOnly: true,
		Doc: "The class of topics that are created without saying; set at start, local on a single node and object in a cluster."},
	{Name: "varve.validate", Scope: ScopeBroker, Type: TypeString, Default: "basic", allowed: []string{"basic", "deep"},
		Doc: "The default of topics' varve.validate."},
})

type configName struct {
	scope Scope
	name  string
}

var configDefByName = func() map[configName]*ConfigDef {
	all := allConfigDefs()
	m := make(map[configName]*ConfigDef, len(all))
	for i := range all {
		if key := (configName{all[i].Scope, all[i].Name}); m[key] == nil {
			m[key] = &all[i]
		}
	}
	return m
}()

var configDefsByScope = func() map[Scope][]*ConfigDef {
	m := map[Scope][]*ConfigDef{}
	for key, d := range configDefByName {
		m[key.scope] = append(m[key.scope], d)
	}
	for _, defs := range m {
		slices.SortFunc(defs, func(x, y *ConfigDef) int { return strings.Compare(x.Name, y.Name) })
	}
	return m
}()

// ConfigDefs are the configurations of a scope, by name. Not to be changed.
func ConfigDefs(scope Scope) []*ConfigDef { return configDefsByScope[scope] }

// LookupConfig is the definition of a configuration, nil where there is none.
func LookupConfig(scope Scope, name string) *ConfigDef {
	return configDefByName[configName{scope, name}]
}

// Validate says what is wrong with a value.
func (d *ConfigDef) Validate(value string) error {
	if value = strings.TrimSpace(value); d.Type == TypeBoolean {
		value = strings.ToLower(value)
	}
	if why, ok := d.refused[strings.ReplaceAll(value, " ", "")]; ok {
		return fmt.Errorf("invalid value %s for configuration %s: %s", value, d.Name, why)
	}
	if d.only && value != d.Default {
		return fmt.Errorf("invalid value %s for configuration %s: only %q is taken, as %s", value, d.Name, d.Default, d.Why)
	}
	if d.check != nil {
		if err := d.check(value); err != nil {
			return fmt.Errorf("invalid value %s for configuration %s: %w", value, d.Name, err)
		}
	}
	switch d.Type {
	case TypeInt, TypeLong:
		if d.only {
			return nil
		}
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			return fmt.Errorf("invalid value %s for configuration %s: Not a number of type %s", value, d.Name, map[bool]string{true: "INT", false: "LONG"}[d.Type == TypeInt])
		}
		if n < d.min || n > d.max {
			return fmt.Errorf("invalid value %s for configuration %s: Value must be in [%d, %d]", value, d.Name, d.min, d.max)
		}
	default:
		for _, item := range d.list(value) {
			if d.items != nil && !slices.Contains(d.items, item) {
				return fmt.Errorf("invalid value %s for configuration %s: String must be one of: %s", item, d.Name, strings.Join(d.items, ", "))
			}
		}
		if len(d.allowed) > 0 && !slices.Contains(d.allowed, value) {
			return fmt.Errorf("invalid value %s for configuration %s: String must be one of: %s", value, d.Name, strings.Join(d.allowed, ", "))
		}
	}
	return nil
}
