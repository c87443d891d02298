package hotlog

import (
	"errors"
	"fmt"

	"github.com/varvelog/varve/infra/vfs"
)

// TailState says how a segment ends.
type TailState uint8

const (
	// TailSealed: with a footer at the file's end.
	TailSealed TailState = iota + 1
	// TailClean: with nothing after the last frame but zeros, or what the file held before it was this segment's.
	TailClean
	// TailTorn: with bytes that are no frame and were never durable.
	TailTorn
)

// String names the state for dumps.
func (t TailState) String() string {
	switch t {
	case TailSealed:
		return "sealed"
	case TailClean:
		return "clean"
	case TailTorn:
		return "torn"
	}
	return fmt.Sprintf("tail state %d", uint8(t))
}

// Report describes a segment file.
type Report struct {
	Path   string
	Header Header
	// Chunks counts chunk frames, PayloadBytes their payloads (known after a full scan only).
	Chunks       uint64
	PayloadBytes uint64
	// End is where the last chunk's frame ends; FileBytes the file's size.
	End       int64
	FileBytes int64
	// Previous and PreviousEnd: the segment before this one and where it durably ended when this one's first frame was written. 0:
	// none.
	Previous    uint64
	PreviousEnd uint32
	Tail        TailState
	// TornBytes counts the bytes from End to the last that was written there: that is not zero, or, where the header says that the file was
	// another segment's, belongs to a frame whose header arrived.
	TornBytes int64

	// durableEnd is the highest that a frame states; what lies between it and End may never have been synced.
	durableEnd   int64
	lastSequence uint64
}

// inspectEnds reads what a segment is from its two ends: header, begin frame and, where there is one, footer. Tail is 0
// where there is none.
func inspectEnds(file vfs.File, path string) (Report, error) {
	r := Report{Path: path}
	if err := r.readHeader(file); err != nil {
		return r, err
	}
	_, err := r.readEnds(file)
	return r, err
}

func (r *Report) readHeader(file vfs.File) (err error) {
	if r.FileBytes, err = file.Size(); err != nil {
		return fmt.Errorf("size %s: %w", r.Path, err)
	}
	b := make([]byte, min(r.FileBytes, segmentHeaderBytes))
	if err := readFull(file, b, 0); err != nil {
		return fmt.Errorf("read %s: %w", r.Path, err)
	}
	if r.Header, err = decodeHeader(b, r.Path); err != nil {
		return err
	}
	if r.FileBytes > maxSegmentBytes {
		return &CorruptionError{Path: r.Path, Segment: r.Header.Segment, Reason: fmt.Sprintf("file of %d bytes", r.FileBytes)}
	}
	return nil
}

// readEnds reads the footer or, where there is none, the begin frame, and says whether it found either.
func (r *Report) readEnds(file vfs.File) (bool, error) {
	if ok, err := r.readFooter(file); err != nil || ok {
		return ok, err
	}
	frame, ok, err := newScanner(file, r.Header, r.Path, r.FileBytes).next(true)
	if err != nil || !ok {
		return false, err
	}
	r.setBegin(frame.Payload)
	return true, nil
}

// readFooter looks for a footer at the end of the file and takes over what it says.
func (r *Report) readFooter(file vfs.File) (bool, error) {
	at := r.FileBytes - sealFrameBytes
	if at < segmentHeaderBytes || at%frameAlignBytes != 0 {
		return false, nil
	}
	s := newScanner(file, r.Header, r.Path, r.FileBytes)
	s.position = at
	frame, ok, err := s.next(true)
	if err != nil || !ok || frame.Kind != KindSeal || int64(frame.DurableEnd) != at {
		// What else may stand there is for a scan to judge.
		return false, ignoreCorruption(err)
	}
	p, ok := decodeSeal(frame.Payload)
	if !ok {
		return false, nil
	}
	r.Chunks, r.Previous, r.PreviousEnd = p.chunks, p.begin.previous, p.begin.previousEnd
	r.End, r.durableEnd, r.Tail = at, at, TailSealed
	return true, nil
}

// ignoreCorruption drops the verdict that bytes are no frame, and no other error.
func ignoreCorruption(err error) error {
	var corruption *CorruptionError
	if errors.As(err, &corruption) {
		return nil
	}
	return err
}

// scan reads every frame. knownEnd is the durable end that the next segment states, or 0: below it everything must be right, above it
// nothing was acknowledged. fn, if any, sees each frame.
func (r *Report) scan(file vfs.File, knownEnd int64, fn func(Frame) error) error {
	limit := r.FileBytes
	if knownEnd > limit {
		return &CorruptionError{Path: r.Path, Segment: r.Header.Segment, Position: limit,
			Reason: fmt.Sprintf("file ends, yet everything below %d was durable", knownEnd)}
	}
	s := newScanner(file, r.Header, r.Path, limit)
	*r = Report{Path: r.Path, Header: r.Header, FileBytes: r.FileBytes, durableEnd: segmentHeaderBytes}
	sealEnd := int64(0)
	for sealEnd == 0 && (knownEnd == 0 || s.position < knownEnd) {
		at := s.position
		frame, ok, err := s.next(fn != nil || at == segmentHeaderBytes)
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		if err := r.take(s, at, frame); err != nil {
			return err
		}
		if frame.Kind == KindSeal {
			sealEnd, s.position = s.position, at
		}
		if fn != nil {
			if err := fn(frame); err != nil {
				return err
			}
		}
	}
	r.End = s.position
	if knownEnd != 0 && r.End != knownEnd {
		if s.reason == "" {
			s.reason = "frame crosses the durable end"
		}
		return s.corrupt(min(r.End, knownEnd), fmt.Sprintf("%s, yet everything below %d was durable", s.reason, knownEnd))
	}
	return r.judgeTail(s, sealEnd)
}

// take counts a frame that starts at position at.
func (r *Report) take(s *scanner, at int64, frame Frame) error {
	r.durableEnd = max(r.durableEnd, int64(frame.DurableEnd))
	r.lastSequence = frame.Sequence
	switch frame.Kind {
	case KindChunk:
		r.Chunks++
		r.PayloadBytes += uint64(frame.Length)
	case KindBegin:
		if !r.setBegin(frame.Payload) {
			return s.corrupt(at, "begin frame of unknown length")
		}
	case KindSeal:
		b, err := s.bytesAt(int64(frame.Position), int(frame.Length))
		if err != nil {
			return err
		}
		if p, ok := decodeSeal(b); !ok || p.chunks != r.Chunks || p.begin != (begin{r.Previous, r.PreviousEnd}) {
			return s.corrupt(at, "footer does not agree with the frames before it")
		}
	}
	return nil
}

func (r *Report) setBegin(payload []byte) bool {
	p, ok := decodeBegin(payload)
	r.Previous, r.PreviousEnd = p.previous, p.previousEnd
	return ok
}

// judgeTail looks at what follows the last frame.
func (r *Report) judgeTail(s *scanner, sealEnd int64) error {
	if sealEnd == r.FileBytes {
		r.Tail = TailSealed
		return nil
	}
	var err error
	if r.TornBytes, err = s.tailBytes(r.End, max(r.End, sealEnd), r.FileBytes); err != nil {
		return err
	}
	r.Tail = TailClean
	if r.TornBytes > 0 {
		r.Tail = TailTorn
	}
	return nil
}
