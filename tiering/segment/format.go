package segment

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
)

// Sizes that are part of the format.
const (
	Version      = 3 // of what is written; versions 1 and 2 are read too
	firstVersion = 1
	HeaderBytes  = 48
	TrailerBytes = 32

	indexEntryBytes    = 16
	crcBytes           = 4
	directoryPartBytes = 16 + 4 + 4 + 8*8 + 4 + 2
	maxTopicNameBytes  = 249

	// MaxPartBytes bounds a part: index positions have 32 bits.
	MaxPartBytes = math.MaxUint32
)

const (
	headerMagic  = "VSEG"
	trailerMagic = "GESV"
)

// The errors of a decoder. ErrTruncated: more bytes are needed or the object was cut. ErrCorrupt: a checksum or a bound
// does not hold. ErrVersion: written by a version this code does not know, and whole as far as that can be told.
var (
	ErrTruncated = errors.New("segment object truncated")
	ErrCorrupt   = errors.New("segment object corrupt")
	ErrVersion   = errors.New("segment object has an unknown version")
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var order = binary.LittleEndian

// Header begins the object.
type Header struct {
	JobID         uint64
	Ordinal       uint32
	CreatedMillis int64
	// Filler: a recovery wrote it, for markers whose transactions' records are elsewhere or lost; it holds nothing that was produced.
	Filler bool
}

const flagFiller = 1

// Part describes a contiguous range of one partition's offsets inside the object.
type Part struct {
	TopicID          [16]byte
	Topic            string
	Partition        int32
	LeaderEpoch      int32
	BaseOffset       int64
	NextOffset       int64  // half-open
	Position         uint64 // of the first batch in the object
	LengthBytes      uint64
	IndexPosition    uint64
	IndexLengthBytes uint64
	MaxTimestamp     int64
	MinTimestamp     int64 // of the batches' first records, -1 for none. The object does not say it
	Records          uint64
	Verbatim         bool // holds batches that could not be decoded
	// LogStart is where the partition's log began when the object was written, 0 where the writer did not know.
	LogStart int64
}

func appendHeader(dst []byte, h Header) []byte {
	start := len(dst)
	dst = append(dst, headerMagic...)
	dst = order.AppendUint16(dst, Version)
	var flags uint16
	if h.Filler {
		flags |= flagFiller
	}
	dst = order.AppendUint16(dst, flags)
	dst = order.AppendUint64(dst, h.JobID)
	dst = order.AppendUint32(dst, h.Ordinal)
	dst = order.AppendUint32(dst, 0)
	dst = order.AppendUint64(dst, uint64(h.CreatedMillis))
	dst = append(dst, make([]byte, 12)...)
	return order.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli))
}

// ParseHeader reads the object's first HeaderBytes.
func ParseHeader(b []byte) (Header, error) {
	h, _, err := parseHeader(b)
	return h, err
}

// parseHeader also returns the version, where the checksum holds: one that this program does not know with ErrVersion.
func parseHeader(b []byte) (h Header, version uint16, err error) {
	if len(b) < HeaderBytes {
		return Header{}, 0, fmt.Errorf("parse header: %d bytes: %w", len(b), ErrTruncated)
	}
	if string(b[:4]) != headerMagic {
		return Header{}, 0, fmt.Errorf("parse header: magic %q: %w", b[:4], ErrCorrupt)
	}
	if crc32.Checksum(b[:HeaderBytes-crcBytes], castagnoli) != order.Uint32(b[HeaderBytes-crcBytes:]) {
		return Header{}, 0, fmt.Errorf("parse header: checksum: %w", ErrCorrupt)
	}
	version = order.Uint16(b[4:])
	if !isKnown(version) {
		return Header{}, version, fmt.Errorf("parse header: version %d, this program reads %d to %d: %w", version, firstVersion, Version, ErrVersion)
	}
	h = Header{JobID: order.Uint64(b[8:]), Ordinal: order.Uint32(b[16:]), CreatedMillis: int64(order.Uint64(b[24:])), Filler: order.Uint16(b[6:])&flagFiller != 0}
	return h, version, nil
}

func isKnown(version uint16) bool { return version >= firstVersion && version <= Version }

