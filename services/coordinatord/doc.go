// Package coordinatord wires a coordinator: the metadata log, the replica that follows it, the leader that sequences it, and the
// groups that run beside the leader.
//
// A start that meets transient trouble with the bucket or the log waits for a minute (services/process, Patiently). A log that does
// not fit the bucket is refused in one line that names the bucket and `varve recover`; a second coordinator finds the first alive and
// ends, or fences it where it does not answer.
package coordinatord
