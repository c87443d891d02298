package conformance

import (
	"context"
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// leftRunning is what steps leave running on each server for those behind them: a member of a group, an open transaction.
type leftRunning map[*server][]*kgo.Client

// member joins a group, reads everything, commits it and stays.
func (l leftRunning) member(group, protocol string) func(*server) error {
	return func(s *server) error {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		options := []kgo.Opt{
			kgo.SeedBrokers(s.address), kgo.ClientID("member"), kgo.ConsumerGroup(group), kgo.ConsumeTopics("smoke"), kgo.DisableAutoCommit(), kgo.Balancers(kgo.RangeBalancer()),
			kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		}
		if protocol == "consumer" {
			//lint:ignore SA1029 the client wants this key
			options = append(options, kgo.WithContext(context.WithValue(context.Background(), "opt_in_kafka_next_gen_balancer_beta", true)))
		}
		client, err := kgo.NewClient(options...)
		if err != nil {
			return err
		}
		l[s] = append(l[s], client)
		for read := 0; read < 187; {
			fetches := client.PollFetches(ctx)
			if err := fetches.Err(); err != nil {
				return err
			}
			read += fetches.NumRecords()
		}
		return client.CommitUncommittedOffsets(ctx)
	}
}

// leave has the members leave.
func (l leftRunning) leave(s *server) error {
	for _, client := range l[s] {
		client.Close()
	}
	l[s] = nil
	return nil
}

// transaction leaves a transaction open.
func (l leftRunning) transaction(id string) func(*server) error {
	return func(s *server) error {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		client, err := kgo.NewClient(kgo.SeedBrokers(s.address), kgo.TransactionalID(id), kgo.RecordPartitioner(kgo.ManualPartitioner()))
		if err != nil {
			return err
		}
		l[s] = append(l[s], client)
		return errors.Join(client.BeginTransaction(), client.ProduceSync(ctx, &kgo.Record{Topic: "smoke", Partition: 2, Value: []byte("open")}).FirstErr())
	}
}

// end aborts the transaction that was left open.
func (l leftRunning) end(s *server) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var failures []error
	for _, client := range l[s] {
		failures = append(failures, client.EndTransaction(ctx, kgo.TryAbort))
	}
	return errors.Join(append(failures, l.leave(s))...)
}

