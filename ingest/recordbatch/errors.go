package recordbatch

import "errors"

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
