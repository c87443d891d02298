// Package group coordinates consumer groups with Kafka's classic protocol: who is a member, who leads, which generation counts, and
// which assignment each member has. It runs beside the leader of the metadata log.
//
// A Coordinator's methods take and return the messages of metapb/group.proto, in process or through the internal listener:
// Join, Sync, Heartbeat, Leave, Commit, Describe, List, Delete. Join and Sync wait as long as the protocol waits.
//
// What must survive is in the log: StoreGroup when a generation has its assignments, when a group becomes empty and when a static
// member returns under a new id; CommitOffsets for offsets. A coordinator that takes over reads the groups from the state and
// gives every member a new session, so that nobody has to rejoin. A rebalance that was under way is lost, and its members
// learn by their next request that they must join again.
//
// The rules of a group stand in Group, which has no clock, no goroutine and no lock: it is told the time and answers through
// callbacks. Coordinator owns the lock, the timer and the log's answers.
//
// Offsets are read from the state (meta.State.Group) after a barrier, by any replica.
package group
