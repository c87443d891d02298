package bucket

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"

	"github.com/varvelog/varve/coordinator/metalog"
)

const (
	magic       = "VARVELOG"
	version     = 1
	headerBytes = 32
	keyPrefix   = "meta/log/"
	keyDigits   = 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Key is the object key of the entry at seq.
func Key(seq uint64) string { return fmt.Sprintf("%s%0*d", keyPrefix, keyDigits, seq) }

// parseKey is the inverse of Key; ok is false for keys that are no entry's.
func parseKey(key string) (seq uint64, ok bool) {
	digits, found := strings.CutPrefix(key, keyPrefix)
	if !found || len(digits) != keyDigits {
		return 0, false
	}
	seq, err := strconv.ParseUint(digits, 10, 64)
	return seq, err == nil
}

func checksum(object []byte) uint32 {
	return crc32.Update(crc32.Checksum(object[:12], castagnoli), castagnoli, object[16:])
}

// encode returns the object of one entry.
func encode(seq uint64, entry []byte, kind metalog.Kind) []byte {
	object := make([]byte, headerBytes, headerBytes+len(entry))
	copy(object, magic)
	binary.BigEndian.PutUint16(object[8:], version)
	binary.BigEndian.PutUint16(object[10:], uint16(kind))
	binary.BigEndian.PutUint64(object[16:], seq)
	binary.BigEndian.PutUint64(object[24:], uint64(len(entry)))
	object = append(object, entry...)
	binary.BigEndian.PutUint32(object[12:], checksum(object))
	return object
}

// decode checks the object read for seq and returns its entry, which shares object's memory.
func decode(seq uint64, object []byte) (entry []byte, kind metalog.Kind, err error) {
	if len(object) < headerBytes || string(object[:8]) != magic {
		return nil, 0, fmt.Errorf("%s is no metalog entry: %w", Key(seq), metalog.ErrCorrupt)
	}
	v := binary.BigEndian.Uint16(object[8:])
	kind = metalog.Kind(binary.BigEndian.Uint16(object[10:]))
	switch {
	case binary.BigEndian.Uint32(object[12:]) != checksum(object): // it covers the version: no flipped bit passes for a newer one
		return nil, 0, fmt.Errorf("%s has a wrong checksum: %w", Key(seq), metalog.ErrCorrupt)
	case v != version:
		return nil, 0, fmt.Errorf("%s has version %d, this program reads %d: %w", Key(seq), v, version, metalog.ErrFormat)
	case kind > metalog.Fence:
		return nil, 0, fmt.Errorf("%s has unknown kind %d: %w", Key(seq), kind, metalog.ErrFormat)
	case binary.BigEndian.Uint64(object[16:]) != seq:
		return nil, 0, fmt.Errorf("%s holds entry %d: %w", Key(seq), binary.BigEndian.Uint64(object[16:]), metalog.ErrCorrupt)
	case binary.BigEndian.Uint64(object[24:]) != uint64(len(object)-headerBytes):
		return nil, 0, fmt.Errorf("%s has a wrong length: %w", Key(seq), metalog.ErrCorrupt)
	}
	return object[headerBytes:], kind, nil
}
