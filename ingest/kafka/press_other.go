//go:build !linux

package kafka

// Elsewhere a thread has no priority of its own that one could count on: the workers are goroutines like others.

func reserve(int) bool { return false }

func giveBack(int) {}

func standBack() {}
