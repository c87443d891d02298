package hotlog

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"path"

	"github.com/google/uuid"
	"github.com/varvelog/varve/infra/vfs"
)

// damagedSuffix is what the name of a segment ends in of which Repair could tell no frame.
const damagedSuffix = ".damaged"

// highMarkLeap is how far above the highest segment that is there Repair sets a high mark that is damaged: more than ever were given out.
const highMarkLeap = 1 << 32

// Damage is a file of a hot log, or a stretch of a segment that had been durable, which is not what was written.
type Damage struct {
	// CorruptionError says where it begins and what is wrong.
	*CorruptionError
	// End is where in the segment it ends: what is whole goes on there, or nothing had been durable from there on. 0 where the file is no segment.
	End int64
}

// Salvage reads what is whole of a hot log, however damaged: it calls frame with each chunk's frame of each segment, in the order in which they
// were written, and damaged, in the same order, with what was durable and is not right any more. What was not durable is passed over, as Open cuts it. Where a segment's
// header is damaged its frames are read if they prove the salt, and a frame of whose header one bit is wrong, or whose padding, is read and is damage as well. It changes nothing and takes no lock. Errors: *VersionError, ErrForeignDisk, and *CorruptionError where frames are of a kind that
// a later build may know, or nothing tells whose the directory is; the file system's, and those of the functions.
func Salvage(fsys vfs.FS, dir string, frame func(segment uint64, f Frame) error, damaged func(Damage) error) (uuid.UUID, error) {
	s := &salvage{fs: fsys, dir: dir, frame: frame, damaged: damaged}
	err := s.run(func(*salvaged) error { return nil })
	return s.disk, err
}

