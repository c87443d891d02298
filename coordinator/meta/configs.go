package meta

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/varvelog/varve/coordinator/metapb"
)

// TopicConfig is a topic's configuration in effect: its own, else the cluster's, else the default.
type TopicConfig struct {
	Delete                   bool // of cleanup.policy
	Compact                  bool // of cleanup.policy
	CompressionType          string
	CompressUncompressed     bool // varve.compress.uncompressed
	GzipLevel                int32
	LZ4Level                 int32
	ZstdLevel                int32
	RetentionMillis          int64 // only with Delete
	RetentionBytes           int64 // only with Delete
	LocalRetentionMillis     int64 // -2 resolved; -1 for ever
	LocalRetentionBytes      int64 // -2 resolved; -1 for no bound
	SegmentBytes             int64
	SegmentMillis            int64
	MaxMessageBytes          int32
	LogAppendTime            bool // message.timestamp.type
	TimestampBeforeMaxMillis int64
	TimestampAfterMaxMillis  int64
	MinInsyncReplicas        int32
	Durability               metapb.Durability
	DeepValidation           bool // varve.validate
	DeleteRetentionMillis    int64
	MinCompactionLagMillis   int64
	MaxCompactionLagMillis   int64
	MinCleanableDirtyRatio   float64
}

// ClusterConfig is the cluster's configuration in effect, apart from what gives topics their defaults.
type ClusterConfig struct {
	AutoCreateTopics                 bool
	NumPartitions                    int32
	OffsetMetadataMaxBytes           int32
	OffsetsRetentionMillis           int64
	ProducerIDExpirationMillis       int64
	TransactionalIDExpirationMillis  int64
	TransactionMaxTimeoutMillis      int64
	RetentionCheckMillis             int64
	GroupInitialRebalanceDelayMillis int32
	GroupMinSessionTimeoutMillis     int32
	GroupMaxSessionTimeoutMillis     int32
}

type configKey struct {
	scope Scope
	name  string
}

func compareConfigKey(x, y configKey) int {
	return cmp.Or(cmp.Compare(x.scope, y.scope), cmp.Compare(x.name, y.name))
}

// Config is what is set on a resource itself; nil where nothing is. The cluster's default entity is ScopeBroker, "".
func (s *State) Config(scope Scope, name string) map[string]string {
	if scope == ScopeTopic {
		if t := s.topicsByName[name]; t != nil {
			return t.Overrides
		}
		return nil
	}
	return s.configs[configKey{scope, name}]
}

// Cluster is the cluster's configuration in effect.
func (s *State) Cluster() ClusterConfig { return s.cluster }

// ConfigSource tells where a value comes from, with Kafka's numbers in DescribeConfigs.
type ConfigSource int8

// The sources.
const (
	SourceTopic          ConfigSource = 1
	SourceBroker         ConfigSource = 2 // dynamic, of one node
	SourceClusterDefault ConfigSource = 3 // dynamic default broker configuration
	SourceStatic         ConfigSource = 4 // given to a node when it started
	SourceDefault        ConfigSource = 5
	SourceClientMetrics  ConfigSource = 7
	SourceGroup          ConfigSource = 8
)

// ConfigValue is a configuration in effect, and where it comes from.
type ConfigValue struct {
	Def    *ConfigDef
	Name   string
	Value  string
	Null   bool // there is no value
	Source ConfigSource
	// Synonyms are the values in order of precedence, the one in effect first.
	Synonyms []ConfigSynonym
}

// ConfigSynonym is one place a value may come from.
type ConfigSynonym struct {
	Name   string
	Value  string
	Source ConfigSource
}

// DescribeConfig lists a resource's configuration, by name. False where there is no such topic.
func (s *State) DescribeConfig(scope Scope, name string) ([]ConfigValue, bool) {
	if scope == ScopeTopic && s.topicsByName[name] == nil {
		return nil, false
	}
	return s.describe(scope, name, s.Config(scope, name)), true
}

// DescribeNewTopic is the configuration that a topic would have; it is one that CheckCreateTopic lets pass.
func (s *State) DescribeNewTopic(c *metapb.CreateTopic) []ConfigValue {
	overrides, _ := changeEntries(ScopeTopic, nil, c.Configs, true) // judged by CheckCreateTopic
	return s.describe(ScopeTopic, c.Name, overrides)
}

