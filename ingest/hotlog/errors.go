package hotlog

import (
	"errors"
	"fmt"
)

// The errors on which callers branch; each may come wrapped with the place.
var (
	// ErrPoisoned: a write or fsync of the active segment failed. Chunks that were not acknowledged have failed for good, and nothing is
	// appended until Abandon.
	ErrPoisoned = errors.New("hot log poisoned")
	// ErrNoSpace: the disk is full. Chunks that were not acknowledged have failed; the log is sound, reads go on, and
	// Append works again once there is space.
	ErrNoSpace = errors.New("no space for hot log")
	// ErrSegmentGone: no such segment. It was removed, or was never on this disk.
	ErrSegmentGone = errors.New("segment gone")
	// ErrSegmentActive: the active segment cannot be removed; Roll first.
	ErrSegmentActive = errors.New("segment active")
	// ErrNotDurable: the range does not lie within the segment's durable frames.
	ErrNotDurable = errors.New("range not durable")
	// ErrForeignDisk: a segment belongs to another data directory, or the directory has lost its identity.
	ErrForeignDisk = errors.New("segment of another disk")
	// ErrClosed: the log is closed.
	ErrClosed = errors.New("hot log closed")
)

// ChunkTooLargeError refuses a chunk that no segment can hold. Nothing of its group was written.
type ChunkTooLargeError struct {
	SizeBytes int64
	MaxBytes  int64
}

// Error implements error.
func (e *ChunkTooLargeError) Error() string {
	return fmt.Sprintf("chunk of %d bytes is larger than the %d that a segment can hold", e.SizeBytes, e.MaxBytes)
}

// CorruptionError says that bytes which had been durable are not what was written. Open then changes nothing and
// refuses; it is for the operator to decide what to give up.
type CorruptionError struct {
	Path string
	// Segment is 0 where it is not known, or the file is no segment.
	Segment  uint64
	Position int64
	Reason   string
	// Err is a sentinel that says more, or nil.
	Err error
}

// Error implements error.
func (e *CorruptionError) Error() string {
	msg := fmt.Sprintf("%s corrupt at position %d: %s", e.Path, e.Position, e.Reason)
	if e.Err != nil {
		msg += ": " + e.Err.Error()
	}
	return msg
}

// Unwrap returns Err.
func (e *CorruptionError) Unwrap() error { return e.Err }

// VersionError refuses a file of a format version that this build does not know.
type VersionError struct {
	Path    string
	Version uint32
}

// Error implements error.
func (e *VersionError) Error() string {
	return fmt.Sprintf("%s has format version %d, this build reads version %d", e.Path, e.Version, formatVersion)
}
