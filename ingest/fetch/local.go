package fetch

import (
	"cmp"
	"context"
	"slices"
)

const (
	// mergeGapBytes is how far apart two pieces may be to be read in one go: copying that much costs less than a system call.
	// Between the runs of a partition in successive small chunks stand their headers and run tables.
	mergeGapBytes = 4 << 10
	// mergeBytes bounds a merged read.
	mergeBytes = 1 << 20
)

// localRound is the reads from the node's own hot log in one round.
type localRound struct {
	pieces []piece
}

// piece is one extent's bytes in a segment.
type piece struct {
	segment    uint64
	start, end uint64
	cursor     int32
	extent     int32
}

// readLocal reads all local extents of the plan, neighbours together, and takes over what they bring.
func (f *reading) readLocal(ctx context.Context) {
	l := &f.local
	l.pieces = l.pieces[:0]
	for i := range f.cursors {
		c := &f.cursors[i]
		for k := range c.extents {
			e := &c.extents[k]
			if !e.local || e.made() {
				continue
			}
			if err := e.seek(ctx, f.reader); err != nil {
				e.err, e.done = err, true
				break
			}
			l.pieces = append(l.pieces, piece{e.loc.Segment, e.start, e.readEnd(), int32(i), int32(k)})
		}
	}
	slices.SortFunc(l.pieces, func(a, b piece) int {
		return cmp.Or(cmp.Compare(a.segment, b.segment), cmp.Compare(a.start, b.start))
	})
	for first := 0; first < len(l.pieces); {
		after := l.group(first)
		f.readGroup(ctx, l.pieces[first:after])
		first = after
	}
	for i := range f.cursors {
		c := &f.cursors[i]
		if !c.remote() {
			f.take(c)
		}
	}
}

// group returns the end of the pieces from first on that are read together.
func (l *localRound) group(first int) int {
	start, end := l.pieces[first].start, l.pieces[first].end
	after := first + 1
	for ; after < len(l.pieces); after++ {
		p := &l.pieces[after]
		// Pieces that overlap (a partition named twice) must not share memory: each patches its own.
		if p.segment != l.pieces[first].segment || p.start < end || p.start-end > mergeGapBytes || p.end-start > mergeBytes {
			break
		}
		end = p.end
	}
	return after
}

// readGroup reads the pieces and cuts them up: in one go where the budget has room for what stands between them, which stays in memory
// with them, else one by one.
func (f *reading) readGroup(ctx context.Context, pieces []piece) {
	start, end, wanted := pieces[0].start, pieces[len(pieces)-1].end, uint64(0)
	for _, p := range pieces {
		wanted += p.end - p.start
	}
	if !f.extend(end - start - wanted) {
		f.readApart(ctx, pieces, wanted)
		return
	}
	b := getBuffer(int(end - start))
	err := f.reader.log.ReadAt(pieces[0].segment, uint32(start), b.data)
	if err != nil {
		b.free()
	} else {
		f.response.own(b)
	}
	for _, p := range pieces {
		f.cutPiece(ctx, &p, b.data[p.start-start:p.end-start], err)
	}
}

// readApart reads pieces of wanted bytes without what stands between them. They share a buffer: the smallest there is is larger than many a piece.
func (f *reading) readApart(ctx context.Context, pieces []piece, wanted uint64) {
	b := getBuffer(int(wanted))
	f.response.own(b)
	rest := b.data
	for _, p := range pieces {
		data := rest[:p.end-p.start]
		rest = rest[len(data):]
		f.cutPiece(ctx, &p, data, f.reader.log.ReadAt(p.segment, uint32(p.start), data))
	}
}

// cutPiece makes records of a piece that was read, or not.
func (f *reading) cutPiece(ctx context.Context, p *piece, data []byte, err error) {
	e := &f.cursors[p.cursor].extents[p.extent]
	e.done, e.err = true, err
	if err == nil {
		e.err = e.finish(ctx, f.reader, data)
		f.own(e)
	}
}

// extend takes memory out of the budget beyond what is planned, where that need not wait.
func (f *reading) extend(bytes uint64) bool {
	if bytes == 0 {
		return true
	}
	held, ok := f.reader.budget.tryAcquire(int64(bytes))
	f.response.held += held
	return ok
}

// own makes the extent's memory the response's.
func (f *reading) own(e *extent) {
	for _, b := range e.owned {
		f.response.own(b)
	}
	f.response.held += e.beyond.held
	e.owned, e.beyond.held = nil, 0
}
