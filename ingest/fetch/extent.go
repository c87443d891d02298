package fetch

import (
	"context"
	"errors"
	"fmt"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/ingest/recordbatch"
	"github.com/varvelog/varve/tiering/segment"
)

// errMissing: the bytes are not what the state says should be there.
var errMissing = errors.New("bytes missing")

// damageError is errMissing with the place: what stands there is not what was written.
type damageError struct {
	position uint64 // in the segment or object
	length   int    // of what is read again
	err      error
}

func (e *damageError) Error() string { return fmt.Sprintf("damaged at %d: %v", e.position, e.err) }

func (e *damageError) Unwrap() []error { return []error{errMissing, e.err} }

func damaged(position uint64, format string, args ...any) error {
	return &damageError{position, recordbatch.HeaderBytes, fmt.Errorf(format, args...)}
}

const (
	// searchWindowBytes is how much is read at first to look for a batch: some small batches, or the header of a large one.
	searchWindowBytes = 4 << 10
	// maxSearchWindowBytes is how much is read at once after several windows full of small ones.
	maxSearchWindowBytes = 256 << 10
)

// extent is the part of one run or stored part that a read wants, and what became of it.
type extent struct {
	loc meta.Location
	tp  meta.TopicPartition
	// leaderEpoch goes into batches whose offsets are assigned here.
	leaderEpoch int32
	from        int64 // the first offset wanted
	to          int64 // batches from this offset on are not wanted; 0: all are
	limit       int   // bytes to read
	mustHave    bool  // one batch is to be read even where it does not fit into limit
	hole        bool  // no bytes, now or ever: [loc.BaseOffset, loc.NextOffset) is served as an empty batch
	local       bool  // in the node's own hot log
	address     string
	// Of a run in the class replicated: loc is the copy's place, and loc.Copy the source's.
	swapped      bool
	otherAddress string // of the node at loc.Copy
	preferOther  bool   // the first place has failed or was slow

	// Where reading begins: the batch at position start has the offset base, or one above it where offsets may be missing.
	start uint64
	base  int64
	// exact: the batch at start must have the offset base.
	exact bool
	// walked: the headers of the run were found to add up.
	walked bool

	records []byte
	next    int64 // the offset after records
	owned   []*buffer
	beyond  beyond
	err     error
	done    bool
	settled bool // its goroutine has ended, and what it brought may be looked at
}

// beyond is the memory of batches that are read though they do not fit into limit.
type beyond struct {
	room  int64 // reserved for them before
	held  int64 // taken out of the budget for them
	taken int64 // by them
	lacks int64 // all that they would take, where there was no memory for it
}

// end is the position after the extent.
func (e *extent) end() uint64 { return e.loc.Position + e.loc.Length }

// marker tells whether the extent is a transaction's marker, which has no bytes anywhere.
func (e *extent) marker() bool { return !e.hole && e.loc.Tier == meta.TierMarker }

// made tells whether what is served is made here, not read.
func (e *extent) made() bool { return e.hole || e.loc.Tier == meta.TierMarker }

func (e *extent) sizeBytes() uint64 {
	if e.marker() {
		return recordbatch.ControlBatchBytes
	}
	return e.loc.Length
}

// controlBatch is what readers get in the place of a marker.
func (e *extent) controlBatch() []byte {
	m := &e.loc.Marker
	return recordbatch.ControlBatch(recordbatch.Marker{
		ProducerID: m.ProducerID, ProducerEpoch: m.ProducerEpoch, CoordinatorEpoch: m.CoordinatorEpoch, Commit: m.Commit, TimestampMillis: m.TimestampMillis,
	}, m.Offset, e.leaderEpoch)
}

// stored tells whether the batches carry their final offsets.
func (e *extent) stored() bool { return e.loc.Tier == meta.TierSegment }

// readEnd is the position up to which is to be read.
func (e *extent) readEnd() uint64 { return min(e.end(), e.start+uint64(e.limit)) }

// swap lets the extent be read from its second place first.
func (e *extent) swap() {
	l := &e.loc
	other := l.Copy
	l.Copy = meta.Copy{Node: l.Node, DiskID: l.DiskID, Segment: l.Segment, Position: l.Position}
	l.Node, l.DiskID, l.Segment, l.Position = other.Node, other.DiskID, other.Segment, other.Position
	e.swapped = !e.swapped
}

// dense tells whether a part's batches stand without gaps between their offsets, as they do unless it was compacted.
func (e *extent) dense() bool { return e.loc.Records == uint64(e.loc.NextOffset-e.loc.BaseOffset) }

