package hotlog

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"io"
	"math"

	"github.com/varvelog/varve/infra/vfs"
)

// scanWindowBytes is read at a time: small enough to stay in a core's cache between copying and checksumming.
const scanWindowBytes = 256 << 10

// Frame is one frame of a segment.
type Frame struct {
	Kind     Kind
	Sequence uint64
	// Position is that of the payload, as in Place.
	Position uint32
	Length   uint32
	// DurableEnd is the position below which the segment was durable when the frame was written.
	DurableEnd uint32
	// Payload is valid until the next frame is read.
	Payload []byte
}

// scanner reads the frames of one segment in order. It trusts nothing: memory is taken only for payloads that the file is long
// enough to hold and whose header's checksum is right.
type scanner struct {
	file   vfs.File
	header Header
	path   string
	// limit is where frames must end: the file's size, or the durable end that is known.
	limit int64

	position   int64
	sequence   uint64
	durableEnd int64
	// reason says why no frame stands at position, once next has returned false.
	reason string

	window      []byte
	windowStart int64
}

func newScanner(file vfs.File, header Header, path string, limit int64) *scanner {
	return &scanner{file: file, header: header, path: path, limit: limit, position: segmentHeaderBytes, durableEnd: segmentHeaderBytes}
}

// next reads the frame at position and moves past it. False without an error means that none stands there, for the
// reason given. Payloads are checked in either case, and returned if wanted.
func (s *scanner) next(wantPayload bool) (Frame, bool, error) {
	h, ok, err := s.frameHeader()
	if err != nil || !ok {
		return Frame{}, false, err
	}
	payloadAt, size := s.position+frameHeaderBytes, int64(h.payloadBytes)
	end := s.position + frameBytes(size)
	var payload []byte
	if wantPayload {
		if payload, err = s.bytesAt(payloadAt, int(end-payloadAt)); err != nil {
			return Frame{}, false, err
		}
		payload = payload[:size]
	}
	if ok, err := s.payloadMatches(payloadAt, end, size, h.payloadCRC); err != nil || !ok {
		return Frame{}, false, err
	}
	s.position, s.sequence, s.durableEnd = end, h.sequence, int64(h.durableEnd)
	return Frame{
		Kind: h.kind, Sequence: h.sequence, Position: uint32(payloadAt), Length: h.payloadBytes,
		DurableEnd: h.durableEnd, Payload: payload,
	}, true, nil
}

// frameHeader reads and judges the header at position.
func (s *scanner) frameHeader() (frameHeader, bool, error) {
	if s.limit-s.position < frameHeaderBytes {
		s.reason = "no room for a frame"
		return frameHeader{}, false, nil
	}
	b, err := s.bytesAt(s.position, frameHeaderBytes)
	if err != nil {
		return frameHeader{}, false, err
	}
	h, ok := decodeFrameHeader(b, s.header.Salt, uint32(s.position))
	return s.judgeHeader(h, ok)
}

// judgeHeader says whether a frame header that was decoded, if it was, can be that of a frame at position.
func (s *scanner) judgeHeader(h frameHeader, ok bool) (frameHeader, bool, error) {
	switch {
	case !ok:
		s.reason = "no frame header"
	case h.kind < KindChunk || h.kind > KindSeal:
		// The checksum is right, so this is no torn write: a later build wrote it, and cutting it would lose data.
		return h, false, s.corrupt(s.position, fmt.Sprintf("frame of unknown %v", h.kind))
	case s.position+frameBytes(int64(h.payloadBytes)) > s.limit:
		s.reason = "frame reaches past the end"
	case int64(h.durableEnd) > s.position || int64(h.durableEnd) < s.durableEnd:
		s.reason = "durable end out of order"
	case h.sequence <= s.sequence:
		s.reason = "sequence does not ascend"
	case (h.kind == KindBegin) != (s.position == segmentHeaderBytes):
		s.reason = "frame out of place"
	default:
		return h, true, nil
	}
	return h, false, nil
}

// payloadMatches checks a payload and its padding, window by window.
func (s *scanner) payloadMatches(from, end, size int64, want uint32) (bool, error) {
	crc, payloadEnd := uint32(0), from+size
	for from < payloadEnd {
		piece, err := s.available(from)
		if err != nil {
			return false, err
		}
		piece = piece[:min(int64(len(piece)), payloadEnd-from)]
		crc = crc32.Update(crc, castagnoli, piece)
		from += int64(len(piece))
	}
	if crc != want {
		s.reason = "payload checksum differs"
		return false, nil
	}
	padding, err := s.bytesAt(payloadEnd, int(end-payloadEnd))
	if err != nil {
		return false, err
	}
	if !bytes.Equal(padding, zeroes[:len(padding)]) {
		s.reason = "padding is not zero"
		return false, nil
	}
	return true, nil
}

