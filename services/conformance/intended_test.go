package conformance

import "regexp"

// difference is one that is meant. Every expression must match wholly, and an empty one matches anything.
type difference struct {
	api, label, path string
	kafka, varve     string // values
	reason           string
}

// ofKafkasDisks are the configurations of topics that Varve does not have.
const ofKafkasDisks = `preallocate|flush\.messages|flush\.ms|compression\.(gzip|lz4|zstd)\.level|index\.interval\.bytes|segment\.index\.bytes|segment\.jitter\.ms|` +
	`file\.delete\.delay\.ms|(follower|leader)\.replication\.throttled\.replicas|remote\.log\.(copy\.disable|delete\.on\.disable)|` +
	`unclean\.leader\.election\.enable`

// ofBrokers are those of a broker, likewise.
const ofBrokers = `log\.retention\.hours|log\.roll\.hours|min\.insync\.replicas|delete\.topic\.enable|offsets\.topic\.replication\.factor|broker\.id|node\.id|advertised\.listeners|listeners|log\.dirs|` +
	`socket\.request\.max\.bytes|fetch\.max\.bytes|group\.max\.size|max\.incremental\.fetch\.session\.cache\.slots`

var intended = []difference{
	{api: "OffsetDelete", label: "again", kafka: "NONE", varve: "GROUP_ID_NOT_FOUND", reason: "a group without members or offsets is no more; Kafka forgets it a little later"},
	{api: "ApiVersions", path: `.*\(key \d+\)`, varve: `\(absent\)`, reason: "an API that Varve does not serve yet, or that is about replicas, quorums and brokers, which it does not have"},
	{api: "ApiVersions", path: `StreamsGroup(Heartbeat|Describe) \(key 8[89]\)`, kafka: `\(absent\)`, reason: "Kafka 4.1 speaks the streams protocol where unstable versions are enabled, and its clients do at once"},
	{api: "StreamsGroupHeartbeat", path: "EndpointInformationEpoch", reason: "Kafka forgets what it has told the first member of a new group, and counts from there again"},
	{api: "StreamsGroupHeartbeat", label: "with an endpoint|to hear of endpoints", path: `PartitionsByUserEndpoint.*`, kafka: `null|\(absent\)`, reason: "for the same reason the first member does not hear of its own endpoint until something moves"},
	{api: "ApiVersions", path: `(finalized|supported) features`, reason: "features name versions of Kafka's metadata and groups too; Varve finalizes that of transactions"},

	{path: `.*\.?ErrorMessage`, reason: "whether a message goes with a code: Varve says more, and nothing where nothing is wrong"},
	{path: `.*\.Configs\[(` + ofKafkasDisks + `)\]`, varve: `\(absent\)`, reason: "a configuration of log files on a broker's disk or of replicas"},
	{api: "CreateTopics", label: `with (` + ofKafkasDisks + `)=.*`, varve: "INVALID_CONFIG", reason: "such a configuration is refused by name; it is not taken and then ignored"},
	{path: `.*\.Configs\[varve\..*\]`, kafka: `\(absent\)`, reason: "Varve's own configurations"},
	{path: `.*\.Configs\.#`, kafka: "33", varve: "17", reason: "the number of a topic's configurations, for these reasons"},
	{api: "DescribeConfigs", label: `broker's (` + ofBrokers + `)`, path: `.*\.Configs(\.#|\[.*\])`, reason: "a broker's configuration that Varve does not have: addresses and directories are flags of the process"},
	{api: "DescribeConfigs", label: `broker's .*`, path: `.*\.ReadOnly`, reason: "what can be altered while the cluster runs: for Varve, all but what is resolved when a topic is created"},
	{api: "DescribeConfigs", label: `resource type (8|16|32)`, reason: "no log levels by class, and no configurations of groups and client metrics yet"},
	{path: `.*\.Configs\[local\.retention\.ms\].*Value`, reason: "nothing is kept on ingest nodes once it is in the bucket"},
	{path: `.*\.Configs\[remote\.storage\.enable\].*Value`, reason: "every topic's records end in the bucket"},
	{path: `.*\.Configs\[min\.insync\.replicas\]\..*`, reason: "KRaft sets a cluster default for it; Varve has no replica sets"},
	{path: `.*\.Configs\[retention\.ms\]\.ConfigSynonyms\[.*\]\.(Name|Value)`, kafka: `log\.retention\.hours|168`, reason: "one configuration of the cluster for a topic's, not three in milliseconds, minutes and hours"},
	{api: "DescribeConfigs", path: `.*\.Configs\[(retention\.ms|segment\.ms|remote\.storage\.enable)\]\.ConfigSynonyms.*`, reason: "one configuration of the cluster for a topic's, always with its default"},
	{api: "DescribeConfigs", label: `broker's log\.(retention|roll)\.ms`, reason: "the cluster's default in milliseconds has a value; Kafka leaves it null beside the one in hours"},

	{api: "CreateTopics", label: "with min.insync.replicas=2", varve: "INVALID_CONFIG", reason: "no replica sets: a promise that is not kept is not taken"},
	{api: "CreateTopics", label: "replication factor 2|assigned to an unknown node", varve: "NONE", reason: "clients say 3 replicas out of habit; the bucket replicates, and no node owns a partition"},
	{label: "(.*twice.*|the same by id and by name)", path: `.*(\.#|again 2\]|TopicID)`, reason: "each element of a request has its element in the answer, a repeated one too"},
	{api: "DeleteTopics", label: "(the same by id and by name|by id)", path: `Topics\[.*\]`, reason: "what was asked for by id is answered by id, and found under its name by the client"},

	{api: "CreateTopics", path: `.*\.Configs\.#`, kafka: "0", varve: "null", reason: "no configuration beside an error: both mean the same to every client"},

	{api: "Metadata", label: "(by|one by) .*", kafka: "(null|-1|.absent.|.present.|INVALID_REQUEST|UNKNOWN_SERVER_ERROR|1)", reason: "a lookup by id is answered before v12 too, and one that makes no sense is refused for its topic alone"},

	{api: "Produce", label: "null", path: `\(connection\)`, kafka: "no answer", reason: "Kafka answers null records with nothing at all"},
	{api: "AlterConfigs", label: "a topic twice", path: `\(connection\)`, kafka: "no answer", reason: "Kafka answers a resource that is named twice with nothing at all"},
	{api: "Produce", path: `.*\.LogStartOffset`, kafka: "0", varve: "-1", reason: "the log's start is told with what was appended; no client reads it from a refusal"},
	{api: "Produce", path: `.*\.LogAppendTime`, kafka: "a time", varve: "-1", reason: "a duplicate's time is that of its first copy, which CreateTime topics do not have"},
	{api: "Produce", path: `.*\.ErrorRecords.*`, varve: "(null|.absent.)", reason: "Varve judges a batch by its header, and does not name the records that are to blame"},
	{api: "Produce", label: "not (gzip|snappy|lz4|zstd)", kafka: "UNKNOWN_SERVER_ERROR", varve: "NONE", reason: "what a producer compressed is not inflated, unless varve.validate=deep"},
	{api: "Produce", label: "delete horizon set|LogAppendTime from a producer|unknown attribute|bytes behind the batch", kafka: "NONE", varve: "INVALID_RECORD", reason: "what is stored verbatim must not claim what is not so"},
	{api: "Produce", label: "codec [57]", kafka: "UNKNOWN_SERVER_ERROR", varve: "INVALID_RECORD", reason: "no internal error for a client's mistake"},
	{api: "Produce", label: "transactional id of nobody", kafka: "NOT_ENOUGH_REPLICAS", varve: "INVALID_PRODUCER_ID_MAPPING", reason: "Kafka has no coordinator of transactions before it is first asked for one"},
	{api: "(ShareFetch|ShareAcknowledge)", path: `.*\.CurrentLeader\.(LeaderID|LeaderEpoch)`, kafka: "(0|an epoch)", varve: "-1", reason: "beside an error Kafka leaves the leader 0, which clients take for node 0; -1 says that it is not known"},
	{api: "AlterShareGroupOffsets", path: `ErrorCode|Topics.*`, kafka: `(NONE|null|\(absent\))`, reason: "Kafka 4.1.0 loses the topics of the request, alters nothing, and answers that all is well"},
	{api: "DescribeShareGroupOffsets", label: "altered", path: `.*\.StartOffset`, kafka: "-1", varve: "3", reason: "as above"},

	{path: `.*ErrorCode`, kafka: "UNKNOWN_SERVER_ERROR", varve: "(NONE|INVALID_REQUEST)", reason: "Kafka fails within; Varve takes a limit below 0 for 0, an isolation level that it does not know for read_uncommitted, and refuses an operation that it does not know"},
	{api: "Fetch", path: `.*\.AbortedTransactions\.#`, kafka: "0", varve: "null", reason: "no aborted transactions beside an error: both mean the same to every client"},
	{api: "Fetch", label: "as a (follower|debugger)", reason: "Varve has no followers, and serves whoever asks"},
	{api: "Fetch", label: "a partition twice", reason: "each element of a request has its element in the answer, a repeated one too"},
	{api: "(Fetch|ListOffsets)", label: "leader epoch -5", reason: "an epoch below -1 says nothing; -1 is none"},
	{api: "Fetch", label: "(begin with|incremental (with|out of)).*", path: "SessionID", kafka: "session [34]", varve: "(zero|session 3)", reason: "a session of no partitions is not kept"},
	{api: "(DescribeGroups|DeleteGroups|OffsetCommit)", label: ".*empty.*", reason: "a group without a name is none; Kafka keeps offsets of it for the oldest consumers"},
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
