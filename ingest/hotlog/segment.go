package hotlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/varvelog/varve/infra/vfs"
)

const (
	segmentSuffix   = ".seg"
	temporarySuffix = ".tmp"
	identityName    = "identity"
	highMarkName    = "highmark"
	lockName        = "lock"
)

// segmentName is the file name of a segment: its id with 20 digits, so that names sort as ids do.
func segmentName(id uint64) string { return fmt.Sprintf("%020d%s", id, segmentSuffix) }

// parseSegmentName is the inverse of segmentName.
func parseSegmentName(name string) (uint64, bool) {
	digits, ok := strings.CutSuffix(name, segmentSuffix)
	if !ok {
		return 0, false
	}
	id, err := strconv.ParseUint(digits, 10, 64)
	return id, err == nil && id > 0 && segmentName(id) == name
}

// segment is an open segment file. It is closed when the last reference is released; the log itself holds one until
// the segment is removed or the log closed.
type segment struct {
	id     uint64
	path   string
	file   vfs.File
	header Header
	refs   atomic.Int32

	// end is the durable end: readers see frames in [segmentHeaderBytes, end) and nothing else.
	end       atomic.Uint32
	chunks    atomic.Uint64
	fileBytes atomic.Int64
	// sealed: nothing is ever appended again, with or without a footer.
	sealed atomic.Bool

	// The rest belongs to the appender. sequence is the last used, begun says whether the begin frame is durable.
	sequence uint64
	begun    bool
	begin    begin
}

func newSegment(file vfs.File, path string, header Header) *segment {
	s := &segment{id: header.Segment, path: path, file: file, header: header}
	s.refs.Store(1)
	s.end.Store(segmentHeaderBytes)
	return s
}

func (s *segment) release() error {
	if s.refs.Add(-1) > 0 {
		return nil
	}
	if err := s.file.Close(); err != nil {
		return fmt.Errorf("close segment %d: %w", s.id, err)
	}
	return nil
}

func (s *segment) info() SegmentInfo {
	return SegmentInfo{ID: s.id, SizeBytes: s.sizeBytes(), Frames: s.chunks.Load(), Sealed: s.sealed.Load()}
}

// sizeBytes counts what holds data: space preallocated ahead does not count.
func (s *segment) sizeBytes() int64 { return max(int64(s.end.Load()), s.fileBytes.Load()) }

// createSegment makes the segment with the given id ready for use: preallocated, its header durable under its final name,
// and the high mark raised. The header is synced before the file gets its name, so that a segment file without a
// valid header is always corruption, never a crash.
//
// ahead says that there is time for more than what is necessary.
func (l *Log) createSegment(id uint64, ahead bool) (seg *segment, err error) {
	final := path.Join(l.dir, segmentName(id))
	header := Header{Version: formatVersion, DiskUUID: l.diskUUID, Segment: id}
	if header.Salt, err = randomSalt(l.cfg.Random); err != nil {
		return nil, err
	}
	file, name, err := l.createFile(id, &header)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			// The next Open removes what cannot be removed now; the first error is the one that matters.
			err = errors.Join(err, file.Close(), l.fs.Remove(name))
		}
	}()
	if err := l.preallocate(file, ahead && !header.Overwrites); err != nil {
		return nil, fmt.Errorf("preallocate segment %d: %w", id, err)
	}
	if _, err := file.WritevAt([][]byte{header.encode(), l.filler(header, segmentHeaderBytes)}, 0); err != nil {
		return nil, fmt.Errorf("write header of segment %d: %w", id, err)
	}
	if err := file.Sync(); err != nil {
		return nil, fmt.Errorf("sync header of segment %d: %w", id, err)
	}
	if err := l.raiseHighMark(id); err != nil {
		return nil, err
	}
	if err := l.fs.Rename(name, final); err != nil {
		return nil, fmt.Errorf("name segment %d: %w", id, err)
	}
	name = final
	if err := l.fs.SyncDir(l.dir); err != nil {
		return nil, fmt.Errorf("sync directory for segment %d: %w", id, err)
	}
	if header.Overwrites {
		l.counters.overwrites.Add(1)
	}
	return newSegment(file, final, header), nil
}

// preallocate obtains a segment's space as configured.
func (l *Log) preallocate(file vfs.File, ahead bool) error {
	if l.cfg.Preallocate == PreallocateNone {
		return nil
	}
	if err := file.Preallocate(l.cfg.SegmentBytes); err != nil || l.cfg.Preallocate == PreallocateExtents || !ahead {
		return err
	}
	zeros := make([]byte, min(zeroPieceBytes, l.cfg.SegmentBytes))
	for at := int64(0); at < l.cfg.SegmentBytes; at += int64(len(zeros)) {
		if _, err := file.WriteAt(zeros[:min(int64(len(zeros)), l.cfg.SegmentBytes-at)], at); err != nil {
			return err
		}
		if err := file.SyncData(); err != nil {
			return err
		}
	}
	return nil
}

func randomSalt(random io.Reader) (uint64, error) {
	var b [8]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return 0, fmt.Errorf("draw segment salt: %w", err)
	}
	return binary.LittleEndian.Uint64(b[:]), nil
}
