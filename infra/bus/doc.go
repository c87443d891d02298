// Package bus carries hints between Varve's processes over core NATS, and runs the embedded NATS server.
//
// Everything on the bus is at most once: a hint makes something happen sooner and is never the record of anything. Every
// receiver has a way to ask for what a lost hint would have told it. The one durable thing that touches NATS, the JetStream
// metalog, lives in coordinator/metalog/jetstream and uses this package's connection.
//
// # Subjects
//
// <cluster> is the 22-character cluster id, which is a single NATS token.
//
//	varve.commit.<partition>.<topic>   a partition's high watermark moved; JSON, see CommitNotification
//	varve.<cluster>.metalog            a metalog entry that is durable: 8 bytes sequence, big-endian, 32 bytes code, the entry's bytes
//	varve.<cluster>.leader             request: 16 random bytes. The leader answers with LeaderAnswer and its code as JSON
//	varve.<cluster>.jobs               empty: a tiering job waits
//	varve.<cluster>.log                captured by the JetStream metalog; written by the leader alone
//
// In commit notifications the topic stands last, because Kafka allows '.' in topic names and NATS separates tokens with it:
// the dots of a topic become tokens, so no escaping is needed and wildcards follow the topic's own hierarchy.
//
//	varve.commit.*.orders         every partition of topic orders
//	varve.commit.3.orders.eu      partition 3 of topic orders.eu
//	varve.commit.*.orders.>       every topic below "orders."
//	varve.commit.>                everything
//
// Kafka's other topic characters ([a-zA-Z0-9_-]) stand for themselves. A name with an empty token between its dots ("a..b",
// ".a", "a.") cannot be a NATS subject; there, and only there, the empty token is written as "~", which no Kafka topic name
// contains.
//
// # Who may connect
//
// With a password, the embedded server accepts Varve's own processes as user "varve" with it, and lets anybody who can
// reach the listener connect without credentials as a reader of varve.commit.> and nothing else. The password follows from the cluster's secret, and the
// secret does not follow from it: it is sent to whatever server a process is told to use.
//
// A server of the user's may let anybody publish and subscribe. So what receivers act on carries a code that only the cluster's processes can make (Key):
// entries, and answers to who leads, which name their question. What proves nothing is dropped. A stranger can still read along, have
// workers look for jobs, and keep messages away by being louder or faster: such a server should authenticate. And where it keeps the JetStream
// metalog, whoever may publish there may append to it.
package bus
