package recordbatch

import "fmt"

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
	// RequireKeys refuses records without a key with a KeylessError, as a compacted topic does. It implies Deep.
	RequireKeys bool
}

// Validate judges one batch of a producer as a Kafka broker does: b is exactly one batch of format v2, its CRC is right,
// its fields agree, and it claims nothing only brokers may. The records of an uncompressed batch are walked; those of a
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

// checkProduced judges the fields of a batch that a producer sent.
func (h *Header) checkProduced(maxInflatedBytes int) error {
	switch {
	case h.BaseOffset != 0:
		return fmt.Errorf("%w: baseOffset %d of a producer's batch is not 0", ErrInvalidRecord, h.BaseOffset)
	case h.RecordCount <= 0 || int64(h.LastOffsetDelta) != int64(h.RecordCount)-1:
		return fmt.Errorf("%w: %d records with lastOffsetDelta %d", ErrInvalidRecord, h.RecordCount, h.LastOffsetDelta)
	case int64(h.RecordCount)*minRecordBytes > int64(maxInflatedBytes):
		return fmt.Errorf("%w: %d records cannot inflate to %d bytes or less", ErrTooLarge, h.RecordCount, maxInflatedBytes)
	case h.Attributes&^attrKnown != 0:
		return fmt.Errorf("%w: unknown attributes %#x", ErrInvalidRecord, uint16(h.Attributes))
	case !h.Codec().Valid():
		return fmt.Errorf("%w: unknown compression codec %d", ErrInvalidRecord, h.Codec())
	case h.IsControl():
		return fmt.Errorf("%w: clients do not write control batches", ErrInvalidRecord)
	case h.IsLogAppendTime():
		return fmt.Errorf("%w: timestampType LogAppendTime is the broker's to set", ErrInvalidRecord)
	case h.HasDeleteHorizon():
		return fmt.Errorf("%w: a delete horizon is the broker's to set", ErrInvalidRecord)
	case h.BaseTimestamp < NoTimestamp || h.MaxTimestamp < NoTimestamp:
		return fmt.Errorf("%w: timestamps %d to %d", ErrInvalidRecord, h.BaseTimestamp, h.MaxTimestamp)
	case h.ProducerID < NoProducerID:
		return fmt.Errorf("%w: producerId %d", ErrInvalidRecord, h.ProducerID)
	// Without a producer id the epoch and the sequence mean nothing, and clients differ in what they leave there.
	case h.HasProducerID() && (h.ProducerEpoch < 0 || h.BaseSequence < 0):
		return fmt.Errorf("%w: producerId %d with epoch %d and baseSequence %d", ErrInvalidRecord, h.ProducerID, h.ProducerEpoch, h.BaseSequence)
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
	var keyless *KeylessError
	for index := int32(0); r.Next(); index++ {
		rec := &r.record
		switch {
		case rec.OffsetDelta != index:
			return 0, fmt.Errorf("%w: record %d has offsetDelta %d", ErrInvalidRecord, index, rec.OffsetDelta)
		case rec.Timestamp < NoTimestamp:
			return 0, fmt.Errorf("%w: record %d has timestamp %d", ErrInvalidRecord, index, rec.Timestamp)
		case limits.RequireKeys && rec.Key == nil:
			keyless = keyless.withoutKey(index)
		}
		maxTimestamp = max(maxTimestamp, rec.Timestamp)
	}
	if keyless != nil && r.Err() == nil {
		return 0, keyless
	}
	return maxTimestamp, r.Err()
}
