package conformance

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/services/e2e/cluster"
)

func describe(kind kmsg.ConfigResourceType, name string, configs ...string) *kmsg.DescribeConfigsRequest {
	r := kmsg.NewPtrDescribeConfigsRequest()
	resource := kmsg.NewDescribeConfigsRequestResource()
	resource.ResourceType, resource.ResourceName, resource.ConfigNames = kind, name, configs
	r.Resources = append(r.Resources, resource)
	return r
}

const (
	topicResource  = kmsg.ConfigResourceTypeTopic
	brokerResource = kmsg.ConfigResourceTypeBroker
)

func askDescribeConfigs(s *session, version int16) {
	topic := s.create("topic", 1, "retention.ms", "123456", "cleanup.policy", "delete")
	node := strconv.Itoa(int(s.node()))
	ask[kmsg.Response](s, "topic", version, describe(topicResource, topic.name))
	full := describe(topicResource, topic.name)
	full.IncludeSynonyms, full.IncludeDocumentation = true, true
	ask[kmsg.Response](s, "topic with synonyms and documentation", version, full)
	ask[kmsg.Response](s, "two configurations", version, describe(topicResource, topic.name, "retention.ms", "segment.bytes"))
	ask[kmsg.Response](s, "unknown configuration", version, describe(topicResource, topic.name, "retention.ms", "no.such"))
	ask[kmsg.Response](s, "an empty list of configurations", version, describe(topicResource, topic.name, []string{}...))
	empty := describe(topicResource, topic.name)
	empty.Resources[0].ConfigNames = []string{}
	ask[kmsg.Response](s, "no configurations", version, empty)
	ask[kmsg.Response](s, "unknown topic", version, describe(topicResource, s.name("unknown")))
	ask[kmsg.Response](s, "invalid topic name", version, describe(topicResource, "a b"))
	ask[kmsg.Response](s, "no topic name", version, describe(topicResource, ""))
	twice := describe(topicResource, topic.name, "retention.ms")
	twice.Resources = append(twice.Resources, twice.Resources[0])
	ask[kmsg.Response](s, "topic twice", version, twice)
	// A broker's configurations are a few hundred; clients act on these.
	names := []string{"auto.create.topics.enable", "compression.type", "default.replication.factor", "group.max.session.timeout.ms", "group.min.session.timeout.ms",
		"log.cleaner.delete.retention.ms", "log.cleaner.enable", "log.cleaner.max.compaction.lag.ms", "log.cleaner.min.cleanable.ratio", "log.cleaner.min.compaction.lag.ms",
		"log.cleanup.policy", "log.retention.ms", "log.retention.bytes", "log.retention.hours", "log.roll.ms", "log.roll.hours", "log.segment.bytes", "message.max.bytes", "num.partitions", "offset.metadata.max.bytes",
		"offsets.retention.minutes", "log.message.timestamp.type", "min.insync.replicas", "delete.topic.enable", "offsets.topic.replication.factor", "broker.id", "node.id",
		"advertised.listeners", "listeners", "log.dirs", "transaction.max.timeout.ms", "socket.request.max.bytes", "fetch.max.bytes", "group.max.size", "max.incremental.fetch.session.cache.slots"}
	for _, name := range names {
		asked := describe(brokerResource, node, name)
		asked.IncludeSynonyms = true
		r := ask[*kmsg.DescribeConfigsResponse](s, "", version, asked)
		for i := range r.Resources {
			r.Resources[i].ResourceName = "the node"
			for j := range r.Resources[i].Configs {
				if c := &r.Resources[i].Configs[j]; ofTheNode[name] {
					c.Value = nil
					for k := range c.ConfigSynonyms {
						c.ConfigSynonyms[k].Value = nil
					}
				}
			}
		}
		s.note(asked, "broker's "+name, s.symbols.flatten(r))
	}
	ask[kmsg.Response](s, "another broker", version, describe(brokerResource, "4711"))
	ask[kmsg.Response](s, "a broker that is no number", version, describe(brokerResource, "one"))
	ask[kmsg.Response](s, "the cluster's default, unset", version, describe(brokerResource, "", "num.partitions"))
	ask[kmsg.Response](s, "resource type 0", version, describe(0, "x"))
	ask[kmsg.Response](s, "resource type 99", version, describe(99, "x"))
	s.describeOthers(version, node)
}

const (
	loggerResource  = kmsg.ConfigResourceTypeBrokerLogger
	metricsResource = kmsg.ConfigResourceTypeClientMetrics
	groupResource   = kmsg.ConfigResourceTypeGroupConfig
)

