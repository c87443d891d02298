package hotlog

import (
	"errors"
	"sync"
)

// spare is the segment prepared ahead of need. At most one goroutine prepares it, and whoever takes or drops the spare waits for that
// goroutine.
type spare struct {
	preparing sync.WaitGroup
	sync.Mutex
	// busy: a segment is being prepared, or lies ready.
	busy    bool
	segment *segment
	// nextID is the next id to give out. A failed creation uses its id up.
	nextID uint64
}

// prepareSpare starts preparing the next segment unless that has been done. A failure is not remembered: whoever needs the
// segment creates it and meets the error himself.
func (l *Log) prepareSpare() {
	l.spare.Lock()
	defer l.spare.Unlock()
	if l.spare.busy {
		return
	}
	l.spare.busy = true
	id := l.spare.nextID
	l.spare.nextID++
	l.spare.preparing.Go(func() {
		segment, err := l.createSegment(id, true)
		l.spare.Lock()
		defer l.spare.Unlock()
		if err != nil {
			return // busy stays, so that a full disk is not asked again at every append; takeSpare ends it
		}
		l.spare.segment = segment
	})
}

// takeSpare waits for a segment under preparation and returns it, or nil.
func (l *Log) takeSpare() *segment {
	l.spare.preparing.Wait()
	l.spare.Lock()
	defer l.spare.Unlock()
	segment := l.spare.segment
	l.spare.segment, l.spare.busy = nil, false
	return segment
}

// openNext makes the spare, or else a segment created now, the active one. The log has none when it is called.
func (l *Log) openNext() error {
	next := l.takeSpare()
	if next == nil {
		id := l.spare.nextID
		l.spare.nextID++
		var err error
		if next, err = l.createSegment(id, false); err != nil {
			return l.classify(err)
		}
	}
	l.add(next)
	l.writer.active = next
	return nil
}

// dropSpare deletes a segment that was prepared and not used.
func (l *Log) dropSpare() error {
	segment := l.takeSpare()
	if segment == nil {
		return nil
	}
	return errors.Join(segment.release(), l.fs.Remove(segment.path))
}
