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

// ErrUndecodable: a payload that its codec, or no codec, can decode. It is an ErrInvalidRecord (but UNKNOWN_SERVER_ERROR in Kafka).
var ErrUndecodable = fmt.Errorf("%w: the payload cannot be decoded", ErrInvalidRecord)

// ErrEpoch: a batch with a producer id and without an epoch. It is an ErrInvalidRecord (but INVALID_PRODUCER_EPOCH in Kafka).
var ErrEpoch = fmt.Errorf("%w: a producer without an epoch", ErrInvalidRecord)

// maxNamedRecords bounds how many records of a batch a RecordsError names.
const maxNamedRecords = 4096

// RecordsError refuses a batch for single records that the topic does not take. It is an ErrInvalidRecord.
type RecordsError struct {
	Records    int           // how many
	Named      []RecordError // the first of them
	Timestamps bool          // some for their timestamps
}

// RecordError is one record that is not taken: for want of a key, or else for its timestamp.
type RecordError struct {
	Index     int32 // in the batch
	Keyless   bool
	Timestamp int64
}

func (e *RecordsError) Error() string {
	return fmt.Sprintf("%v: %d records are not taken, the first is record %d", ErrInvalidRecord, e.Records, e.Named[0].Index)
}

func (e *RecordsError) Unwrap() error { return ErrInvalidRecord }

// with notes one more record; e may be nil.
func (e *RecordsError) with(r RecordError) *RecordsError {
	if e == nil {
		e = &RecordsError{}
	}
	if e.Records++; len(e.Named) < maxNamedRecords {
		e.Named = append(e.Named, r)
	}
	e.Timestamps = e.Timestamps || !r.Keyless
	return e
}