// describeOthers describes what is neither a topic nor a broker, and a broker as a whole.
func (s *session) describeOthers(version int16, node string) {
	if version == 4 {
		s.describeBroker(version, node)
	}
	ask[kmsg.Response](s, "", 1, alterIncrementally(loggerResource, node, change{"root", set, "INFO"}))
	ask[kmsg.Response](s, "logger", version, describe(loggerResource, node, "root"))
	ask[kmsg.Response](s, "a logger that is not there", version, describe(loggerResource, node, "no.such.logger"))
	ask[kmsg.Response](s, "logger of another node", version, describe(loggerResource, "4711", "root"))
	ask[kmsg.Response](s, "logger of no node", version, describe(loggerResource, "", "root"))
	for _, kind := range []kmsg.ConfigResourceType{metricsResource, groupResource} {
		ask[kmsg.Response](s, fmt.Sprintf("resource type %d, unknown", kind), version, describe(kind, s.name("unknown")))
		ask[kmsg.Response](s, fmt.Sprintf("resource type %d, without a name", kind), version, describe(kind, ""))
		full := describe(kind, s.name("unknown"))
		full.IncludeSynonyms, full.IncludeDocumentation = true, true
		ask[kmsg.Response](s, fmt.Sprintf("resource type %d, in full", kind), version, full)
	}
}

// describeBroker describes all of a broker.
func (s *session) describeBroker(version int16, node string) {
	whole := describe(brokerResource, node)
	whole.IncludeSynonyms, whole.IncludeDocumentation = true, true
	r := ask[*kmsg.DescribeConfigsResponse](s, "", version, whole)
	for i := range r.Resources {
		resource := &r.Resources[i]
		resource.ResourceName = "the node"
		for j := range resource.Configs {
			if c := &resource.Configs[j]; ofTheNode[c.Name] {
				c.Value = nil
				for k := range c.ConfigSynonyms {
					c.ConfigSynonyms[k].Value = nil
				}
			}
		}
		listed := map[string]kmsg.DescribeConfigsResponseResourceConfig{}
		for _, c := range resource.Configs {
			listed[c.Name] = c
		}
		var refused []string
		for _, name := range kafkasBrokerConfigs(s.t) { // a check for each
			if meta.WhyRefused(meta.ScopeBroker, name) != "" {
				if _, ok := listed[name]; ok {
					refused = append(refused, name)
				}
				delete(listed, name)
				continue
			}
			one := *r
			one.Resources = []kmsg.DescribeConfigsResponseResource{*resource}
			one.Resources[0].Configs = nil
			if c, ok := listed[name]; ok {
				one.Resources[0].Configs = append(one.Resources[0].Configs, c)
			}
			delete(listed, name)
			s.note(whole, "all of a broker: "+name, s.symbols.flatten(&one))
		}
		s.note(whole, "all of a broker: those that Varve refuses", map[string]string{"names": strings.Join(refused, " ")})
		s.note(whole, "all of a broker: others", map[string]string{"names": strings.Join(slices.Sorted(maps.Keys(listed)), " ")})
	}
}

// kafkasBrokerConfigs are the names that Kafka documents for brokers.
func kafkasBrokerConfigs(t testing.TB) (names []string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(cluster.Root(), "coordinator", "meta", "testdata", "kafka-4.1-configs.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Split(line, "\t"); fields[0] == "broker" {
			names = append(names, fields[1])
		}
	}
	return names
}

// ofTheNode are configurations whose values say where a process runs.
var ofTheNode = map[string]bool{"broker.id": true, "node.id": true, "listeners": true, "advertised.listeners": true, "log.dirs": true, "log.dir": true}

// valueOf waits until a topic's configuration is seen to be value, and records what is described.
func (s *session) awaitConfig(label, topic, name, value string) {
	s.t.Helper()
	until(s, label, 4, describe(topicResource, topic, name), func(r *kmsg.DescribeConfigsResponse) bool {
		return len(r.Resources) == 1 && len(r.Resources[0].Configs) == 1 && r.Resources[0].Configs[0].Value != nil && *r.Resources[0].Configs[0].Value == value
	})
}

