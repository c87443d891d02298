// Command simulate runs whole clusters on virtual time, one for each seed, and reports the seeds in which an invariant of Varve's
// did not hold.
//
//	go run ./services/simulate -seeds 1000          seeds 1 to 1000
//	go run ./services/simulate -seed 42 -trace      one seed, and all that happened in it
//	go run ./services/simulate -planted             how many seeds it takes to find faults that are planted
//
// The cluster is services/simulate/guest: the shipping packages, not models of them, wired together in one Go program over the seams of
// services/simulate/world. It is compiled to WebAssembly (GOOS=wasip1) and run by wazero. There a Go program has one thread and no
// preemption by signals, and whatever is not determined by the program comes from the host: random numbers, which seed hashes, maps,
// selects and ids, and the time. Both come from the seed. Time passes when the guest sleeps, at once, and by a little with each look at
// the clock. So a seed is a whole run: the same trace, byte for byte, on every machine, for one build of the guest.
package main
