package leader

import (
	"context"
	"fmt"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/coordinator/replica"
)

// submission is what one caller submitted at once.
type submission struct {
	seq  uint64
	err  error
	done chan struct{} // gets one value when seq and err are set
}

// item is one command, or the seat of a submission without any (a barrier that rides along).
type item struct {
	command *metapb.Command
	bytes   int
	last    bool // the submission is answered with this item
	patient bool // nobody's request waits for it
	owner   *submission
}

// queue is what waits for the next entry. It is bounded.
type queue struct {
	maxCommands int
	maxBytes    int
	// patience is how long what is patient waits for something that is not.
	patience time.Duration
	// filled has room for one value, and one in it when something waits.
	filled chan struct{}
	mu     struct {
		sync.Mutex
		open  bool
		items []item // what waits is items[head:]
		head  int
		bytes int
		// patientItems is how many of those that wait are patient, patientSince since when the oldest of them waits.
		patientItems int
		patientSince time.Time
	}
}

func newQueue(maxCommands, maxBytes int, patience time.Duration) *queue {
	return &queue{maxCommands: maxCommands, maxBytes: maxBytes, patience: patience, filled: make(chan struct{}, 1)}
}

// isPatient says whether no client waits for a command: it is a worker's, or the leader's own, and may come a moment later.
func isPatient(c *metapb.Command) bool {
	switch c.Kind.(type) {
	case *metapb.Command_LeaseJob, *metapb.Command_RenewJob, *metapb.Command_FinishJob, *metapb.Command_LeaseCompaction, *metapb.Command_CompactRange,
		*metapb.Command_ForgetGarbage, *metapb.Command_LocalReleased, *metapb.Command_Tick:
		return true
	}
	return false
}

var submissions = sync.Pool{New: func() any { return &submission{done: make(chan struct{}, 1)} }}

// submit queues the commands and waits until they are in the log. Where ctx ends first, they may come to be; where it has ended before, they do not.
func (q *queue) submit(ctx context.Context, commands []*metapb.Command) (uint64, error) {
	items := make([]item, 0, max(1, len(commands)))
	s := submissions.Get().(*submission)
	s.seq, s.err = 0, nil
	for _, c := range commands {
		if err := encodable(c); err != nil {
			return 0, fmt.Errorf("%w: %w", replica.ErrMalformed, err)
		}
		size := proto.Size(c)
		if size <= meta.FrameBytes {
			items = append(items, item{command: c, bytes: size, patient: q.patience > 0 && isPatient(c), owner: s})
			continue
		}
		frames, err := meta.Split(c, meta.FrameBytes)
		if err != nil {
			return 0, fmt.Errorf("%w: %w", replica.ErrTooLarge, err)
		}
		for _, frame := range frames {
			items = append(items, item{command: frame, bytes: meta.FrameBytes, owner: s})
		}
	}
	if len(items) == 0 {
		items = append(items, item{owner: s})
	}
	items[len(items)-1].last = true
	if err := ctx.Err(); err != nil {
		return 0, fmt.Errorf("submit: %w: %w", replica.ErrWithdrawn, err)
	}
	if err := q.add(items); err != nil {
		return 0, err
	}
	select {
	case <-s.done:
	case <-ctx.Done():
		select {
		case <-s.done: // it was answered with what ended ctx
		default:
			return 0, fmt.Errorf("submit: %w: %w", replica.ErrAmbiguous, ctx.Err())
		}
	}
	seq, err := s.seq, s.err
	submissions.Put(s)
	return seq, err
}

// encodable tells whether c can stand in an entry, before others stand beside it: Protobuf encodes no string that is not UTF-8,
// and clients choose strings. Chunks, which make the load, have none.
func encodable(c *metapb.Command) error {
	if _, ok := c.Kind.(*metapb.Command_CommitChunk); ok {
		return nil
	}
	_, err := proto.Marshal(c)
	return err
}

func (q *queue) add(items []item) error {
	bytes := 0
	for i := range items {
		bytes += items[i].bytes
	}
	if len(items) > q.maxCommands || bytes > q.maxBytes {
		return fmt.Errorf("submit %d commands of %d bytes: %w", len(items), bytes, replica.ErrTooLarge)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case !q.mu.open:
		return replica.ErrNotLeader
	case len(q.mu.items)-q.mu.head+len(items) > q.maxCommands || q.mu.bytes+bytes > q.maxBytes:
		return replica.ErrBusy
	}
	for i := range items {
		if !items[i].patient {
			continue
		}
		if q.mu.patientItems == 0 {
			q.mu.patientSince = time.Now()
		}
		q.mu.patientItems++
	}
	q.mu.items = append(q.mu.items, items...)
	q.mu.bytes += bytes
	select {
	case q.filled <- struct{}{}:
	default:
	}
	return nil
}

// noHurry is longer than anything waits in the queue.
const noHurry = time.Hour

// take moves the oldest items, at most maxBytes of them but at least one, to dst; none while all are patient. later is after how long they are not
// any more, or noHurry where nothing waits.
func (q *queue) take(dst []item, maxBytes int) (_ []item, later time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	waiting := q.mu.items[q.mu.head:]
	if len(waiting) == 0 {
		return dst, noHurry
	}
	if q.mu.patientItems == len(waiting) {
		if left := q.patience - time.Since(q.mu.patientSince); left > 0 {
			return dst, left
		}
	}
	n, bytes := 0, 0
	for n < len(waiting) && (n == 0 || bytes+waiting[n].bytes <= maxBytes) {
		bytes += waiting[n].bytes
		if waiting[n].patient {
			q.mu.patientItems--
		}
		n++
	}
	dst = append(dst, waiting[:n]...)
	clear(waiting[:n])
	q.mu.head += n
	q.mu.bytes -= bytes
	if 2*q.mu.head >= len(q.mu.items) {
		rest := copy(q.mu.items, q.mu.items[q.mu.head:])
		clear(q.mu.items[rest:])
		q.mu.items, q.mu.head = q.mu.items[:rest], 0
	}
	return dst, 0
}

// waits says whether something waits that makes the next entry begin as soon as it can.
func (q *queue) waits() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.mu.open && len(q.mu.items)-q.mu.head > q.mu.patientItems
}

func (q *queue) open() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.mu.open = true
}

// close refuses what comes and what waits. A submission of which a part is in the log already is answered with
// ErrAmbiguous: the caller gets begun, which says whose it is.
func (q *queue) close(begun *submission) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.mu.open = false
	for _, it := range q.mu.items[q.mu.head:] {
		if !it.last {
			continue
		}
		if it.owner == begun {
			it.owner.settle(0, replica.ErrAmbiguous)
		} else {
			it.owner.settle(0, replica.ErrNotLeader)
		}
	}
	clear(q.mu.items)
	q.mu.items, q.mu.head, q.mu.bytes, q.mu.patientItems = q.mu.items[:0], 0, 0, 0
}

func (q *queue) isOpen() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.mu.open
}

func (s *submission) settle(seq uint64, err error) {
	s.seq, s.err = seq, err
	s.done <- struct{}{}
}
