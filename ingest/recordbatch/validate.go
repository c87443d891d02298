package recordbatch

import (
	"encoding/binary"
	"fmt"
)

// DefaultMaxBatchBytes is Kafka's default of message.max.bytes.
const DefaultMaxBatchBytes = 1<<20 + 12

// Limits says what Validate accepts. The zero value is Kafka's defaults, without inflating.
type Limits struct {
	// MaxBatchBytes bounds the batch as it came; 0 means DefaultMaxBatchBytes.
	MaxBatchBytes int
	// MaxInflatedBytes bounds what a compressed batch may inflate to; 0 means DefaultMaxInflatedBytes.
	MaxInflatedBytes int
	// Deep inflates compressed batches to check their records too.
	Deep bool
	// RequireKeys refuses records without a key with a RecordsError, as a compacted topic does. It implies Deep.
	RequireKeys bool
	// OldestMillis and NewestMillis are the timestamps that records may have; others are refused with a RecordsError where records are
	// walked. Both 0: any.
	OldestMillis, NewestMillis int64
}

// The overhead of a message of format v0, and where its magic ends: shorter ones are none.
const (
	v0OverheadBytes = 14
	magicEndBytes   = posMagic + 1
)

// Cut returns the one batch that a producer sent for a partition, as a Kafka broker reads it: what is behind it is nothing where it is not a whole
// batch by its length.
func Cut(b []byte) ([]byte, error) {
	size, err := nextSize(b)
	switch {
	case err != nil:
		return nil, err
	case size == 0:
		return nil, fmt.Errorf("%w: no whole batch in %d bytes", ErrTruncated, len(b))
	case int8(b[posMagic]) != Magic:
		return nil, fmt.Errorf("%w: magic %d", ErrMagic, int8(b[posMagic]))
	}
	switch more, err := nextSize(b[size:]); {
	case err != nil:
		return nil, err
	case more > 0:
		return nil, fmt.Errorf("%w: more than one batch", ErrInvalidRecord)
	}
	return b[:size], nil
}

// IsCorrupt tells whether b begins like no batch and no old message.
func IsCorrupt(b []byte) bool {
	_, err := nextSize(b)
	return err != nil
}

// nextSize is the size of the batch or old message that b begins with, 0 where that is not there as a whole.
func nextSize(b []byte) (int, error) {
	if len(b) < LengthEnd {
		return 0, nil
	}
	length := int32(binary.BigEndian.Uint32(b[posLength:]))
	switch {
	case length < v0OverheadBytes:
		return 0, fmt.Errorf("%w: length field %d", ErrCorrupt, length)
	case len(b) < magicEndBytes:
		return 0, nil
	case int8(b[posMagic]) < 0 || b[posMagic] > Magic:
		return 0, fmt.Errorf("%w: magic %d", ErrCorrupt, int8(b[posMagic]))
	case int(length) > len(b)-LengthEnd:
		return 0, nil
	}
	return LengthEnd + int(length), nil
}

// Validate judges one batch of a producer as a Kafka broker does: b is exactly one batch of format v2, its CRC is right,
// and its fields agree. The records of an uncompressed batch are walked; those of a
// compressed one only with limits.Deep. It allocates nothing unless it inflates or refuses.
//
// Where records were walked, the returned header's MaxTimestamp is computed from them, as a broker computes it; the bytes
// may say something else, and SetMaxTimestamp corrects them.
func Validate(b []byte, limits Limits) (Header, error) {
	if limits.MaxBatchBytes == 0 {
		limits.MaxBatchBytes = DefaultMaxBatchBytes
	}
	if limits.MaxInflatedBytes == 0 {
		limits.MaxInflatedBytes = DefaultMaxInflatedBytes
	}
	h, err := ParseHeader(b)
	if err != nil {
		return Header{}, err
	}
	switch size := h.SizeBytes(); {
	case size > limits.MaxBatchBytes:
		return Header{}, fmt.Errorf("%w: %d bytes, the limit is %d", ErrTooLarge, size, limits.MaxBatchBytes)
	case size > len(b):
		return Header{}, fmt.Errorf("%w: %d of %d bytes", ErrTruncated, len(b), size)
	case size < len(b):
		return Header{}, fmt.Errorf("%w: %d bytes behind the one batch allowed", ErrInvalidRecord, len(b)-size)
	}
	if err := CheckCRC(b); err != nil {
		return Header{}, err
	}
	if err := h.checkProduced(limits.MaxInflatedBytes); err != nil {
		return Header{}, err
	}
	// A first timestamp above the largest cannot be; only the records tell what is right.
	deep := limits.Deep || limits.RequireKeys || h.MaxTimestamp < h.BaseTimestamp
	if h.Codec() == None || deep {
		h.MaxTimestamp, err = checkRecords(b, limits)
		if err != nil {
			return Header{}, err
		}
	}
	return h, nil
}