// parseEnds reads header and trailer, which are to be of one version: no checksum covers the trailer's, so that a flipped bit in it would else pass for
// an object of a newer program.
func parseEnds(head, end []byte) (Header, Trailer, error) {
	header, version, wrongHeader := parseHeader(head)
	trailer, wrongTrailer := ParseTrailer(end)
	for _, err := range []error{wrongHeader, wrongTrailer} {
		if err != nil && !errors.Is(err, ErrVersion) {
			return Header{}, Trailer{}, err
		}
	}
	if trailer.version != version {
		return Header{}, Trailer{}, fmt.Errorf("the header is of version %d, the trailer of %d: %w", version, trailer.version, ErrCorrupt)
	}
	return header, trailer, wrongHeader
}

func appendDirectory(dst []byte, parts []Part) []byte {
	dst = order.AppendUint32(dst, uint32(len(parts)))
	for i := range parts {
		p := &parts[i]
		dst = append(dst, p.TopicID[:]...)
		dst = order.AppendUint32(dst, uint32(p.Partition))
		var flags uint32
		if p.Verbatim {
			flags |= 1
		}
		dst = order.AppendUint32(dst, flags)
		for _, v := range [...]uint64{
			uint64(p.BaseOffset), uint64(p.NextOffset), p.Position, p.LengthBytes, p.IndexPosition, p.IndexLengthBytes,
			uint64(p.MaxTimestamp), p.Records,
		} {
			dst = order.AppendUint64(dst, v)
		}
		dst = order.AppendUint32(dst, uint32(p.LeaderEpoch))
		dst = order.AppendUint16(dst, uint16(len(p.Topic)))
		dst = append(dst, p.Topic...)
	}
	return dst
}

func parseDirectory(b []byte, objectBytes uint64, version uint16) (*Contents, error) {
	if len(b) < 4 {
		return nil, fmt.Errorf("parse directory: %w", ErrTruncated)
	}
	count := int(order.Uint32(b))
	b = b[4:]
	if count > len(b)/directoryPartBytes {
		return nil, fmt.Errorf("parse directory: %d parts in %d bytes: %w", count, len(b), ErrCorrupt)
	}
	parts := make([]Part, count)
	for i := range parts {
		n, err := parts[i].parse(b)
		if err == nil {
			err = parts[i].check(objectBytes)
		}
		if err != nil {
			return nil, fmt.Errorf("parse directory: part %d: %w", i, err)
		}
		b = b[n:]
	}
	c := &Contents{Parts: parts}
	if version == firstVersion {
		if len(b) != 0 {
			return nil, fmt.Errorf("parse directory: %d bytes behind the last part: %w", len(b), ErrCorrupt)
		}
		return c, nil
	}
	if err := c.parseAbout(b, version); err != nil {
		return nil, fmt.Errorf("parse directory: %w", err)
	}
	return c, nil
}

func (p *Part) parse(b []byte) (n int, err error) {
	if len(b) < directoryPartBytes {
		return 0, ErrTruncated
	}
	copy(p.TopicID[:], b)
	p.Partition = int32(order.Uint32(b[16:]))
	p.Verbatim = order.Uint32(b[20:])&1 != 0
	var v [8]uint64
	for i := range v {
		v[i] = order.Uint64(b[24+8*i:])
	}
	p.BaseOffset, p.NextOffset = int64(v[0]), int64(v[1])
	p.Position, p.LengthBytes, p.IndexPosition, p.IndexLengthBytes = v[2], v[3], v[4], v[5]
	p.MaxTimestamp, p.Records = int64(v[6]), v[7]
	p.LeaderEpoch = int32(order.Uint32(b[88:]))
	nameBytes := int(order.Uint16(b[92:]))
	if nameBytes > maxTopicNameBytes || nameBytes > len(b)-directoryPartBytes {
		return 0, fmt.Errorf("topic name of %d bytes: %w", nameBytes, ErrCorrupt)
	}
	p.Topic = string(b[directoryPartBytes : directoryPartBytes+nameBytes])
	return directoryPartBytes + nameBytes, nil
}

