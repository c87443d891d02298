//go:build race

package recordbatch

// Under the race detector sync.Pool drops entries at random.
const raceEnabled = true