// Holds tells whether a batch whose records were not walked may be within the bounds of timestamps: by its largest, and by its first where that is
// a record's. One in between may lie further back.
func (l *Limits) Holds(h *Header) bool {
	if l.OldestMillis == 0 && l.NewestMillis == 0 {
		return true
	}
	return h.MaxTimestamp <= l.NewestMillis && (h.BaseTimestamp == NoTimestamp || h.BaseTimestamp >= l.OldestMillis)
}

// checkProduced judges the fields of a batch that a producer sent.
func (h *Header) checkProduced(maxInflatedBytes int) error {
	switch {
	case h.BaseOffset != 0:
		return fmt.Errorf("%w: baseOffset %d of a producer's batch is not 0", ErrInvalidRecord, h.BaseOffset)
	case h.RecordCount <= 0 || int64(h.LastOffsetDelta) != int64(h.RecordCount)-1:
		return fmt.Errorf("%w: %d records with lastOffsetDelta %d", ErrInvalidRecord, h.RecordCount, h.LastOffsetDelta)
	case int64(h.RecordCount)*minRecordBytes > int64(maxInflatedBytes):
		return fmt.Errorf("%w: %d records cannot inflate to %d bytes or less", ErrTooLarge, h.RecordCount, maxInflatedBytes)
	case !h.Codec().Valid():
		return fmt.Errorf("%w: unknown compression codec %d", ErrUndecodable, h.Codec())
	case h.IsControl():
		return fmt.Errorf("%w: clients do not write control batches", ErrInvalidRecord)
	case h.BaseTimestamp < NoTimestamp || h.MaxTimestamp < NoTimestamp:
		return fmt.Errorf("%w: timestamps %d to %d", ErrInvalidRecord, h.BaseTimestamp, h.MaxTimestamp)
	case h.ProducerID < NoProducerID:
		return fmt.Errorf("%w: producerId %d", ErrInvalidRecord, h.ProducerID)
	// Without a producer id the epoch and the sequence mean nothing, and clients differ in what they leave there.
	case h.HasProducerID() && h.BaseSequence < 0:
		return fmt.Errorf("%w: producerId %d with baseSequence %d", ErrInvalidRecord, h.ProducerID, h.BaseSequence)
	case h.HasProducerID() && h.ProducerEpoch < 0:
		return fmt.Errorf("%w: producerId %d with epoch %d", ErrEpoch, h.ProducerID, h.ProducerEpoch)
	case h.IsTransactional() && !h.HasProducerID():
		return fmt.Errorf("%w: transactional without a producerId", ErrInvalidRecord)
	}
	return nil
}

// checkRecords walks the records of a batch whose header has been checked, and returns the largest timestamp.
func checkRecords(b []byte, limits Limits) (maxTimestamp int64, err error) {
	scratch := GetScratch(limits.MaxInflatedBytes)
	defer scratch.Put()
	var r Reader
	if err := r.Reset(b, scratch); err != nil {
		return 0, err
	}
	maxTimestamp = NoTimestamp
	bounded := limits.OldestMillis != 0 || limits.NewestMillis != 0
	var refused *RecordsError
	for index := int32(0); r.Next(); index++ {
		rec := &r.record
		switch {
		case rec.OffsetDelta != index:
			return 0, fmt.Errorf("%w: record %d has offsetDelta %d", ErrInvalidRecord, index, rec.OffsetDelta)
		case rec.Timestamp < NoTimestamp:
			return 0, fmt.Errorf("%w: record %d has timestamp %d", ErrInvalidRecord, index, rec.Timestamp)
		case limits.RequireKeys && rec.Key == nil:
			refused = refused.with(RecordError{Index: index, Keyless: true})
		case bounded && rec.Timestamp != NoTimestamp && (rec.Timestamp < limits.OldestMillis || rec.Timestamp > limits.NewestMillis):
			refused = refused.with(RecordError{Index: index, Timestamp: rec.Timestamp})
		}
		maxTimestamp = max(maxTimestamp, rec.Timestamp)
	}
	if refused != nil && r.Err() == nil {
		return 0, refused
	}
	return maxTimestamp, r.Err()
}