// bytesAt returns the n bytes at off, valid until the next call. The caller has checked that the file holds them.
func (s *scanner) bytesAt(off int64, n int) ([]byte, error) {
	if off < s.windowStart || off+int64(n) > s.windowStart+int64(len(s.window)) {
		if err := s.fill(off, n); err != nil {
			return nil, err
		}
	}
	return s.window[off-s.windowStart:][:n:n], nil
}

// available returns at least one byte at off, and as many more as are at hand.
func (s *scanner) available(off int64) ([]byte, error) {
	if off < s.windowStart || off >= s.windowStart+int64(len(s.window)) {
		if err := s.fill(off, 1); err != nil {
			return nil, err
		}
	}
	return s.window[off-s.windowStart:], nil
}

// fill reads a window that begins at off and holds at least n bytes.
func (s *scanner) fill(off int64, n int) error {
	want := int(min(int64(max(n, scanWindowBytes)), s.limit-off))
	if cap(s.window) < want {
		s.window = make([]byte, want)
	}
	s.window, s.windowStart = s.window[:want], off
	if err := readFull(s.file, s.window, off); err != nil {
		s.window = s.window[:0]
		return fmt.Errorf("read %s at %d: %w", s.path, off, err)
	}
	return nil
}

// readFull reads all of b; an end of file before that is an error.
func readFull(r io.ReaderAt, b []byte, off int64) error {
	n, err := r.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == nil || err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (s *scanner) corrupt(position int64, reason string) *CorruptionError {
	return &CorruptionError{Path: s.path, Segment: s.header.Segment, Position: position, Reason: reason}
}

// tailBytes looks at everything from position from up to the file's end, where no frame stands. It returns how many
// bytes there are up to the last that is not zero, or, where the file was another segment's before, up to the end of the last frame that this
// one's log began to write. A frame found there which was written when the bytes at cut had long been durable
// proves corruption; FORMAT.md has the argument.
func (s *scanner) tailBytes(cut, from, fileBytes int64) (int64, error) {
	s.limit = fileBytes
	// Most of a tail is preallocated and was never written: the file system knows, and reading it would fill the page cache.
	ranges, err := vfs.DataRanges(s.file, from, fileBytes)
	if err != nil {
		return 0, fmt.Errorf("look for data in %s from %d on: %w", s.path, from, err)
	}
	tornEnd := from
	for _, r := range ranges {
		end, err := s.searchRange(cut, r)
		if err != nil {
			return 0, err
		}
		tornEnd = max(tornEnd, end)
	}
	return tornEnd - from, nil
}

// searchRange looks at the frame headers that begin in a range, and returns the end of what was written there, as tailBytes has it.
func (s *scanner) searchRange(cut int64, r vfs.Range) (tornEnd int64, err error) {
	for off := r.From; off < r.To; {
		if err := s.fill(off, 1); err != nil {
			return 0, err
		}
		if n := endOfData(s.window); n > 0 {
			end, err := s.searchWindow(cut)
			if err != nil {
				return 0, err
			}
			if !s.header.Overwrites {
				end = off + int64(n)
			}
			tornEnd = max(tornEnd, end)
		}
		next := off + int64(len(s.window))
		if next < s.limit {
			next -= frameHeaderBytes - frameAlignBytes // a header may lie across two windows
		}
		off = next
	}
	return tornEnd, nil
}

// endOfData returns how many bytes of b there are up to the last that is not zero.
func endOfData(b []byte) int {
	for len(b) >= len(zeroBlock) && bytes.Equal(b[len(b)-len(zeroBlock):], zeroBlock[:]) {
		b = b[:len(b)-len(zeroBlock)]
	}
	return len(bytes.TrimRight(b, "\x00"))
}

// zeroBlock is compared at a time, which is many times as fast as byte after byte.
var zeroBlock [4 << 10]byte

// searchWindow looks for frame headers that belong exactly where they stand, and returns where the last of their frames ends.
func (s *scanner) searchWindow(cut int64) (end int64, err error) {
	for position, h := s.headerFrom(s.windowStart); position >= 0; position, h = s.headerFrom(position + 1) {
		if int64(h.durableEnd) > cut {
			return 0, s.corrupt(cut, fmt.Sprintf("%s, yet the frame at %d was written when everything below %d was durable",
				s.reason, position, h.durableEnd))
		}
		end = min(position+frameBytes(int64(h.payloadBytes)), s.limit)
	}
	return end, nil
}

// headerFrom finds, from a position in the window on, the first frame header that is whole in it and belongs exactly where it stands; -1 where none is.
func (s *scanner) headerFrom(position int64) (int64, frameHeader) {
	for at := int(position - s.windowStart); at < len(s.window); at++ {
		i := bytes.Index(s.window[at:], frameMagicBytes)
		if i < 0 {
			break
		}
		at += i
		position := s.windowStart + int64(at)
		if position%frameAlignBytes != 0 || len(s.window)-at < frameHeaderBytes || position > math.MaxUint32 {
			continue
		}
		if h, ok := decodeFrameHeader(s.window[at:], s.header.Salt, uint32(position)); ok {
			return position, h
		}
	}
	return -1, frameHeader{}
}