func askAlterConfigs(s *session, version int16) {
	topic := s.create("topic", 1)
	alter := func(kind kmsg.ConfigResourceType, name string, pairs ...string) *kmsg.AlterConfigsRequest {
		r := kmsg.NewPtrAlterConfigsRequest()
		resource := kmsg.NewAlterConfigsRequestResource()
		resource.ResourceType, resource.ResourceName = kind, name
		for i := 0; i < len(pairs); i += 2 {
			c := kmsg.NewAlterConfigsRequestResourceConfig()
			c.Name, c.Value = pairs[i], kmsg.StringPtr(pairs[i+1])
			resource.Configs = append(resource.Configs, c)
		}
		r.Resources = append(r.Resources, resource)
		return r
	}
	ask[kmsg.Response](s, "two", version, alter(topicResource, topic.name, "retention.ms", "1000", "segment.ms", "2000"))
	s.awaitConfig("after two", topic.name, "retention.ms", "1000")
	ask[kmsg.Response](s, "one, the other goes", version, alter(topicResource, topic.name, "retention.ms", "3000"))
	s.awaitConfig("after one", topic.name, "segment.ms", "604800000")
	ask[kmsg.Response](s, "none", version, alter(topicResource, topic.name))
	s.awaitConfig("after none", topic.name, "retention.ms", "604800000")
	ask[kmsg.Response](s, "unknown name", version, alter(topicResource, topic.name, "no.such", "1"))
	ask[kmsg.Response](s, "bad value", version, alter(topicResource, topic.name, "retention.ms", "x"))
	ask[kmsg.Response](s, "a name twice", version, alter(topicResource, topic.name, "retention.ms", "1", "retention.ms", "2"))
	ask[kmsg.Response](s, "unknown topic", version, alter(topicResource, s.name("unknown"), "retention.ms", "1"))
	ask[kmsg.Response](s, "invalid topic name", version, alter(topicResource, "a b", "retention.ms", "1"))
	ask[kmsg.Response](s, "no topic name", version, alter(topicResource, "", "retention.ms", "1"))
	ask[kmsg.Response](s, "another broker", version, alter(brokerResource, "4711", "log.retention.ms", "1"))
	ask[kmsg.Response](s, "resource type 99", version, alter(99, "x", "retention.ms", "1"))
	null := alter(topicResource, topic.name, "retention.ms", "1")
	null.Resources[0].Configs[0].Value = nil
	ask[kmsg.Response](s, "a null value", version, null)
	twice := alter(topicResource, topic.name, "retention.ms", "1")
	twice.Resources = append(twice.Resources, twice.Resources[0])
	if version == 0 { // Kafka answers it with nothing at all
		ask[kmsg.Response](s, "a topic twice", version, twice)
	}
	probe := alter(topicResource, topic.name, "retention.ms", "77")
	probe.ValidateOnly = true
	ask[kmsg.Response](s, "validated only", version, probe)
	s.awaitConfig("after a validation only", topic.name, "retention.ms", "604800000")
}

// change is one of IncrementalAlterConfigs'.
type change struct {
	name  string
	op    kmsg.IncrementalAlterConfigOp
	value string
}

const set, remove, add, subtract = kmsg.IncrementalAlterConfigOpSet, kmsg.IncrementalAlterConfigOpDelete, kmsg.IncrementalAlterConfigOpAppend, kmsg.IncrementalAlterConfigOpSubtract

func alterIncrementally(kind kmsg.ConfigResourceType, name string, changes ...change) *kmsg.IncrementalAlterConfigsRequest {
	r := kmsg.NewPtrIncrementalAlterConfigsRequest()
	resource := kmsg.NewIncrementalAlterConfigsRequestResource()
	resource.ResourceType, resource.ResourceName = kind, name
	for _, c := range changes {
		config := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
		config.Name, config.Op = c.name, c.op
		if c.value != "null" {
			config.Value = kmsg.StringPtr(c.value)
		}
		resource.Configs = append(resource.Configs, config)
	}
	r.Resources = append(r.Resources, resource)
	return r
}

