// Package kafka speaks the Kafka protocol on an ingest node.
//
// It accepts connections, reads frames, dispatches each to the handler of its API key and answers in the order of arrival.
// A handler decodes, asks whether the principal may, calls one domain function and encodes: there is no storage logic here, and
// Kafka's error codes appear nowhere else (codes.go maps the domain's).
//
// # Map
//
//	api.go           the one table of API keys: versions, handlers; dispatch and the ApiVersions answer derive from it
//	00_produce.go …  one file per API key, named by the key's number, with its version notes at the head
//	server.go        listeners, limits, shutdown
//	conn.go          one connection: a goroutine that reads and one that answers
//	park.go          parking idle connections; park_linux.go waits for them all, park_answer_linux.go answers their brief requests
//	frame.go         length-prefixed frames in pooled buffers
//	header.go        request and response headers
//	wire.go          Kafka's primitive types, for the two hot paths that do without kmsg
//	answer.go        answering in order; gathering answers for one writev
//	press.go         compressing what came uncompressed, beside the goroutine that orders batches
//	fetch_session.go incremental fetch sessions
//	catalog.go       what the produce path knows of a topic, without allocating
//	api_admin.go     the table's rows of administration
//	api_share.go     those of share groups
//	shares.go        what share groups' handlers ask for; acknowledgements
//	share_session.go share sessions, and what is given back when they end
//	share_reading.go the way of a ShareFetch: offered, read, taken, written
//	quota.go         client quotas as token buckets; throttle.go charges them and makes clients wait
//	connection_limits.go  bounds on connections that can be changed while the node runs
//	telemetry.go     clients' subscriptions to metrics; otlp.go reads what they push
//	features.go      the features that clients and tools ask for
//	placement.go     which node Metadata and FindCoordinator name
//	topics.go        creating topics, and what administrative handlers share
//	authorize.go     who may do what; everybody everything until there is an Authorizer
//	domain.go        what this package asks of the rest of Varve; adapters.go fits lane and fetch to it
//	groups.go        what it asks of the group coordinator
//	codes.go         domain codes to Kafka error codes
//
// # Order on a connection
//
// The reading goroutine hands produce requests to the lane as they arrive and goes on reading; every other request is handled by the
// answering goroutine when its turn has come, as Kafka does, which handles one request of a connection at a time. Answers leave in the
// order of the requests. So a later produce may be appended while an earlier long poll still waits, but nothing is ever answered, and no
// batch of one connection committed, out of order.
//
// A connection with nothing in flight is parked after a while: its two goroutines end, and one of the node's waits for what parked connections send.
//
// # Bounds
//
// Connections, requests in flight per connection, and the bytes of all frames in flight on the node are bounded (Config). At the bound
// the node stops reading sockets; it does not grow. What a frame claims is never allocated before it has been compared to what is
// allowed, and no array is allocated that the bytes of its frame could not fill.
//
// # Ownership of bytes
//
// A handler must copy what it hands to somebody who keeps it: the byte fields of a decoded request are slices of its frame, which is
// another request's as soon as this one is answered.
//
// A produce request's record batches are slices of its frame, which stays untouched until every batch has its verdict. A fetch answer's
// records are slices that the fetcher lent until PartitionData.Release; they are written to the socket without a copy.
package kafka
