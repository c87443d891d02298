package recordbatch

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
)

// Layout of the header, part of the format. All integers are big-endian.
const (
	posBaseOffset      = 0
	posLength          = 8
	posLeaderEpoch     = 12
	posMagic           = 16
	posCRC             = 17
	posAttributes      = 21
	posLastOffsetDelta = 23
	posBaseTimestamp   = 27
	posMaxTimestamp    = 35
	posProducerID      = 43
	posProducerEpoch   = 51
	posBaseSequence    = 53
	posRecordCount     = 57

	// HeaderBytes is the size of a batch's header; the records follow it.
	HeaderBytes = 61
	// LengthEnd is where the bytes counted by the length field begin: a batch is LengthEnd + length bytes long.
	LengthEnd = 12
	// Magic is the only message format this package knows.
	Magic = 2

	minLength = HeaderBytes - LengthEnd
)

// Bits of the attributes field, part of the format.
const (
	attrCodecMask = 0x07
	// AttrLogAppendTime is timestampType: set, every record's timestamp is the batch's maxTimestamp.
	AttrLogAppendTime = 1 << 3
	// AttrTransactional marks records of a transaction.
	AttrTransactional = 1 << 4
	// AttrControl marks a batch of transaction markers.
	AttrControl = 1 << 5
	// AttrDeleteHorizon: baseTimestamp is the time from which compaction may drop the batch's tombstones (KIP-534).
	AttrDeleteHorizon = 1 << 6
)

