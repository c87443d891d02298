// Command simulate runs whole clusters on virtual time, one for each seed, and reports the seeds in which an invariant of Varve's
// did not hold.
//
//	go run ./services/simulate -seeds 1000          seeds 1 to 1000
//	go run ./services/simulate -seed 42 -trace      one seed, and all that happened in it
//	go run ./services/simulate -planted             how many seeds it takes to find faults that are planted
//
// The cluster is services/simulate/guest: the shipping packages, not models of them, wired together in one Go program over the seams of
// services/simulate/world. The program is compiled natively, with changes to a dozen lines of Go's own runtime (runtime.go, by an overlay:
// nothing that is installed is touched): it has one thread and no preemption, its random numbers, which seed hashes, maps, selects and ids,
// come from the seed, and time is a number. Time passes when nothing can run, at once, and by a little with each look at the clock. So a seed
// is a whole run: the same trace, byte for byte, for one build of the guest.
//
// It needs Linux, for waiting is that system's part of the runtime.
package main
