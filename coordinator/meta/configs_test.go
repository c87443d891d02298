package meta

import (
	"slices"
	"strings"
	"testing"

	"github.com/varvelog/varve/coordinator/metapb"
)

func TestTheTableIsSound(t *testing.T) {
	for _, d := range configDefs {
		if d.Doc == "" {
			t.Errorf("%s %s has no documentation", d.Scope, d.Name)
		}
		if err := d.Validate(d.Default); err != nil {
			t.Errorf("the default is refused: %v", err)
		}
		if d.Synonym != "" && LookupConfig(ScopeBroker, d.Synonym) == nil {
			t.Errorf("%s names the synonym %s, which is not there", d.Name, d.Synonym)
		}
		if d.Synonym != "" && LookupConfig(ScopeBroker, d.Synonym).Default != d.Default {
			t.Errorf("%s and its synonym %s have different defaults", d.Name, d.Synonym)
		}
	}
	seen := map[configName]bool{}
	for _, d := range configDefs {
		if key := (configName{d.Scope, d.Name}); seen[key] {
			t.Errorf("%s %s stands twice in the table", d.Scope, d.Name)
		} else {
			seen[key] = true
		}
	}
}

func TestDefaultsAreKafkasButForWhatIsSaid(t *testing.T) {
	l := newTestLog(t)
	l.lead(1)
	l.topic("t", 1)
	want := TopicConfig{
		Delete: true, CompressionType: "producer", CompressUncompressed: true, GzipLevel: -1, LZ4Level: 9, ZstdLevel: 3, RetentionMillis: 604800000, RetentionBytes: -1,
		LocalRetentionMillis: 0, LocalRetentionBytes: -1, SegmentBytes: 1 << 30, SegmentMillis: 604800000, MaxMessageBytes: 1048588,
		TimestampBeforeMaxMillis: 9223372036854775807, TimestampAfterMaxMillis: 3600000, MinInsyncReplicas: 1,
		Durability: metapb.Durability_DURABILITY_LOCAL, DeleteRetentionMillis: 86400000, MaxCompactionLagMillis: 9223372036854775807, MinCleanableDirtyRatio: 0.5,
	}
	if got := l.s.TopicByName("t").Config; got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if c := l.s.Cluster(); c.NumPartitions != 1 || !c.AutoCreateTopics || c.OffsetsRetentionMillis != 604800000 || c.ProducerIDExpirationMillis != 86400000 {
		t.Errorf("cluster %+v", c)
	}
}

func TestDescribeConfigNamesTheSource(t *testing.T) {
	l := newTestLog(t)
	l.lead(1)
	l.topic("t", 1, &metapb.ConfigEntry{Name: "retention.ms", Value: "1000"})
	l.do(&metapb.AlterConfig{Resource: metapb.AlterConfig_BROKER, Entries: []*metapb.ConfigEntry{
		{Name: "log.retention.ms", Value: "2000"}, {Name: "message.max.bytes", Value: "5"},
	}})
	values, ok := l.s.DescribeConfig(ScopeTopic, "t")
	if !ok || !slices.IsSortedFunc(values, func(x, y ConfigValue) int { return strings.Compare(x.Name, y.Name) }) {
		t.Fatalf("%v, %v", values, ok)
	}
	find := func(name string) ConfigValue {
		for _, v := range values {
			if v.Name == name {
				return v
			}
		}
		t.Fatalf("no %s", name)
		return ConfigValue{}
	}
	if v := find("retention.ms"); v.Value != "1000" || v.Source != SourceTopic || len(v.Synonyms) != 3 || v.Synonyms[2].Name != "log.retention.hours" {
		t.Errorf("retention.ms: %+v", v)
	}
	if v := find("max.message.bytes"); v.Value != "5" || v.Source != SourceClusterDefault {
		t.Errorf("max.message.bytes: %+v", v)
	}
	if v := find("segment.bytes"); v.Source != SourceDefault {
		t.Errorf("segment.bytes: %+v", v)
	}
	if got := l.s.TopicByName("t").Config.MaxMessageBytes; got != 5 {
		t.Errorf("max.message.bytes in effect is %d", got)
	}
	if _, ok := l.s.DescribeConfig(ScopeTopic, "u"); ok {
		t.Error("a topic that is not there is described")
	}
	if values, ok := l.s.DescribeConfig(ScopeBroker, "1"); !ok || len(values) < 70 || len(values) > len(ConfigDefs(ScopeBroker)) {
		t.Errorf("broker: %d values", len(values))
	}
}

