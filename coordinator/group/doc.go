// Package group coordinates groups under Kafka's protocols. It runs beside the leader of the metadata log.
//
//   - The classic protocol (Group): who is a member, who leads, which generation counts, and which assignment the leader gave each member.
//   - The consumer protocol of KIP-848 (ConsumerGroup): the coordinator assigns, and each member comes to its target in steps of its own.
//   - The streams protocol of KIP-1071 (StreamsGroup): the same with the tasks of a Kafka Streams application, which follow from its topology
//     (package streamsgroup). Only a name that no group has becomes a streams group, and it stays one until it is deleted or forgotten.
//   - The share protocol of KIP-932 (ShareGroup): the coordinator assigns partitions, several members to one where need be; which records they
//     are given is coordinator/delivery's. A share group is one from its first member until it is deleted.
//
// A classic or a consumer group without members takes, of these two protocols, that of whoever comes. One with classic consumers becomes a consumer group when the first member comes
// with that protocol, and a classic one again when the last of those is gone (migrate.go); classic members of a consumer group join and
// sync as followers (consumer_classic.go).
//
// A Coordinator's methods take and return the messages of metapb/group.proto and the *_rpc.proto beside it, in process or through the internal
// listener (Remote, which gathers heartbeats). Join and Sync wait as long as the protocol waits; a heartbeat of a managed group waits until what its answer says is in the log.
//
// What must survive is in the log: StoreGroup when a generation has its assignments, when a group becomes empty and when a static
// member returns under a new id; StoreConsumerGroup and StoreStreamsGroup with what has changed of a group, everything that has changed
// while the one before was on its way in one command, and nothing for a heartbeat that changes nothing; CommitOffsets for offsets. A coordinator that
// takes over reads the groups from the state and gives every member a new session, so that nobody has to rejoin: a managed group goes on in
// the middle of a rebalance; a rebalance of a classic group is lost, and its members learn by their next request that they must join again.
//
// Such a command names the version of the group that it changes. Where its outcome is not known, those who wait are told to
// ask again and the group is read back from the state: if the command comes to pass after all, the next one is refused, and so on.
//
// The rules of a group stand in Group, ConsumerGroup and StreamsGroup, which have no clock, no goroutine and no lock: they are told the time. Coordinator
// owns the locks, the timers and the log's answers.
//
// Offsets are read from the state (meta.State.Group) after a barrier, by any replica; so are member epochs, for OffsetFetch.
package group
