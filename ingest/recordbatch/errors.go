package recordbatch

import (
	"errors"
	"fmt"
)

// The kinds of error of this package. Every error it returns matches exactly one of them with errors.Is; the text says
// what was found. Kafka's error code for each stands in parentheses.
var (
	// ErrTruncated: the bytes end before the batch does (INVALID_RECORD for a producer's batch; the normal end of a
	// fetched range).
	ErrTruncated = errors.New("record batch truncated")
	// ErrCorrupt: the checksum is wrong, or the length cannot be a batch's (CORRUPT_MESSAGE, which clients retry).
	ErrCorrupt = errors.New("record batch corrupt")
	// ErrMagic: a message format other than v2 (INVALID_RECORD).
	ErrMagic = errors.New("unsupported message format")
	// ErrInvalidRecord: the batch arrived as it was sent, but what it says makes no sense: counts, timestamps, sequences,
	// attributes, records, or a payload its codec cannot decode (INVALID_RECORD, which clients do not retry).
	ErrInvalidRecord = errors.New("invalid record")
	// ErrTooLarge: the batch, or what it inflates to, is above the limit (MESSAGE_TOO_LARGE).
	ErrTooLarge = errors.New("record batch too large")
)

// maxNamedRecords bounds how many records of a batch a KeylessError names.
const maxNamedRecords = 4096

// KeylessError refuses a batch that has records without a key, where every record must have one. It is an ErrInvalidRecord.
type KeylessError struct {
	Records int     // how many
	Indexes []int32 // of the first of them, in the batch
}

func (e *KeylessError) Error() string {
	return fmt.Sprintf("%v: %d records have no key, the first is record %d", ErrInvalidRecord, e.Records, e.Indexes[0])
}

func (e *KeylessError) Unwrap() error { return ErrInvalidRecord }

// withoutKey notes one more record; e may be nil.
func (e *KeylessError) withoutKey(index int32) *KeylessError {
	if e == nil {
		e = &KeylessError{}
	}
	if e.Records++; len(e.Indexes) < maxNamedRecords {
		e.Indexes = append(e.Indexes, index)
	}
	return e
}
