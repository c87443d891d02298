package fetch

import (
	"context"
	"encoding/binary"
	"time"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/ingest/recordbatch"
)

// reading is one Read. It goes round: plan, read, and wait for more unless there is enough.
type reading struct {
	reader   *Reader
	request  *Request
	response *Response
	cursors  []cursor
	deadline time.Time
	maxBytes int   // the request's, or less where memory is short
	bytes    int   // read so far
	planned  int   // bytes that this round's extents may take
	room     int64 // held already, for the one batch that is all there is memory for
	// behindBarrier: a barrier was passed since the request came, and since bytes were last missed.
	behindBarrier bool

	local  localRound
	watch  chan struct{}
	watchd []meta.TopicPartition
	cancel func()
}

func newReading(r *Reader, request *Request) *reading {
	f, ok := r.readings.Get().(*reading)
	if !ok {
		f = &reading{watch: make(chan struct{}, 1)}
	}
	f.reader, f.request = r, request
	f.response = newResponse(len(request.Partitions), r.budget)
	f.deadline, f.maxBytes = time.Now().Add(request.MaxWait), min(request.MaxBytes, r.budget.share())
	f.bytes, f.planned, f.room, f.behindBarrier = 0, 0, 0, false
	if cap(f.cursors) < len(request.Partitions) {
		f.cursors = make([]cursor, len(request.Partitions))
	}
	f.cursors = f.cursors[:len(request.Partitions)]
	for i := range f.cursors {
		read := &request.Partitions[i]
		f.cursors[i] = cursor{read: read, data: &f.response.Partitions[i], next: read.Offset, seen: -1, extents: f.cursors[i].extents[:0]}
	}
	return f
}

// close ends the watch and keeps the memory.
func (f *reading) close() {
	if f.cancel != nil {
		f.cancel()
		f.cancel = nil
	}
	select {
	case <-f.watch:
	default:
	}
	for i := range f.cursors {
		c := &f.cursors[i]
		c.read, c.data = nil, nil
		clear(c.extents)
		c.extents = c.extents[:0]
	}
	pool := &f.reader.readings
	f.reader, f.request, f.response = nil, nil, nil
	pool.Put(f)
}

// wanted is how many bytes are worth an answer before the request's time is over.
func (f *reading) wanted() int { return max(1, min(f.request.MinBytes, f.maxBytes)) }

func (f *reading) left() int { return max(0, f.maxBytes-f.bytes) }

// run goes round until there is an answer.
func (f *reading) run(ctx context.Context) {
	if f.opens() {
		f.barrier(ctx)
	}
	for {
		f.reader.replica.View(f.plan)
		if f.doubtful() && !f.behindBarrier {
			if f.barrier(ctx) {
				continue
			}
		}
		f.settleDoubts()
		if !f.fill(ctx) {
			break
		}
		if lacks := f.lacks(); lacks > 0 {
			if !f.makeRoom(ctx, lacks) {
				break
			}
			continue
		}
		if f.enough() || !f.wait(ctx) {
			break
		}
	}
	f.conclude()
}

func (f *reading) opens() bool {
	for i := range f.request.Partitions {
		if f.request.Partitions[i].Open {
			return true
		}
	}
	return false
}

// barrierWait is the time that a barrier gets even where the client does not wait.
const barrierWait = time.Second

// barrier passes a barrier, or tries to as long as the request may wait.
func (f *reading) barrier(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, max(barrierWait, time.Until(f.deadline)))
	defer cancel()
	f.behindBarrier = f.reader.replica.Barrier(ctx) == nil
	return f.behindBarrier
}

func (f *reading) doubtful() bool {
	for i := range f.cursors {
		if f.cursors[i].doubt != OK {
			return true
		}
	}
	return false
}

// settleDoubts makes answers of doubts that a barrier has confirmed.
func (f *reading) settleDoubts() {
	if !f.behindBarrier {
		return
	}
	for i := range f.cursors {
		c := &f.cursors[i]
		if c.doubt == OK {
			continue
		}
		if c.data.Bytes == 0 {
			c.data.Code = c.doubt
		}
		c.doubt, c.final = OK, true
	}
}

// fill carries out the plan; false where no more memory is to be had.
func (f *reading) fill(ctx context.Context) bool {
	switch {
	case f.room > 0 && f.bytes == 0:
		f.response.free() // what a round before has read in vain
	case f.room == 0 && f.planned > 0:
		if !f.reserve(ctx) {
			return false
		}
	}
	for i := range f.cursors {
		if c := &f.cursors[i]; c.data.HighWatermark >= 0 {
			c.seen = c.bound
		}
	}
	f.readLocal(ctx)
	f.readRemote(ctx)
	return true
}

// reserve takes memory for the plan out of the budget. The first time it waits; later, when it already holds some, it must
// not.
func (f *reading) reserve(ctx context.Context) bool {
	budget := f.reader.budget
	if held, ok := budget.tryAcquire(int64(f.planned)); ok {
		f.response.held += held
		return true
	}
	if f.response.held > 0 {
		return false
	}
	return f.acquire(ctx, int64(f.planned))
}

