package copies

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
)

const (
	chunkMagic  = "VCPY"
	answerMagic = "VCPA"
	version     = 1

	chunkFrameBytes  = 56
	answerFrameBytes = 48

	codeDurable = 0
	codeRefused = 1
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	le         = binary.LittleEndian

	// ErrFrame: what arrived is no frame, or was damaged on its way.
	ErrFrame = errors.New("not a frame of copies")
)

// Header says whose chunk a copy is of.
type Header struct {
	Node  meta.NodeID
	Epoch uint64
	Lane  uint32
	Seq   uint64
}

// chunkFrame is the header of a chunk's frame.
type chunkFrame struct {
	Header
	id      uint64
	length  uint32
	bodyCRC uint32
}

func (f *chunkFrame) encode(b *[chunkFrameBytes]byte) {
	copy(b[:], chunkMagic)
	le.PutUint16(b[4:], version)
	le.PutUint16(b[6:], 0)
	le.PutUint64(b[8:], f.id)
	le.PutUint32(b[16:], uint32(f.Node))
	le.PutUint32(b[20:], f.Lane)
	le.PutUint64(b[24:], f.Epoch)
	le.PutUint64(b[32:], f.Seq)
	le.PutUint32(b[40:], f.length)
	le.PutUint32(b[44:], f.bodyCRC)
	le.PutUint32(b[48:], 0)
	le.PutUint32(b[52:], crc32.Checksum(b[:52], castagnoli))
}

func (f *chunkFrame) decode(b *[chunkFrameBytes]byte) error {
	if err := checkFrame(b[:], chunkMagic); err != nil {
		return err
	}
	f.id, f.Node, f.Lane = le.Uint64(b[8:]), meta.NodeID(le.Uint32(b[16:])), le.Uint32(b[20:])
	f.Epoch, f.Seq, f.length, f.bodyCRC = le.Uint64(b[24:]), le.Uint64(b[32:]), le.Uint32(b[40:]), le.Uint32(b[44:])
	return nil
}

// answerFrame says where a copy is durable; copy is nil where it is not.
type answerFrame struct {
	id   uint64
	copy *metapb.ChunkCopy
}

func (f *answerFrame) encode(b *[answerFrameBytes]byte) {
	copy(b[:], answerMagic)
	code := uint16(codeDurable)
	if f.copy == nil {
		code = codeRefused
	}
	le.PutUint16(b[4:], version)
	le.PutUint16(b[6:], code)
	le.PutUint64(b[8:], f.id)
	le.PutUint32(b[16:], uint32(f.copy.GetNodeId()))
	le.PutUint32(b[20:], f.copy.GetPosition())
	le.PutUint64(b[24:], f.copy.GetNodeEpoch())
	le.PutUint64(b[32:], f.copy.GetSegment())
	le.PutUint32(b[40:], 0)
	le.PutUint32(b[44:], crc32.Checksum(b[:44], castagnoli))
}

func (f *answerFrame) decode(b *[answerFrameBytes]byte) error {
	if err := checkFrame(b[:], answerMagic); err != nil {
		return err
	}
	f.id, f.copy = le.Uint64(b[8:]), nil
	if le.Uint16(b[6:]) == codeDurable {
		f.copy = &metapb.ChunkCopy{
			NodeId: int32(le.Uint32(b[16:])), Position: le.Uint32(b[20:]), NodeEpoch: le.Uint64(b[24:]), Segment: le.Uint64(b[32:]),
		}
	}
	return nil
}

// checkFrame checks magic, version and the checksum in the last four bytes.
func checkFrame(b []byte, magic string) error {
	switch end := len(b) - 4; {
	case string(b[:4]) != magic:
		return fmt.Errorf("%w: it begins with %q", ErrFrame, b[:4])
	case le.Uint16(b[4:]) != version:
		return fmt.Errorf("%w: version %d, this build speaks %d", ErrFrame, le.Uint16(b[4:]), version)
	case crc32.Checksum(b[:end], castagnoli) != le.Uint32(b[end:]):
		return fmt.Errorf("%w: its checksum is wrong", ErrFrame)
	}
	return nil
}