// Repair makes a damaged hot log one that Open takes, with all that is whole of it, and calls damaged with what is not. Segments are sealed behind
// their last whole frame, or where they had been durable; what is damaged before that stays where it is, and whoever reads it meets a wrong checksum. A segment of which nothing
// can be told is renamed, and counts as gone. Errors are those of Salvage and vfs.ErrLocked.
func Repair(fsys vfs.FS, dir string, damaged func(Damage) error) (err error) {
	lock, err := fsys.Lock(path.Join(dir, lockName))
	if err != nil {
		return fmt.Errorf("repair hot log: %w", err)
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	s := &salvage{fs: fsys, dir: dir, frame: func(uint64, Frame) error { return nil }, damaged: damaged}
	if err := s.run(s.repair); err != nil {
		return fmt.Errorf("repair hot log %s: %w", dir, err)
	}
	if s.identityDamaged {
		if err := writeState(fsys, path.Join(dir, identityName), identityMagic, s.disk); err != nil {
			return err
		}
	}
	if s.highMarkDamaged {
		if err := (&Log{fs: fsys, dir: dir}).raiseHighMark(s.highest + highMarkLeap); err != nil {
			return err
		}
	}
	return fsys.SyncDir(dir)
}

// salvage goes through a directory.
type salvage struct {
	fs      vfs.FS
	dir     string
	frame   func(uint64, Frame) error
	damaged func(Damage) error

	disk                             uuid.UUID
	identityDamaged, highMarkDamaged bool
	highest                          uint64 // the highest segment id that is there
}

// salvaged is a segment that was found, and what is known of it.
type salvaged struct {
	id     uint64
	report Report
	// header is what is wrong with the segment's header, nil if nothing is. Frames are read where it is whole, or its salt is proven by one.
	header   *CorruptionError
	readable bool
	// footer is where the footer stands, 0 where there is none, and knownEnd where the frames durably end, by the footer or by the next segment; 0 where
	// nothing states it.
	footer, knownEnd int64
	damages          int
}

// run reads the directory. done is called with each segment that was read.
func (s *salvage) run(done func(*salvaged) error) error {
	names, err := s.fs.List(s.dir)
	if err != nil {
		return fmt.Errorf("list hot log: %w", err)
	}
	var segments []*salvaged
	for _, name := range names { // ascending, and so are the ids
		id, ok := parseSegmentName(name)
		if !ok {
			continue
		}
		r := &salvaged{id: id, report: Report{Path: path.Join(s.dir, name)}}
		if err := s.withFile(r, r.inspect); err != nil {
			return err
		}
		segments, s.highest = append(segments, r), id
	}
	if err := s.readStates(segments); err != nil {
		return err
	}
	ends := map[uint64]int64{}
	for _, r := range segments {
		if r.header == nil && r.report.Header.DiskUUID != s.disk {
			return &CorruptionError{Path: r.report.Path, Segment: r.id, Reason: "written on disk " + r.report.Header.DiskUUID.String(), Err: ErrForeignDisk}
		}
		ends[r.report.Previous] = int64(r.report.PreviousEnd)
	}
	for _, r := range segments {
		r.knownEnd = max(r.footer, ends[r.id])
		if err := s.withFile(r, func(file vfs.File) error { return s.read(r, file) }); err != nil {
			return err
		}
		if err := done(r); err != nil {
			return err
		}
	}
	return nil
}

func (s *salvage) withFile(r *salvaged, fn func(vfs.File) error) (err error) {
	file, err := s.fs.Open(r.report.Path)
	if err != nil {
		return fmt.Errorf("open segment: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	return fn(file)
}

// readStates reads identity and high mark. Segments know whose they are, too.
func (s *salvage) readStates(segments []*salvaged) error {
	var wrong *CorruptionError
	disk, err := ReadIdentity(s.fs, s.dir)
	if errors.As(err, &wrong) {
		for _, r := range segments {
			if r.header != nil {
				continue
			}
			if disk != (uuid.UUID{}) && disk != r.report.Header.DiskUUID {
				return err
			}
			disk = r.report.Header.DiskUUID
		}
		if disk == (uuid.UUID{}) {
			return err
		}
		s.identityDamaged = true
		err = s.damaged(Damage{CorruptionError: wrong})
	}
	if err != nil {
		return err
	}
	s.disk = disk
	_, err = (&Log{fs: s.fs, dir: s.dir}).loadHighMark()
	if errors.As(err, &wrong) {
		s.highMarkDamaged = true
		err = s.damaged(Damage{CorruptionError: wrong})
	}
	return err
}

// inspect reads a segment's two ends.
func (r *salvaged) inspect(file vfs.File) error {
	err := r.report.readHeader(file)
	switch {
	case errors.As(err, &r.header):
	case err != nil:
		return err
	case r.report.Header.Segment != r.id:
		return &CorruptionError{Path: r.report.Path, Segment: r.id, Reason: fmt.Sprintf("header names segment %d", r.report.Header.Segment)}
	}
	r.report.Header.Segment = r.id
	proven, err := r.report.readEnds(file)
	r.readable = proven || r.header == nil
	if r.report.Tail == TailSealed {
		r.footer = r.report.End
	}
	return err
}

// read goes through a segment's frames. Its report says in the end what Open has to know of it.
func (s *salvage) read(r *salvaged, file vfs.File) error {
	damaged := func(err *CorruptionError, end int64) error {
		r.damages++
		return s.damaged(Damage{err, end})
	}
	if r.header != nil {
		r.header.Segment = r.id
		if !r.readable {
			return damaged(r.header, max(r.report.FileBytes, r.knownEnd))
		}
		if err := damaged(r.header, segmentHeaderBytes); err != nil {
			return err
		}
	}
	scan := newScanner(file, r.report.Header, r.report.Path, r.report.FileBytes)
	r.report.durableEnd = max(r.knownEnd, segmentHeaderBytes)
	r.report.Chunks = 0
	for r.knownEnd == 0 || scan.position < r.knownEnd {
		at := scan.position
		f, ok, err := scan.next(true)
		if err != nil {
			return err
		}
		if ok && f.Kind == KindSeal {
			scan.position = at
			break
		}
		if ok {
			r.report.durableEnd, r.report.lastSequence = max(r.report.durableEnd, int64(f.DurableEnd)), f.Sequence
			if f.Kind == KindChunk {
				r.report.Chunks++
				if err := s.frame(r.id, f); err != nil {
					return err
				}
			}
			continue
		}
		reason := scan.reason
		f, whole, err := scan.passDamage(r.knownEnd)
		if err != nil {
			return err
		}
		if scan.position == at {
			break // never durable
		}
		if whole {
			reason += ", and what it holds is whole"
		}
		r.report.durableEnd, r.report.lastSequence = max(r.report.durableEnd, scan.position), max(r.report.lastSequence, scan.sequence)
		r.report.Chunks++ // perhaps more, but more than none
		if err := damaged(scan.corrupt(at, reason), scan.position); err != nil {
			return err
		}
		if whole && f.Kind == KindChunk {
			if err := s.frame(r.id, f); err != nil {
				return err
			}
		}
	}
	r.report.End = scan.position
	return nil
}

// passDamage moves from a position where no valid frame stands to where what is whole goes on, or the durable frames end; nowhere, where nothing shows that there had been
// durable ones. A frame of whose header at most one bit is wrong is passed over as such, and returned where its payload is whole.
func (s *scanner) passDamage(knownEnd int64) (f Frame, payloadWhole bool, err error) {
	at, limit, wasDurable := s.position, s.limit, knownEnd != 0
	if knownEnd != 0 {
		limit = min(limit, knownEnd)
	}
	h, whole, err := s.correctedHeader()
	if err != nil {
		return f, false, err
	}
	goesOn := int64(0)
	if whole {
		goesOn = at + frameBytes(int64(h.payloadBytes))
	}
	for off := at + frameAlignBytes; limit-off >= frameHeaderBytes && (goesOn == 0 || !wasDurable); {
		if off < s.windowStart || off+frameHeaderBytes > s.windowStart+int64(len(s.window)) {
			if err := s.fill(off, frameHeaderBytes); err != nil {
				return f, false, err
			}
		}
		position, found := s.headerFrom(off)
		if position < 0 || position >= limit {
			off = s.windowStart + int64(len(s.window)) - frameHeaderBytes + frameAlignBytes
			continue
		}
		proves := int64(found.durableEnd) > at
		if goesOn == 0 && (proves || found.sequence > s.sequence) {
			goesOn = position // where it is judged as any frame is
		}
		wasDurable = wasDurable || proves
		off = position + frameAlignBytes
	}
	switch {
	case !wasDurable:
		return f, false, nil
	case whole:
		payload, err := s.bytesAt(at+frameHeaderBytes, int(h.payloadBytes))
		if err != nil {
			return f, false, err
		}
		f = Frame{Kind: h.kind, Sequence: h.sequence, Position: uint32(at) + frameHeaderBytes, Length: h.payloadBytes, DurableEnd: h.durableEnd, Payload: payload}
		payloadWhole = crc32.Checksum(payload, castagnoli) == h.payloadCRC
		s.sequence, s.durableEnd = h.sequence, int64(h.durableEnd)
	case goesOn == 0:
		goesOn = knownEnd
	}
	if knownEnd != 0 {
		goesOn = min(goesOn, knownEnd)
	}
	s.position = goesOn
	return f, payloadWhole, nil
}

// correctedHeader reads the header at position, and where it is none that was written for this place, looks whether changing one bit makes it one: that salt, position and checksum
// then agree is no chance.
func (s *scanner) correctedHeader() (frameHeader, bool, error) {
	h, ok, err := s.frameHeader()
	if err != nil || ok || s.limit-s.position < frameHeaderBytes {
		return h, ok, err
	}
	b, err := s.bytesAt(s.position, frameHeaderBytes)
	if err != nil {
		return h, false, err
	}
	b = bytes.Clone(b)
	for bit := range 8 * frameHeaderBytes {
		b[bit/8] ^= 1 << (bit % 8)
		if h, ok := decodeFrameHeader(b, s.header.Salt, uint32(s.position)); ok {
			return s.judgeHeader(h, true)
		}
		b[bit/8] ^= 1 << (bit % 8)
	}
	return frameHeader{}, false, nil
}

// repair makes a segment that was read one that Open takes.
func (s *salvage) repair(r *salvaged) (err error) {
	if r.damages == 0 {
		return nil
	}
	if !r.readable {
		return s.fs.Rename(r.report.Path, r.report.Path+damagedSuffix)
	}
	file, err := s.fs.OpenReadWrite(r.report.Path)
	if err != nil {
		return fmt.Errorf("open segment: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if r.header != nil {
		// What was not written may be anything.
		header := Header{Version: formatVersion, DiskUUID: s.disk, Segment: r.id, Salt: r.report.Header.Salt, Overwrites: true}
		if _, err := file.WriteAt(header.encode(), 0); err != nil {
			return fmt.Errorf("write header of segment %d: %w", r.id, err)
		}
		if err := file.Sync(); err != nil {
			return err
		}
	}
	if r.footer == r.report.End {
		return nil
	}
	if _, err := sealFound(&recovering{file: file, report: r.report}); err != nil {
		return fmt.Errorf("seal segment %d: %w", r.id, err)
	}
	return nil
}