// acquire waits for memory for as long as the request may. Nothing is held while it waits: two that waited for each other's would wait in vain.
func (f *reading) acquire(ctx context.Context, bytes int64) bool {
	ctx, cancel := context.WithDeadline(ctx, f.deadline.Add(f.reader.config.RemoteWait))
	defer cancel()
	held, err := f.reader.budget.acquire(ctx, bytes)
	f.response.held += held
	return err == nil
}

// lacks is how much memory was missing for a batch that must be read since there is nothing else to answer with; 0 for none.
func (f *reading) lacks() int64 {
	if f.bytes > 0 {
		return 0
	}
	for i := range f.cursors {
		c := &f.cursors[i]
		for k := range c.extents {
			if lacks := c.extents[k].beyond.lacks; lacks > 0 {
				c.more = true
				return lacks
			}
		}
	}
	return 0
}

// makeRoom waits for the memory that one batch takes, having given up what was read, of which nothing is in the answer. From here on that batch is
// all that is planned for.
func (f *reading) makeRoom(ctx context.Context, bytes int64) bool {
	f.response.free()
	f.response.shrink()
	if !f.acquire(ctx, bytes) {
		return false
	}
	f.room, f.maxBytes = f.response.held, 0
	return true
}

// take moves what a partition's extents have brought into its answer, up to the first that has not brought all of its own.
func (f *reading) take(c *cursor) {
	before := c.next
	c.more = false
	for i := range c.extents {
		e := &c.extents[i]
		if e.hole {
			e.records = recordbatch.EmptyBatch(e.loc.BaseOffset, e.loc.NextOffset-1, e.leaderEpoch)
			e.next, e.done = min(e.loc.NextOffset, e.loc.BaseOffset+1<<31), true
		} else if e.marker() {
			e.records, e.next, e.done = e.controlBatch(), e.loc.NextOffset, true
		}
		if !e.done {
			return
		}
		if e.err != nil {
			if c.failures == 0 {
				f.reader.tell(e, e.err)
			}
			c.failures++
			c.seen = -1
			return
		}
		if len(e.records) > 0 {
			if c.data.Bytes > 0 && int64(binary.BigEndian.Uint64(e.records)) < c.next {
				// Another copy, in larger batches, goes on in the middle of one. Batches of an answer do not overlap, so the
				// next request begins with it.
				c.final = true
				return
			}
			c.data.Records = append(c.data.Records, e.records)
			c.data.Bytes += len(e.records)
			f.bytes += len(e.records)
			e.remember(f.reader)
		}
		c.next = max(c.next, e.next)
		if c.next < e.loc.NextOffset {
			return
		}
	}
	c.more = c.next > before && c.next < c.bound
}

// enough tells whether there is an answer worth giving now.
func (f *reading) enough() bool {
	if f.failing() == 1 {
		return false // missing bytes are looked for once more, whatever else there is
	}
	if f.bytes >= f.wanted() || f.request.MinBytes <= 0 && f.failing() == 0 && !f.doubtful() {
		return true
	}
	for i := range f.cursors {
		if f.cursors[i].data.Code != OK {
			return true
		}
	}
	return len(f.cursors) == 0
}

// failing is the least number of failures among the partitions that miss bytes, 0 where none does.
func (f *reading) failing() int {
	least := 0
	for i := range f.cursors {
		if c := &f.cursors[i]; c.missing() && (least == 0 || c.failures < least) {
			least = c.failures
		}
	}
	return least
}

// more tells whether there is anything to read that the last round left out.
func (f *reading) more() bool {
	for i := range f.cursors {
		if c := &f.cursors[i]; c.more && !c.final {
			return true
		}
	}
	return false
}

// missing: the partition's last read failed.
func (c *cursor) missing() bool { return c.failures > 0 && c.seen == -1 && !c.final }

// wait waits for a reason to go round again; false when the request's time is over.
func (f *reading) wait(ctx context.Context) bool {
	failing := f.failing()
	if failing > 0 {
		f.behindBarrier = false
		if failing == 1 && ctx.Err() == nil {
			f.barrier(ctx) // where it fails, a second look may help all the same
			return true
		}
	}
	if ctx.Err() != nil || !time.Now().Before(f.deadline) {
		return false
	}
	if f.more() {
		return true // a round reads a bounded number of extents, of one kind
	}
	if f.cancel == nil {
		f.startWatch()
		return true // what has come since the plan is not announced
	}
	until := time.Until(f.deadline)
	if failing > 0 || f.doubtful() {
		until = min(until, f.reader.config.RetryDelay)
	}
	timer := time.NewTimer(until)
	defer timer.Stop()
	select {
	case <-f.watch:
	case <-timer.C:
	case <-ctx.Done():
		return false
	}
	return time.Now().Before(f.deadline)
}

func (f *reading) startWatch() {
	f.watchd = f.watchd[:0]
	for i := range f.request.Partitions {
		f.watchd = append(f.watchd, f.request.Partitions[i].TopicPartition)
	}
	f.cancel = f.reader.replica.Watch(f.watchd, f.watch)
}

// conclude turns what is still open into answers, and returns memory that was reserved and not needed.
func (f *reading) conclude() {
	for i := range f.cursors {
		c := &f.cursors[i]
		switch {
		case c.data.Bytes > 0 || c.data.Code != OK:
		case c.doubt != OK:
			c.data.Code = OffsetNotAvailable
		case c.missing(), c.silent:
			c.data.Code = StorageError
		}
	}
	f.response.shrink()
}