func groupSteps(left leftRunning, file func(name, text string) string) []toolStep {
	offsets := file("offsets.csv", "smoke,0,15\nsmoke,1,5\n")
	named := file("named.csv", "classic-group,smoke,0,16\nconsumer-group,smoke,1,6\n")
	steps := []toolStep{}
	for _, protocol := range []string{"classic", "consumer"} {
		group := protocol + "-group"
		step := func(name, args string, want ...string) toolStep {
			return toolStep{name: "kafka-consumer-groups " + protocol + ": " + name, class: groupsTool, args: args, want: want}
		}
		joined := step("describe", "--describe --group "+group, "LAG", "smoke", "member")
		joined.before = left.member(group, protocol)
		left1 := step("describe when empty", "--describe --group "+group, "no active members")
		left1.before = left.leave
		steps = append(
			steps, joined,
			step("describe offsets", "--describe --offsets --group "+group, "CURRENT-OFFSET"),
			step("describe offsets verbosely", "--describe --offsets --verbose --group "+group, "LEADER-EPOCH"),
			step("describe members", "--describe --members --group "+group, "#PARTITIONS"),
			step("describe members verbosely", "--describe --members --verbose --group "+group, "smoke"),
			step("describe state", "--describe --state --group "+group, "Stable"),
			step("describe state verbosely", "--describe --state --verbose --group "+group, "Stable"),
			step("reset while there are members", "--reset-offsets --to-earliest --topic smoke --execute --group "+group, "Error"),
			step("delete while there are members", "--delete --group "+group, "Error"),
			step("delete offsets while subscribed", "--delete-offsets --topic smoke --group "+group, "Error"),
			left1,
			step("reset to the earliest, tried", "--reset-offsets --to-earliest --topic smoke --dry-run --group "+group, "smoke"),
			step("reset to the earliest", "--reset-offsets --to-earliest --topic smoke --execute --group "+group, "smoke"),
			step("reset to the latest", "--reset-offsets --to-latest --all-topics --execute --group "+group, "smoke"),
			step("reset to an offset out of range", "--reset-offsets --to-offset 100000 --topic smoke:0 --execute --group "+group, "smoke"),
			step("reset to an offset", "--reset-offsets --to-offset 12 --topic smoke:0,1 --execute --group "+group, "12"),
			step("reset by a shift", "--reset-offsets --shift-by 3 --topic smoke:0 --execute --group "+group, "smoke"),
			step("reset by a shift back", "--reset-offsets --shift-by -2 --topic smoke:0 --execute --group "+group, "smoke"),
			step("reset to a time", "--reset-offsets --to-datetime 2020-01-01T00:00:00.000 --topic smoke --execute --group "+group, "smoke"),
			step("reset by a duration", "--reset-offsets --by-duration PT0S --topic smoke --execute --group "+group, "smoke"),
			step("reset by a long duration", "--reset-offsets --by-duration P1D --topic smoke --execute --group "+group, "smoke"),
			step("reset to the current ones", "--reset-offsets --to-current --topic smoke --execute --group "+group, "smoke"),
			step("reset from a file", "--reset-offsets --from-file "+offsets+" --execute --group "+group, "15"),
			step("export", "--reset-offsets --to-current --topic smoke --export --dry-run --group "+group, "smoke"),
			step("delete offsets", "--delete-offsets --topic smoke:0 --group "+group, "Successful"),
			step("delete offsets of what is not there", "--delete-offsets --topic nobody --group "+group, "nobody"),
			step("describe after all that", "--describe --group "+group, "no active members"),
		)
	}
	step := func(name, args string, want ...string) toolStep {
		return toolStep{name: "kafka-consumer-groups " + name, class: groupsTool, args: args, want: want}
	}
	steps = append(
		steps,
		step("list", "--list", "classic-group", "consumer-group"),
		step("list states", "--list --state", "Empty"),
		step("list one state", "--list --state Empty", "classic-group"),
		step("list another state", "--list --state Stable"),
		step("list types", "--list --type", "Classic"),
		step("list one type", "--list --type consumer", "consumer-group"),
		step("list types and states", "--list --type classic --state Empty", "classic-group"),
		step("describe all states", "--describe --all-groups --state", "Empty"),
		step("describe what is not there", "--describe --group nobody", "not found"),
		step("describe state of what is not there", "--describe --state --group nobody", "not found"),
		step("reset several from a file", "--reset-offsets --from-file "+named+" --dry-run --group classic-group --group consumer-group", "16"),
		step("reset a group that is not there", "--reset-offsets --to-earliest --topic smoke --execute --group fresh", "fresh"),
		step("delete several", "--delete --group fresh --group nobody", "nobody"),
		step("delete", "--delete --group classic-group --group consumer-group", "successful"),
		step("validate regex", "--list --state Nonsense", "exit code 1"),
	)
	for _, args := range []string{"--list", "--list --consumer", "--list --group-type classic", "--list --protocol consumer", "--list --share"} {
		steps = append(steps, toolStep{name: "kafka-groups " + args, class: allGroupsTool, args: args, want: []string{"exit code 0"}})
	}
	for i := range steps {
		steps[i].unordered = true
	}
	return steps
}