// alterOthers alters what is neither a topic nor a broker.
func (s *session) alterOthers(node string, try func(string, kmsg.ConfigResourceType, string, ...change)) {
	s.t.Helper()
	try("logger", loggerResource, node, change{"root", set, "INFO"})
	try("logger, bad level", loggerResource, node, change{"root", set, "LOUD"})
	try("logger, appended", loggerResource, node, change{"root", add, "INFO"})
	try("logger, deleted", loggerResource, node, change{"root", remove, "null"})
	try("logger that is not there", loggerResource, node, change{"no.such.logger", set, "INFO"})
	try("logger of another node", loggerResource, "4711", change{"root", set, "INFO"})
	try("logger of no node", loggerResource, "", change{"root", set, "INFO"})
	try("metrics", metricsResource, s.name("metrics"), change{"interval.ms", set, "1000"}, change{"match", set, "client_id=x"}, change{"metrics", set, "org.apache"})
	try("metrics, unknown name", metricsResource, s.name("metrics"), change{"no.such", set, "1"})
	try("metrics, bad interval", metricsResource, s.name("metrics"), change{"interval.ms", set, "1"})
	try("metrics, no number", metricsResource, s.name("metrics"), change{"interval.ms", set, "x"})
	try("metrics, bad match", metricsResource, s.name("metrics"), change{"match", set, "nobody=x"})
	try("metrics, without a name", metricsResource, "", change{"interval.ms", set, "1000"})
	try("group", groupResource, s.name("group"), change{"consumer.session.timeout.ms", set, "50000"})
	try("group, unknown name", groupResource, s.name("group"), change{"no.such", set, "1"})
	try("group, out of bounds", groupResource, s.name("group"), change{"consumer.session.timeout.ms", set, "1"})
	try("group, above the bounds", groupResource, s.name("group"), change{"consumer.session.timeout.ms", set, "9999999"})
	try("group, no number", groupResource, s.name("group"), change{"consumer.heartbeat.interval.ms", set, "x"})
	try("group, without a name", groupResource, "", change{"consumer.session.timeout.ms", set, "50000"})
	until(s, "group, described", 4, describe(groupResource, s.name("group"), "consumer.session.timeout.ms", "consumer.heartbeat.interval.ms"), func(r *kmsg.DescribeConfigsResponse) bool {
		return len(r.Resources[0].Configs) == 2 && r.Resources[0].Configs[0].Source != kmsg.ConfigSourceDefaultConfig
	})
	until(s, "metrics, described", 4, describe(metricsResource, s.name("metrics")), func(r *kmsg.DescribeConfigsResponse) bool { return len(r.Resources[0].Configs) == 3 })
	for _, name := range []string{"interval.ms", "match", "metrics"} {
		try("", metricsResource, s.name("metrics"), change{name, remove, "null"})
	}
	try("", groupResource, s.name("group"), change{"consumer.session.timeout.ms", remove, "null"})
}