func (s *State) describe(scope Scope, name string, own map[string]string) (out []ConfigValue) {
	cluster := s.configs[configKey{ScopeBroker, ""}]
	for _, d := range ConfigDefs(scope) {
		v := ConfigValue{Def: d, Name: d.Name, Value: d.Default, Source: SourceDefault}
		add := func(name, value string, source ConfigSource) {
			v.Synonyms = append(v.Synonyms, ConfigSynonym{name, value, source})
		}
		if value, ok := own[d.Name]; ok && scope == ScopeTopic {
			add(d.Name, value, SourceTopic)
		} else if source, dynamic := ownSources[scope]; ok && dynamic && name != "" {
			add(d.Name, value, source)
		}
		clusterName := d.Synonym
		if scope == ScopeBroker {
			clusterName = d.Name
		}
		if value, ok := cluster[clusterName]; ok {
			add(clusterName, value, SourceClusterDefault)
		}
		if len(v.Synonyms) == 0 && d.Quiet {
			continue
		}
		if len(v.Synonyms) > 0 {
			v.Value, v.Source = v.Synonyms[0].Value, v.Synonyms[0].Source
		} else if d.Unset {
			v.Null, v.Value = true, ""
		}
		// What is behind may be in another unit. Behind what is set on a group Kafka shows nothing.
		_, changed := cluster[clusterName]
		if behind := d.behind(changed); behind != nil && (scope != ScopeGroup || len(v.Synonyms) == 0) {
			add(behind.Name, behind.Default, SourceDefault)
		}
		out = append(out, v)
	}
	return out
}

// behind is what a value comes from in the end, where that is shown: changed tells that the cluster has a value of its own.
func (d *ConfigDef) behind(changed bool) *ConfigDef {
	switch {
	case d.Behind != "" && changed:
		return LookupConfig(ScopeBroker, d.Behind)
	case d.Behind != "":
		return nil
	case d.Scope == ScopeTopic && d.Synonym != "":
		if d = LookupConfig(ScopeBroker, d.Synonym); d.Unset {
			return nil
		}
	case d.Scope == ScopeTopic || d.Scope == ScopeClientMetrics || d.Unset:
		return nil
	}
	return d
}

// ownSources are where values that are set on a resource itself come from.
var ownSources = map[Scope]ConfigSource{ScopeBroker: SourceBroker, ScopeClientMetrics: SourceClientMetrics, ScopeGroup: SourceGroup}

// changeEntries applies entries to overrides, of which it makes a copy, and says what is wrong with them.
func changeEntries(scope Scope, overrides map[string]string, entries []*metapb.ConfigEntry, replace bool) (map[string]string, string) {
	out := map[string]string{}
	if !replace {
		maps.Copy(out, overrides)
	}
	for _, e := range entries {
		d := LookupConfig(scope, e.GetName())
		switch {
		case d == nil && e.Unset:
			continue // as Kafka has it: what is not set can be unset
		case d == nil && WhyRefused(scope, e.GetName()) != "":
			return nil, fmt.Sprintf("Config %s cannot be set: %s", e.GetName(), WhyRefused(scope, e.GetName()))
		case d == nil:
			return nil, fmt.Sprintf("Unknown %s config name: %s", scope, e.GetName())
		case e.Unset:
			delete(out, d.Name)
			continue
		case d.ReadOnly:
			return nil, fmt.Sprintf("Config %s of a %s cannot be altered%s", d.Name, scope, because(d.Why))
		}
		if err := d.Validate(e.Value); err != nil {
			return nil, err.Error()
		}
		out[d.Name] = d.normal(e.Value)
	}
	return out, ""
}

func because(why string) string {
	if why == "" {
		return ""
	}
	return ": " + why
}

// ownOfNode says what is wrong with setting entries on one node.
func ownOfNode(entries []*metapb.ConfigEntry) string {
	for _, e := range entries {
		if d := LookupConfig(ScopeBroker, e.GetName()); !e.GetUnset() && (d == nil || !d.PerBroker) && WhyRefused(ScopeBroker, e.GetName()) == "" {
			return fmt.Sprintf("Config %s is the cluster's, not one node's: alter the default entity.", e.GetName())
		}
	}
	return ""
}

// CheckAlterConfig tells what AlterConfig would answer, and changes nothing (validate_only).
func (s *State) CheckAlterConfig(c *metapb.AlterConfig) Verdict {
	_, v := s.judgeAlterConfig(c)
	return v
}