func configSteps() []toolStep {
	step := func(name, args string, want ...string) toolStep {
		return toolStep{name: "kafka-configs " + name, class: configsTool, args: args, want: want}
	}
	return []toolStep{
		step("alter topic", "--alter --entity-type topics --entity-name smoke --add-config max.message.bytes=2000000,retention.ms=1000000", "Completed updating config for topic smoke."),
		{name: "kafka-configs describe topic", class: configsTool, args: "--describe --entity-type topics --entity-name smoke", want: []string{"max.message.bytes=2000000"}},
		{name: "kafka-configs describe topic, short", class: configsTool, args: "--describe --topic smoke", want: []string{"max.message.bytes=2000000"}},
		step("delete from topic", "--alter --entity-type topics --entity-name smoke --delete-config max.message.bytes", "Completed"),
		step("delete what is not set", "--alter --entity-type topics --entity-name smoke --delete-config max.message.bytes"),
		{name: "kafka-configs describe topic after it", class: configsTool, args: "--describe --entity-type topics --entity-name smoke", want: []string{"retention.ms=1000000"}},
		{name: "kafka-configs alter topic badly", class: configsTool, args: "--alter --entity-type topics --entity-name smoke --add-config retention.ms=x", want: []string{"exit code 1"}, varve: []string{"InvalidConfigurationException: invalid value x for configuration retention.ms: Not a number of type LONG"}, differs: "the wording is Varve's"},
		step("alter topic with what is unknown", "--alter --entity-type topics --entity-name smoke --add-config no.such=1", "Unknown topic config name"),
		{name: "kafka-configs alter a topic that is not there", class: configsTool, args: "--alter --entity-type topics --entity-name nobody --add-config retention.ms=1000", want: []string{"exit code 1"}, varve: []string{"UnknownTopicOrPartitionException: This server does not host this topic-partition."}, differs: "the wording is Varve's"},
		step("describe a topic that is not there", "--describe --entity-type topics --entity-name nobody", "exit code"),
		step("alter what is behind a topic's", "--alter --entity-type brokers --entity-default --add-config log.retention.ms=700000000,message.max.bytes=3000000", "Completed"),
		step("describe topic in front of it", "--describe --entity-type topics --entity-name smoke", "retention.ms=1000000"),
		step("delete what is behind it", "--alter --entity-type brokers --entity-default --delete-config log.retention.ms,message.max.bytes", "Completed"),
		step("list value", "--alter --entity-type topics --entity-name smoke --add-config cleanup.policy=[delete]", "Completed"),
		step("alter brokers", "--alter --entity-type brokers --entity-default --add-config max.connections=600", "Completed updating default config for brokers in the cluster."),
		{name: "kafka-configs describe brokers' defaults", class: configsTool, args: "--describe --entity-type brokers --entity-default", want: []string{"max.connections=600"}, varve: []string{"max.connections=600"}, differs: "what the test itself has set is there too"},
		step("alter a broker", "--alter --entity-type brokers --entity-name 1 --add-config max.connections=500", "Completed updating config for broker 1."),
		step("describe a broker", "--describe --entity-type brokers --entity-name 1", "max.connections=500"),
		step("delete from brokers", "--alter --entity-type brokers --entity-default --delete-config max.connections", "Completed"),
		step("delete from a broker", "--alter --entity-type brokers --entity-name 1 --delete-config max.connections", "Completed"),
		step("describe a broker that is not there", "--describe --entity-type brokers --entity-name 77", "exit code"),
		{name: "kafka-configs alter a broker with what cannot be altered", class: configsTool, args: "--alter --entity-type brokers --entity-name 1 --add-config node.id=4", want: []string{"exit code 1"}, varve: []string{"node.id cannot be set"}, differs: "the wording is Varve's"},
		{name: "kafka-configs broker loggers", class: configsTool, args: "--describe --entity-type broker-loggers --entity-name 1", want: []string{"root="}, varve: []string{"root="}, differs: "there is one logger, with a level of its own"},
		step("alter group", "--alter --entity-type groups --entity-name readers --add-config consumer.session.timeout.ms=50000", "Completed updating config for group readers."),
		step("describe group", "--describe --entity-type groups --entity-name readers", "consumer.session.timeout.ms=50000"),
		{name: "kafka-configs describe groups", class: configsTool, args: "--describe --entity-type groups", want: []string{"readers"}, unordered: true},
		{name: "kafka-configs alter group badly", class: configsTool, args: "--alter --entity-type groups --entity-name readers --add-config consumer.session.timeout.ms=1", want: []string{"exit code 1"}, varve: []string{"InvalidConfigurationException: invalid value 1 for configuration consumer.session.timeout.ms: Value must be in [45000, 60000]"}, differs: "the wording is Varve's"},
		step("delete from group", "--alter --entity-type groups --entity-name readers --delete-config consumer.session.timeout.ms", "Completed"),
		step("alter client metrics", "--alter --entity-type client-metrics --entity-name sub --add-config interval.ms=5000,metrics=org.apache.kafka.producer.", "Completed"),
		step("describe client metrics", "--describe --entity-type client-metrics --entity-name sub", "interval.ms=5000"),
		step("delete client metrics", "--alter --entity-type client-metrics --entity-name sub --delete-config interval.ms,metrics", "Completed"),
		step("alter quota of a client", "--alter --add-config producer_byte_rate=1024,consumer_byte_rate=2048 --entity-type clients --entity-name app", "Completed updating config for client app."),
		step("describe quota of a client", "--describe --entity-type clients --entity-name app", "producer_byte_rate=1024.0"),
		step("alter quota of a user", "--alter --add-config request_percentage=50 --entity-type users --entity-name alice", "Completed"),
		step("alter quota of a user's client", "--alter --add-config producer_byte_rate=1024 --entity-type users --entity-name alice --entity-type clients --entity-name app", "Completed"),
		step("alter quota of all users", "--alter --add-config controller_mutation_rate=5 --entity-type users --entity-default", "Completed"),
		step("describe quotas of users", "--describe --entity-type users", "alice"),
		step("describe quotas of users' clients", "--describe --entity-type users --entity-type clients", "app"),
		step("delete quota of a client", "--alter --delete-config producer_byte_rate,consumer_byte_rate --entity-type clients --entity-name app", "Completed"),
		step("delete quota of a user", "--alter --delete-config request_percentage --entity-type users --entity-name alice", "Completed"),
		step("delete quota of all users", "--alter --delete-config controller_mutation_rate --entity-type users --entity-default", "Completed"),
		step("alter quota of an address", "--alter --add-config connection_creation_rate=5 --entity-type ips --entity-name 10.0.0.1", "Completed"),
		step("describe quotas of addresses", "--describe --entity-type ips", "10.0.0.1"),
		step("delete quota of an address", "--alter --delete-config connection_creation_rate --entity-type ips --entity-name 10.0.0.1", "Completed"),
		step("an unknown quota", "--alter --add-config no_such_rate=5 --entity-type clients --entity-name app", "exit code 1"),
		{name: "kafka-client-metrics alter", class: clientMetricsTool, args: "--alter --name subscription --metrics org.apache.kafka.producer. --interval 5000 --match client_id=p.*", want: []string{"Altered client metrics config for subscription."}},
		{name: "kafka-client-metrics list", class: clientMetricsTool, args: "--list", want: []string{"subscription"}},
		{name: "kafka-client-metrics describe", class: clientMetricsTool, args: "--describe --name subscription", want: []string{"interval.ms=5000"}},
		{name: "kafka-client-metrics describe all", class: clientMetricsTool, args: "--describe", want: []string{"subscription"}},
		{name: "kafka-client-metrics delete", class: clientMetricsTool, args: "--delete --name subscription", want: []string{"Deleted client metrics config for subscription."}},
		{name: "kafka-client-metrics list when empty", class: clientMetricsTool, args: "--list"},
	}
}

