// Package fault is the nemesis: it breaks a cluster at random, in ways that are drawn from a seed, and takes everything back.
//
// Faults of one kind may overlap with others: each knows how to take itself back, and what two of them share is counted by the
// cluster and its network.
package fault
