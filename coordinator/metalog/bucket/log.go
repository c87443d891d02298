package bucket

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/varvelog/varve/coordinator/metalog"
	"github.com/varvelog/varve/infra/objstore"
	"github.com/varvelog/varve/infra/objstore/hedge"
)

const (
	readAhead       = 16
	parallelDeletes = 8
)

// Log is a handle on the bucket's log. It does not own the store.
type Log struct {
	store   objstore.Store
	hedging *hedge.Policy
	puts    sync.WaitGroup
	mu      struct {
		sync.Mutex
		first uint64 // nothing below is part of the log
		next  uint64 // every sequence in [first, next) is known to be taken; the log may be longer
		owned uint64 // the sequence behind this handle's last append, 0 before the first
		cut   uint64 // below it there are but fences, as this handle has seen; 0 before its first truncation
	}
}

var _ metalog.Log = (*Log)(nil)

// Open lists the log.
func Open(ctx context.Context, store objstore.Store) (*Log, error) {
	for range listAttempts {
		l, whole, err := list(ctx, store)
		if err != nil || whole {
			return l, err
		}
	}
	return nil, fmt.Errorf("list metalog in %s: entries that are there are not listed", store)
}

// listAttempts is how often the log is listed until no entry is missed.
const listAttempts = 10

// list lists the log; whole is false where the listing, during which a leader may have appended, has missed an entry within it.
func list(ctx context.Context, store objstore.Store) (l *Log, whole bool, err error) {
	l = &Log{store: store, hedging: hedge.New(hedgeMin, hedgeShare)}
	l.mu.first, l.mu.next = 1, 1
	for info, err := range store.List(ctx, keyPrefix, "") {
		if err != nil {
			return nil, false, fmt.Errorf("list metalog in %s: %w", store, err)
		}
		seq, ok := parseKey(info.Key)
		if !ok {
			continue // somebody else's; `varve verify` tells of it
		}
		if seq != l.mu.next {
			l.mu.first = seq // what is below are fences, or what an interrupted truncation left
		}
		l.mu.next = seq + 1
	}
	if l.mu.first == 1 {
		return l, true, nil
	}
	switch _, err := store.Head(ctx, Key(l.mu.first-1)); {
	case errors.Is(err, objstore.ErrNotFound):
		return l, true, nil
	case err != nil:
		return nil, false, fmt.Errorf("look for entry %d in %s: %w", l.mu.first-1, store, err)
	}
	return nil, false, nil
}

func (l *Log) bounds() (first, next uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.first, l.mu.next
}

func (l *Log) advance(next uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.next = max(l.mu.next, next)
}

func (l *Log) raiseFirst(first uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.first = max(l.mu.first, first)
	l.mu.next = max(l.mu.next, l.mu.first)
}