// TestDurabilityOutlivesALegacyAlter: AlterConfigs replaces everything, and the tools that use it do not know the class.
func TestDurabilityOutlivesALegacyAlter(t *testing.T) {
	l := newTestLog(t)
	l.lead(1)
	l.topic("t", 1, &metapb.ConfigEntry{Name: "varve.durability", Value: "object"}, &metapb.ConfigEntry{Name: "retention.ms", Value: "5"})
	v := l.do(&metapb.AlterConfig{Name: "t", Replace: true, Entries: []*metapb.ConfigEntry{{Name: "retention.bytes", Value: "9"}}})
	config := l.s.TopicByName("t").Config
	if v.Code != OK || config.Durability != metapb.Durability_DURABILITY_OBJECT || config.RetentionMillis != 604800000 || config.RetentionBytes != 9 {
		t.Errorf("%s, %+v", v.Code, config)
	}
}

func TestChecksChangeNothing(t *testing.T) {
	l := newTestLog(t)
	l.lead(1)
	l.topic("t", 1)
	before := l.s.Hash()
	id := topicID("u")
	if v := l.s.CheckCreateTopic(&metapb.CreateTopic{Name: "u", TopicId: id[:], Partitions: 1}); v.Code != OK {
		t.Error(v)
	}
	if v := l.s.CheckCreateTopic(&metapb.CreateTopic{Name: "u", TopicId: id[:], Partitions: 5, MaxPartitions: 5}); v.Code != PolicyViolation {
		t.Error(v)
	}
	id = topicID("t")
	if v := l.s.CheckCreatePartitions(&metapb.CreatePartitions{TopicId: id[:], Count: 1}); v.Code != InvalidPartitions {
		t.Error(v)
	}
	if v := l.s.CheckAlterConfig(&metapb.AlterConfig{Name: "t", Entries: []*metapb.ConfigEntry{{Name: "retention.ms", Value: "x"}}}); v.Code != InvalidConfig {
		t.Error(v)
	}
	if v := l.s.CheckAlterConfig(&metapb.AlterConfig{Resource: metapb.AlterConfig_BROKER, Name: "3", Entries: []*metapb.ConfigEntry{{Name: "num.partitions", Value: "2"}}}); v.Code != InvalidConfig {
		t.Error(v)
	}
	if l.s.Hash() != before {
		t.Error("a check changed the state")
	}
}

func TestCleanupPolicy(t *testing.T) {
	l := newTestLog(t)
	l.lead(1)
	l.topic("t", 1)
	for _, test := range []struct {
		name, value, kept string
		compact, deletes  bool
	}{
		{"cleanup.policy", "compact", "compact", true, false},
		{"cleanup.policy", " delete , compact ", "delete,compact", true, true},
		{"cleanup.policy", "", "", false, false},
		{"cleanup.policy", "compact,burn", "*", false, false},
		{"cleanup.policy", ",", "*", false, false},
		{"min.cleanable.dirty.ratio", "1", "1.0", false, false},
		{"min.cleanable.dirty.ratio", "1e-4", "1.0E-4", false, false},
		{"min.cleanable.dirty.ratio", "NaN", "*", false, false},
		{"min.cleanable.dirty.ratio", "1.1", "*", false, false},
		{"min.cleanable.dirty.ratio", "-0.1", "*", false, false},
		{"max.compaction.lag.ms", "0", "*", false, false},
	} {
		v := l.do(&metapb.AlterConfig{Name: "t", Entries: []*metapb.ConfigEntry{{Name: test.name, Value: test.value}}})
		if refused := test.kept == "*"; (v.Code == InvalidConfig) != refused {
			t.Errorf("%s=%q: %s %s", test.name, test.value, v.Code, v.Message)
			continue
		} else if refused {
			continue
		}
		topic := l.s.TopicByName("t")
		if topic.Overrides[test.name] != test.kept {
			t.Errorf("%s=%q is kept as %q", test.name, test.value, topic.Overrides[test.name])
		}
		if test.name == "cleanup.policy" && (topic.Config.Compact != test.compact || topic.Config.Delete != test.deletes) {
			t.Errorf("%q: %+v", test.value, topic.Config)
		}
	}
	v := l.do(&metapb.AlterConfig{Name: "t", Entries: []*metapb.ConfigEntry{{Name: "min.compaction.lag.ms", Value: "2"}, {Name: "max.compaction.lag.ms", Value: "1"}}})
	if v.Code != InvalidConfig {
		t.Error("lags that exclude each other are taken")
	}
	l.do(&metapb.AlterConfig{Resource: metapb.AlterConfig_BROKER, Entries: []*metapb.ConfigEntry{{Name: "log.cleanup.policy", Value: "compact"}, {Name: "log.cleaner.min.cleanable.ratio", Value: ".25"}}})
	l.topic("u", 1)
	if c := l.s.TopicByName("u").Config; !c.Compact || c.Delete || c.MinCleanableDirtyRatio != 0.25 {
		t.Errorf("the cluster's defaults do not hold: %+v", c)
	}
}
