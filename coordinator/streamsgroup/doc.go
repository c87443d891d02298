// Package streamsgroup has what is pure of streams groups (KIP-1071): what follows from a topology and the topics there are (Configure),
// and which member gets which tasks (Assign). It has no clock, no state and no order that depends on anything but its arguments: the
// same arguments give the same answer.
//
// A topology is subtopologies; a subtopology reads topics, and has as many tasks as the largest of them has partitions. A task is active
// with one member, and may be standby with others, which keep a copy of its state.
//
// What becomes of targets, who is a member and what is stored is coordinator/group's.
package streamsgroup
