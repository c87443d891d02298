// Package jetstream keeps the metadata log in one NATS JetStream stream: the stream's sequence is the log's, and the
// expected-last-sequence header makes an append a compare-and-append.
//
// The stream is varve_<cluster id>, captures the single subject bus.LogSubject, is stored in files, has no limits, and
// carries the log's id in its metadata. Durability is the server's: Varve's embedded server syncs every write before it
// acknowledges; an external server must run with "sync_interval: always", which a client cannot check.
//
// A server stops writing a stream for good when its disk is full. Where it runs in this process the stream is opened again once there
// is space, so that appends, which nobody answers meanwhile, go on (revive.go).
//
// In a cluster the stream has as many replicas as there are coordinators, at most five. While its servers elect a leader nobody answers: questions are
// repeated, and so are appends, by coordinator/leader. A server that was cut off, and does not know yet that it leads the stream no more, may say that the
// stream ends earlier than it does; so what Bounds says of a replicated stream is not the last word (Log.Replicated).
// Before a server ends as it was told, the process that runs it has another lead the stream (Log.StepAside).
//
// After a crash a server of a cluster trusts its stream's files only up to the last snapshot of its Raft log, cuts them there and applies the rest again from the
// Raft log, every append to which was synced. Where the log has been truncated beyond that snapshot the cut leaves a first sequence above the last, of which
// the server says "Stream state encountered internal inconsistency on write"; it puts that right at once, and nothing is lost. While it applies, its stream
// seems shorter than it is, like that of a server that was cut off.
//
// Reads go in batches by direct get, which any replica of the stream may answer; where a replica lags, the stream's leader
// is asked for the entry. A purged stream never reuses a sequence, so an old writer stays fenced without further ado.
package jetstream