func askIncrementalAlterConfigs(s *session, version int16) {
	topic := s.create("topic", 1)
	alter := alterIncrementally
	try := func(label string, kind kmsg.ConfigResourceType, name string, changes ...change) {
		s.t.Helper()
		ask[kmsg.Response](s, label, version, alter(kind, name, changes...))
	}
	try("set two", topicResource, topic.name, change{"retention.ms", set, "1000"}, change{"max.message.bytes", set, "2000"})
	s.awaitConfig("after set", topic.name, "retention.ms", "1000")
	try("delete one", topicResource, topic.name, change{"retention.ms", remove, "null"})
	s.awaitConfig("after delete", topic.name, "retention.ms", "604800000")
	try("delete what is not set", topicResource, topic.name, change{"retention.bytes", remove, "null"})
	try("delete with a value", topicResource, topic.name, change{"max.message.bytes", remove, "5"})
	s.awaitConfig("after delete with a value", topic.name, "max.message.bytes", "1048588")
	try("append what is there", topicResource, topic.name, change{"cleanup.policy", add, "delete"})
	try("append to what is no list", topicResource, topic.name, change{"retention.ms", add, "5"})
	try("subtract what is not there", topicResource, topic.name, change{"cleanup.policy", subtract, "compact"})
	try("append compact", topicResource, topic.name, change{"cleanup.policy", add, "compact"})
	s.awaitConfig("after append", topic.name, "cleanup.policy", "delete,compact")
	try("set a ratio", topicResource, topic.name, change{"min.cleanable.dirty.ratio", set, "1e-4"}, change{"delete.retention.ms", set, "7"})
	s.awaitConfig("after a ratio", topic.name, "min.cleanable.dirty.ratio", "1.0E-4")
	try("subtract compact", topicResource, topic.name, change{"cleanup.policy", subtract, "compact"})
	s.awaitConfig("after subtract", topic.name, "cleanup.policy", "delete")
	try("subtract all", topicResource, topic.name, change{"cleanup.policy", subtract, "delete"})
	try("subtract from what is no list", topicResource, topic.name, change{"retention.ms", subtract, "5"})
	try("unknown operation", topicResource, topic.name, change{"retention.ms", 9, "5"})
	try("unknown name", topicResource, topic.name, change{"no.such", set, "5"})
	try("delete an unknown name", topicResource, topic.name, change{"no.such", remove, "null"})
	try("bad value", topicResource, topic.name, change{"retention.ms", set, "x"})
	try("null value", topicResource, topic.name, change{"retention.ms", set, "null"})
	try("empty value", topicResource, topic.name, change{"retention.ms", set, ""})
	try("a name twice", topicResource, topic.name, change{"retention.ms", set, "5"}, change{"retention.ms", set, "6"})
	try("one good, one bad", topicResource, topic.name, change{"retention.ms", set, "5"}, change{"segment.ms", set, "x"})
	s.awaitConfig("after one good, one bad", topic.name, "retention.ms", "604800000")
	try("nothing for the topic", topicResource, topic.name)
	try("unknown topic", topicResource, s.name("unknown"), change{"retention.ms", set, "5"})
	try("invalid topic name", topicResource, "a b", change{"retention.ms", set, "5"})
	try("no topic name", topicResource, "", change{"retention.ms", set, "5"})
	try("another broker", brokerResource, "4711", change{"log.retention.ms", set, "5"})
	try("a broker that is no number", brokerResource, "one", change{"log.retention.ms", set, "5"})
	try("a broker's read-only configuration", brokerResource, strconv.Itoa(int(s.node())), change{"default.replication.factor", set, "1"})
	node := strconv.Itoa(int(s.node()))
	for _, broker := range []string{"", node} {
		of := map[bool]string{true: "cluster: ", false: "broker: "}[broker == ""]
		try(of+"unknown name, deleted", brokerResource, broker, change{"no.such", remove, "null"})
		try(of+"bad value", brokerResource, broker, change{"log.retention.ms", set, "x"})
		try(of+"null value", brokerResource, broker, change{"log.retention.ms", set, "null"})
		try(of+"a list's item", brokerResource, broker, change{"log.cleanup.policy", add, "burn"})
		try(of+"append to what is no list", brokerResource, broker, change{"log.retention.ms", add, "5"})
		for _, name := range []string{"node.id", "broker.id", "log.dirs", "delete.topic.enable", "default.replication.factor", "log.retention.hours", "listeners"} {
			try(of+"read-only "+name, brokerResource, broker, change{name, set, "1"})
		}
	}
	for _, c := range [][2]string{{"leader.replication.throttled.rate", "1000"}, {"follower.replication.throttled.rate", "1000"}} {
		try("a node's "+c[0], brokerResource, node, change{c[0], set, c[1]})
		try("a node's "+c[0]+" deleted", brokerResource, node, change{c[0], remove, "null"})
		try("a node's bad "+c[0], brokerResource, node, change{c[0], set, "-1"})
	}
	for _, c := range [][2]string{{"log.flush.interval.ms", "5"}, {"log.preallocate", "true"}, {"compression.zstd.level", "5"}, {"log.index.interval.bytes", "1"}, {"log.segment.delete.delay.ms", "1"}, {"log.index.size.max.bytes", "4096"}, {"log.roll.jitter.ms", "1"}} {
		try("the cluster's "+c[0], brokerResource, "", change{c[0], set, c[1]})
		try("the cluster's "+c[0]+" deleted", brokerResource, "", change{c[0], remove, "null"})
		try("the cluster's bad "+c[0], brokerResource, "", change{c[0], set, "x"})
	}
	s.alterOthers(node, try)
	try("resource type 99", 99, "x", change{"retention.ms", set, "5"})
	try("resource type 0", 0, "x", change{"retention.ms", set, "5"})
	twice := alter(topicResource, topic.name, change{"retention.ms", set, "5"})
	twice.Resources = append(twice.Resources, twice.Resources[0])
	ask[kmsg.Response](s, "a topic twice", version, twice)
	two := alter(topicResource, topic.name, change{"retention.ms", set, "5"})
	two.Resources = append(two.Resources, alter(topicResource, s.name("unknown"), change{"retention.ms", set, "5"}).Resources...)
	two.ValidateOnly = true
	ask[kmsg.Response](s, "two validated only", version, two)
	s.awaitConfig("after a validation only", topic.name, "retention.ms", "604800000")
	try("the cluster's default", brokerResource, "", change{"log.retention.ms", set, "7777777"})
	s.awaitConfig("after the cluster's default", topic.name, "retention.ms", "7777777")
	withSynonyms := describe(topicResource, topic.name, "retention.ms")
	withSynonyms.IncludeSynonyms = true
	ask[kmsg.Response](s, "after the cluster's default, with synonyms", 4, withSynonyms)
	try("the cluster's default gone", brokerResource, "", change{"log.retention.ms", remove, "null"})
	s.awaitConfig("after the cluster's default went", topic.name, "retention.ms", "604800000")
}