// seek finds where to begin.
func (e *extent) seek(ctx context.Context, r *Reader) error {
	e.exact = e.stored() && e.dense()
	e.start, e.base = e.loc.Position, e.loc.BaseOffset
	if e.from <= e.loc.BaseOffset {
		return nil
	}
	if position, ok := r.hints.get(e.tp, idOf(e), e.from); ok && position < e.end() && position >= e.loc.Position {
		e.start, e.base = position, e.from
		return nil
	}
	if !e.stored() {
		return e.search(ctx, r, func(_ *recordbatch.Header, next int64) bool { return next > e.from })
	}
	position, base, err := r.index.Seek(ctx, e.loc, e.from)
	if errors.Is(err, segment.ErrCorrupt) {
		r.tell(e, &damageError{e.loc.IndexPosition, int(e.loc.IndexLength), err})
		return e.search(ctx, r, func(_ *recordbatch.Header, next int64) bool { return next > e.from })
	}
	if err != nil {
		return fmt.Errorf("seek offset %d in %q: %w", e.from, e.loc.Key(), err)
	}
	if position < e.loc.Position || position >= e.end() {
		return fmt.Errorf("%w: the index of %q points to %d for offset %d", errMissing, e.loc.Key(), position, e.from)
	}
	e.start, e.base, e.exact = position, base, true
	return nil
}

// search moves start and base on to the first batch that found accepts, given its header and the offset after it. It
// reads headers only, of small batches many at once: each window is a request to another node where the run is there. errMissing where none is
// accepted. Since the offsets of a run's batches follow from the headers before them, which no checksum is held against here, those of the whole run
// have to add up.
func (e *extent) search(ctx context.Context, r *Reader, found func(h *recordbatch.Header, next int64) bool) error {
	window := getBuffer(searchWindowBytes)
	defer func() { window.free() }()
	position, offset := e.start, e.base
	start, base := e.end(), e.loc.NextOffset
	isFound := false
	for position < e.end() {
		buf := window.data[:min(uint64(len(window.data)), e.end()-position)]
		if _, err := r.readAt(ctx, e, position, buf); err != nil {
			return err
		}
		headers := 0
		for at := 0; at < len(buf); headers++ {
			if len(buf)-at < recordbatch.HeaderBytes {
				if at == 0 {
					return damaged(position, "half a header")
				}
				break
			}
			h, err := e.header(buf[at:], position)
			if err != nil {
				return err
			}
			next := e.after(&h, offset)
			if !isFound && found(&h, next) {
				isFound, start, base = true, position, offset
			}
			if isFound && (e.stored() || e.walked) {
				e.start, e.base = start, base
				return nil
			}
			at += h.SizeBytes()
			position += uint64(h.SizeBytes())
			offset = next
		}
		if size := searchWindow(len(window.data), headers); size != len(window.data) {
			window.free()
			window = getBuffer(size)
		}
	}
	if !e.stored() && offset != e.loc.NextOffset {
		return damaged(e.loc.Position, "the run ends at offset %d, not %d", offset, e.loc.NextOffset)
	}
	e.start, e.base, e.walked = start, base, true
	if !isFound {
		return fmt.Errorf("%w: no such batch before %d", errMissing, e.end())
	}
	return nil
}

// searchWindow is how much to read after a window of size bytes that had headers.
func searchWindow(size, headers int) int {
	if headers < 2 {
		return searchWindowBytes // of a large batch only the header is wanted
	}
	return min(2*size, maxSearchWindowBytes)
}

// header decodes a header at position and checks what reading further relies on.
func (e *extent) header(b []byte, position uint64) (recordbatch.Header, error) {
	h, err := recordbatch.ParseHeader(b)
	if err != nil {
		return h, &damageError{position, recordbatch.HeaderBytes, err}
	}
	if uint64(h.SizeBytes()) > e.end()-position || h.LastOffsetDelta < 0 {
		return h, damaged(position, "batch of %d bytes, the extent ends at %d", h.SizeBytes(), e.end())
	}
	return h, nil
}

// check holds a batch's bytes against their checksum, and what no checksum covers against what is known of the extent.
func (e *extent) check(h *recordbatch.Header, batch []byte, position uint64, offset int64) error {
	if e.stored() {
		if h.BaseOffset < offset || e.exact && h.BaseOffset != offset || h.NextOffset() > e.loc.NextOffset {
			return damaged(position, "batch of offsets [%d, %d), where %d is next of [%d, %d)", h.BaseOffset, h.NextOffset(), offset, e.loc.BaseOffset, e.loc.NextOffset)
		}
		if h.LeaderEpoch > e.leaderEpoch || h.LeaderEpoch < -1 {
			return damaged(position, "batch of leader epoch %d, the partition's is %d", h.LeaderEpoch, e.leaderEpoch)
		}
	}
	if err := recordbatch.CheckCRC(batch); err != nil {
		return &damageError{position, len(batch), err}
	}
	return nil
}

// after is the offset after a batch, given the offset before it.
func (e *extent) after(h *recordbatch.Header, offset int64) int64 {
	if e.stored() {
		return h.NextOffset()
	}
	return offset + int64(h.LastOffsetDelta) + 1
}

