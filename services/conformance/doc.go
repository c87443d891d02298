// Package conformance compares Varve with Apache Kafka: the same requests are sent to a `varve serve` and to a single-node Kafka broker,
// and the answers are compared field by field. Kafka's own command-line tools are run against both, and what they
// print is compared. Clients of several languages are run against Varve.
//
// All of it is tests, which run when VARVE_CONFORMANCE=1 (`make conformance`) and need Java, Maven, Python and npm: kafka.sh gets Kafka's
// jars, clients/prepare.sh the clients. The comparison of answers alone is differential.sh.
//
// # How to read it
//
//	session_test.go     one server under test: asking, and recording what it answered
//	flatten_test.go     an answer as paths and values; what differs by nature (ids, hosts, throttling, message texts) is made equal
//	intended_test.go    the differences that are meant, each with its reason
//	report_test.go      a line per check, a table per API
//	servers_test.go     the two servers
//	batch_test.go       record batches, good and bad, encoded without Varve's code
//	*_scenario_test.go  what is asked, for every version of an API that both serve
//	random_scenario_test.go  sequences of requests that a seed chooses; it is printed, and VARVE_CONFORMANCE_SEED sets another
//	tools_test.go       Kafka's command-line tools: what they print of Varve and of Kafka is compared
//	tool_*_test.go      the commands
//	quickstart_test.go  Kafka's quick starts of Connect and Streams against Varve
//	streams_test.go     one Kafka Streams application (streams/) on both servers, killed again and again: the same must come out;
//	                    VARVE_CONFORMANCE_STREAMS_PROTOCOL=streams has it use the streams protocol (KIP-1071)
//	streams_protocol_test.go  a word count whose tasks the server assigns, and Kafka's tool for streams groups
//	shares_test.go      Kafka's share consumer (shares/), its console and its tool for share groups; Varve killed under them
//	connect_test.go     a pair of Connect workers that are killed in turn
//	clientlog_test.go   what Java clients may complain of
//	clients_test.go     clients against Varve: what each is asked to do, and the table of what became of it
//	members_test.go     groups of each client: a member joins, is killed, leaves
//	clients/            the programs that run one client each; they say a line for each check
//
// A scenario is a function that is run on each server by itself. Ids that a server hands out (topic ids, member ids, producer ids, fetch
// sessions) are replaced, before the comparison, by the order in which the scenario first saw them.
//
// # What it leaves to others
//
// Durability, failures and time: those are tested where Varve is tested alone.
package conformance
