// Package mem is a model of the metadata log in memory, for tests and simulation: the shortest thing that fulfils the
// contract, with failures on demand.
package mem

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"

	"github.com/varvelog/varve/coordinator/metalog"
)

// ErrLost is what an append returns whose request or answer was lost.
var ErrLost = errors.New("metalog did not answer")

// Fate is what becomes of one append.
type Fate uint8

const (
	// Delivered: request and answer arrive.
	Delivered Fate = iota
	// RequestLost: nothing is appended, the writer gets ErrLost.
	RequestLost
	// AnswerLost: the entry is appended, the writer gets ErrLost.
	AnswerLost
	// Late: the writer gets ErrLost; the request arrives when Deliver is called.
	Late
)

// Backing is the log itself, shared by its handles.
type Backing struct {
	mu struct {
		sync.Mutex
		first   uint64
		entries [][]byte // entries[i] is at first+i
		late    []request
		fate    func(seq uint64, kind metalog.Kind) Fate
		appends int
	}
}

type request struct {
	seq   uint64
	entry []byte
}

// New returns an empty log.
func New() *Backing {
	b := &Backing{}
	b.mu.first = 1
	return b
}

// SetFate makes fate decide what becomes of each append from now on; nil delivers all. It is called under the log's lock.
func (b *Backing) SetFate(fate func(seq uint64, kind metalog.Kind) Fate) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mu.fate = fate
}

// Deliver lets the late requests arrive, in the order in which they were sent, and returns how many were appended.
func (b *Backing) Deliver() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	appended := 0
	for _, r := range b.mu.late {
		if b.append(r.seq, r.entry) == nil {
			appended++
		}
	}
	b.mu.late = nil
	return appended
}

// Appends returns how many appends were asked for.
func (b *Backing) Appends() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.mu.appends
}

// Cut drops the entries from seq on, as a restored backup would. The contract knows no such thing.
func (b *Backing) Cut(seq uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mu.entries = b.mu.entries[:seq-b.mu.first]
}

// Open returns a handle.
func (b *Backing) Open() *Log { return &Log{b: b} }

// append is called with the lock held.
func (b *Backing) append(seq uint64, entry []byte) error {
	next := b.mu.first + uint64(len(b.mu.entries))
	switch {
	case seq < next:
		return fmt.Errorf("append at %d: %w", seq, metalog.ErrConflict)
	case seq > next:
		return fmt.Errorf("append at %d, log ends at %d: %w", seq, next, metalog.ErrGap)
	}
	b.mu.entries = append(b.mu.entries, slices.Clone(entry))
	return nil
}

// Log is a handle on a Backing.
type Log struct{ b *Backing }

var _ metalog.Log = (*Log)(nil)

// Append implements metalog.Log.
func (l *Log) Append(ctx context.Context, seq uint64, entry []byte, kind metalog.Kind) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if len(entry) > metalog.MaxEntryBytes {
		return fmt.Errorf("append %d bytes: %w", len(entry), metalog.ErrTooLarge)
	}
	b := l.b
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mu.appends++
	fate := Delivered
	if b.mu.fate != nil {
		fate = b.mu.fate(seq, kind)
	}
	switch fate {
	case RequestLost:
		return ErrLost
	case Late:
		b.mu.late = append(b.mu.late, request{seq: seq, entry: slices.Clone(entry)})
		return ErrLost
	}
	err := b.append(seq, entry)
	if fate == AnswerLost {
		return ErrLost
	}
	return err
}

// Read implements metalog.Log.
func (l *Log) Read(ctx context.Context, seq uint64) iter.Seq2[metalog.Record, error] {
	return func(yield func(metalog.Record, error) bool) {
		if _, end, err := l.Bounds(ctx); err != nil {
			yield(metalog.Record{}, err)
			return
		} else {
			for ; seq < end; seq++ {
				entry, err := l.entry(ctx, seq)
				if !yield(metalog.Record{Seq: seq, Entry: entry}, err) || err != nil {
					return
				}
			}
		}
		if first, _, err := l.Bounds(ctx); err == nil && seq < first {
			yield(metalog.Record{}, fmt.Errorf("read %d: %w", seq, metalog.ErrTruncated))
		}
	}
}

func (l *Log) entry(ctx context.Context, seq uint64) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	b := l.b
	b.mu.Lock()
	defer b.mu.Unlock()
	if seq < b.mu.first {
		return nil, fmt.Errorf("read %d, first is %d: %w", seq, b.mu.first, metalog.ErrTruncated)
	}
	return slices.Clone(b.mu.entries[seq-b.mu.first]), nil
}

// Bounds implements metalog.Log.
func (l *Log) Bounds(ctx context.Context) (first, next uint64, err error) {
	if err := ctx.Err(); err != nil {
		return 0, 0, err
	}
	l.b.mu.Lock()
	defer l.b.mu.Unlock()
	return l.b.mu.first, l.b.mu.first + uint64(len(l.b.mu.entries)), nil
}

// Truncate implements metalog.Log.
func (l *Log) Truncate(ctx context.Context, before uint64) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	b := l.b
	b.mu.Lock()
	defer b.mu.Unlock()
	next := b.mu.first + uint64(len(b.mu.entries))
	before = min(before, next)
	if before > b.mu.first {
		b.mu.entries = slices.Clone(b.mu.entries[before-b.mu.first:])
		b.mu.first = before
	}
	return nil
}

// Verify implements metalog.Log.
func (l *Log) Verify(ctx context.Context) error { return ctx.Err() }

// Close implements metalog.Log.
func (l *Log) Close() error { return nil }
