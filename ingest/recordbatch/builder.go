package recordbatch

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Producer is the identity of an idempotent or transactional producer and the sequence of a batch's first record.
type Producer struct {
	ID           int64
	Epoch        int16
	BaseSequence int32
}

// BuilderOptions says what kind of batch a Builder makes. The zero value is an uncompressed batch of no producer.
type BuilderOptions struct {
	Codec Codec
	// Level is the codec's own scale (compression.<codec>.level); 0 is its default.
	Level int
	// Attributes are attribute bits besides the codec's, such as AttrTransactional.
	Attributes int16
	// Producer is nil for none.
	Producer *Producer
}

// Builder makes batches of records, one after the other, in memory that it keeps. It is not for concurrent use.
type Builder struct {
	opts        BuilderOptions
	leaderEpoch int32
	baseOffset  int64
	attributes  int16 // without the codec's
	codec       Codec
	producer    Producer
	builderState
}

// builderState is what appending changes, apart so that an append can be taken back.
type builderState struct {
	buf           []byte // header space, then the encoded records
	count         int32
	lastOffset    int64 // of the last record; baseOffset-1 before the first
	endOffset     int64 // last offset the batch is to cover
	baseTimestamp int64
	maxTimestamp  int64
	pinned        bool // baseTimestamp is a delete horizon, not the first record's
}

// NewBuilder returns a Builder whose first batch begins at offset 0.
func NewBuilder(opts BuilderOptions) *Builder {
	b := &Builder{opts: opts}
	b.Reset(0, 0)
	return b
}

// Reset forgets the records and begins a batch at baseOffset.
func (b *Builder) Reset(baseOffset int64, leaderEpoch int32) {
	b.baseOffset, b.leaderEpoch = baseOffset, leaderEpoch
	b.attributes, b.codec = b.opts.Attributes&^attrCodecMask, b.opts.Codec
	b.producer = Producer{NoProducerID, NoProducerEpoch, NoSequence}
	if p := b.opts.Producer; p != nil {
		b.producer = *p
	}
	b.builderState = builderState{
		buf:           append(b.buf[:0], make([]byte, HeaderBytes)...),
		lastOffset:    baseOffset - 1,
		endOffset:     baseOffset,
		baseTimestamp: NoTimestamp,
		maxTimestamp:  NoTimestamp,
	}
}

// ResetLike is Reset for a batch that is to hold some of another's records: of its range of offsets, its kind, its producer. It has no
// delete horizon.
func (b *Builder) ResetLike(h *Header) {
	b.Reset(h.BaseOffset, h.LeaderEpoch)
	b.attributes = h.Attributes &^ (attrCodecMask | AttrDeleteHorizon)
	b.producer = Producer{h.ProducerID, h.ProducerEpoch, h.BaseSequence}
	b.endOffset = h.LastOffset()
	if h.IsControl() {
		b.codec = None // clients expect markers plain
	}
}

// SetDeleteHorizon says from when compaction may drop the batch's tombstones. It comes before the first record.
func (b *Builder) SetDeleteHorizon(millis int64) {
	b.attributes |= AttrDeleteHorizon
	b.baseTimestamp, b.pinned = millis, true
}

// Append adds a record. Offsets are absolute, ascend, and may leave gaps. A nil key or value is none, an empty one is
// empty. Headers is a header section as in Record.Headers or from AppendRecordHeaders; nil is no headers.
func (b *Builder) Append(offset, timestampMillis int64, key, value, headers []byte) error {
	if headers == nil {
		headers = noHeaders
	} else if err := checkHeaders(headers); err != nil {
		return err
	}
	tailBytes := bytesSize(key) + bytesSize(value) + len(headers)
	if err := b.begin(offset, timestampMillis, 0, tailBytes); err != nil {
		return err
	}
	b.buf = appendBytes(b.buf, key)
	b.buf = appendBytes(b.buf, value)
	b.buf = append(b.buf, headers...)
	return nil
}

var noHeaders = []byte{0}