func transactionSteps(left leftRunning) []toolStep {
	step := func(name, args string, want ...string) toolStep {
		return toolStep{name: "kafka-transactions " + name, class: transactionsTool, args: args, want: want}
	}
	ids := "ids of producers are given out in another order, and times differ"
	open := step("list", "list", "open-transaction", "Ongoing")
	open.differs, open.varve = ids, open.want
	open.before = left.transaction("open-transaction")
	ended := step("describe when it has ended", "describe --transactional-id open-transaction", "Abort")
	ended.before, ended.differs, ended.varve = left.end, "here a transaction ends at once", []string{"CompleteAbort"}
	return []toolStep{
		open,
		{name: "kafka-transactions describe", class: transactionsTool, args: "describe --transactional-id open-transaction", want: []string{"Ongoing", "smoke-2"}, varve: []string{"1 open-transaction", "Ongoing", "40000", "smoke-2"}, differs: ids},
		step("describe what is not there", "describe --transactional-id nobody", "exit code 1"),
		step("list for long", "list --duration-filter 600000"),
		{name: "kafka-transactions list by a pattern", class: transactionsTool, args: "list --transactional-id-pattern open.*", want: []string{"open-transaction"}, varve: []string{"open-transaction"}, differs: ids},
		step("list by another pattern", "list --transactional-id-pattern nobody.*"),
		{
			name: "kafka-transactions describe-producers", class: transactionsTool, args: "describe-producers --topic smoke --partition 2", want: []string{"ProducerId"}, varve: []string{"ProducerId"},
			differs: "the coordinator's epoch is the partition's from the first record on; ids of producers are given out in another order",
		},
		step("find-hanging", "find-hanging --broker-id 1", "exit code 0"),
		step("find-hanging in a topic", "find-hanging --topic smoke", "exit code 0"),
		step("find-hanging in a partition", "find-hanging --topic smoke --partition 2", "exit code 0"),
		ended,
	}
}

