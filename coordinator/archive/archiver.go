package archive

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/varvelog/varve/coordinator/metalog"
	"github.com/varvelog/varve/infra/objstore"
)

const (
	// batchBytes is the size at which entries do not wait for the interval, and about that of the largest object.
	batchBytes = 4 << 20
	// pendingBytes bounds the entries held in memory; beyond it they are read from the log again.
	pendingBytes = 2 * batchBytes
	// manyObjects is after how many objects a snapshot should make them unnecessary.
	manyObjects = 2000

	firstRetry   = 100 * time.Millisecond
	lastRetry    = 5 * time.Second
	putTimeout   = 30 * time.Second
	flushTimeout = 2 * time.Second
	complainEach = 10 * time.Second
)

// Config says what to archive, and where.
type Config struct {
	Store objstore.Store
	// Log is read where entries did not fit in memory; it is never written.
	Log   metalog.Log
	LogID [16]byte
	// Interval is how long entries gather before they are written; 1 s by default.
	Interval time.Duration
	// Many is called, by the archiver's goroutine, when so many objects have gathered that a snapshot should be written. It must
	// not block. nil for none.
	Many func()
	// Logger is nil for none.
	Logger *slog.Logger
}

// Archiver writes the archive of one log. There may be several, of leaders that do not know yet that they have been succeeded.
type Archiver struct {
	cfg     Config
	filled  chan struct{} // with room for one: there is something to archive
	full    chan struct{} // with room for one: enough that it should not wait
	next    atomic.Uint64 // everything below is archived, or stands in a kept snapshot
	objects atomic.Int64
	told    time.Time // when trouble was last logged; of Run alone

	mu struct {
		sync.Mutex
		end     uint64   // behind the last entry known to be durable
		pending [][]byte // the entries [end-len(pending), end)
		bytes   int
		moved   chan struct{} // closed when next has grown; nil where nobody waits
	}
}

// New returns an archiver that does nothing before Run.
func New(cfg Config) *Archiver {
	if cfg.Interval == 0 {
		cfg.Interval = time.Second
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Archiver{cfg: cfg, filled: make(chan struct{}, 1), full: make(chan struct{}, 1)}
}

// Appended takes note of the entry at seq, which is durable. The entry must not be changed afterwards. It never blocks.
func (a *Archiver) Appended(seq uint64, entry []byte) {
	a.mu.Lock()
	if seq != a.mu.end || a.mu.bytes+len(entry) > pendingBytes {
		a.mu.pending, a.mu.bytes = nil, 0
	}
	a.mu.pending = append(a.mu.pending, entry)
	a.mu.bytes += len(entry)
	a.mu.end = seq + 1
	enough := a.mu.bytes >= batchBytes
	a.mu.Unlock()
	signal(a.filled)
	if enough {
		signal(a.full)
	}
}

// Lag is how many durable entries are not archived.
func (a *Archiver) Lag() uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.mu.end - min(a.mu.end, a.next.Load())
}

// Await returns when the entry at seq is archived, which it hastens, or with ctx's error.
func (a *Archiver) Await(ctx context.Context, seq uint64) error {
	for {
		a.mu.Lock()
		if a.next.Load() > seq {
			a.mu.Unlock()
			return nil
		}
		if a.mu.moved == nil {
			a.mu.moved = make(chan struct{})
		}
		moved := a.mu.moved
		a.mu.Unlock()
		signal(a.full)
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Run archives until ctx ends, and then once more what is left, if the store takes it soon: also where ctx ended before anything could begin.
func (a *Archiver) Run(ctx context.Context) {
	begun := a.retry(ctx, a.begin)
	for goesOn := begun; goesOn; {
		select {
		case <-ctx.Done():
		case <-a.filled:
			a.gather(ctx)
		}
		goesOn = a.retry(ctx, a.drain)
	}
	flush, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTimeout)
	defer cancel()
	if err := a.flush(flush, begun); err != nil {
		a.cfg.Logger.Warn("the metalog's last entries were not archived; the next leader will", "error", err)
	}
}

func (a *Archiver) flush(ctx context.Context, begun bool) error {
	if !begun {
		if err := a.begin(ctx); err != nil {
			return err
		}
	}
	return a.drain(ctx)
}

// begin finds where the archive ends, and what of the log lies behind it.
func (a *Archiver) begin(ctx context.Context) error {
	objects, err := List(ctx, a.cfg.Store)
	if err != nil {
		return err
	}
	first, next, err := a.cfg.Log.Bounds(ctx)
	if err != nil {
		return fmt.Errorf("find metalog's bounds: %w", err)
	}
	a.objects.Store(int64(len(objects)))
	a.mu.Lock()
	defer a.mu.Unlock()
	a.setNext(max(end(objects), first))
	if a.mu.end < next {
		a.mu.end, a.mu.pending, a.mu.bytes = next, nil, 0
	}
	if a.next.Load() < a.mu.end {
		signal(a.filled)
	}
	return nil
}

// gather returns when what has come may wait no longer.
func (a *Archiver) gather(ctx context.Context) {
	timer := time.NewTimer(a.cfg.Interval)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-a.full:
	}
}

