package conformance

import "regexp"

// difference is one that is meant, as narrow as its reason. Every expression must match wholly, and an empty one matches anything; every one must
// be seen in a run of everything.
type difference struct {
	api, label, path string
	kafka, varve     string // values
	reason           string
	elsewhere        bool // seen in a comparison of its own, not in that of everything
}

// alterable are settings of brokers that Kafka reads at its start, and Varve, which has no file of settings, from the cluster's state.
const alterable = `auto\.create\.topics\.enable|group\.consumer\.(heartbeat\.interval\.ms|max\.size|migration\.policy|session\.timeout\.ms)|group\.initial\.rebalance\.delay\.ms|` +
	`group\.(max|min)\.session\.timeout\.ms|group\.max\.size|group\.(share|streams)\..*|log\.retention\.check\.interval\.ms|num\.partitions|offset\.metadata\.max\.bytes|offsets\.retention\.minutes|` +
	`transaction\.max\.timeout\.ms|transactional\.id\.expiration\.ms`

var intended = []difference{
	{api: "ApiVersions", path: `(GetTelemetrySubscriptions|PushTelemetry) \(key 7[12]\)`, kafka: `\(absent\)`, varve: "versions 0 to 0", reason: "Kafka names these where a plug-in takes what clients push; Varve takes it"},
	{api: "ApiVersions", path: `StreamsGroup(Heartbeat|Describe) \(key 8[89]\)`, kafka: `\(absent\)`, varve: "versions 0 to 0", reason: "Kafka 4.1 speaks the streams protocol where unstable versions are enabled, and its clients do at once"},
	{api: "StreamsGroupHeartbeat", path: "EndpointInformationEpoch", reason: "Kafka forgets what it has told the first member of a new group, and counts from there again", elsewhere: true},
	{api: "StreamsGroupHeartbeat", label: "with an endpoint|to hear of endpoints", path: `PartitionsByUserEndpoint.*`, kafka: `null|\(absent\)`, reason: "for the same reason the first member does not hear of its own endpoint until something moves", elsewhere: true},

	{api: "CreateTopics", label: "replication factor 2", path: `Topics\[.*\]\.ErrorCode`, kafka: "INVALID_REPLICATION_FACTOR", varve: "NONE", reason: "no replica sets: every factor is met by the topic's durability class, on however many nodes"},
	{api: "CreateTopics", label: "with unclean.leader.election.enable=true", path: `Topics\[.*\]\.ErrorCode`, kafka: "NONE", varve: "INVALID_CONFIG", reason: "what was acknowledged is never given up: a topic that allows it would be told something else than what happens"},
	{api: "CreateTopics", label: "with remote.storage.enable=false", path: `Topics\[.*\]\.ErrorCode`, kafka: "NONE", varve: "INVALID_CONFIG", reason: "every topic's records end in the bucket"},
	{api: "(CreateTopics|DescribeConfigs)", path: `.*\.Configs\[varve\.(compress\.uncompressed|durability|validate)\]`, kafka: `\(absent\)`, varve: `\(present\)`, reason: "Varve's own configurations of topics"},
	{api: "(CreateTopics|DescribeConfigs)", path: `.*\.Configs\.#`, kafka: "33", varve: "36", reason: "33 of Kafka's and three of its own"},
	{api: "(CreateTopics|DescribeConfigs)", path: `.*\.Configs\[local\.retention\.ms\](\.ConfigSynonyms\[0\])?\.Value`, kafka: "-2", varve: "0", reason: "nothing is kept on ingest nodes once it is in the bucket, unless asked for"},
	{api: "(CreateTopics|DescribeConfigs)", path: `.*\.Configs\[remote\.storage\.enable\]\.Value`, kafka: "false", varve: "true", reason: "every topic's records end in the bucket"},
	{api: "(CreateTopics|DescribeConfigs)", path: `.*\.Configs\[min\.insync\.replicas\](\.ConfigSynonyms\[0\])?\.Source`, kafka: "3", varve: "5", reason: "Kafka sets the cluster's default once for its eligible leader replicas; the value is the same"},
	{api: "DescribeConfigs", path: `.*\.Configs\[min\.insync\.replicas\]\.ConfigSynonyms(\.#|\[1\])`, kafka: `2|\(present\)`, varve: `1|\(absent\)`, reason: "for the same reason that has a synonym more"},

	{api: "DescribeConfigs", label: `(broker's|all of a broker:) (` + alterable + `)`, path: `.*\.ReadOnly`, kafka: "true", varve: "false", reason: "what Kafka reads from its file of settings can be altered while a cluster runs"},
	{api: "DescribeConfigs", label: `broker's (offsets\.topic\.replication\.factor|listeners)`, path: `Resources\[0\]\.Configs(\.#|\[.*\])`, kafka: `1|\(present\)`, varve: `null|\(absent\)`, reason: "refused by docs/configuration.md, as it means nothing here, and so not shown"},
	{api: "DescribeConfigs", label: "all of a broker: those that Varve refuses", path: "names", varve: "", reason: "what docs/configuration.md says is refused is not shown as if it were in force"},
	{api: "DescribeConfigs", label: "all of a broker: others", path: "names", kafka: "", varve: `varve\.compress\.uncompressed varve\.durability varve\.object\.puts\.per\.second varve\.validate`, reason: "Varve's own configurations of the cluster"},
	{api: "DescribeConfigs", label: `all of a broker: group\.initial\.rebalance\.delay\.ms`, path: `.*\.Source|.*\.ConfigSynonyms\[1\]\.Value`, reason: "this test sets it in Kafka's file and in Varve's cluster; and its default here is 500"},
	{api: "DescribeConfigs", label: `all of a broker: listener\.security\.protocol\.map`, path: `.*(ReadOnly|Value)`, reason: "there is one listener, without encryption, until there are more"},
	{api: "DescribeConfigs", label: `all of a broker: log\.local\.retention\.ms`, path: `.*Value`, kafka: "-2", varve: "0", reason: "nothing is kept on ingest nodes once it is in the bucket, unless asked for"},
	{api: "DescribeConfigs", label: `all of a broker: process\.roles`, path: `.*(Source|Value)`, reason: "this test's Kafka is its own controller"},
	{api: "DescribeConfigs", label: `all of a broker: remote\.log\.storage\.system\.enable`, path: `.*Value`, kafka: "false", varve: "true", reason: "every topic's records end in the bucket"},

	{api: "AlterConfigs", label: "a topic twice", path: `\(connection\)`, kafka: "no answer", varve: `\(absent\)`, reason: "Kafka answers a resource that is named twice with nothing at all"},
	{api: "Produce", label: "null", path: `\(connection\)`, kafka: "no answer", varve: `\(absent\)`, reason: "Kafka answers null records with nothing at all"},
	{api: "Produce", label: "not (gzip|snappy|lz4|zstd)", path: `.*\.Partitions\[0\]\.ErrorCode`, kafka: "UNKNOWN_SERVER_ERROR", varve: "NONE", reason: "what a producer compressed is not inflated, unless varve.validate=deep: see the scenario of that"},
	{api: "Fetch", label: "as a follower", path: `.*\.CurrentLeader\.Leader(Epoch|ID)`, kafka: "an epoch|a node", varve: "-1", reason: "no node leads a partition, so that a follower is sent nowhere"},
	{api: "DescribeACLs", label: "of nothing|with bytes behind it", path: `\(connection\)`, kafka: "closed", varve: `answered|\(absent\)`, reason: "Kafka cannot read a filter of unknown elements, and closes the connection; without ACLs there is nothing to filter"},
	{api: "ListConfigResources", label: "type 32", path: "some", kafka: "true", varve: "false", reason: "Kafka goes on to list a group whose settings have all been taken back"},
	{api: "(ShareFetch|ShareAcknowledge)", path: `.*\.CurrentLeader\.(LeaderID|LeaderEpoch)`, kafka: "(0|an epoch)", varve: "-1", reason: "beside an error Kafka leaves the leader 0, which clients take for node 0; -1 says that it is not known", elsewhere: true},
	{api: "ShareFetch", label: "of partitions that are not there", path: "ErrorCode", kafka: "UNKNOWN_SERVER_ERROR", varve: "NONE", reason: "Kafka fails as a whole, in some runs, on a topic that is not there", elsewhere: true},
	{api: "AlterShareGroupOffsets", path: `ErrorCode|Topics.*`, kafka: `(NONE|null|\(absent\))`, reason: "Kafka 4.1.0 loses the topics of the request, alters nothing, and answers that all is well", elsewhere: true},
	{api: "DescribeShareGroupOffsets", label: "altered", path: `.*\.StartOffset`, kafka: "-1", varve: "3", reason: "as above", elsewhere: true},
	{api: "OffsetDelete", label: "again", path: "ErrorCode", kafka: "NONE", varve: "GROUP_ID_NOT_FOUND", reason: "a group without members or offsets is no more; Kafka forgets it a little later"},
}

func findIntended(o *observation, path, kafka, varve string) int {
	for i, d := range intended {
		if matches(d.api, o.api) && matches(d.label, o.label) && matches(d.path, path) && matches(d.kafka, kafka) && matches(d.varve, varve) {
			return i
		}
	}
	return -1
}

var expressions = map[string]*regexp.Regexp{}

func matches(expression, text string) bool {
	if expression == "" {
		return true
	}
	e := expressions[expression]
	if e == nil {
		e = regexp.MustCompile(`\A(?s:` + expression + `)\z`)
		expressions[expression] = e
	}
	return e.MatchString(text)
}