func clusterSteps(file func(name, text string) string) []toolStep {
	topics := file("topics.json", `{"version":1,"topics":[{"topic":"smoke"}]}`)
	assignment := file("assignment.json", `{"version":1,"partitions":[{"topic":"smoke","partition":0,"replicas":[1]}]}`)
	elsewhere := file("elsewhere.json", `{"version":1,"partitions":[{"topic":"smoke","partition":0,"replicas":[7]}]}`)
	elections := file("elections.json", `{"partitions":[{"topic":"smoke","partition":0}]}`)
	return []toolStep{
		{name: "kafka-log-dirs describe", class: logDirsTool, args: "--describe --topic-list smoke", want: []string{"smoke-0"}},
		{name: "kafka-log-dirs describe a broker", class: logDirsTool, args: "--describe --broker-list 1 --topic-list smoke", want: []string{"smoke-0"}},
		{name: "kafka-log-dirs describe a broker that is not there", class: logDirsTool, args: "--describe --broker-list 7", want: []string{"7"}},
		{name: "kafka-leader-election preferred", class: electionTool, args: "--election-type preferred --topic smoke --partition 0", want: []string{"exit code 0"}},
		{name: "kafka-leader-election of all", class: electionTool, args: "--election-type preferred --all-topic-partitions", want: []string{"exit code 0"}},
		{name: "kafka-leader-election from a file", class: electionTool, args: "--election-type preferred --path-to-json-file " + elections, want: []string{"exit code 0"}},
		{name: "kafka-leader-election unclean", class: electionTool, args: "--election-type unclean --topic smoke --partition 0", want: []string{"exit code"}},
		{name: "kafka-leader-election of what is not there", class: electionTool, args: "--election-type preferred --topic nobody --partition 0", want: []string{"exit code 1"}},
		{name: "kafka-reassign-partitions generate", class: reassignTool, args: "--generate --topics-to-move-json-file " + topics + " --broker-list 1", want: []string{"Proposed partition reassignment configuration"}},
		{name: "kafka-reassign-partitions execute", class: reassignTool, args: "--execute --reassignment-json-file " + assignment, want: []string{"Successfully started"}},
		{name: "kafka-reassign-partitions verify", class: reassignTool, args: "--verify --reassignment-json-file " + assignment, want: []string{"smoke-0 is"}},
		{name: "kafka-reassign-partitions list", class: reassignTool, args: "--list", want: []string{"No partition reassignments found."}},
		{name: "kafka-reassign-partitions cancel", class: reassignTool, args: "--cancel --reassignment-json-file " + assignment, want: []string{"exit code 0"}},
		{name: "kafka-reassign-partitions elsewhere", class: reassignTool, args: "--execute --reassignment-json-file " + elsewhere, want: []string{"Unknown broker id 7"}},
		{name: "kafka-cluster cluster-id", class: clusterTool, args: "cluster-id --bootstrap-server ADDRESS", want: []string{"Cluster ID: ID"}},
		{name: "kafka-cluster list-endpoints", class: clusterTool, args: "list-endpoints --bootstrap-server ADDRESS", want: []string{"127.0.0.1"}},
		{name: "kafka-cluster unregister", class: clusterTool, args: "unregister --id 77 --bootstrap-server ADDRESS", want: []string{"Broker ID 77 is not currently registered"}},
		{name: "kafka-features describe", class: featuresTool, args: "describe", want: []string{"Feature: metadata.version"}, varve: []string{"Feature: metadata.version SupportedMinVersion: 3.3-IV3 SupportedMaxVersion: 4.1-IV1 FinalizedVersionLevel: 4.1-IV1", "Feature: group.version SupportedMinVersion: 0 SupportedMaxVersion: 1 FinalizedVersionLevel: 1", "Feature: transaction.version SupportedMinVersion: 0 SupportedMaxVersion: 2 FinalizedVersionLevel: 2"}, differs: "this Kafka's quorum is a static one"},
		{name: "kafka-features upgrade to the present", class: featuresTool, args: "upgrade --metadata 4.1-IV1 --dry-run", want: []string{"exit code"}},
		{name: "kafka-metadata-quorum describe", class: quorumTool, args: "describe --status", want: []string{"LeaderId"}, varve: []string{"LeaderId: 1", "MaxFollowerLag: 0", "PLAINTEXT://ADDRESS"}, differs: "there is no listener of controllers"},
		{name: "kafka-metadata-quorum describe replication", class: quorumTool, args: "describe --replication", want: []string{"Leader"}, varve: []string{"NodeId DirectoryId", "Leader"}, differs: "the metadata log counts otherwise"},
		{name: "kafka-broker-api-versions", class: versionsTool, args: "", want: []string{"Produce(0)"}, varve: []string{"Produce(0): 0 to 13 [usable: 13]", "Fetch(1): 4 to 18 [usable: 18]", "JoinGroup(11): 0 to 9 [usable: 9]"}, differs: "what only brokers ask each other is not served, and telemetry is without a plug-in"},
		{name: "kafka-acls list", class: aclsTool, args: "--list", want: []string{"No Authorizer is configured"}},
		{name: "kafka-acls add", class: aclsTool, args: "--add --allow-principal User:alice --operation Read --topic smoke --force", want: []string{"No Authorizer is configured"}},
		{name: "kafka-delegation-tokens describe", class: delegationTool, args: "--describe --command-config " + file("empty.properties", ""), want: []string{"exit code"}},
	}
}

