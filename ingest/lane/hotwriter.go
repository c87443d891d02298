package lane

import (
	"sync"
	"sync/atomic"

	"github.com/varvelog/varve/ingest/copies"
	"github.com/varvelog/varve/ingest/hotlog"
)

// hotWriter is an epoch's way into the hot log. The chunks of the lanes and the copies of other nodes' that come while a group is being
// synced are the next group: they share its write and its fdatasync. Whoever finds the log idle writes at once, on its own goroutine.
type hotWriter struct {
	session *session
	// fresh: the log's active segment is not an earlier epoch's.
	fresh atomic.Bool

	mu struct {
		sync.Mutex
		queue []*hotAppend
		busy  bool
	}

	// Of whoever is busy.
	group  []*hotAppend
	chunks []hotlog.Chunk
	places []hotlog.Place
}

// hotAppend is one chunk to be appended, and what became of it. It can be used again when append has returned.
type hotAppend struct {
	chunk hotlog.Chunk
	// copyOf is the chunk that this is a copy of; nil where it is the node's own.
	copyOf *copies.Header
	// between, if not nil, is called in the place of an append.
	between func()

	place hotlog.Place
	err   error
	turn  chan bool // true: write the next group; false: it is done
}

func newHotAppend() hotAppend { return hotAppend{turn: make(chan bool, 1)} }

// append makes a chunk durable and counts it in the segments before anything else is appended. Errors are the log's.
func (w *hotWriter) append(a *hotAppend) (hotlog.Place, error) {
	var size int64
	for _, buf := range a.chunk.Buffers {
		size += int64(len(buf))
	}
	if limit := w.session.set.log.MaxChunkBytes(); size > limit {
		return hotlog.Place{}, &hotlog.ChunkTooLargeError{SizeBytes: size, MaxBytes: limit}
	}
	w.enter(a)
	return a.place, a.err
}

// between calls f while nothing is being appended and everything that was is counted in the segments.
func (w *hotWriter) between(f func()) {
	a := newHotAppend()
	a.between = f
	w.enter(&a)
}

// enter returns when it was a's turn.
func (w *hotWriter) enter(a *hotAppend) {
	w.mu.Lock()
	w.mu.queue = append(w.mu.queue, a)
	lead := !w.mu.busy
	w.mu.busy = true
	w.mu.Unlock()
	if lead || <-a.turn {
		w.write(a)
	}
}

// write appends what is queued, which own is part of, as one group, and passes the log on.
func (w *hotWriter) write(own *hotAppend) {
	w.mu.Lock()
	w.group, w.mu.queue = w.mu.queue, w.group[:0]
	w.mu.Unlock()
	w.appendGroup()
	group := w.group
	w.mu.Lock()
	w.mu.busy = len(w.mu.queue) > 0
	var next *hotAppend
	if w.mu.busy {
		next = w.mu.queue[0]
	}
	w.group = nil
	w.mu.Unlock()
	// From here on the group is another's to write; what is left is to wake its members.
	if next != nil {
		next.turn <- true
	}
	for _, a := range group {
		if a != own {
			a.turn <- false
		}
	}
}

// appendGroup makes the group's chunks durable, as far as that goes, and then does what else is in it. An epoch begins with a segment of its own,
// since state seals those of earlier epochs.
func (w *hotWriter) appendGroup() {
	w.chunks, w.places = w.chunks[:0], w.places[:0]
	for _, a := range w.group {
		if a.between == nil {
			w.chunks = append(w.chunks, a.chunk)
		}
	}
	defer clear(w.chunks)
	var err error
	if len(w.chunks) > 0 {
		if err = w.begin(); err == nil {
			w.places, err = w.session.set.log.Append(w.places, w.chunks...)
		}
	}
	next := 0
	for _, a := range w.group {
		if a.between != nil {
			continue
		}
		if a.err = err; next < len(w.places) {
			a.place, a.err = w.places[next], nil
			w.session.segments.appended(a.place, a.copyOf)
		}
		next++
	}
	for _, a := range w.group {
		if a.between != nil {
			a.between()
		}
	}
}

func (w *hotWriter) begin() error {
	if w.fresh.Load() {
		return nil
	}
	if err := w.session.set.log.Abandon(); err != nil {
		return err
	}
	if err := w.session.set.log.Roll(); err != nil {
		return err
	}
	w.fresh.Store(true)
	return nil
}
