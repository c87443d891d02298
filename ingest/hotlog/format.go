package hotlog

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/google/uuid"
)

// Everything in this file is part of the format; FORMAT.md draws it. All integers are little-endian.
const (
	formatVersion = 1

	segmentHeaderBytes = 64
	frameHeaderBytes   = 32
	frameAlignBytes    = 8

	beginPayloadBytes = 16
	sealPayloadBytes  = 32
	beginFrameBytes   = frameHeaderBytes + beginPayloadBytes
	sealFrameBytes    = frameHeaderBytes + sealPayloadBytes

	// overheadBytes is what a segment with one chunk holds beside that chunk's payload and padding.
	overheadBytes = segmentHeaderBytes + beginFrameBytes + frameHeaderBytes + sealFrameBytes

	frameMagic = 0x31465648 // "HVF1" in file order
)

var (
	segmentMagic  = [8]byte{'V', 'A', 'R', 'V', 'E', 'H', 'O', 'T'}
	identityMagic = [8]byte{'V', 'A', 'R', 'V', 'E', 'D', 'S', 'K'}
	highMarkMagic = [8]byte{'V', 'A', 'R', 'V', 'E', 'H', 'W', 'M'}

	castagnoli      = crc32.MakeTable(crc32.Castagnoli)
	zeroes          [frameAlignBytes]byte
	frameMagicBytes = binary.LittleEndian.AppendUint32(nil, frameMagic)
)

// Kind says what a frame holds.
type Kind uint8

const (
	// KindChunk frames hold what was appended.
	KindChunk Kind = 1
	// KindBegin opens every segment that has frames and says where the one before it durably ended.
	KindBegin Kind = 2
	// KindSeal is a segment's footer: the last frame, at the very end of the file.
	KindSeal Kind = 3
)

