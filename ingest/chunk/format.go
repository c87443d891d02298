package chunk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// Sizes and bounds that are part of the format.
const (
	Version    = 1
	HeaderSize = 64 // fixed header of a chunk

	TableVersion    = 1
	TableHeaderSize = 16 // fixed header of a run table
	RunSize         = 48
	DetailSize      = 32

	MaxRuns       = 4096
	MaxTableBytes = 384 << 10 // so that a CommitChunk fits in one frame of the metadata log
	MaxBodyBytes  = 256 << 20
)

// AttrJoinsTransaction is a bit of Detail.Attributes that no batch has: the transactional batch adds its partition to the producer's
// transaction, and begins one where none is open (KIP-890). Part of the format.
const AttrJoinsTransaction = 1 << 14

const magic = "VCHK"

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// What can be wrong with bytes that should be a chunk or a run table. Errors returned by the package wrap one of these.
var (
	ErrTruncated = errors.New("chunk: truncated")           // a prefix of something that may be right
	ErrCorrupt   = errors.New("chunk: corrupt")             // cannot be right, whatever follows
	ErrVersion   = errors.New("chunk: unsupported version") // written by a newer Varve, and whole
)

func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrCorrupt, fmt.Sprintf(format, args...))
}

// Header is the fixed part of a chunk. Node, epoch, lane and seq are its identity; they stand in CommitChunk too.
type Header struct {
	NodeID        int32
	NodeEpoch     uint64
	Lane          uint32
	Seq           uint64
	CreatedMillis int64

	TableBytes uint32 // set by Builder.Seal and the parsers
	BodyBytes  uint32 // set by Builder.Seal and the parsers
}

// ChunkBytes is the length of the whole chunk.
func (h Header) ChunkBytes() int { return HeaderSize + int(h.TableBytes) + int(h.BodyBytes) }

// put writes the header and the checksum over itself and the table, which must stand directly behind it in head.
func (h Header) put(head []byte) {
	clear(head[:HeaderSize])
	copy(head, magic)
	binary.LittleEndian.PutUint16(head[4:], Version)
	binary.LittleEndian.PutUint32(head[8:], uint32(h.NodeID))
	binary.LittleEndian.PutUint32(head[12:], h.Lane)
	binary.LittleEndian.PutUint64(head[16:], h.NodeEpoch)
	binary.LittleEndian.PutUint64(head[24:], h.Seq)
	binary.LittleEndian.PutUint64(head[32:], uint64(h.CreatedMillis))
	binary.LittleEndian.PutUint32(head[40:], h.TableBytes)
	binary.LittleEndian.PutUint32(head[44:], h.BodyBytes)
	binary.LittleEndian.PutUint32(head[60:], checksum(head))
}

// checksum covers everything in head but the checksum's own four bytes.
func checksum(head []byte) uint32 {
	return crc32.Update(crc32.Checksum(head[:60], castagnoli), castagnoli, head[HeaderSize:])
}

// PeekHeader decodes the fixed header alone, to learn how much to read. Its checksum is not checked, and so its version, which may be a flipped bit, is not
// either: trust nothing but the lengths, which every version has in this place, and those only to read further.
func PeekHeader(b []byte) (Header, error) {
	if n := min(len(b), len(magic)); string(b[:n]) != magic[:n] {
		return Header{}, corrupt("magic is %q, not %q", b[:n], magic)
	}
	if len(b) < HeaderSize {
		return Header{}, fmt.Errorf("%w: %d bytes of a header of %d", ErrTruncated, len(b), HeaderSize)
	}
	h := Header{
		NodeID:        int32(binary.LittleEndian.Uint32(b[8:])),
		Lane:          binary.LittleEndian.Uint32(b[12:]),
		NodeEpoch:     binary.LittleEndian.Uint64(b[16:]),
		Seq:           binary.LittleEndian.Uint64(b[24:]),
		CreatedMillis: int64(binary.LittleEndian.Uint64(b[32:])),
		TableBytes:    binary.LittleEndian.Uint32(b[40:]),
		BodyBytes:     binary.LittleEndian.Uint32(b[44:]),
	}
	if h.TableBytes < TableHeaderSize || h.TableBytes > MaxTableBytes {
		return Header{}, corrupt("run table of %d bytes", h.TableBytes)
	}
	if h.BodyBytes > MaxBodyBytes {
		return Header{}, corrupt("body of %d bytes", h.BodyBytes)
	}
	return h, nil
}

// ParseHead validates header and run table, which b must begin with; the body may be missing or cut. The table is a view of b.
func ParseHead(b []byte) (Header, Table, error) {
	h, err := PeekHeader(b)
	if err != nil {
		return Header{}, Table{}, err
	}
	end := HeaderSize + int(h.TableBytes)
	if len(b) < end {
		return Header{}, Table{}, fmt.Errorf("%w: %d bytes of header and run table of %d", ErrTruncated, len(b), end)
	}
	if got, want := checksum(b[:end]), binary.LittleEndian.Uint32(b[60:]); got != want {
		return Header{}, Table{}, corrupt("checksum of header and run table is %08x, not %08x", got, want)
	}
	if v := binary.LittleEndian.Uint16(b[4:]); v != Version {
		return Header{}, Table{}, fmt.Errorf("%w: chunk version %d, this build reads %d", ErrVersion, v, Version)
	}
	if binary.LittleEndian.Uint16(b[6:]) != 0 || binary.LittleEndian.Uint64(b[48:]) != 0 || binary.LittleEndian.Uint32(b[56:]) != 0 {
		return Header{}, Table{}, corrupt("reserved bytes of the header are set")
	}
	t, err := ParseTable(b[HeaderSize:end:end])
	if err != nil {
		return Header{}, Table{}, err
	}
	if t.BodyBytes() != int(h.BodyBytes) {
		return Header{}, Table{}, corrupt("runs add up to %d bytes, the body has %d", t.BodyBytes(), h.BodyBytes)
	}
	return h, t, nil
}

// Chunk is a view of one whole chunk.
type Chunk struct {
	Header Header
	Table  Table
	bytes  []byte
}

// Parse validates the chunk that b begins with. The views point into b; bytes behind the chunk are ignored.
func Parse(b []byte) (Chunk, error) {
	h, t, err := ParseHead(b)
	if err != nil {
		return Chunk{}, err
	}
	n := h.ChunkBytes()
	if len(b) < n {
		return Chunk{}, fmt.Errorf("%w: %d bytes of a chunk of %d", ErrTruncated, len(b), n)
	}
	return Chunk{Header: h, Table: t, bytes: b[:n:n]}, nil
}

// Bytes is the whole chunk.
func (c Chunk) Bytes() []byte { return c.bytes }

// RunBytes are the batches of one of the chunk's runs.
func (c Chunk) RunBytes(r Run) []byte {
	end := int(r.Position) + int(r.Length)
	return c.bytes[r.Position:end:end]
}
