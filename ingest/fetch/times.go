package fetch

import (
	"context"
	"errors"
	"fmt"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/ingest/recordbatch"
	"github.com/varvelog/varve/tiering/segment"
)

// The errors of look-ups by time.
var (
	// ErrUnknownPartition: the node's replica knows no such partition.
	ErrUnknownPartition = errors.New("unknown partition")
	// ErrStorage: the bytes cannot be had now. Retriable.
	ErrStorage = errors.New("bytes not available")
)

// TimedOffset is a record's place and time.
type TimedOffset struct {
	Offset      int64
	Timestamp   int64
	LeaderEpoch int32
}

// timeAttempts is how often a look-up is planned before missing bytes are an error.
const timeAttempts = 3

// OffsetForTimestamp finds the first record of the partition whose timestamp is at least millis; found is false where there
// is none. It answers from the node's replica as it is: a barrier before it is the caller's. Errors: ErrUnknownPartition,
// ErrStorage, ctx's.
func (r *Reader) OffsetForTimestamp(ctx context.Context, tp meta.TopicPartition, millis int64) (result TimedOffset, found bool, err error) {
	return r.lookUp(ctx, func(q *timeQuery) (bool, error) { return q.first(ctx, tp, millis, 0) })
}

// lookUp repeats a query behind a barrier where bytes were missing.
func (r *Reader) lookUp(ctx context.Context, query func(q *timeQuery) (bool, error)) (TimedOffset, bool, error) {
	q := timeQuery{reader: r}
	for attempt := 1; ; attempt++ {
		found, err := query(&q)
		switch {
		case err == nil:
			return q.result, found, nil
		case errors.Is(err, ErrUnknownPartition):
			return TimedOffset{}, false, err
		case ctx.Err() != nil || attempt == timeAttempts:
			return TimedOffset{}, false, fmt.Errorf("look up timestamp: %w: %w", ErrStorage, err)
		}
		q.preferStored, q.failures = true, attempt
		if r.replica.Barrier(ctx) != nil {
			continue // a second look may help all the same
		}
	}
}

// timeQuery is one attempt of a look-up.
type timeQuery struct {
	reader       *Reader
	preferStored bool
	failures     int
	result       TimedOffset
}

// first finds the first record from an offset on at or after millis, going from extent to extent.
func (q *timeQuery) first(ctx context.Context, tp meta.TopicPartition, millis, from int64) (bool, error) {
	for {
		e, known, any := q.plan(tp, millis, from)
		if !known {
			return false, ErrUnknownPartition
		}
		if !any {
			return false, nil
		}
		found, err := q.in(ctx, &e, millis)
		if err != nil {
			q.reader.tell(&e, err)
		}
		if found || err != nil {
			return found, err
		}
		from = e.loc.NextOffset
	}
}

// plan finds the next extent that may hold the record.
func (q *timeQuery) plan(tp meta.TopicPartition, millis, from int64) (e extent, known, any bool) {
	r := q.reader
	r.replica.View(func(st *meta.State) {
		p := st.Partition(tp)
		if p == nil {
			return
		}
		known = true
		e.tp, e.leaderEpoch, e.from = tp, p.LeaderEpoch(), max(from, p.LogStartOffset())
		e.loc, any = st.OffsetForTime(tp, millis, e.from)
		if !any {
			return
		}
		if stored, ok := st.LocateStored(tp, max(e.from, e.loc.BaseOffset)); ok && q.preferStored && stored.BaseOffset <= max(e.from, e.loc.BaseOffset) {
			e.loc = stored
		}
		r.place(&e, st, q.failures)
	})
	return e, known, any
}

// in finds the record within an extent.
func (q *timeQuery) in(ctx context.Context, e *extent, millis int64) (bool, error) {
	r := q.reader
	e.start, e.base = e.loc.Position, e.loc.BaseOffset
	if e.stored() {
		position, err := r.index.SeekTime(ctx, e.loc, millis)
		if errors.Is(err, segment.ErrCorrupt) { // the headers tell as well
			r.tell(e, &damageError{e.loc.IndexPosition, int(e.loc.IndexLength), err})
			position, err = e.loc.Position, nil
		}
		if err != nil {
			return false, fmt.Errorf("seek time %d in %q: %w", millis, e.loc.Key(), err)
		}
		if position < e.loc.Position || position >= e.end() {
			return false, fmt.Errorf("%w: the index of %q points to %d for time %d", errMissing, e.loc.Key(), position, millis)
		}
		e.start = position
	}
	for {
		var size int
		err := e.search(ctx, r, func(h *recordbatch.Header, next int64) bool {
			size = h.SizeBytes()
			return next > e.from && h.MaxTimestamp >= millis && !h.IsControl()
		})
		if e.start == e.end() {
			return false, nil // what the state knows of is an upper bound
		}
		if err != nil {
			return false, err
		}
		found, next, err := q.inBatch(ctx, e, size, millis)
		if found || err != nil {
			return found, err
		}
		e.start, e.base = e.start+uint64(size), next
	}
}

// inBatch finds the record within the batch at e.start, and returns the offset after the batch.
func (q *timeQuery) inBatch(ctx context.Context, e *extent, size int, millis int64) (found bool, next int64, err error) {
	next, err = q.readBatch(ctx, e, size, func(batch []byte, scratch *recordbatch.Scratch) error {
		var at recordbatch.Position
		var err error
		at, found, err = recordbatch.FirstAtOrAfter(batch, millis, scratch)
		if found && at.Offset < e.from {
			at, found, err = firstFrom(batch, millis, e.from, scratch)
		}
		q.result = TimedOffset{Offset: at.Offset, Timestamp: at.Timestamp, LeaderEpoch: e.leaderEpoch}
		return err
	})
	return found && err == nil, next, err
}

// readBatch reads the batch at e.start and has its records looked at. It returns the offset after the batch.
func (q *timeQuery) readBatch(ctx context.Context, e *extent, size int, look func(batch []byte, scratch *recordbatch.Scratch) error) (next int64, err error) {
	b := getBuffer(size)
	defer b.free()
	if _, err := q.reader.readAt(ctx, e, e.start, b.data); err != nil {
		return 0, err
	}
	if !e.stored() {
		recordbatch.SetBaseOffset(b.data, e.base)
	}
	h, err := e.header(b.data, e.start)
	if err != nil {
		return 0, err
	}
	if err := recordbatch.CheckCRC(b.data); err != nil {
		return 0, &damageError{e.start, size, err}
	}
	scratch := recordbatch.GetScratch(0)
	defer scratch.Put()
	if err := look(b.data, scratch); err != nil {
		return 0, fmt.Errorf("%w: batch at %d: %w", errMissing, e.start, err)
	}
	return h.NextOffset(), nil
}

// firstFrom is recordbatch.FirstAtOrAfter for records from an offset on: a log start may lie within a batch.
func firstFrom(batch []byte, millis, from int64, scratch *recordbatch.Scratch) (recordbatch.Position, bool, error) {
	for record, err := range recordbatch.Records(batch, scratch) {
		if err != nil {
			return recordbatch.Position{}, false, err
		}
		if record.Offset >= from && record.Timestamp >= millis {
			return recordbatch.Position{Offset: record.Offset, Timestamp: record.Timestamp}, true, nil
		}
	}
	return recordbatch.Position{}, false, nil
}
