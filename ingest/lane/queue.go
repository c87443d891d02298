package lane

import (
	"sync/atomic"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/ingest/chunk"
)

// Lane is the number of a lane, part of the commands and the object keys.
type Lane uint8

const (
	// Local chunks stand in the node's hot log.
	Local Lane = 0
	// Object chunks stand in the bucket.
	Object Lane = 1
	// Replicated chunks stand in the node's hot log and in another node's.
	Replicated Lane = 2

	laneCount = 3
)

// Lanes are all of them, each at its number.
var Lanes = [laneCount]Lane{Local, Object, Replicated}

func (l Lane) String() string { return [...]string{"local", "object", "replicated"}[l] }

// entry is a batch in a queue or a chunk.
type entry struct {
	Batch
	pending *Pending
	index   int32 // in the request
}

// runKey orders entries within a chunk.
type runKey struct {
	topic     meta.TopicID
	partition int32
}

func (e *entry) key() runKey { return runKey{e.Topic, e.Partition} }

// queue is the batches of one lane that are in no chunk yet. Each batch has a ticket, ascending from 1 in the order of
// Append. The Set's mutex guards all but settled.
type queue struct {
	entries  []entry
	head     int    // entries before it are taken
	enqueued uint64 // the last ticket given
	bytes    int64
	wake     chan struct{}
	// settled: every ticket up to it has its result.
	settled atomic.Uint64
}

func newQueue() *queue { return &queue{wake: make(chan struct{}, 1)} }

func (q *queue) len() int { return len(q.entries) - q.head }

func (q *queue) push(e entry) (ticket uint64) {
	if len(q.entries) == cap(q.entries) && q.head > len(q.entries)/2 {
		n := copy(q.entries, q.entries[q.head:])
		clear(q.entries[n:])
		q.entries, q.head = q.entries[:n], 0
	}
	q.entries = append(q.entries, e)
	q.bytes += int64(len(e.Data))
	q.enqueued++
	return q.enqueued
}

func (q *queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// take appends the batches of the next chunk to into, oldest first and at least one if there is any, and returns the ticket
// of the last. The run table is reckoned as if no two batches that are not neighbours shared a partition and all were
// detailed, which is never too little.
func (q *queue) take(into []entry, chunkBytes int) ([]entry, uint64) {
	var bytes, runs, taken int
	var previous runKey
	for i := q.head; i < len(q.entries); i++ {
		e := &q.entries[i]
		bytes += len(e.Data)
		if key := e.key(); runs == 0 || key != previous {
			runs++
			previous = key
		}
		if taken > 0 && (bytes > chunkBytes || !tableHolds(runs, taken+1)) {
			break
		}
		into = append(into, *e)
		q.bytes -= int64(len(e.Data))
		*e = entry{}
		taken++
	}
	q.head += taken
	if q.head == len(q.entries) {
		q.entries, q.head = q.entries[:0], 0
	}
	return into, q.enqueued - uint64(q.len())
}

func tableHolds(runs, batches int) bool {
	return runs <= chunk.MaxRuns && chunk.TableHeaderSize+runs*chunk.RunSize+batches*chunk.DetailSize <= chunk.MaxTableBytes
}

// putBack returns the newest of the batches just taken to the front.
func (q *queue) putBack(entries []entry) {
	if q.head < len(entries) {
		grown := make([]entry, len(entries), len(entries)+q.len())
		q.entries, q.head = append(grown, q.entries[q.head:]...), len(entries)
	}
	q.head -= len(entries)
	copy(q.entries[q.head:], entries)
	for i := range entries {
		q.bytes += int64(len(entries[i].Data))
	}
}

// full tells whether what waits fills a chunk.
func (q *queue) full(chunkBytes int) bool {
	return q.bytes >= int64(chunkBytes) || !tableHolds(q.len(), q.len())
}