// AppendRecord adds a record as it was read from another batch, cheaper than Append. Only Offset and Timestamp may have
// been changed since.
func (b *Builder) AppendRecord(r *Record) error {
	if r.tail == nil {
		return b.Append(r.Offset, r.Timestamp, r.Key, r.Value, r.Headers)
	}
	if err := b.begin(r.Offset, r.Timestamp, r.Attributes, len(r.tail)); err != nil {
		return err
	}
	b.buf = append(b.buf, r.tail...)
	return nil
}

// begin encodes a record up to its key, of which tailBytes follow.
func (b *Builder) begin(offset, timestamp int64, attributes int8, tailBytes int) error {
	if offset <= b.lastOffset || offset-b.baseOffset > math.MaxInt32 {
		return fmt.Errorf("%w: offset %d after %d in a batch from %d", ErrInvalidRecord, offset, b.lastOffset, b.baseOffset)
	}
	if b.count == 0 {
		b.maxTimestamp = timestamp
		if !b.pinned {
			b.baseTimestamp = timestamp
		}
	}
	timestampDelta := timestamp - b.baseTimestamp
	if (timestampDelta < 0) != (timestamp < b.baseTimestamp) {
		return fmt.Errorf("%w: timestamp %d is too far from %d", ErrInvalidRecord, timestamp, b.baseTimestamp)
	}
	offsetDelta := offset - b.baseOffset
	length := 1 + varintSize(timestampDelta) + varintSize(offsetDelta) + tailBytes
	if length > math.MaxInt32 {
		return fmt.Errorf("%w: a record of %d bytes", ErrTooLarge, length)
	}
	b.buf = binary.AppendVarint(b.buf, int64(length))
	b.buf = append(b.buf, byte(attributes))
	b.buf = binary.AppendVarint(b.buf, timestampDelta)
	b.buf = binary.AppendVarint(b.buf, offsetDelta)
	b.count++
	b.lastOffset = offset
	b.endOffset = max(b.endOffset, offset)
	b.maxTimestamp = max(b.maxTimestamp, timestamp)
	return nil
}

// rewind takes back what was appended since the state was taken, but keeps the memory.
func (b *Builder) rewind(to builderState) {
	to.buf = b.buf[:len(to.buf)]
	b.builderState = to
}

// SetLastOffset makes the batch cover the offsets up to lastOffset, though its last record lies before it.
func (b *Builder) SetLastOffset(lastOffset int64) error {
	if lastOffset < b.lastOffset || lastOffset < b.baseOffset || lastOffset-b.baseOffset > math.MaxInt32 {
		return fmt.Errorf("%w: last offset %d of a batch from %d with a record at %d", ErrInvalidRecord, lastOffset, b.baseOffset, b.lastOffset)
	}
	b.endOffset = lastOffset
	return nil
}

// RecordCount is the number of records appended.
func (b *Builder) RecordCount() int { return int(b.count) }

// SizeBytes is the size of the batch uncompressed, header included.
func (b *Builder) SizeBytes() int { return len(b.buf) }

// Build encodes the batch into the room of dst, or into new memory. It stays uncompressed where its codec does not make it
// smaller. The Builder keeps its records; Reset begins the next batch.
func (b *Builder) Build(dst []byte) ([]byte, Header, error) {
	h := Header{
		BaseOffset:      b.baseOffset,
		LeaderEpoch:     b.leaderEpoch,
		Attributes:      b.attributes,
		LastOffsetDelta: int32(b.endOffset - b.baseOffset),
		BaseTimestamp:   b.baseTimestamp,
		MaxTimestamp:    b.maxTimestamp,
		ProducerID:      b.producer.ID,
		ProducerEpoch:   b.producer.Epoch,
		BaseSequence:    b.producer.BaseSequence,
		RecordCount:     b.count,
	}
	h.put(b.buf)
	codec := b.codec
	if b.count == 0 {
		codec = None
	}
	out, err := deflate(append(dst[:0], b.buf[:HeaderBytes]...), codec, b.opts.Level, b.buf[HeaderBytes:])
	if err != nil {
		return nil, Header{}, fmt.Errorf("compress batch at offset %d: %w", b.baseOffset, err)
	}
	if codec != None && len(out) >= len(b.buf) {
		codec = None
		out = append(out[:0], b.buf...)
	}
	if err := seal(out, codec); err != nil {
		return nil, Header{}, err
	}
	h, err = ParseHeader(out)
	return out, h, err
}
