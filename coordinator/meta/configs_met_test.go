package meta

import (
	"testing"

	"github.com/varvelog/varve/coordinator/metapb"
)

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
	want := map[string]string{"retention.ms": "", "segment.ms": "", "preallocate": "log.preallocate=false", "flush.ms": "", "remote.storage.enable": "", "segment.jitter.ms": ""}
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