// check holds the part's bounds against the object's, so that no reader has to.
func (p *Part) check(objectBytes uint64) error {
	within := func(position, length uint64) bool {
		return position >= HeaderBytes && position <= objectBytes && length <= objectBytes-position
	}
	switch {
	case p.Partition < 0, p.BaseOffset < 0, p.NextOffset <= p.BaseOffset:
		return fmt.Errorf("partition %d offsets [%d, %d): %w", p.Partition, p.BaseOffset, p.NextOffset, ErrCorrupt)
	case p.NextOffset-p.BaseOffset > math.MaxUint32 || p.LengthBytes > MaxPartBytes || p.LengthBytes == 0:
		return fmt.Errorf("%d offsets in %d bytes: %w", p.NextOffset-p.BaseOffset, p.LengthBytes, ErrCorrupt)
	case !within(p.Position, p.LengthBytes) || !within(p.IndexPosition, p.IndexLengthBytes):
		return fmt.Errorf("range outside the object: %w", ErrCorrupt)
	case p.IndexLengthBytes < indexEntryBytes+crcBytes || (p.IndexLengthBytes-crcBytes)%indexEntryBytes != 0:
		return fmt.Errorf("index of %d bytes: %w", p.IndexLengthBytes, ErrCorrupt)
	}
	return nil
}

// Trailer ends the object and says where the directory is.
type Trailer struct {
	DirectoryPosition uint64
	DirectoryBytes    uint32
	ObjectBytes       uint64
	directoryCRC      uint32
	version           uint16
}

func appendTrailer(dst []byte, t Trailer) []byte {
	dst = order.AppendUint64(dst, t.DirectoryPosition)
	dst = order.AppendUint32(dst, t.DirectoryBytes)
	dst = order.AppendUint32(dst, t.directoryCRC)
	dst = order.AppendUint64(dst, t.ObjectBytes)
	dst = order.AppendUint16(dst, Version)
	dst = order.AppendUint16(dst, 0)
	return append(dst, trailerMagic...)
}

// ParseTrailer reads the object's last TrailerBytes, which end is the end of. No checksum covers them: whether ErrVersion is true the header tells.
func ParseTrailer(end []byte) (Trailer, error) {
	if len(end) < TrailerBytes {
		return Trailer{}, fmt.Errorf("parse trailer: %d bytes: %w", len(end), ErrTruncated)
	}
	b := end[len(end)-TrailerBytes:]
	if string(b[28:]) != trailerMagic {
		return Trailer{}, fmt.Errorf("parse trailer: magic %q: %w", b[28:], ErrTruncated)
	}
	version := order.Uint16(b[24:])
	if !isKnown(version) {
		return Trailer{version: version}, fmt.Errorf("parse trailer: version %d, this program reads %d to %d: %w", version, firstVersion, Version, ErrVersion)
	}
	if reserved := order.Uint16(b[26:]); reserved != 0 {
		return Trailer{}, fmt.Errorf("parse trailer: reserved %#x: %w", reserved, ErrCorrupt)
	}
	t := Trailer{version: version, DirectoryPosition: order.Uint64(b), DirectoryBytes: order.Uint32(b[8:]), directoryCRC: order.Uint32(b[12:]), ObjectBytes: order.Uint64(b[16:])}
	if t.DirectoryPosition < HeaderBytes || t.DirectoryPosition+uint64(t.DirectoryBytes)+TrailerBytes != t.ObjectBytes {
		return Trailer{}, fmt.Errorf("parse trailer: directory [%d, +%d) in %d bytes: %w", t.DirectoryPosition, t.DirectoryBytes, t.ObjectBytes, ErrCorrupt)
	}
	return t, nil
}

// Directory returns what the object holds, given its last bytes. When end does not reach back to the directory, it
// returns ErrTruncated; t.DirectoryPosition tells from where to read.
func (t Trailer) Directory(end []byte) (*Contents, error) {
	need := uint64(t.DirectoryBytes) + TrailerBytes
	if uint64(len(end)) < need {
		return nil, fmt.Errorf("read directory: %d of %d bytes: %w", len(end), need, ErrTruncated)
	}
	directory := end[uint64(len(end))-need:][:t.DirectoryBytes]
	if crc32.Checksum(directory, castagnoli) != t.directoryCRC {
		return nil, fmt.Errorf("read directory: checksum: %w", ErrCorrupt)
	}
	return parseDirectory(directory, t.ObjectBytes, t.version)
}
