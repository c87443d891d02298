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
		CleanupPolicy: "delete", CompressionType: "producer", CompressUncompressed: true, GzipLevel: -1, LZ4Level: 9, ZstdLevel: 3, RetentionMillis: 604800000, RetentionBytes: -1,
		LocalRetentionMillis: 0, LocalRetentionBytes: -1, SegmentBytes: 1 << 30, SegmentMillis: 604800000, MaxMessageBytes: 1048588,
		TimestampBeforeMaxMillis: 9223372036854775807, TimestampAfterMaxMillis: 3600000, MinInsyncReplicas: 1,
		Durability: metapb.Durability_DURABILITY_LOCAL,
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

// TestWhatIsMetIsKept: any value that Kafka takes, on topics and on the cluster, and none that it does not take.
func TestWhatIsMetIsKept(t *testing.T) {
	l := newTestLog(t)
	l.lead(1)
	l.topic("t", 1)
	for _, test := range []struct {
		name, value string
		taken       bool
	}{
		{"flush.ms", "1", true}, {"flush.ms", "-1", false}, {"index.interval.bytes", "0", true}, {"segment.index.bytes", "3", false}, {"preallocate", "true", true},
		{"preallocate", "perhaps", false}, {"file.delete.delay.ms", "0", true}, {"segment.jitter.ms", "5", true}, {"leader.replication.throttled.replicas", "0:1,1:2", true},
		{"leader.replication.throttled.replicas", "0:x", false}, {"follower.replication.throttled.replicas", "*", true}, {"compression.zstd.level", "23", false},
		{"compression.zstd.level", "-7", true}, {"compression.gzip.level", "0", false}, {"compression.lz4.level", "17", true}, {"remote.log.copy.disable", "true", false},
		{"unclean.leader.election.enable", "true", false},
	} {
		v := l.do(&metapb.AlterConfig{Name: "t", Entries: []*metapb.ConfigEntry{{Name: test.name, Value: test.value}}})
		if (v.Code == OK) != test.taken {
			t.Errorf("%s=%s: %s %s", test.name, test.value, v.Code, v.Message)
		}
		if got := l.s.Config(ScopeTopic, "t")[test.name]; test.taken && got != test.value {
			t.Errorf("%s is %q", test.name, got)
		}
	}
	v := l.do(&metapb.AlterConfig{Resource: metapb.AlterConfig_BROKER, Name: "1", Entries: []*metapb.ConfigEntry{{Name: "leader.replication.throttled.rate", Value: "1000"}}})
	if v.Code != OK {
		t.Errorf("a node's throttle: %s %s", v.Code, v.Message)
	}
}

// TestMoreCopiesThanOneAreTheBuckets: what min.insync.replicas asks for is kept by the class object and not by local.
func TestMoreCopiesThanOneAreTheBuckets(t *testing.T) {
	l := newTestLog(t)
	l.lead(1)
	l.topic("local", 1, &metapb.ConfigEntry{Name: "varve.durability", Value: "local"})
	l.topic("object", 1, &metapb.ConfigEntry{Name: "varve.durability", Value: "object"}, &metapb.ConfigEntry{Name: "min.insync.replicas", Value: "2"})
	if c := l.s.TopicByName("object").Config; c.MinInsyncReplicas != 2 {
		t.Errorf("object: %+v", c)
	}
	two := &metapb.ConfigEntry{Name: "min.insync.replicas", Value: "2"}
	if v := l.do(&metapb.AlterConfig{Name: "local", Entries: []*metapb.ConfigEntry{two}}); v.Code != InvalidConfig {
		t.Errorf("local: %s", v.Code)
	}
	raised := &metapb.ConfigEntry{Name: "varve.durability", Value: "object"}
	if v := l.do(&metapb.AlterConfig{Name: "local", Entries: []*metapb.ConfigEntry{two, raised}}); v.Code != OK {
		t.Errorf("raised with it: %s %s", v.Code, v.Message)
	}
	lowered := &metapb.ConfigEntry{Name: "varve.durability", Value: "local"}
	if v := l.do(&metapb.AlterConfig{Name: "object", Entries: []*metapb.ConfigEntry{lowered}}); v.Code != InvalidConfig {
		t.Errorf("lowered: %s", v.Code)
	}
}

func TestSynonymsAreKafkas(t *testing.T) {
	l := newTestLog(t)
	l.lead(1)
	l.topic("t", 1)
	values, _ := l.s.DescribeConfig(ScopeTopic, "t")
	want := map[string]string{"retention.ms": "log.retention.hours=168", "segment.ms": "log.roll.hours=168", "preallocate": "log.preallocate=false", "flush.ms": "", "remote.storage.enable": "", "segment.jitter.ms": ""}
	for _, v := range values {
		if w, ok := want[v.Name]; ok {
			got := ""
			for _, s := range v.Synonyms {
				got += s.Name + "=" + s.Value
			}
			if got != w {
				t.Errorf("%s: %q, want %q", v.Name, got, w)
			}
		}
	}
	cluster, _ := l.s.DescribeConfig(ScopeBroker, "1")
	for _, v := range cluster {
		if v.Name == "log.retention.ms" && !v.Null {
			t.Error("log.retention.ms has a value that nobody set")
		}
	}
}
