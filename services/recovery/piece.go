package recovery

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/infra/objstore"
	"github.com/varvelog/varve/ingest/recordbatch"
	"github.com/varvelog/varve/tiering/segment"
	"github.com/varvelog/varve/tiering/upload"
)

// piece is what a part, which does not become part of the log as a whole, has of offsets that are nowhere else. It becomes an object of the recovery's own.
type piece struct {
	id         meta.SegmentID
	of         *candidate
	base, next int64
	first      bool // the log begins with it
	sizeBytes  int
	without    []error // why it is smaller than it was to be
}

// pieces cuts out what spare parts have of a range of offsets: of the newest that has it, and of the next one what that cannot give, since a batch which
// reaches out of the piece cannot be parted.
func (p *Plan) pieces(ctx context.Context, missing meta.OffsetRange, spare []choice, logStart int64) (out []*candidate, err error) {
	spare = slices.DeleteFunc(slices.Clone(spare), func(c choice) bool { return c.next <= missing.BaseOffset || c.base >= missing.NextOffset })
	slices.SortStableFunc(spare, func(x, y choice) int { return compareObjects(y.candidate.object.id, x.candidate.object.id) })
	var bounds []int64 // where what is newest may change
	for _, c := range spare {
		bounds = append(bounds, max(c.base, missing.BaseOffset), min(c.next, missing.NextOffset))
	}
	slices.Sort(bounds)
	bounds = slices.Compact(bounds)
	var refused []*candidate // that cannot give what is at the offset
	for at := missing.BaseOffset; ; {
		for len(bounds) > 0 && bounds[0] <= at {
			bounds = bounds[1:]
		}
		if len(bounds) == 0 {
			return out, nil
		}
		from := newestAt(spare, at, refused)
		if from == nil {
			at, refused = bounds[0], nil
			continue
		}
		end := 0
		for end+1 < len(bounds) && newestAt(spare, bounds[end], refused) == from {
			end++
		}
		cut, err := p.cut(ctx, from, at, bounds[end], logStart)
		if err != nil {
			return nil, err
		}
		if cut == nil {
			refused = append(refused, from)
			continue
		}
		if cut.part.BaseOffset > at {
			others := slices.DeleteFunc(slices.Clone(spare), func(c choice) bool { return c.candidate == from })
			before, err := p.pieces(ctx, meta.OffsetRange{BaseOffset: at, NextOffset: cut.part.BaseOffset}, others, logStart)
			if err != nil {
				return nil, err
			}
			out = append(out, before...)
		}
		out = append(out, cut)
		at, refused = cut.part.NextOffset, nil
		if at < bounds[end] {
			refused = append(refused, from)
		}
	}
}

// newestAt is the first of the parts that has an offset and is none of some, nil for none.
func newestAt(spare []choice, offset int64, but []*candidate) *candidate {
	for _, c := range spare {
		if c.base <= offset && offset < c.next && !slices.Contains(but, c.candidate) {
			return c.candidate
		}
	}
	return nil
}

// cut makes a piece of a part, a smaller one where batches at its ends cannot be parted; nil where nothing can be had. The log may start within its first
// batch, which stays whole.
func (p *Plan) cut(ctx context.Context, c *candidate, base, next, logStart int64) (*candidate, error) {
	q := &piece{id: meta.SegmentID{Job: p.job, Ordinal: p.ordinals}, of: c, base: base, next: next, first: base == logStart}
	body, parts, err := q.encode(ctx, p.cfg.Store)
	switch {
	case err != nil && transient(err):
		return nil, err
	case err != nil:
		p.damaged(c.object.id.Key(), err)
		return nil, nil
	}
	for _, why := range q.without {
		p.notAdopted(c.object.id.Key()+": "+c.part.String(), why.Error())
	}
	if base, next = q.base, q.next; base >= next {
		return nil, nil
	}
	p.ordinals++
	q.sizeBytes = len(body)
	p.cuts = append(p.cuts, q)
	out := &candidate{
		object: &storedObject{id: q.id, info: objstore.Info{Key: q.id.Key(), SizeBytes: int64(len(body))}, header: c.object.header},
		part:   parts[0],
	}
	base = parts[0].BaseOffset
	for _, e := range c.events {
		if base <= e.Offset && e.Offset < next {
			out.events = append(out.events, e)
		}
	}
	if epoch := c.epochAt(base); epoch > 0 {
		out.epochs = append(out.epochs, meta.PartEpoch{Epoch: epoch, Offset: base})
	}
	for _, e := range c.epochs {
		if base < e.Offset && e.Offset < next {
			out.epochs = append(out.epochs, e)
		}
	}
	return out, nil
}

// errUnparted: a batch would have to be parted, and cannot be.
var errUnparted = errors.New("a piece begins or ends within a batch that cannot be parted")

