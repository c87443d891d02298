package lane

import (
	"slices"
	"sync"
	"time"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/ingest/chunk"
)

// flight is a chunk between the queue and its verdict.
type flight struct {
	lane       Lane
	seq        uint64
	entries    []entry // in order of arrival
	lastTicket uint64
	sizeBytes  int
	tableBytes int
	// order and first are chunk.Sealed's: which entries stand where, and where runs begin.
	order []int32
	first []int32
	built time.Time
	// flushed is when the bytes became durable. The committer's mutex guards it in the object lane.
	flushed time.Time
	// slot is given back when the chunk is settled.
	slot <-chan struct{}
	// segment is the hot segment that holds it, in segments; 0 for none.
	segment  uint64
	segments *segments
	// voided: its number is used up and nothing of it committed, since no other node has a copy.
	voided bool
}

var flights = sync.Pool{New: func() any { return new(flight) }}

// place keeps what the verdict will need of the layout.
func (f *flight) place(sealed chunk.Sealed) {
	f.order = append(f.order[:0], sealed.Order...)
	f.first = append(f.first[:0], sealed.First...)
	f.sizeBytes = sealed.Header.ChunkBytes()
	f.tableBytes = int(sealed.Header.TableBytes)
}

// commitCommand is the chunk's CommitChunk, without its place. It holds a copy of the run table, since it travels while the next chunk is
// built.
func commitCommand(registration Registration, f *flight, table []byte) *metapb.CommitChunk {
	durability := [laneCount]metapb.Durability{
		Local: metapb.Durability_DURABILITY_LOCAL, Object: metapb.Durability_DURABILITY_OBJECT, Replicated: metapb.Durability_DURABILITY_REPLICATED,
	}[f.lane]
	return &metapb.CommitChunk{
		NodeId: int32(registration.Node), NodeEpoch: registration.Epoch, Lane: uint32(f.lane), Seq: f.seq,
		Durability: durability, ChunkBytes: uint64(f.sizeBytes), RunTable: slices.Clone(table),
	}
}

// settle answers each batch as the verdict says.
func (f *flight) settle(set *Set, v *meta.ChunkVerdict) {
	if f.voided {
		f.fail(set, NotEnoughReplicas)
		return
	}
	set.observer.ChunkCommitted(f.lane, len(f.entries), time.Since(f.flushed))
	for run := range len(f.first) - 1 {
		batches := f.order[f.first[run]:f.first[run+1]]
		if run >= len(v.Runs) {
			// State answers every run of a chunk it accepts.
			panic("lane: a chunk's verdict lacks runs")
		}
		f.settleRun(batches, &v.Runs[run])
	}
	set.pressure.released(f.lane, f.entries)
	f.recycle(set)
}

func (f *flight) settleRun(batches []int32, v *meta.RunVerdict) {
	base := v.BaseOffset
	for i, at := range batches {
		e := &f.entries[at]
		result := Result{Code: v.Code, BaseOffset: base, LogStartOffset: v.LogStartOffset}
		switch {
		case v.Code != meta.OK:
			result.BaseOffset = -1
		case len(v.Batches) > 0:
			result.Code, result.BaseOffset = v.Batches[i].Code, v.Batches[i].BaseOffset
		default:
			base += int64(e.Header.LastOffsetDelta) + 1
		}
		e.pending.settle(e.index, result)
	}
}

// fail answers each batch with failure.
func (f *flight) fail(set *Set, failure Failure) {
	failEntries(set, f.lane, f.entries, failure)
	f.recycle(set)
}

// recycle counts the chunk's tickets as settled and gives everything back.
func (f *flight) recycle(set *Set) {
	set.queues[f.lane].settled.Store(f.lastTicket)
	if f.slot != nil {
		<-f.slot
		f.slot = nil
	}
	if f.segment != 0 {
		f.segments.settled(f.segment)
	}
	f.abandon()
}

// abandon gives the flight's memory back; its batches are another's now, or answered.
func (f *flight) abandon() {
	f.keep(0)
	f.segment, f.segments, f.voided = 0, nil, false
	flights.Put(f)
}

// keep lets go of all entries from n on.
func (f *flight) keep(n int) {
	clear(f.entries[n:])
	f.entries = f.entries[:n]
}

// failEntries answers batches that have no verdict and will get none.
func failEntries(set *Set, lane Lane, entries []entry, failure Failure) {
	if len(entries) == 0 {
		return
	}
	set.observer.BatchesFailed(lane, failure, len(entries))
	set.pressure.released(lane, entries)
	for i := range entries {
		e := &entries[i]
		e.pending.settle(e.index, Result{Failure: failure, BaseOffset: -1, LogStartOffset: -1})
	}
}
