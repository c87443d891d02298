package meta

import (
	"errors"
	"math"
	"strconv"
	"strings"
)

// Levels of codecs, which are used where a node compresses.
var levelDefs = []ConfigDef{
	level(ScopeTopic, "compression.gzip.level", "-1", checkGzipLevel, "The level at which this topic's batches are compressed with gzip: 1 to 9, or -1 for the codec's default."),
	level(ScopeTopic, "compression.lz4.level", "9", checkLZ4Level, "The level at which this topic's batches are compressed with lz4: 1 to 17. 9 is the fast default, as it is in Kafka; above it the strongest there is."),
	level(ScopeTopic, "compression.zstd.level", "3", checkZstdLevel, "The level at which this topic's batches are compressed with zstd, those that came uncompressed included. Of these, at the default, a node whose processors do not keep up compresses some at level 1; tiering compresses all again."),
	level(ScopeBroker, "compression.gzip.level", "-1", checkGzipLevel, "The default of topics' compression.gzip.level."),
	level(ScopeBroker, "compression.lz4.level", "9", checkLZ4Level, "The default of topics' compression.lz4.level."),
	level(ScopeBroker, "compression.zstd.level", "3", checkZstdLevel, "The default of topics' compression.zstd.level."),
}

func level(scope Scope, name, value string, check func(string) error, doc string) ConfigDef {
	d := ConfigDef{Name: name, Scope: scope, Type: TypeInt, Default: value, check: check, min: math.MinInt32, max: math.MaxInt32, Doc: doc}
	if scope == ScopeTopic {
		d.Synonym = name
	}
	return d
}

var (
	checkGzipLevel = levelBetween(1, 9, -1)
	checkLZ4Level  = levelBetween(1, 17, 9)
	checkZstdLevel = levelBetween(-131072, 22, 3)
)

func levelBetween(low, high, otherwise int) func(string) error {
	return func(value string) error {
		n, err := strconv.Atoi(value)
		if err != nil {
			return errors.New("Not a number of type INT") //nolint:staticcheck // Kafka's words
		}
		if n != otherwise && (n < low || n > high) {
			return errors.New("Value must be between " + strconv.Itoa(low) + " and " + strconv.Itoa(high) + " or equal to " + strconv.Itoa(otherwise))
		}
		return nil
	}
}

// metSetting is a setting that asks for something which holds here whatever its value is. It can be set as in Kafka, on a topic and on the
// cluster, since nothing that a client relies on depends on it.
type metSetting struct {
	topic, broker string // names; empty where there is none
	kind          ConfigType
	value         string // Kafka's default
	unset         bool   // of the cluster's: Kafka's default is null
	min           int64
	check         func(string) error
	perBroker     bool
	why           string
}

var metSettings = []metSetting{
	{topic: "file.delete.delay.ms", broker: "log.segment.delete.delay.ms", kind: TypeLong, value: "60000", why: "what retention has dropped cannot be read, whenever its objects go (--delete-delay)"},
	{topic: "flush.messages", broker: "log.flush.interval.messages", kind: TypeLong, value: maxLong, min: 1, why: "every batch is flushed before it is acknowledged"},
	{topic: "flush.ms", broker: "log.flush.interval.ms", kind: TypeLong, value: maxLong, unset: true, why: "every batch is flushed before it is acknowledged"},
	{topic: "follower.replication.throttled.replicas", kind: TypeList, check: checkThrottledReplicas, why: "nothing is replicated from node to node, so that every bound on it is kept"},
	{topic: "leader.replication.throttled.replicas", kind: TypeList, check: checkThrottledReplicas, why: "nothing is replicated from node to node, so that every bound on it is kept"},
	{topic: "index.interval.bytes", broker: "log.index.interval.bytes", kind: TypeInt, value: "4096", why: "the index of a stored segment has an entry for each batch, which no interval makes denser"},
	{topic: "preallocate", broker: "log.preallocate", kind: TypeBoolean, value: "false", why: "nodes preallocate what they write to for all partitions together"},
	{topic: "remote.log.delete.on.disable", kind: TypeBoolean, value: "false", why: "storing in the bucket cannot be switched off, so that the case does not come"},
	{topic: "segment.index.bytes", broker: "log.index.size.max.bytes", kind: TypeInt, value: "10485760", min: 4, why: "indexes are parts of stored segments; none is preallocated"},
	{topic: "segment.jitter.ms", broker: "log.roll.jitter.ms", kind: TypeLong, value: "0", unset: true, why: "segments of many partitions are rolled together, and no part of one spans more than segment.ms"},
	{broker: "follower.replication.throttled.rate", kind: TypeLong, value: maxLong, perBroker: true, why: "nothing is replicated from node to node, so that every bound on it is kept"},
	{broker: "leader.replication.throttled.rate", kind: TypeLong, value: maxLong, perBroker: true, why: "nothing is replicated from node to node, so that every bound on it is kept"},
	{broker: "replica.alter.log.dirs.io.max.bytes.per.second", kind: TypeLong, value: maxLong, perBroker: true, why: "a node has one data directory: nothing is moved, so that every bound on it is kept"},
}

const maxLong = "9223372036854775807"

func metDefs() (defs []ConfigDef) {
	for _, m := range metSettings {
		largest := int64(math.MaxInt64)
		if m.kind == TypeInt {
			largest = math.MaxInt32
		}
		d := ConfigDef{Type: m.kind, Default: m.value, min: m.min, max: largest, check: m.check, Met: true, Why: m.why, Doc: sentence(m.why)}
		if m.kind == TypeBoolean {
			d.allowed = []string{"true", "false"}
		}
		if m.topic != "" {
			d.Scope, d.Name, d.Synonym = ScopeTopic, m.topic, m.broker
			defs = append(defs, d)
		}
		if m.broker != "" {
			d.Scope, d.Name, d.Synonym, d.Unset, d.PerBroker = ScopeBroker, m.broker, "", m.unset, m.perBroker
			d.Quiet = m.topic == "" // Kafka keeps these apart from the settings a broker starts with
			defs = append(defs, d)
		}
	}
	return defs
}

// checkThrottledReplicas takes "*", nothing, or partition:broker items.
func checkThrottledReplicas(value string) error {
	if value == "*" || value == "" {
		return nil
	}
	for item := range strings.SplitSeq(value, ",") {
		partition, broker, found := strings.Cut(strings.TrimSpace(item), ":")
		if _, err := strconv.ParseUint(partition, 10, 31); err != nil || !found {
			return errors.New("must be the literal '*' or a list of replicas in the following format: [partitionId]:[brokerId],[partitionId]:[brokerId],...")
		}
		if _, err := strconv.ParseUint(broker, 10, 31); err != nil {
			return errors.New("must be the literal '*' or a list of replicas in the following format: [partitionId]:[brokerId],[partitionId]:[brokerId],...")
		}
	}
	return nil
}