// Append implements metalog.Log.
func (l *Log) Append(ctx context.Context, seq uint64, entry []byte, kind metalog.Kind) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if len(entry) > metalog.MaxEntryBytes {
		return fmt.Errorf("append %d bytes: %w", len(entry), metalog.ErrTooLarge)
	}
	_, next := l.bounds()
	if seq > next {
		// A slot may only be taken when its predecessor is, else the log would have a hole.
		var err error
		if _, next, err = l.Bounds(ctx); err != nil {
			return fmt.Errorf("append at %d: %w", seq, err)
		}
	}
	switch {
	case seq < next:
		return fmt.Errorf("append at %d: %w", seq, metalog.ErrConflict)
	case seq > next:
		return fmt.Errorf("append at %d, log ends at %d: %w", seq, next, metalog.ErrGap)
	}
	if err := l.put(ctx, seq, encode(seq, entry, kind)); err != nil {
		if errors.Is(err, metalog.ErrConflict) {
			l.advance(seq + 1)
		}
		return fmt.Errorf("append at %d: %w", seq, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.next = max(l.mu.next, seq+1)
	l.mu.owned = seq + 1
	return nil
}

// Bounds implements metalog.Log. It looks for the first slot that is free: one HEAD where this handle's own append was
// the last, else in strides.
func (l *Log) Bounds(ctx context.Context) (first, next uint64, err error) {
	first, next = l.bounds()
	switch _, err := l.store.Head(ctx, Key(next)); {
	case errors.Is(err, objstore.ErrNotFound):
	case err != nil:
		return 0, 0, fmt.Errorf("find metalog's end at %d: %w", next, err)
	default:
		if err := l.stride(ctx, next); err != nil {
			return 0, 0, fmt.Errorf("find metalog's end behind %d: %w", next, err)
		}
		first, next = l.bounds()
	}
	end, err := l.endsAt(ctx, next)
	if err != nil {
		return 0, 0, err
	}
	if !end {
		first, next = l.bounds() // as of the listing
	}
	return first, next, nil
}

// stride goes on from a slot that is taken to the last before a free one, in strides that double and then halve: who only reads may be far behind, and
// the log may grow faster than one question each takes. What it has found it keeps, also where it fails.
func (l *Log) stride(ctx context.Context, taken uint64) error {
	step, doubling := uint64(1), true
	for step > 0 {
		_, err := l.store.Head(ctx, Key(taken+step))
		switch {
		case err == nil:
			taken += step
			l.advance(taken + 1)
		case errors.Is(err, objstore.ErrNotFound):
			doubling = false
		default:
			l.advance(taken + 1)
			return err
		}
		if doubling {
			step *= 2
		} else {
			step /= 2
		}
	}
	l.advance(taken + 1)
	return nil
}

// endsAt says whether the log ends at next, which was found free. The writer knows: whoever took over from it would have
// put a fence there. A reader may find its next slot free because the log was truncated past it, and has to look further: what is listed from the
// slot on without a gap has been appended since, and anything else means that it was. Where it answers no, bounds have moved.
func (l *Log) endsAt(ctx context.Context, next uint64) (bool, error) {
	l.mu.Lock()
	owned := l.mu.owned
	l.mu.Unlock()
	if owned == next {
		return true, nil
	}
	end := next
	for info, err := range l.store.List(ctx, keyPrefix, Key(next-1)) {
		if err != nil {
			return false, fmt.Errorf("list metalog in %s: %w", l.store, err)
		}
		seq, ok := parseKey(info.Key)
		if !ok {
			continue // somebody else's
		}
		if seq != end {
			fresh, err := Open(ctx, l.store)
			if err != nil {
				return false, err
			}
			first, next := fresh.bounds()
			l.raiseFirst(first)
			l.advance(next)
			return false, nil
		}
		end++
	}
	l.advance(end)
	return end == next, nil
}

// ReadEntry reads the entry at seq from its object. The error wraps metalog.ErrCorrupt where it is none.
func ReadEntry(ctx context.Context, store objstore.Store, seq uint64) ([]byte, error) {
	return (&Log{store: store}).readObject(ctx, seq)
}

// Sequences returns the sequences under which there are entries, ascending, fences of former times among them.
func Sequences(ctx context.Context, store objstore.Store) ([]uint64, error) {
	var seqs []uint64
	for info, err := range store.List(ctx, keyPrefix, "") {
		if err != nil {
			return nil, fmt.Errorf("list metalog in %s: %w", store, err)
		}
		if seq, ok := parseKey(info.Key); ok {
			seqs = append(seqs, seq)
		}
	}
	return seqs, nil
}

// Read implements metalog.Log. Entries are read side by side: where they are known to be there, and, more of them each time, where they may be, since
// a log may grow faster than one question after the other would come further. Its end is where one is missing.
func (l *Log) Read(ctx context.Context, seq uint64) iter.Seq2[metalog.Record, error] {
	return func(yield func(metalog.Record, error) bool) {
		listed := uint64(math.MaxUint64) // where the log ended after the call, if that is known
		for window := 1; seq < listed; window = min(2*window, readAhead) {
			first, next := l.bounds()
			if seq < first {
				yield(metalog.Record{}, fmt.Errorf("read %d, first is %d: %w", seq, first, metalog.ErrTruncated))
				return
			}
			count := window
			if seq < next {
				count = int(min(readAhead, next-seq))
			}
			entries, err := l.readSome(ctx, seq, count)
			for _, entry := range entries {
				if !yield(metalog.Record{Seq: seq, Entry: entry}, nil) {
					return
				}
				seq++
			}
			l.advance(seq)
			end := false
			switch {
			case err != nil:
			case len(entries) == count:
				continue
			case seq < next:
				err = l.explain(ctx, seq)
			default:
				if end, err = l.endsAt(ctx, seq); !end {
					_, listed = l.bounds()
				}
			}
			if err != nil {
				yield(metalog.Record{}, err)
			}
			if end || err != nil {
				return
			}
		}
	}
}

// ReadRange implements metalog.Ranger.
func (l *Log) ReadRange(ctx context.Context, from, to uint64) iter.Seq2[metalog.Record, error] {
	return func(yield func(metalog.Record, error) bool) {
		for from < to {
			count := int(min(readAhead, to-from))
			entries, err := l.readSome(ctx, from, count)
			for _, entry := range entries {
				if !yield(metalog.Record{Seq: from, Entry: entry}, nil) {
					return
				}
				from++
			}
			l.advance(from)
			if err != nil {
				yield(metalog.Record{}, err)
			}
			if len(entries) < count {
				return
			}
		}
	}
}

// explain says why an entry is missing that was known to be there: the log was cut, or is damaged.
func (l *Log) explain(ctx context.Context, seq uint64) error {
	fresh, err := Open(ctx, l.store)
	if err != nil {
		return fmt.Errorf("read %d: %w", seq, err)
	}
	first, next := fresh.bounds()
	if seq >= first {
		return fmt.Errorf("read %d of [%d, %d): %w", seq, first, next, metalog.ErrCorrupt)
	}
	l.raiseFirst(first)
	return fmt.Errorf("read %d, first is %d: %w", seq, first, metalog.ErrTruncated)
}

// readSome reads count entries from seq on side by side, and returns those before the first that is missing or cannot be read.
func (l *Log) readSome(ctx context.Context, seq uint64, count int) (entries [][]byte, err error) {
	entries = make([][]byte, count)
	errs := make([]error, count)
	var reading sync.WaitGroup
	for i := 1; i < count; i++ {
		reading.Go(func() { entries[i], errs[i] = l.readObject(ctx, seq+uint64(i)) })
	}
	entries[0], errs[0] = l.readObject(ctx, seq)
	reading.Wait()
	for i, err := range errs {
		switch {
		case errors.Is(err, objstore.ErrNotFound):
			return entries[:i], nil
		case err != nil:
			return entries[:i], err
		}
	}
	return entries, nil
}

func (l *Log) readObject(ctx context.Context, seq uint64) (entry []byte, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	body, info, err := l.store.Get(ctx, Key(seq), 0, -1)
	if err != nil {
		return nil, fmt.Errorf("read %d: %w", seq, err)
	}
	defer func() { err = errors.Join(err, body.Close()) }()
	if info.SizeBytes > headerBytes+metalog.MaxEntryBytes {
		return nil, fmt.Errorf("%s has %d bytes: %w", Key(seq), info.SizeBytes, metalog.ErrCorrupt)
	}
	object := make([]byte, info.SizeBytes)
	if _, err := io.ReadFull(body, object); err != nil {
		return nil, fmt.Errorf("read %d: %w", seq, err)
	}
	entry, _, err = decode(seq, object)
	return entry, err
}

// Truncate implements metalog.Log. The last entry stays: it carries the numbering. What is there is listed, since others may have truncated before,
// or begun to.
func (l *Log) Truncate(ctx context.Context, before uint64) error {
	first, next, err := l.Bounds(ctx)
	if err != nil {
		return err
	}
	before = min(before, next-1)
	if before <= first {
		return nil
	}
	// Readers are told before anything goes.
	l.raiseFirst(before)
	if err := l.removeBelow(ctx, before); err != nil {
		return fmt.Errorf("truncate before %d: %w", before, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.cut = max(l.mu.cut, before)
	return nil
}

// removeBelow removes the entries below before that are there and no fences.
func (l *Log) removeBelow(ctx context.Context, before uint64) error {
	l.mu.Lock()
	cut, after := l.mu.cut, ""
	l.mu.Unlock()
	if cut > 0 {
		after = Key(cut - 1)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallelDeletes)
	var listed error
	for info, err := range l.store.List(ctx, keyPrefix, after) {
		if err != nil {
			listed = fmt.Errorf("list metalog in %s: %w", l.store, err)
			break
		}
		seq, ok := parseKey(info.Key)
		if !ok {
			continue
		}
		if seq >= before {
			break
		}
		group.Go(func() error { return l.remove(ctx, seq) })
	}
	return cmp.Or(group.Wait(), listed)
}

// remove deletes the entry at seq unless it is a fence.
func (l *Log) remove(ctx context.Context, seq uint64) error {
	header, info, err := l.store.Get(ctx, Key(seq), 0, headerBytes)
	if errors.Is(err, objstore.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	var start [headerBytes]byte
	_, err = io.ReadFull(header, start[:])
	if err := errors.Join(err, header.Close()); err != nil {
		return fmt.Errorf("read head of %s: %w", info.Key, err)
	}
	if metalog.Kind(start[11]) == metalog.Fence {
		return nil
	}
	return l.store.Delete(ctx, Key(seq))
}

// Verify implements metalog.Log. Whose log it is says the log id in its entries, which is the replica's to check.
func (l *Log) Verify(ctx context.Context) error { return ctx.Err() }

// Close implements metalog.Log. It waits for PUTs that were given up.
func (l *Log) Close() error {
	l.puts.Wait()
	return nil
}