// Values that stand for "none".
const (
	NoTimestamp     = -1
	NoProducerID    = -1
	NoProducerEpoch = -1
	NoSequence      = -1
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Header is a batch's header, decoded. Timestamps are milliseconds since 1970.
type Header struct {
	BaseOffset      int64
	Length          int32 // bytes that follow the length field
	LeaderEpoch     int32
	CRC             uint32 // CRC-32C of everything from the attributes on
	Attributes      int16
	LastOffsetDelta int32
	BaseTimestamp   int64
	MaxTimestamp    int64
	ProducerID      int64
	ProducerEpoch   int16
	BaseSequence    int32
	RecordCount     int32
}

// ParseHeader decodes the header that b begins with. b need not hold the records. It refuses formats other than v2 and
// lengths no batch can have; it neither checks the CRC nor judges the other fields.
func ParseHeader(b []byte) (Header, error) {
	if len(b) > posMagic && b[posMagic] != Magic {
		return Header{}, fmt.Errorf("%w: magic %d", ErrMagic, int8(b[posMagic]))
	}
	if len(b) < HeaderBytes {
		return Header{}, fmt.Errorf("%w: %d of %d header bytes", ErrTruncated, len(b), HeaderBytes)
	}
	h := Header{
		BaseOffset:      int64(binary.BigEndian.Uint64(b[posBaseOffset:])),
		Length:          int32(binary.BigEndian.Uint32(b[posLength:])),
		LeaderEpoch:     int32(binary.BigEndian.Uint32(b[posLeaderEpoch:])),
		CRC:             binary.BigEndian.Uint32(b[posCRC:]),
		Attributes:      int16(binary.BigEndian.Uint16(b[posAttributes:])),
		LastOffsetDelta: int32(binary.BigEndian.Uint32(b[posLastOffsetDelta:])),
		BaseTimestamp:   int64(binary.BigEndian.Uint64(b[posBaseTimestamp:])),
		MaxTimestamp:    int64(binary.BigEndian.Uint64(b[posMaxTimestamp:])),
		ProducerID:      int64(binary.BigEndian.Uint64(b[posProducerID:])),
		ProducerEpoch:   int16(binary.BigEndian.Uint16(b[posProducerEpoch:])),
		BaseSequence:    int32(binary.BigEndian.Uint32(b[posBaseSequence:])),
		RecordCount:     int32(binary.BigEndian.Uint32(b[posRecordCount:])),
	}
	if h.Length < minLength {
		return Header{}, fmt.Errorf("%w: length field %d is below %d", ErrCorrupt, h.Length, minLength)
	}
	return h, nil
}

// put encodes h over the header of b.
func (h *Header) put(b []byte) {
	_ = b[HeaderBytes-1]
	binary.BigEndian.PutUint64(b[posBaseOffset:], uint64(h.BaseOffset))
	binary.BigEndian.PutUint32(b[posLength:], uint32(h.Length))
	binary.BigEndian.PutUint32(b[posLeaderEpoch:], uint32(h.LeaderEpoch))
	b[posMagic] = Magic
	binary.BigEndian.PutUint32(b[posCRC:], h.CRC)
	binary.BigEndian.PutUint16(b[posAttributes:], uint16(h.Attributes))
	binary.BigEndian.PutUint32(b[posLastOffsetDelta:], uint32(h.LastOffsetDelta))
	binary.BigEndian.PutUint64(b[posBaseTimestamp:], uint64(h.BaseTimestamp))
	binary.BigEndian.PutUint64(b[posMaxTimestamp:], uint64(h.MaxTimestamp))
	binary.BigEndian.PutUint64(b[posProducerID:], uint64(h.ProducerID))
	binary.BigEndian.PutUint16(b[posProducerEpoch:], uint16(h.ProducerEpoch))
	binary.BigEndian.PutUint32(b[posBaseSequence:], uint32(h.BaseSequence))
	binary.BigEndian.PutUint32(b[posRecordCount:], uint32(h.RecordCount))
}

// checkRanges refuses values with which offsets could not be computed.
func (h *Header) checkRanges() error {
	switch {
	case h.LastOffsetDelta < 0:
		return fmt.Errorf("%w: lastOffsetDelta %d", ErrInvalidRecord, h.LastOffsetDelta)
	case h.RecordCount < 0 || int64(h.RecordCount) > int64(h.LastOffsetDelta)+1:
		return fmt.Errorf("%w: %d records with lastOffsetDelta %d", ErrInvalidRecord, h.RecordCount, h.LastOffsetDelta)
	case h.BaseOffset < 0 || h.BaseOffset >= math.MaxInt64-int64(h.LastOffsetDelta):
		return fmt.Errorf("%w: baseOffset %d with lastOffsetDelta %d", ErrInvalidRecord, h.BaseOffset, h.LastOffsetDelta)
	}
	return nil
}

// SizeBytes is the length of the whole batch.
func (h *Header) SizeBytes() int { return LengthEnd + int(h.Length) }

// LastOffset is the last offset the batch covers, whether or not a record with it is left.
func (h *Header) LastOffset() int64 { return h.BaseOffset + int64(h.LastOffsetDelta) }

// NextOffset is the offset after the batch.
func (h *Header) NextOffset() int64 { return h.LastOffset() + 1 }

// Codec is how the records are compressed; it may be one that does not exist (Codec.Valid).
func (h *Header) Codec() Codec { return Codec(h.Attributes & attrCodecMask) }

// IsLogAppendTime tells whether all records have the batch's maxTimestamp as their timestamp.
func (h *Header) IsLogAppendTime() bool { return h.Attributes&AttrLogAppendTime != 0 }

// IsTransactional tells whether the records belong to a transaction.
func (h *Header) IsTransactional() bool { return h.Attributes&AttrTransactional != 0 }

// IsControl tells whether the records are transaction markers.
func (h *Header) IsControl() bool { return h.Attributes&AttrControl != 0 }

// HasDeleteHorizon tells whether baseTimestamp is a delete horizon.
func (h *Header) HasDeleteHorizon() bool { return h.Attributes&AttrDeleteHorizon != 0 }

// HasProducerID tells whether an idempotent or transactional producer wrote the batch.
func (h *Header) HasProducerID() bool { return h.ProducerID != NoProducerID }

// LastSequence is the sequence of the last record. Sequences wrap from the largest int32 to 0.
func (h *Header) LastSequence() int32 {
	if h.BaseSequence == NoSequence {
		return NoSequence
	}
	return int32((int64(h.BaseSequence) + int64(h.LastOffsetDelta)) & math.MaxInt32)
}

// CheckCRC compares the checksum of one whole batch with its bytes.
func CheckCRC(batch []byte) error {
	if len(batch) < HeaderBytes {
		return fmt.Errorf("%w: %d of %d header bytes", ErrTruncated, len(batch), HeaderBytes)
	}
	want := binary.BigEndian.Uint32(batch[posCRC:])
	if got := crc32.Checksum(batch[posAttributes:], castagnoli); got != want {
		return fmt.Errorf("%w: CRC-32C is %08x, the header says %08x", ErrCorrupt, got, want)
	}
	return nil
}

// extendAbove is the size of batch in bytes from which on ExtendCRC does not look at the records: what takes longer than combineCRC.
const extendAbove = 16 << 10

// ExtendCRC returns the CRC-32C of some bytes and one whole batch behind them from that of the bytes. The batch's own checksum must have been checked,
// or have been computed here: that of a large batch is made use of, so that bytes which change afterwards do not get a checksum that suits them.
func ExtendCRC(crc uint32, batch []byte) uint32 {
	if len(batch) < extendAbove {
		return crc32.Update(crc, castagnoli, batch)
	}
	crc = crc32.Update(crc, castagnoli, batch[:posAttributes])
	return combineCRC(crc, binary.BigEndian.Uint32(batch[posCRC:]), len(batch)-posAttributes)
}

// SetBaseOffset patches the first offset of a batch in place. The CRC does not cover it.
func SetBaseOffset(batch []byte, baseOffset int64) {
	binary.BigEndian.PutUint64(batch[posBaseOffset:], uint64(baseOffset))
}

// SetLeaderEpoch patches the partition leader epoch of a batch in place. The CRC does not cover it.
func SetLeaderEpoch(batch []byte, leaderEpoch int32) {
	binary.BigEndian.PutUint32(batch[posLeaderEpoch:], uint32(leaderEpoch))
}

// SetLogAppendTime gives all records of one whole batch the timestamp millis, in place, with a new CRC.
func SetLogAppendTime(batch []byte, millis int64) {
	batch[posAttributes+1] |= AttrLogAppendTime
	binary.BigEndian.PutUint64(batch[posMaxTimestamp:], uint64(millis))
	sealCRC(batch)
}

// SetMaxTimestamp corrects the maxTimestamp of one whole batch in place, with a new CRC; one that is right already costs
// nothing. Some clients do not fill the field in, and brokers do, from the records: see Validate.
func SetMaxTimestamp(batch []byte, millis int64) {
	if int64(binary.BigEndian.Uint64(batch[posMaxTimestamp:])) == millis {
		return
	}
	binary.BigEndian.PutUint64(batch[posMaxTimestamp:], uint64(millis))
	sealCRC(batch)
}

// ClearAttributes takes bits that are the broker's to set off one whole batch, in place, with a new CRC; a batch without them costs nothing.
func ClearAttributes(batch []byte, bits int16) {
	attributes := binary.BigEndian.Uint16(batch[posAttributes:])
	if attributes&uint16(bits) == 0 {
		return
	}
	binary.BigEndian.PutUint16(batch[posAttributes:], attributes&^uint16(bits))
	sealCRC(batch)
}

func sealCRC(batch []byte) {
	binary.BigEndian.PutUint32(batch[posCRC:], crc32.Checksum(batch[posAttributes:], castagnoli))
}

// seal fills in what follows from a batch's bytes: its length, its codec and its CRC.
func seal(batch []byte, codec Codec) error {
	if len(batch)-LengthEnd > math.MaxInt32 {
		return fmt.Errorf("%w: %d bytes", ErrTooLarge, len(batch))
	}
	binary.BigEndian.PutUint32(batch[posLength:], uint32(len(batch)-LengthEnd))
	batch[posAttributes+1] = batch[posAttributes+1]&^attrCodecMask | byte(codec)
	sealCRC(batch)
	return nil
}