func loadSteps(file func(name, text string) string) []toolStep {
	figures := "they measure: figures differ"
	created := toolStep{name: "kafka-topics create for load", class: topicsTool, args: "--create --topic load --partitions 3", want: []string{"Created topic load."}}
	return []toolStep{
		created,
		{name: "kafka-producer-perf-test", class: producerPerfTool, args: "--topic load --num-records 20000 --record-size 200 --throughput -1 --producer-props bootstrap.servers=ADDRESS", want: []string{"20000 records sent"}, varve: []string{"20000 records sent"}, differs: figures},
		{name: "kafka-producer-perf-test in transactions", class: producerPerfTool, args: "--topic load --num-records 2000 --record-size 200 --throughput 4000 --transactional-id perf --transaction-duration-ms 100 --producer-props bootstrap.servers=ADDRESS acks=all", want: []string{"2000 records sent"}, varve: []string{"2000 records sent"}, differs: figures},
		{name: "kafka-consumer-perf-test", class: consumerPerfTool, args: "--bootstrap-server ADDRESS --topic load --messages 20000 --timeout 20000", want: []string{"MB.sec"}, varve: []string{"MB.sec"}, differs: figures},
		{name: "kafka-e2e-latency", class: endToEndLatencyTool, args: "ADDRESS load 100 all 100", want: []string{"Percentiles: 50th"}, varve: []string{"Percentiles: 50th"}, differs: figures},
		{name: "kafka-verifiable-producer", class: verifiableProducer, alone: true, args: "--bootstrap-server ADDRESS --topic load --max-messages 50", want: []string{`"acked":50`}, varve: []string{`"acked":50`, `"sent":50`}, differs: figures},
		{name: "kafka-verifiable-consumer", class: verifiableConsumer, alone: true, args: "--bootstrap-server ADDRESS --topic load --group-id verifiers --max-messages 50 --reset-policy earliest", want: []string{`"records_consumed"`}, varve: []string{`"partitions_assigned"`, `"records_consumed"`, `"offsets_committed"`, `"success":true`, `"shutdown_complete"`}, differs: figures},
		{name: "kafka-topics delete at the end", class: topicsTool, args: "--delete --topic load", want: []string{"exit code 0"}},
	}
}