// String names the kind for dumps.
func (k Kind) String() string {
	switch k {
	case KindChunk:
		return "chunk"
	case KindBegin:
		return "begin"
	case KindSeal:
		return "seal"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Header is a segment's first 64 bytes.
type Header struct {
	Version  uint32
	DiskUUID uuid.UUID
	Segment  uint64
	// Salt is random for each segment and goes into its frames' checksums, so that nothing that a producer sends, and nothing
	// copied from another segment, can pass for a frame.
	Salt uint64
	// Overwrites: the file was another segment's before, so what is not yet written is not zeros.
	Overwrites bool
}

// flagOverwrites is the only flag of a header.
const flagOverwrites = 1

// 0        8         12         16          32         40      48         60    64
// | magic  | version | flags    | disk uuid | segment  | salt  | reserved | crc |
func (h Header) encode() []byte {
	b := make([]byte, segmentHeaderBytes)
	copy(b, segmentMagic[:])
	binary.LittleEndian.PutUint32(b[8:], h.Version)
	if h.Overwrites {
		binary.LittleEndian.PutUint32(b[12:], flagOverwrites)
	}
	copy(b[16:32], h.DiskUUID[:])
	binary.LittleEndian.PutUint64(b[32:], h.Segment)
	binary.LittleEndian.PutUint64(b[40:], h.Salt)
	binary.LittleEndian.PutUint32(b[60:], crc32.Checksum(b[:60], castagnoli))
	return b
}

// decodeHeader reads a segment header. The version is judged before the checksum, whose place a later version may change. Where the checksum
// differs, or the magic, the header that is returned is what stands there.
func decodeHeader(b []byte, path string) (Header, error) {
	var h Header
	if len(b) < segmentHeaderBytes {
		return h, &CorruptionError{Path: path, Reason: "no segment header"}
	}
	h.Version = binary.LittleEndian.Uint32(b[8:])
	h.Overwrites = binary.LittleEndian.Uint32(b[12:])&flagOverwrites != 0
	copy(h.DiskUUID[:], b[16:32])
	h.Segment = binary.LittleEndian.Uint64(b[32:])
	h.Salt = binary.LittleEndian.Uint64(b[40:])
	switch {
	case !bytes.Equal(b[:8], segmentMagic[:]):
		return h, &CorruptionError{Path: path, Reason: "no segment header"}
	case h.Version != formatVersion && !isThisVersion(b, 60):
		return h, &VersionError{Path: path, Version: h.Version}
	case crc32.Checksum(b[:60], castagnoli) != binary.LittleEndian.Uint32(b[60:]):
		return h, &CorruptionError{Path: path, Reason: "segment header checksum differs"}
	}
	return h, nil
}

// isThisVersion says whether b, of which the checksum at crcAt is one of this version, names another because bits of the version itself have changed.
func isThisVersion(b []byte, crcAt int) bool {
	was := bytes.Clone(b[:crcAt])
	binary.LittleEndian.PutUint32(was[8:], formatVersion)
	return crc32.Checksum(was, castagnoli) == binary.LittleEndian.Uint32(b[crcAt:])
}

// frameHeader is what stands before each payload.
type frameHeader struct {
	payloadBytes uint32
	payloadCRC   uint32
	// durableEnd is the position below which the segment was durable when the frame was written.
	durableEnd uint32
	// sequence counts the frames written to the segment, from 1. A write that failed uses its numbers up.
	sequence uint64
	kind     Kind
}

//	0       4        8             12           16         24     25         28    32
//	| magic | length | payload crc | durableEnd | sequence | kind | reserved | crc |
//
// The last four bytes are the CRC32C of the segment's salt, the frame's position and the 28 bytes before.
func (h frameHeader) encode(b []byte, salt uint64, position uint32) {
	_ = b[frameHeaderBytes-1]
	binary.LittleEndian.PutUint32(b[0:], frameMagic)
	binary.LittleEndian.PutUint32(b[4:], h.payloadBytes)
	binary.LittleEndian.PutUint32(b[8:], h.payloadCRC)
	binary.LittleEndian.PutUint32(b[12:], h.durableEnd)
	binary.LittleEndian.PutUint64(b[16:], h.sequence)
	b[24], b[25], b[26], b[27] = byte(h.kind), 0, 0, 0
	binary.LittleEndian.PutUint32(b[28:], frameHeaderCRC(b, salt, position))
}

// decodeFrameHeader reads the frame header at position; false means that none that was written for this place stands there.
func decodeFrameHeader(b []byte, salt uint64, position uint32) (frameHeader, bool) {
	_ = b[frameHeaderBytes-1]
	if binary.LittleEndian.Uint32(b) != frameMagic ||
		binary.LittleEndian.Uint32(b[28:]) != frameHeaderCRC(b, salt, position) {
		return frameHeader{}, false
	}
	return frameHeader{
		payloadBytes: binary.LittleEndian.Uint32(b[4:]),
		payloadCRC:   binary.LittleEndian.Uint32(b[8:]),
		durableEnd:   binary.LittleEndian.Uint32(b[12:]),
		sequence:     binary.LittleEndian.Uint64(b[16:]),
		kind:         Kind(b[24]),
	}, true
}

// frameHeaderCRC mixes salt and position in front of the header's own bytes. The bytes are folded by the table, 12 of
// them, so that no buffer escapes to the heap.
func frameHeaderCRC(b []byte, salt uint64, position uint32) uint32 {
	crc := ^uint32(0)
	for range 8 {
		crc = castagnoli[byte(crc)^byte(salt)] ^ crc>>8
		salt >>= 8
	}
	for range 4 {
		crc = castagnoli[byte(crc)^byte(position)] ^ crc>>8
		position >>= 8
	}
	return crc32.Update(^crc, castagnoli, b[:28])
}

// frameBytes is the space that a frame takes: header, payload, and zeros up to the next multiple of 8.
func frameBytes(payloadBytes int64) int64 {
	return (frameHeaderBytes + payloadBytes + frameAlignBytes - 1) &^ (frameAlignBytes - 1)
}

// begin is the payload of KindBegin: what is known of the segment before when the first frame is written. previous is 0
// where there is none.
type begin struct {
	previous    uint64
	previousEnd uint32
}

// 0          8             12         16
// | previous | previousEnd | reserved |
func (p begin) encode(b []byte) {
	binary.LittleEndian.PutUint64(b[0:], p.previous)
	binary.LittleEndian.PutUint32(b[8:], p.previousEnd)
	binary.LittleEndian.PutUint32(b[12:], 0)
}

func decodeBegin(b []byte) (begin, bool) {
	if len(b) != beginPayloadBytes {
		return begin{}, false
	}
	return begin{previous: binary.LittleEndian.Uint64(b), previousEnd: binary.LittleEndian.Uint32(b[8:])}, true
}

// seal is the payload of KindSeal: a digest of the segment. It repeats the begin frame, so that a clean segment is known
// from its two ends.
type seal struct {
	begin  begin
	chunks uint64
}

// 0       16       24         32
// | begin | chunks | reserved |
func (p seal) encode(b []byte) {
	p.begin.encode(b)
	binary.LittleEndian.PutUint64(b[16:], p.chunks)
	binary.LittleEndian.PutUint64(b[24:], 0)
}

func decodeSeal(b []byte) (seal, bool) {
	if len(b) != sealPayloadBytes {
		return seal{}, false
	}
	p, ok := decodeBegin(b[:beginPayloadBytes])
	return seal{begin: p, chunks: binary.LittleEndian.Uint64(b[16:])}, ok
}

// Both small files hold the same 40 bytes: who the disk is, and the highest segment id given out.
//
//	0       8         12         16                                36    40
//	| magic | version | reserved | uuid, or id in the first 8 bytes | crc |
const stateFileBytes = 40

func encodeState(magic [8]byte, value [16]byte) []byte {
	b := make([]byte, stateFileBytes)
	copy(b, magic[:])
	binary.LittleEndian.PutUint32(b[8:], formatVersion)
	copy(b[16:32], value[:])
	binary.LittleEndian.PutUint32(b[36:], crc32.Checksum(b[:36], castagnoli))
	return b
}

func decodeState(b []byte, magic [8]byte, path string) (value [16]byte, err error) {
	if len(b) < 12 || !bytes.Equal(b[:8], magic[:]) {
		return value, &CorruptionError{Path: path, Reason: "unknown contents"}
	}
	if version := binary.LittleEndian.Uint32(b[8:]); version != formatVersion && (len(b) != stateFileBytes || !isThisVersion(b, 36)) {
		return value, &VersionError{Path: path, Version: version}
	}
	if len(b) != stateFileBytes || crc32.Checksum(b[:36], castagnoli) != binary.LittleEndian.Uint32(b[36:]) {
		return value, &CorruptionError{Path: path, Reason: "checksum differs"}
	}
	copy(value[:], b[16:32])
	return value, nil
}