// cut keeps the whole batches of data, which was read from start, and gives them their offsets. Where not even the first
// wanted one is whole, wanted is its position and records stays empty. What stands before a damaged batch is kept too: the read that goes on there
// fails.
func (e *extent) cut(data []byte) (wanted uint64, err error) {
	position, offset, first := e.start, e.base, -1
	at, stopped := 0, false
	for at < len(data) {
		if stopped = e.to > 0 && offset >= e.to; stopped || len(data)-at < recordbatch.HeaderBytes {
			break
		}
		h, err := e.header(data[at:], position)
		if err == nil && h.SizeBytes() > len(data)-at {
			break
		}
		if err == nil {
			err = e.check(&h, data[at:at+h.SizeBytes()], position, offset)
		}
		if err != nil && first < 0 {
			return 0, err
		}
		if stopped = err != nil; stopped {
			break
		}
		size, next := h.SizeBytes(), e.after(&h, offset)
		if first < 0 && next > e.from {
			first = at
		}
		if !e.stored() {
			recordbatch.SetBaseOffset(data[at:], offset)
			recordbatch.SetLeaderEpoch(data[at:], e.leaderEpoch)
		}
		at, position, offset, e.exact = at+size, position+uint64(size), next, e.stored() && e.dense()
	}
	if !stopped && position < e.end() && e.start+uint64(len(data)) >= e.end() {
		return 0, damaged(position, "half a header")
	}
	if position == e.end() {
		if !e.stored() && offset != e.loc.NextOffset {
			return 0, damaged(position, "the run ends at offset %d, not %d", offset, e.loc.NextOffset)
		}
		offset = e.loc.NextOffset
	}
	e.next, e.start, e.base = offset, position, offset
	if first < 0 && stopped {
		return e.end(), nil
	}
	if first < 0 {
		return position, nil
	}
	e.records = data[first:at:at]
	return 0, nil
}

// finish makes records of data and, where the limit cut off the first batch and there must be one, reads that one whole.
func (e *extent) finish(ctx context.Context, r *Reader, data []byte) error {
	wanted, err := e.cut(data)
	for err == nil && e.mustHave && len(e.records) == 0 && wanted < e.end() {
		wanted, err = e.readOne(ctx, r, wanted)
	}
	return err
}

// remember leaves a hint for the read that goes on where this one has stopped.
func (e *extent) remember(r *Reader) {
	if len(e.records) > 0 && e.start < e.end() {
		r.hints.put(e.tp, idOf(e), e.next, e.start)
	}
}

// readOne reads and cuts the batch at position. It returns what cut does, or the end where there is no memory for the batch, which e.beyond tells.
func (e *extent) readOne(ctx context.Context, r *Reader, position uint64) (wanted uint64, err error) {
	var head [recordbatch.HeaderBytes]byte
	if e.end()-position < uint64(len(head)) {
		return 0, damaged(position, "half a header")
	}
	if _, err := r.readAt(ctx, e, position, head[:]); err != nil {
		return 0, err
	}
	h, err := e.header(head[:], position)
	if err != nil {
		return 0, err
	}
	if !e.beyond.take(r.budget, int64(h.SizeBytes())) {
		return e.end(), nil
	}
	b := getBuffer(h.SizeBytes())
	e.owned = append(e.owned, b)
	if _, err := r.readAt(ctx, e, position, b.data); err != nil {
		return 0, err
	}
	return e.cut(b.data)
}

// take takes memory for a batch, where that need not wait: who waits must hold none.
func (b *beyond) take(budget *budget, bytes int64) bool {
	all := b.taken + bytes
	if missing := min(all, budget.limit) - b.room - b.held; missing > 0 {
		held, ok := budget.tryAcquire(missing)
		if !ok {
			b.lacks = all
			return false
		}
		b.held += held
	}
	b.taken = all
	return true
}

// read does all of it, for an extent that shares its bytes with none.
func (e *extent) read(ctx context.Context, r *Reader) error {
	if err := e.seek(ctx, r); err != nil {
		return err
	}
	b := getBuffer(int(e.readEnd() - e.start))
	e.owned = append(e.owned, b)
	n, err := r.readAt(ctx, e, e.start, b.data)
	switch {
	case err == nil:
		return e.finish(ctx, r, b.data)
	case ctx.Err() != nil:
		return e.keep(b.data[:n], err)
	default:
		return err
	}
}

// keep makes records of what had come when a read was ended. It would have to come once more otherwise, and over a slow network there may never be
// time for more. Where that is not a batch, the error that ended the read stays.
func (e *extent) keep(data []byte, ended error) error {
	if _, err := e.cut(data); err != nil {
		return err
	}
	if len(e.records) == 0 {
		return ended
	}
	return nil
}
