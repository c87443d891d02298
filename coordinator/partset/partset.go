// Package partset has the set operations on partitions by key: a consumer's assignment is keyed by topic, the tasks of a streams
// application by subtopology.
//
// A set has for each of its keys at least one partition, ascending and without repeats. It is never changed once it is made: every
// operation makes a new one.
package partset

import (
	"maps"
	"slices"
)

// Has tells whether the set has a partition.
func Has[S ~map[K][]int32, K comparable](set S, key K, partition int32) bool {
	_, found := slices.BinarySearch(set[key], partition)
	return found
}

// Equal tells whether both have the same.
func Equal[S ~map[K][]int32, K comparable](a, b S) bool {
	return maps.EqualFunc(a, b, func(x, y []int32) bool { return slices.Equal(x, y) })
}

// Count is the number of partitions.
func Count[S ~map[K][]int32, K comparable](set S) (n int) {
	for _, partitions := range set {
		n += len(partitions)
	}
	return n
}

// Filter is those partitions that keep says.
func Filter[S ~map[K][]int32, K comparable](set S, keep func(key K, partition int32) bool) S {
	out := S{}
	for key, partitions := range set {
		var kept []int32
		for _, p := range partitions {
			if keep(key, p) {
				kept = append(kept, p)
			}
		}
		if len(kept) > 0 {
			out[key] = kept
		}
	}
	return out
}

// And is what both have.
func And[S ~map[K][]int32, K comparable](a, b S) S {
	return Filter(a, func(k K, p int32) bool { return Has(b, k, p) })
}

// Minus is what a has and b has not.
func Minus[S ~map[K][]int32, K comparable](a, b S) S {
	return Filter(a, func(k K, p int32) bool { return !Has(b, k, p) })
}

// Plus is what either has.
func Plus[S ~map[K][]int32, K comparable](a, b S) S {
	out := maps.Clone(a)
	if out == nil {
		out = S{}
	}
	for key, partitions := range b {
		out[key] = Sorted(append(slices.Clone(out[key]), partitions...))
	}
	return out
}

// Within tells whether b has all that a has.
func Within[S ~map[K][]int32, K comparable](a, b S) bool {
	return !Any(a, func(k K, p int32) bool { return !Has(b, k, p) })
}

// Any tells whether there is a partition that is says.
func Any[S ~map[K][]int32, K comparable](set S, is func(key K, partition int32) bool) bool {
	for key, partitions := range set {
		for _, p := range partitions {
			if is(key, p) {
				return true
			}
		}
	}
	return false
}

// Sorted sorts partitions in place and drops repeats.
func Sorted(partitions []int32) []int32 {
	slices.Sort(partitions)
	return slices.Compact(partitions)
}