func (s *State) judgeAlterConfig(c *metapb.AlterConfig) (map[string]string, Verdict) {
	scope := Scope(c.Resource)
	switch {
	case c.Resource < 0 || c.Resource > metapb.AlterConfig_CLIENT_QUOTA:
		return nil, refuse(Malformed, "resource %d", c.Resource)
	case scope == ScopeTopic && s.topicsByName[c.Name] == nil:
		if _, wrong := changeEntries(scope, nil, c.Entries, c.Replace); wrong != "" { // which comes first, as in Kafka
			return nil, refuse(InvalidConfig, "%s", wrong)
		}
		return nil, Verdict{Code: UnknownTopic}
	case scope == ScopeBroker && c.Name != "":
		if wrong := ownOfNode(c.Entries); wrong != "" {
			return nil, refuse(InvalidConfig, "%s", wrong)
		}
	case scope == ScopeClientQuota:
		quotas, err := changeQuotas(c.Name, s.Config(scope, c.Name), c.Entries)
		if err != nil {
			return nil, refuse(InvalidConfig, "%s", err)
		}
		return quotas, Verdict{}
	}
	overrides, wrong := changeEntries(scope, s.Config(scope, c.Name), c.Entries, c.Replace)
	if wrong != "" {
		return nil, refuse(InvalidConfig, "%s", wrong)
	}
	if scope == ScopeTopic {
		// The class was resolved when the topic was created; without it the topic would fall to the default, perhaps a weaker one.
		if was, ok := s.topicsByName[c.Name].Overrides["varve.durability"]; ok && overrides["varve.durability"] == "" {
			overrides["varve.durability"] = was
		}
		if _, err := s.topicConfig(overrides); err != nil {
			return nil, refuse(InvalidConfig, "%s", err)
		}
	}
	return overrides, Verdict{}
}

func (a *applier) alterConfig(c *metapb.AlterConfig) Verdict {
	overrides, v := a.judgeAlterConfig(c)
	if v.Code != OK {
		return v
	}
	if Scope(c.Resource) == ScopeTopic {
		t := a.topicsByName[c.Name]
		t.Overrides = overrides
		a.refreshTopic(t)
		a.dueBy(0)
		a.changed(ChangedTopics)
		return v
	}
	key := configKey{Scope(c.Resource), c.Name}
	if len(overrides) == 0 {
		delete(a.configs, key)
	} else {
		a.configs[key] = overrides
	}
	if key.scope == ScopeClientQuota {
		a.refreshQuotas()
	}
	if key == (configKey{ScopeBroker, ""}) {
		a.refreshCluster()
		a.dueBy(0)
		a.changed(ChangedTopics)
	}
	a.changed(ChangedConfigs)
	return v
}

// refreshCluster derives what depends on the cluster's configuration.
func (s *State) refreshCluster() {
	s.cluster = clusterConfig(s.configs[configKey{ScopeBroker, ""}])
	for _, t := range s.topicOrder {
		s.refreshTopic(t)
	}
}

// refreshTopic derives the configuration in effect. A change of the cluster's may make it inconsistent, as local retention
// above retention is; then the stricter of the two holds, since retention drops local copies too.
func (s *State) refreshTopic(t *Topic) {
	t.Config, _ = s.topicConfig(t.Overrides)
}

// effective looks values up: own, cluster's, default.
type effective struct {
	scope        Scope
	own, cluster map[string]string
}

func (e effective) text(name string) string {
	d := LookupConfig(e.scope, name)
	if v, ok := e.own[name]; ok {
		return v
	}
	if v, ok := e.cluster[d.Synonym]; ok && d.Synonym != "" {
		return v
	}
	return d.Default
}

// number is text as a number; what is not one has been refused before it was set.
func (e effective) number(name string) int64 {
	n, err := strconv.ParseInt(e.text(name), 10, 64)
	if err != nil {
		d, _ := strconv.ParseInt(LookupConfig(e.scope, name).Default, 10, 64) // a number, by a test
		return d
	}
	return n
}

