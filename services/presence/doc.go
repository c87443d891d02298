// Package presence notices at once that an ingest node's process has died.
//
// Whoever wants to know keeps a GET /presence open to each live node; a node never ends one while it runs. When a process is killed, its
// kernel closes its sockets: the connection breaks at the moment at which those of its clients do, and the next is refused. The two
// together are a proof that the process is gone, which needs no clock. A connection that breaks for another reason is made anew, and means
// nothing; so does a machine that is cut off or has lost its power, which answers nothing at all. For those there are the leader's timers.
//
// A client that has lost its node asks another for metadata within the same millisecond. So before an ingest node answers such a question it asks
// the others (Check): a process that has died does not answer, and is found dead as soon as its sockets are closed.
//
// An ingest node leaves a node that has gone out of its Metadata answers, since the clients that have just lost it ask for others now; the
// leader tells everybody else (leader.NodeGone). Neither fences anything.
package presence