// encode builds the object, and makes the piece smaller where batches at its ends cannot be parted. Of what is left it is the same each time.
func (q *piece) encode(ctx context.Context, store objstore.Store) (body []byte, parts []segment.Part, err error) {
	of := &q.of.part
	stream, _, err := store.Get(ctx, q.of.object.info.Key, int64(of.Position), int64(of.LengthBytes))
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, stream.Close()) }()
	encoder := segment.NewEncoder(segment.Header{JobID: uint64(q.id.Job), Ordinal: q.id.Ordinal, CreatedMillis: q.of.object.header.CreatedMillis}, 0)
	for _, about := range q.of.object.topics {
		if about.ID == of.TopicID {
			encoder.About(about)
		}
	}
	begun, end := false, q.base // of the last batch
	begin := func(base int64) {
		if begun {
			return
		}
		begun = true
		encoder.Begin(of.TopicID, of.Topic, of.Partition, base)
		encoder.LogStart(of.LogStart)
		for _, s := range q.of.object.sources {
			if q.of.whole && &q.of.object.parts[s.Part] == q.of { // else what is from there may not be in the log
				encoder.From(s)
			}
		}
	}
	r := bufio.NewReaderSize(stream, 256<<10)
	var buf []byte
	var h recordbatch.Header
	for left := int64(of.LengthBytes); left > 0; left -= int64(len(buf)) {
		if h, buf, err = recordbatch.ReadBatch(r, buf, left); err != nil {
			return nil, nil, fmt.Errorf("read %s again: %w", q.of.object.id.Key(), err)
		}
		switch {
		case h.NextOffset() <= q.base || h.BaseOffset >= q.next:
			continue
		case h.NextOffset() <= q.next && (h.BaseOffset >= q.base || q.first):
			begin(min(q.base, h.BaseOffset))
			err = encoder.Batch(h, buf, of.Verbatim)
			end = h.NextOffset()
		default:
			split, some, unparted := q.split(h, buf)
			if unparted != nil {
				q.leaveOut(h, unparted)
			} else if len(split) > 0 {
				begin(q.base)
				err = encoder.Batch(some, split, false)
				end = some.NextOffset()
			}
		}
		if err != nil {
			return nil, nil, fmt.Errorf("take offsets [%d, %d) of %s: %w", q.base, q.next, q.of.object.id.Key(), err)
		}
	}
	if q.base >= q.next {
		return nil, nil, nil
	}
	begin(q.base)
	if end = max(end, q.base); end < q.next {
		empty := recordbatch.EmptyBatch(end, q.next-1, q.of.epochAt(q.next-1))
		if h, err = recordbatch.ParseHeader(empty); err == nil {
			err = encoder.Batch(h, empty, false)
		}
		if err != nil {
			return nil, nil, err
		}
	}
	encoder.End(q.next)
	body, parts = encoder.Finish()
	return body, parts, nil
}

// leaveOut ends the piece before a batch that reaches behind its end, or begins it behind one that reaches back from its beginning.
func (q *piece) leaveOut(h recordbatch.Header, why error) {
	q.without = append(q.without, fmt.Errorf("offsets [%d, %d): %w", max(q.base, h.BaseOffset), min(q.next, h.NextOffset()), why))
	if h.NextOffset() > q.next {
		q.next = max(q.base, h.BaseOffset)
	} else {
		q.base = h.NextOffset()
	}
}

// split makes a batch of the records of another that are in the piece; none where there are no records. An error says why that one cannot be parted. Batches of
// producers are not: parts begin and end with them.
func (q *piece) split(h recordbatch.Header, batch []byte) ([]byte, recordbatch.Header, error) {
	if h.RecordCount == 0 {
		return nil, h, nil
	}
	if h.HasProducerID() {
		return nil, h, fmt.Errorf("%w: producer %d's at offset %d", errUnparted, h.ProducerID, h.BaseOffset)
	}
	scratch := recordbatch.GetScratch(0)
	defer scratch.Put()
	builder := recordbatch.NewBuilder(recordbatch.BuilderOptions{
		Codec: recordbatch.Zstd, Level: recordbatch.DefaultRebatchLevel, Attributes: h.Attributes &^ recordbatch.AttrDeleteHorizon,
	})
	builder.Reset(max(h.BaseOffset, q.base), h.LeaderEpoch)
	if h.HasDeleteHorizon() {
		builder.SetDeleteHorizon(h.BaseTimestamp)
	}
	for r, err := range recordbatch.Records(batch, scratch) {
		if err == nil && q.base <= r.Offset && r.Offset < q.next {
			err = builder.AppendRecord(&r)
		}
		if err != nil {
			return nil, h, fmt.Errorf("%w: at offset %d: %w", errUnparted, h.BaseOffset, err)
		}
	}
	if builder.RecordCount() == 0 {
		return nil, h, nil
	}
	data, h, err := builder.Build(nil)
	if err != nil {
		return nil, h, fmt.Errorf("%w: at offset %d: %w", errUnparted, h.BaseOffset, err)
	}
	return data, h, nil
}

// storePieces stores them.
func (p *Plan) storePieces(ctx context.Context) error {
	for _, q := range p.cuts {
		body, _, err := q.encode(ctx, p.cfg.Store)
		if err != nil {
			return err
		}
		if len(body) != q.sizeBytes {
			return fmt.Errorf("%s, a piece of %s, came to %d bytes and then to %d", q.id.Key(), q.of.object.id.Key(), q.sizeBytes, len(body))
		}
		if err := upload.Put(ctx, p.cfg.Store, q.id.Key(), body, p.cfg.Logger); err != nil {
			return err
		}
	}
	return nil
}
