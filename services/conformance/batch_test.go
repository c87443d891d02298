package conformance

import (
	"encoding/binary"
	"hash/crc32"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// record is what a test puts into a batch.
type record struct {
	key, value []byte
	timestamp  int64 // milliseconds; that of the first record is the batch's base
	headers    []kmsg.Header
}

func rec(key, value string, timestamp int64) record {
	return record{key: []byte(key), value: []byte(value), timestamp: timestamp}
}

// batch is a record batch (format v2) field by field, so that each can be wrong.
type batch struct {
	magic         int8
	attributes    int16
	lastDelta     int32
	baseTimestamp int64
	maxTimestamp  int64
	producerID    int64
	producerEpoch int16
	baseSequence  int32
	count         int32
	payload       []byte // the records, encoded

	leaderEpoch int32
	baseOffset  int64
	lengthDelta int32 // added to the length
	crcDelta    uint32
}

func newBatch(records ...record) *batch {
	b := &batch{magic: 2, producerID: -1, producerEpoch: -1, baseSequence: -1, count: int32(len(records)), lastDelta: int32(len(records)) - 1, leaderEpoch: -1}
	for i, r := range records {
		if i == 0 {
			b.baseTimestamp, b.maxTimestamp = r.timestamp, r.timestamp
		}
		b.maxTimestamp = max(b.maxTimestamp, r.timestamp)
		b.payload = appendRecord(b.payload, r, r.timestamp-b.baseTimestamp, int64(i))
	}
	return b
}

func (b *batch) producer(id int64, epoch int16, sequence int32) *batch {
	b.producerID, b.producerEpoch, b.baseSequence = id, epoch, sequence
	return b
}

// with changes fields in place.
func (b *batch) with(change func(*batch)) *batch {
	change(b)
	return b
}

func (b *batch) encode() []byte {
	var body []byte // what the CRC covers
	body = binary.BigEndian.AppendUint16(body, uint16(b.attributes))
	body = binary.BigEndian.AppendUint32(body, uint32(b.lastDelta))
	body = binary.BigEndian.AppendUint64(body, uint64(b.baseTimestamp))
	body = binary.BigEndian.AppendUint64(body, uint64(b.maxTimestamp))
	body = binary.BigEndian.AppendUint64(body, uint64(b.producerID))
	body = binary.BigEndian.AppendUint16(body, uint16(b.producerEpoch))
	body = binary.BigEndian.AppendUint32(body, uint32(b.baseSequence))
	body = binary.BigEndian.AppendUint32(body, uint32(b.count))
	body = append(body, b.payload...)
	out := binary.BigEndian.AppendUint64(nil, uint64(b.baseOffset))
	out = binary.BigEndian.AppendUint32(out, uint32(int32(len(body))+9+b.lengthDelta))
	out = binary.BigEndian.AppendUint32(out, uint32(b.leaderEpoch))
	out = append(out, byte(b.magic))
	out = binary.BigEndian.AppendUint32(out, crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli))+b.crcDelta)
	return append(out, body...)
}

func appendRecord(dst []byte, r record, timestampDelta, offsetDelta int64) []byte {
	body := []byte{0}
	body = binary.AppendVarint(body, timestampDelta)
	body = binary.AppendVarint(body, offsetDelta)
	body = appendNullable(body, r.key)
	body = appendNullable(body, r.value)
	body = binary.AppendVarint(body, int64(len(r.headers)))
	for _, h := range r.headers {
		body = appendNullable(body, []byte(h.Key))
		body = appendNullable(body, h.Value)
	}
	dst = binary.AppendVarint(dst, int64(len(body)))
	return append(dst, body...)
}

func appendNullable(dst, b []byte) []byte {
	if b == nil {
		return binary.AppendVarint(dst, -1)
	}
	return append(binary.AppendVarint(dst, int64(len(b))), b...)
}

// records are n records whose values say which they are.
func records(n int, timestamp int64) []record {
	var out []record
	for i := range n {
		out = append(out, rec(string(rune('a'+i%26)), "value", timestamp+int64(i)))
	}
	return out
}

func joined(batches ...*batch) []byte {
	var all [][]byte
	for _, b := range batches {
		all = append(all, b.encode())
	}
	return slices.Concat(all...)
}
