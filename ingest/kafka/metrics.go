package kafka

import "time"

// Metrics hears what happens on the listener. Its methods are called on hot paths by many goroutines, and must not block.
type Metrics interface {
	// Connections: the number of open connections is now n.
	Connections(n int)
	// Parked: n of the open connections are parked.
	Parked(n int)
	// Request: a request was answered (or needed no answer), took so long from its last byte to its answer's, and had these sizes.
	Request(api string, version int16, took time.Duration, requestBytes, responseBytes int)
	// Inflated: a batch was inflated for a client that is not known to read zstd.
	Inflated(storedBytes, inflatedBytes int)
	// Shared: as many offsets were given to a member of a share group, again of them not for the first time.
	Shared(records, again int64)
	// Acknowledged: a member of a share group said so of as many records: gap, accept, release or reject.
	Acknowledged(what string, records int64)
	// Refused: a connection or a frame was refused, for one of a handful of fixed reasons.
	Refused(reason string)
}

type noMetrics struct{}

func (noMetrics) Connections(int)                                {}
func (noMetrics) Parked(int)                                     {}
func (noMetrics) Request(string, int16, time.Duration, int, int) {}
func (noMetrics) Inflated(int, int)                              {}
func (noMetrics) Shared(int64, int64)                            {}
func (noMetrics) Acknowledged(string, int64)                     {}
func (noMetrics) Refused(string)                                 {}
