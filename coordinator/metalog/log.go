package metalog

import (
	"context"
	"errors"
	"iter"
)

// The errors on which callers branch. An error of Append that matches none of them is ambiguous: the entry may be in the
// log now, or come to be in it later.
var (
	// ErrConflict: the sequence is taken, by another entry or by this one.
	ErrConflict = errors.New("metalog sequence is taken")
	// ErrGap: the log ends before the sequence's predecessor. A writer that had appended the predecessor has lost its log.
	ErrGap = errors.New("metalog ends before the sequence")
	// ErrTruncated: the entry is below the log's first.
	ErrTruncated = errors.New("metalog entry was truncated")
	// ErrCorrupt: what is stored is not what was appended.
	ErrCorrupt = errors.New("metalog is corrupt")
	// ErrForeign: the log is another cluster's.
	ErrForeign = errors.New("metalog belongs to another cluster")
	// ErrUnfit: the backend is set up in a way that would lose entries or cannot be read.
	ErrUnfit = errors.New("metalog is not set up as Varve needs it")
	// ErrFewCopies: the backend cannot keep as many copies as are wanted; nothing was created.
	ErrFewCopies = errors.New("metalog cannot be kept as many times as it is to be")
	// ErrFormat: what is stored is of a version that this program does not read.
	ErrFormat = errors.New("metalog has an unknown format")
	// ErrTooLarge: the entry is above MaxEntryBytes. Nothing was appended.
	ErrTooLarge = errors.New("metalog entry is too large")
)

// MaxEntryBytes bounds an entry: 512 KiB of commands and what frames them, well below NATS's max_payload of 1 MiB.
const MaxEntryBytes = 1<<20 - 16<<10

// Kind says how an entry is kept.
type Kind uint8

const (
	// Ordinary entries go when the log is truncated behind them.
	Ordinary Kind = iota
	// Fence entries begin a writer's reign; they refuse the old writer's append for ever.
	Fence
)

// Record is one entry of the log. Entry belongs to the reader.
type Record struct {
	Seq   uint64
	Entry []byte
}

// Log is one handle on a metadata log. Its methods may be called concurrently.
type Log interface {
	// Append puts entry at seq, which must be the log's next. nil: it is durable there. ErrConflict, ErrGap and ErrTooLarge:
	// this call did not append it. Anything else is ambiguous and settled by appending the same bytes at the same seq again;
	// on ErrConflict then, Read(seq) tells whose entry is there. entry is not retained.
	Append(ctx context.Context, seq uint64, entry []byte, kind Kind) error
	// Read yields the entries from seq in ascending order without gaps, to the log's end as of the call or later. It stops
	// at the first error, yielding it; ErrTruncated where seq is below the first entry. A seq at the log's end or above
	// yields nothing.
	Read(ctx context.Context, seq uint64) iter.Seq2[Record, error]
	// Bounds returns the half-open range of sequences in the log: first == next where it holds none. It reflects every
	// append that was acknowledged, to whomever, before the call; first may lag behind another handle's Truncate.
	// A server of a replicated backend that was cut off from the others may answer as if it had not been, until it knows.
	Bounds(ctx context.Context) (first, next uint64, err error)
	// Truncate removes the entries below before; it never removes the last entry's number. Fence entries may stay.
	Truncate(ctx context.Context, before uint64) error
	// Verify checks that the backend is set up as Varve needs it, and that the log is the one expected (ErrForeign).
	Verify(ctx context.Context) error
	// Close releases the handle; the log remains.
	Close() error
}

// Ranger is a Log from which entries that are known to be there are read without asking for its end.
type Ranger interface {
	// ReadRange yields the entries in [from, to) in ascending order, and ends before the first that is missing, without an error.
	ReadRange(ctx context.Context, from, to uint64) iter.Seq2[Record, error]
}

// ReadOne returns the entry at seq; found is false where the log ends before it.
func ReadOne(ctx context.Context, log Log, seq uint64) (entry []byte, found bool, err error) {
	for record, err := range log.Read(ctx, seq) {
		if err != nil {
			return nil, false, err
		}
		return record.Entry, true, nil
	}
	return nil, false, nil
}