func (s *State) topicConfig(overrides map[string]string) (TopicConfig, error) {
	e := effective{scope: ScopeTopic, own: overrides, cluster: s.configs[configKey{ScopeBroker, ""}]}
	c := TopicConfig{
		Delete:                   slices.Contains(strings.Split(e.text("cleanup.policy"), ","), PolicyDelete),
		Compact:                  slices.Contains(strings.Split(e.text("cleanup.policy"), ","), PolicyCompact),
		CompressionType:          e.text("compression.type"),
		CompressUncompressed:     e.text("varve.compress.uncompressed") == "true",
		GzipLevel:                int32(e.number("compression.gzip.level")),
		LZ4Level:                 int32(e.number("compression.lz4.level")),
		ZstdLevel:                int32(e.number("compression.zstd.level")),
		RetentionMillis:          e.number("retention.ms"),
		RetentionBytes:           e.number("retention.bytes"),
		LocalRetentionMillis:     e.number("local.retention.ms"),
		LocalRetentionBytes:      e.number("local.retention.bytes"),
		SegmentBytes:             e.number("segment.bytes"),
		SegmentMillis:            e.number("segment.ms"),
		MaxMessageBytes:          int32(e.number("max.message.bytes")),
		LogAppendTime:            e.text("message.timestamp.type") == "LogAppendTime",
		TimestampBeforeMaxMillis: e.number("message.timestamp.before.max.ms"),
		TimestampAfterMaxMillis:  e.number("message.timestamp.after.max.ms"),
		MinInsyncReplicas:        int32(e.number("min.insync.replicas")),
		Durability:               DurabilityByName(e.text("varve.durability")),
		DeepValidation:           e.text("varve.validate") == "deep",
		DeleteRetentionMillis:    e.number("delete.retention.ms"),
		MinCompactionLagMillis:   e.number("min.compaction.lag.ms"),
		MaxCompactionLagMillis:   e.number("max.compaction.lag.ms"),
		MinCleanableDirtyRatio:   e.ratio("min.cleanable.dirty.ratio"),
	}
	if c.LocalRetentionMillis == -2 {
		c.LocalRetentionMillis = c.RetentionMillis
	}
	if c.LocalRetentionBytes == -2 {
		c.LocalRetentionBytes = c.RetentionBytes
	}
	if c.MinInsyncReplicas > 1 && c.Durability == metapb.Durability_DURABILITY_LOCAL {
		return c, fmt.Errorf("invalid value %d for configuration min.insync.replicas: varve.durability=local keeps one copy; set varve.durability=object with it",
			c.MinInsyncReplicas)
	}
	if c.MinCompactionLagMillis > c.MaxCompactionLagMillis {
		return c, fmt.Errorf("conflict topic config setting min.compaction.lag.ms (%d) > max.compaction.lag.ms (%d)",
			c.MinCompactionLagMillis, c.MaxCompactionLagMillis)
	}
	if c.RetentionMillis >= 0 && (c.LocalRetentionMillis < 0 || c.LocalRetentionMillis > c.RetentionMillis) {
		return c, fmt.Errorf("invalid value %d for configuration local.retention.ms: Value must not be more than retention.ms property value: %d",
			c.LocalRetentionMillis, c.RetentionMillis)
	}
	if c.RetentionBytes >= 0 && (c.LocalRetentionBytes < 0 || c.LocalRetentionBytes > c.RetentionBytes) {
		return c, fmt.Errorf("invalid value %d for configuration local.retention.bytes: Value must not be more than retention.bytes property value: %d",
			c.LocalRetentionBytes, c.RetentionBytes)
	}
	return c, nil
}

func defaultClusterConfig() ClusterConfig { return clusterConfig(nil) }

func clusterConfig(own map[string]string) ClusterConfig {
	e := effective{scope: ScopeBroker, own: own}
	return ClusterConfig{
		AutoCreateTopics:                 e.text("auto.create.topics.enable") == "true",
		NumPartitions:                    int32(e.number("num.partitions")),
		OffsetMetadataMaxBytes:           int32(e.number("offset.metadata.max.bytes")),
		OffsetsRetentionMillis:           e.number("offsets.retention.minutes") * 60_000,
		ProducerIDExpirationMillis:       e.number("producer.id.expiration.ms"),
		TransactionalIDExpirationMillis:  e.number("transactional.id.expiration.ms"),
		TransactionMaxTimeoutMillis:      e.number("transaction.max.timeout.ms"),
		RetentionCheckMillis:             e.number("log.retention.check.interval.ms"),
		GroupInitialRebalanceDelayMillis: int32(e.number("group.initial.rebalance.delay.ms")),
		GroupMinSessionTimeoutMillis:     int32(e.number("group.min.session.timeout.ms")),
		GroupMaxSessionTimeoutMillis:     int32(e.number("group.max.session.timeout.ms")),
	}
}

var durabilityNames = map[string]metapb.Durability{
	"local": metapb.Durability_DURABILITY_LOCAL, "replicated": metapb.Durability_DURABILITY_REPLICATED, "object": metapb.Durability_DURABILITY_OBJECT,
}

// DurabilityByName is the class that varve.durability names.
func DurabilityByName(name string) metapb.Durability { return durabilityNames[name] }

func sortedEntries(overrides map[string]string) []*metapb.ConfigEntry {
	out := make([]*metapb.ConfigEntry, 0, len(overrides))
	for _, name := range slices.Sorted(maps.Keys(overrides)) {
		out = append(out, &metapb.ConfigEntry{Name: name, Value: overrides[name]})
	}
	return out
}
