// Package workload uses a Kafka cluster as many clients would, while things fail, and writes down what each of them sees as a history.
//
// Clients come and go: some leave in order, some are cut off in the middle of what they do and never heard of again. Every record has
// a value of its own, and bytes that follow from it, so that damage is seen.
package workload