// drain archives everything that is durable.
func (a *Archiver) drain(ctx context.Context) error {
	for a.Lag() > 0 {
		batch, err := a.batch(ctx)
		if err != nil {
			return err
		}
		if len(batch.Entries) == 0 {
			continue // what was left had been cut
		}
		if err := a.put(ctx, batch); err != nil {
			return err
		}
		a.archived(batch.Next())
	}
	return nil
}

// batch is the next entries to archive: from memory, or where they did not fit, from the log. It is empty where they were cut.
func (a *Archiver) batch(ctx context.Context) (*Batch, error) {
	b := &Batch{LogID: a.cfg.LogID, First: a.next.Load()}
	a.mu.Lock()
	held := a.mu.end - uint64(len(a.mu.pending))
	if held <= b.First {
		size := 0
		for _, entry := range a.mu.pending[b.First-held:] {
			if size += len(entry); size > batchBytes && len(b.Entries) > 0 {
				break
			}
			b.Entries = append(b.Entries, entry)
		}
	}
	a.mu.Unlock()
	if len(b.Entries) > 0 {
		return b, nil
	}
	return b, a.readLog(ctx, b)
}

// readLog fills b from the log.
func (a *Archiver) readLog(ctx context.Context, b *Batch) error {
	size := 0
	for record, err := range a.cfg.Log.Read(ctx, b.First) {
		if errors.Is(err, metalog.ErrTruncated) && len(b.Entries) == 0 {
			return a.skip(ctx, b)
		}
		if err != nil {
			return fmt.Errorf("read metalog to archive it: %w", err)
		}
		if size += len(record.Entry); size > batchBytes && len(b.Entries) > 0 {
			break
		}
		b.Entries = append(b.Entries, record.Entry)
	}
	if len(b.Entries) == 0 {
		return fmt.Errorf("read metalog to archive it: it ends before %d", b.First)
	}
	return nil
}

// skip goes on behind what was cut from the log before it could be archived: the older of the kept snapshots stands for it.
func (a *Archiver) skip(ctx context.Context, b *Batch) error {
	first, _, err := a.cfg.Log.Bounds(ctx)
	if err != nil {
		return fmt.Errorf("find metalog's bounds: %w", err)
	}
	if first <= b.First {
		return fmt.Errorf("read metalog to archive it: entry %d is not there", b.First)
	}
	a.archived(first)
	b.First = first
	if a.Lag() == 0 {
		return nil
	}
	return a.readLog(ctx, b)
}

func (a *Archiver) put(ctx context.Context, b *Batch) error {
	ctx, cancel := context.WithTimeout(ctx, putTimeout)
	defer cancel()
	o := Object{First: b.First, Next: b.Next()}
	// What is there already holds the same entries: they are the log's.
	if _, err := a.cfg.Store.PutIfAbsent(ctx, o.Key(), Encode(b)); err != nil && !errors.Is(err, objstore.ErrExists) {
		return fmt.Errorf("write %s: %w", o.Key(), err)
	}
	if n := a.objects.Add(1); n%manyObjects == 0 && a.cfg.Many != nil {
		a.cfg.Many()
	}
	return nil
}

// setNext tells whoever waits. mu is held.
func (a *Archiver) setNext(next uint64) {
	a.next.Store(next)
	if a.mu.moved != nil {
		close(a.mu.moved)
		a.mu.moved = nil
	}
}

// archived lets go of what is below next.
func (a *Archiver) archived(next uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.setNext(next)
	n := uint64(len(a.mu.pending))
	if held := a.mu.end - n; next > held {
		done := min(next-held, n)
		for _, entry := range a.mu.pending[:done] {
			a.mu.bytes -= len(entry)
		}
		a.mu.pending = append([][]byte(nil), a.mu.pending[done:]...)
	}
}

// Prune deletes the objects wholly below before, which kept snapshots stand for. It may be called while Run runs.
func (a *Archiver) Prune(ctx context.Context, before uint64) error {
	objects, err := List(ctx, a.cfg.Store)
	if err != nil {
		return err
	}
	for _, o := range objects {
		if o.Next > before {
			continue
		}
		if err := a.cfg.Store.Delete(ctx, o.Key()); err != nil {
			return fmt.Errorf("delete %s: %w", o.Key(), err)
		}
		a.objects.Add(-1)
	}
	return nil
}

// retry repeats step until it succeeds (true) or ctx ends.
func (a *Archiver) retry(ctx context.Context, step func(context.Context) error) bool {
	for wait := firstRetry; ; wait = min(2*wait, lastRetry) {
		if ctx.Err() != nil {
			return false
		}
		err := step(ctx)
		if err == nil {
			return true
		}
		if ctx.Err() == nil && time.Since(a.told) > complainEach {
			a.cfg.Logger.Warn("archive of the metalog falls behind, trying again", "entries", a.Lag(), "error", err)
			a.told = time.Now()
		}
		timer := time.NewTimer(wait/2 + rand.N(wait))
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
