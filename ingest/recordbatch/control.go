package recordbatch

import (
	"encoding/binary"
	"fmt"
)

// Marker is what a control batch says: a producer's transaction ended.
type Marker struct {
	ProducerID       int64
	ProducerEpoch    int16
	CoordinatorEpoch int32
	Commit           bool
	TimestampMillis  int64
}

// Types of control records, part of the format.
const (
	controlAbort  = 0
	controlCommit = 1
)

// controlRecordBytes is the one record of a control batch: length, attributes, two deltas, a key of 4 bytes and a value of 6 with their
// lengths, the number of headers. All varints take one byte.
const controlRecordBytes = 1 + 1 + 1 + 1 + 1 + 4 + 1 + 6 + 1

// ControlBatchBytes is the size of every control batch.
const ControlBatchBytes = HeaderBytes + controlRecordBytes

// ControlBatch is the batch of one record that stands at offset where a transaction has ended, as a broker writes it.
func ControlBatch(m Marker, offset int64, leaderEpoch int32) []byte {
	h := Header{
		BaseOffset: offset, Length: ControlBatchBytes - LengthEnd, LeaderEpoch: leaderEpoch, Attributes: AttrTransactional | AttrControl,
		BaseTimestamp: m.TimestampMillis, MaxTimestamp: m.TimestampMillis, ProducerID: m.ProducerID, ProducerEpoch: m.ProducerEpoch,
		BaseSequence: NoSequence, RecordCount: 1,
	}
	b := make([]byte, HeaderBytes, ControlBatchBytes)
	h.put(b)
	kind := uint16(controlAbort)
	if m.Commit {
		kind = controlCommit
	}
	b = append(b, 2*(controlRecordBytes-1), 0, 0, 0, 2*4) // the record's length is a zigzag varint, and so is the key's
	b = binary.BigEndian.AppendUint16(b, 0)               // version of the key
	b = binary.BigEndian.AppendUint16(b, kind)
	b = append(b, 2*6)
	b = binary.BigEndian.AppendUint16(b, 0) // version of the value
	b = binary.BigEndian.AppendUint32(b, uint32(m.CoordinatorEpoch))
	b = append(b, 0) // no headers
	sealCRC(b)
	return b
}

// IsCommit says whether a control batch ends its transaction with a commit.
func IsCommit(batch []byte) (bool, error) {
	scratch := GetScratch(controlRecordBytes * 2)
	defer scratch.Put()
	for record, err := range Records(batch, scratch) {
		if err != nil {
			return false, err
		}
		if len(record.Key) < 4 {
			return false, fmt.Errorf("%w: control record with a key of %d bytes", ErrCorrupt, len(record.Key))
		}
		return binary.BigEndian.Uint16(record.Key[2:]) == controlCommit, nil
	}
	return false, fmt.Errorf("%w: control batch without a record", ErrCorrupt)
}
