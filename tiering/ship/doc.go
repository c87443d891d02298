// Package ship moves sealed containers (hot segments and object chunks) into segment objects: it takes a job from the leader,
// reads the runs that are still alive, sorts them by partition, merges small batches into large well-compressed ones, stores the
// objects and tells the leader, who alone judges the result.
//
// A worker keeps nothing: one that dies leaves an expired lease and perhaps objects that nothing refers to, which the
// sweep removes. Two workers on one job cost work, never correctness. Memory is bounded by the bytes of one job and one object
// being built while another is uploaded.
package ship
