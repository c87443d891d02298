package compact

import (
	"errors"

	"github.com/varvelog/varve/ingest/recordbatch"
)

// alwaysAlone are the kinds of batches whose records are not put together with others'.
const alwaysAlone = recordbatch.AttrTransactional | recordbatch.AttrControl | recordbatch.AttrLogAppendTime

// batch adds what is to be kept of a batch.
func (r *round) batch(b recordbatch.Batch) error {
	r.assembler.read = b.LeaderEpoch
	if r.job.Merges {
		return r.merge(b)
	}
	orphan := r.tx.read(&b.Header)
	switch {
	case b.BaseOffset >= r.end:
		return r.keep(b, false)
	case b.NextOffset() <= r.job.LogStart:
		r.remove(int64(b.RecordCount))
		return nil
	case b.RecordCount == 0:
		return nil // it spans a gap, which is there without it
	case b.IsControl():
		return r.marker(b, orphan)
	case r.tx.isAborted(&b.Header) && b.NextOffset() <= r.end:
		r.remove(int64(b.RecordCount))
		return nil
	case !r.read(b):
		return r.keep(b, true)
	}
	return r.data(b)
}

// merge adds a batch of a topic that is not compacted. Small batches are put together, and all else is as it was: a part whose batches stood without
// gaps between their offsets is still read as one. Small is what is so when inflated, too: taken apart, a batch that is large then
// could not be compressed again to as little, and the part would grow.
func (r *round) merge(b recordbatch.Batch) error {
	small := b.RecordCount > 0 && len(b.Bytes) < r.assembler.target/4 && b.Attributes&alwaysAlone == 0 && !b.HasDeleteHorizon()
	if !small {
		return r.keep(b, false)
	}
	switch err := r.decode(b); {
	case errors.Is(err, recordbatch.ErrTooLarge):
		return r.keep(b, false)
	case err != nil:
		return r.keep(b, true)
	}
	r.stats.Kept += int64(len(r.records))
	return r.add(b, false, 0)
}

func (r *round) remove(records int64) {
	r.stats.Removed += records
	r.group.changed = true
}

func (r *round) keep(b recordbatch.Batch, undecoded bool) error {
	r.stats.Kept += int64(b.RecordCount)
	return r.assembler.pass(b, undecoded)
}

// marker keeps a transaction's marker until nothing has been left of its transaction for delete.retention.ms.
func (r *round) marker(b recordbatch.Batch, orphan bool) error {
	switch {
	case !orphan:
		return r.keep(b, false)
	case b.HasDeleteHorizon() && r.mayDrop(b.BaseTimestamp, b.BaseOffset):
		r.remove(1)
		return nil
	case b.HasDeleteHorizon():
		r.noteHorizon(b.BaseTimestamp)
		return r.keep(b, false)
	case !r.read(b):
		return r.keep(b, true)
	}
	r.stats.Kept++
	r.group.changed = true
	return r.assembler.alone(&b.Header, r.records, r.newHorizon())
}

// mayDrop says whether a tombstone or marker has served its time. Below cleanedTo nothing is left that it hides.
func (r *round) mayDrop(horizon, offset int64) bool {
	return horizon <= r.job.NowMillis && offset < r.job.CleanedTo
}

func (r *round) newHorizon() int64 {
	horizon := r.job.NowMillis + r.job.DeleteRetentionMillis
	if horizon < r.job.NowMillis { // for ever
		horizon = 1<<63 - 1
	}
	r.noteHorizon(horizon)
	return horizon
}

func (r *round) noteHorizon(horizon int64) {
	if r.horizon == 0 || horizon < r.horizon {
		r.horizon = horizon
	}
}

// data keeps the records of a batch that are the last of their keys.
func (r *round) data(b recordbatch.Batch) error {
	aborted := r.tx.isAborted(&b.Header)
	tombstones := false
	kept := r.records[:0]
	for i := range r.records {
		rec := r.records[i]
		if rec.Offset < r.end {
			if aborted || r.drops(&b.Header, &rec) {
				continue
			}
			tombstones = tombstones || rec.Value == nil
		}
		kept = append(kept, rec)
	}
	removed := int64(len(r.records) - len(kept))
	r.records = kept
	horizon := int64(0)
	switch {
	case !tombstones:
	case b.HasDeleteHorizon():
		horizon = b.BaseTimestamp
		r.noteHorizon(horizon)
	case b.NextOffset() <= r.end: // else not all of its tombstones were passed
		horizon = r.newHorizon()
		r.group.changed = true
	}
	if removed > 0 {
		r.remove(removed)
	}
	r.stats.Kept += int64(len(kept))
	if len(kept) == 0 {
		return nil
	}
	return r.add(b, removed > 0 || (horizon != 0) != b.HasDeleteHorizon(), horizon)
}

// drops says whether a record is to go.
func (r *round) drops(h *recordbatch.Header, rec *recordbatch.Record) bool {
	if rec.Offset < r.job.LogStart || rec.Key == nil || r.keys.supersedes(rec.Key, rec.Offset) {
		return true
	}
	return rec.Value == nil && h.HasDeleteHorizon() && r.mayDrop(h.BaseTimestamp, rec.Offset)
}

// add gives what is left of a batch, r.records, to the part. A batch that is whole and large enough stays as it is.
func (r *round) add(b recordbatch.Batch, changed bool, horizon int64) error {
	if b.Attributes&alwaysAlone != 0 {
		if !changed {
			return r.assembler.pass(b, false)
		}
		return r.assembler.alone(&b.Header, r.records, horizon)
	}
	if !changed && b.Codec() != recordbatch.None && len(b.Bytes) >= r.assembler.target/4 {
		return r.assembler.pass(b, false)
	}
	for i := range r.records {
		if err := r.assembler.gather(&r.records[i], b.LeaderEpoch, horizon); err != nil {
			return err
		}
	}
	return nil
}
