package archive

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/varvelog/varve/coordinator/metalog"
)

// Version is the only version of objects this program reads and writes.
const Version = 1

const (
	magic           = "VARVEARC"
	headerSize      = 56
	entryHeaderSize = 8
	checksumAt      = 12
)

// ErrFormat: the object is of a version that this program does not read.
var ErrFormat = fmt.Errorf("archive object: %w", metalog.ErrFormat)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Batch is the entries [First, First+len(Entries)) of a log.
type Batch struct {
	LogID   [16]byte
	First   uint64
	Entries [][]byte
}

// Next is the sequence behind the last entry.
func (b *Batch) Next() uint64 { return b.First + uint64(len(b.Entries)) }

// Encode is the batch as it is stored (FORMAT.md).
func Encode(b *Batch) []byte {
	size := 0
	for _, e := range b.Entries {
		size += entryHeaderSize + len(e)
	}
	out := make([]byte, headerSize, headerSize+size)
	copy(out, magic)
	binary.BigEndian.PutUint16(out[8:], Version)
	copy(out[16:], b.LogID[:])
	binary.BigEndian.PutUint64(out[32:], b.First)
	binary.BigEndian.PutUint64(out[40:], b.Next())
	binary.BigEndian.PutUint64(out[48:], uint64(size))
	for _, e := range b.Entries {
		out = binary.BigEndian.AppendUint32(out, uint32(len(e)))
		out = binary.BigEndian.AppendUint32(out, crc32.Checksum(e, castagnoli))
		out = append(out, e...)
	}
	binary.BigEndian.PutUint32(out[checksumAt:], checksum(out))
	return out
}

func checksum(object []byte) uint32 {
	return crc32.Update(crc32.Checksum(object[:checksumAt], castagnoli), castagnoli, object[checksumAt+4:])
}

// Decode reads what Encode wrote; the entries lie in object. The error wraps metalog.ErrCorrupt or ErrFormat.
func Decode(object []byte) (*Batch, error) {
	if len(object) < headerSize || string(object[:len(magic)]) != magic {
		return nil, fmt.Errorf("decode archive of %d bytes: %w: no header", len(object), metalog.ErrCorrupt)
	}
	if binary.BigEndian.Uint32(object[checksumAt:]) != checksum(object) {
		return nil, fmt.Errorf("decode archive: %w: checksum", metalog.ErrCorrupt)
	}
	if v := binary.BigEndian.Uint16(object[8:]); v != Version { // the checksum covers it: no flipped bit passes for a newer version
		return nil, fmt.Errorf("decode archive: %w: version %d, this build reads %d", ErrFormat, v, Version)
	}
	body := object[headerSize:]
	b := &Batch{LogID: [16]byte(object[16:32]), First: binary.BigEndian.Uint64(object[32:])}
	next, size := binary.BigEndian.Uint64(object[40:]), binary.BigEndian.Uint64(object[48:])
	if binary.BigEndian.Uint16(object[10:]) != 0 || size != uint64(len(body)) || next <= b.First || next-b.First > size/entryHeaderSize {
		return nil, fmt.Errorf("decode archive: %w: header of [%d, %d) and %d bytes", metalog.ErrCorrupt, b.First, next, size)
	}
	b.Entries = make([][]byte, 0, next-b.First)
	for seq := b.First; seq < next; seq++ {
		if len(body) < entryHeaderSize {
			return nil, fmt.Errorf("decode archive: %w: it ends before entry %d", metalog.ErrCorrupt, seq)
		}
		length, sum := uint64(binary.BigEndian.Uint32(body)), binary.BigEndian.Uint32(body[4:])
		body = body[entryHeaderSize:]
		if length > uint64(len(body)) || crc32.Checksum(body[:length], castagnoli) != sum {
			return nil, fmt.Errorf("decode archive: %w: entry %d", metalog.ErrCorrupt, seq)
		}
		b.Entries = append(b.Entries, body[:length:length])
		body = body[length:]
	}
	if len(body) > 0 {
		return nil, fmt.Errorf("decode archive: %w: %d bytes behind the last entry", metalog.ErrCorrupt, len(body))
	}
	return b, nil
}
