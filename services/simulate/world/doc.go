// Package world is what surrounds the processes of a simulated cluster: the network, the bus, the metadata log's server, the
// object store and the disks, all in one Go process whose time and randomness its host decides (services/simulate).
//
// A Process is one incarnation of one of the cluster's processes. Whatever it does to the outside goes through a seam of this
// package, and every seam asks the Process first: one that is paused waits there, deaf to its contexts, and does late what it
// was about to do; one that has crashed gets ErrDead for ever, so that what is left of its goroutines changes nothing.
//
// What goes wrong, and how often, is a Swarm: each seed turns on some faults and leaves others out, because a run in which
// everything fails at once exercises little. After World.Heal nothing fails any more.
package world
