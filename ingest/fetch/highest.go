package fetch

import (
	"context"
	"fmt"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/ingest/recordbatch"
)

// OffsetOfMaxTimestamp finds the first record with the partition's highest timestamp; found is false where no record has one.
// It is OffsetForTimestamp in everything else.
func (r *Reader) OffsetOfMaxTimestamp(ctx context.Context, tp meta.TopicPartition) (result TimedOffset, found bool, err error) {
	return r.lookUp(ctx, func(q *timeQuery) (bool, error) { return q.highest(ctx, tp) })
}

// highest finds the first record with the highest timestamp. What the state knows is an upper bound for the extent that the log start has cut into: its
// highest record may lie below. Where no record has what the state says, that extent is gone through and compared with the others.
func (q *timeQuery) highest(ctx context.Context, tp meta.TopicPartition) (bool, error) {
	known, any, loc := q.highestOf(tp, 0)
	switch {
	case !known:
		return false, ErrUnknownPartition
	case !any:
		return false, nil
	}
	if found, err := q.first(ctx, tp, loc.MaxTimestamp, 0); found || err != nil {
		return found, err
	}
	e, isCut := q.planCut(tp)
	if !isCut {
		// Where what was looked at is gone by now, it may have been cut into then.
		if _, any, now := q.highestOf(tp, 0); any && now != loc {
			return false, fmt.Errorf("%w: the log start of %s has moved on", errMissing, tp)
		}
		return false, nil
	}
	inCut, err := q.highestIn(ctx, &e)
	if err != nil {
		q.reader.tell(&e, err)
		return false, err
	}
	best := q.result
	if _, any, loc = q.highestOf(tp, e.loc.NextOffset); any && (!inCut || loc.MaxTimestamp > best.Timestamp) {
		if found, err := q.first(ctx, tp, loc.MaxTimestamp, e.loc.NextOffset); found || err != nil {
			return found, err
		}
	}
	q.result = best
	return inCut, nil
}

// highestOf is the extent with the highest timestamp of those from an offset on.
func (q *timeQuery) highestOf(tp meta.TopicPartition, from int64) (known, any bool, loc meta.Location) {
	q.reader.replica.View(func(st *meta.State) {
		known = st.Partition(tp) != nil
		loc, any = st.MaxTimestamp(tp, from)
	})
	return known, any, loc
}

// planCut is the extent that the log start has cut into.
func (q *timeQuery) planCut(tp meta.TopicPartition) (e extent, isCut bool) {
	r := q.reader
	r.replica.View(func(st *meta.State) {
		if e.loc, isCut = st.LocateCut(tp); !isCut {
			return
		}
		p := st.Partition(tp)
		e.tp, e.leaderEpoch, e.from = tp, p.LeaderEpoch(), p.LogStartOffset()
		r.place(&e, st, q.failures)
	})
	return e, isCut
}

// highestIn finds the first record from e.from on with the highest timestamp of the extent. Each batch is read once at most, and as few as the headers
// allow: first one that claims the highest, then those that claim more than was found, as the one does into which the log start has cut.
func (q *timeQuery) highestIn(ctx context.Context, e *extent) (found bool, err error) {
	if err := e.seek(ctx, q.reader); err != nil {
		return false, err
	}
	begin, base := e.start, e.base
	highest := int64(-1)
	if _, _, err := q.nextBatch(ctx, e, func(h *recordbatch.Header, _ int64) bool {
		highest = max(highest, h.MaxTimestamp)
		return false
	}); err != nil || highest < 0 {
		return false, err
	}
	e.start, e.base = begin, base
	size, _, err := q.nextBatch(ctx, e, func(h *recordbatch.Header, _ int64) bool { return h.MaxTimestamp == highest })
	if err != nil {
		return false, err
	}
	best, err := q.highestInBatch(ctx, e, size, TimedOffset{Timestamp: -1})
	if err != nil {
		return false, err
	}
	readTo := e.base
	e.start, e.base = begin, base
	for {
		size, any, err := q.nextBatch(ctx, e, func(h *recordbatch.Header, next int64) bool {
			return next != readTo && (h.MaxTimestamp > best.Timestamp || h.MaxTimestamp == best.Timestamp && next <= best.Offset)
		})
		if err != nil {
			return false, err
		}
		if !any {
			q.result = best
			return best.Timestamp >= 0, nil
		}
		if best, err = q.highestInBatch(ctx, e, size, best); err != nil {
			return false, err
		}
	}
}

// nextBatch moves e on to the next batch that may have records from e.from on and is wanted; false, at the end, where there is none.
func (q *timeQuery) nextBatch(ctx context.Context, e *extent, wanted func(h *recordbatch.Header, next int64) bool) (size int, any bool, err error) {
	err = e.search(ctx, q.reader, func(h *recordbatch.Header, next int64) bool {
		size = h.SizeBytes()
		return next > e.from && !h.IsControl() && wanted(h, next)
	})
	if e.start == e.end() {
		return 0, false, nil
	}
	return size, err == nil, err
}

// highestInBatch is best, or what the batch at e.start has above it or as high and before it. It moves e behind the batch.
func (q *timeQuery) highestInBatch(ctx context.Context, e *extent, size int, best TimedOffset) (TimedOffset, error) {
	next, err := q.readBatch(ctx, e, size, func(batch []byte, scratch *recordbatch.Scratch) error {
		for record, err := range recordbatch.Records(batch, scratch) {
			if err != nil {
				return err
			}
			if record.Offset < e.from { // a log start may lie within a batch
				continue
			}
			if record.Timestamp > best.Timestamp || record.Timestamp == best.Timestamp && record.Offset < best.Offset {
				best = TimedOffset{Offset: record.Offset, Timestamp: record.Timestamp, LeaderEpoch: e.leaderEpoch}
			}
		}
		return nil
	})
	e.start, e.base = e.start+uint64(size), next
	return best, err
}
