package meta

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"google.golang.org/protobuf/proto"

	"github.com/varvelog/varve/coordinator/metapb"
)

const (
	entryMagic      = "VENT"
	entryHeaderSize = 16
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// EncodeEntry is the entry as it stands in the log (FORMAT.md). Its Format, if 0, is set.
func EncodeEntry(e *metapb.Entry) ([]byte, error) {
	if e.Format == 0 {
		e.Format = EntryFormat
	}
	b := make([]byte, entryHeaderSize, entryHeaderSize+proto.Size(e))
	copy(b, entryMagic)
	b[4] = EntryFormat
	b, err := proto.MarshalOptions{Deterministic: true, UseCachedSize: true}.MarshalAppend(b, e)
	if err != nil {
		return nil, fmt.Errorf("encode entry: %w", err)
	}
	binary.LittleEndian.PutUint32(b[8:], uint32(len(b)-entryHeaderSize))
	binary.LittleEndian.PutUint32(b[12:], crc32.Checksum(b[entryHeaderSize:], castagnoli))
	return b, nil
}

// DecodeEntry reads what EncodeEntry wrote. The error wraps ErrCorrupt or ErrFormat.
func DecodeEntry(b []byte) (*metapb.Entry, error) {
	if len(b) < entryHeaderSize || string(b[:4]) != entryMagic {
		return nil, fmt.Errorf("decode entry of %d bytes: %w: no entry header", len(b), ErrCorrupt)
	}
	e := &metapb.Entry{}
	wrong := decodeBody(b, e)
	if v := binary.LittleEndian.Uint16(b[4:]); v != EntryFormat {
		if wrong == nil && e.Format == EntryFormat {
			return nil, fmt.Errorf("decode entry: %w: its header says format %d, its body %d", ErrCorrupt, v, e.Format)
		}
		return nil, fmt.Errorf("decode entry: %w: entry format %d, this build reads %d", ErrFormat, v, EntryFormat)
	}
	if wrong != nil {
		return nil, fmt.Errorf("decode entry: %w", wrong)
	}
	if e.Format != EntryFormat {
		return nil, fmt.Errorf("decode entry: %w: entry format %d, this build reads %d", ErrFormat, e.Format, EntryFormat)
	}
	return e, nil
}

// decodeBody decodes what stands behind a header of magic, version, length and CRC32C. The checksum does not cover the version, which stands in the
// body once more: so a flipped bit in it is told from a newer format.
func decodeBody(b []byte, into proto.Message) error {
	body := b[entryHeaderSize:]
	if n := binary.LittleEndian.Uint32(b[8:]); uint64(n) != uint64(len(body)) || b[6] != 0 || b[7] != 0 {
		return fmt.Errorf("%w: %d bytes where the header says %d", ErrCorrupt, len(body), n)
	}
	if crc32.Checksum(body, castagnoli) != binary.LittleEndian.Uint32(b[12:]) {
		return fmt.Errorf("%w: checksum", ErrCorrupt)
	}
	if err := proto.Unmarshal(body, into); err != nil {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return nil
}

// HashEntry is the hash of an encoded entry, which the next entry carries.
func HashEntry(encoded []byte) []byte {
	h := sha256.Sum256(encoded)
	return h[:]
}

// VerifyEntry checks that an entry continues the log: it belongs to this log and follows the entry whose hash is given (empty
// at sequence 1).
func VerifyEntry(previousHash []byte, logID [16]byte, e *metapb.Entry) error {
	switch {
	case e.Format != EntryFormat:
		return fmt.Errorf("verify entry: %w: entry format %d, this build reads %d", ErrFormat, e.Format, EntryFormat)
	case string(e.LogId) != string(logID[:]):
		return fmt.Errorf("verify entry: %w: %x, not %x", ErrForeignLog, e.LogId, logID)
	case string(e.PreviousHash) != string(previousHash):
		return fmt.Errorf("verify entry: %w: it follows an entry of hash %x, not %x", ErrCorrupt, e.PreviousHash, previousHash)
	}
	return nil
}
