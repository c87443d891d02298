package hotlog

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/google/uuid"
	"github.com/varvelog/varve/infra/vfs"
	"golang.org/x/sync/errgroup"
)

// Recovery says what Open found.
type Recovery struct {
	// DiskUUID is the identity of the data directory; Created says that it was drawn just now.
	DiskUUID uuid.UUID
	Created  bool
	// Segments are those with chunks, ascending by id.
	Segments []SegmentInfo
	// TornTails are the unacknowledged bytes that were cut.
	TornTails []TornTail
	// Discarded are the segments that held no chunk and were deleted.
	Discarded []uint64
}

// TornTail is what was cut from a segment.
type TornTail struct {
	Segment  uint64
	Position int64
	// Bytes counts as Report.TornBytes does.
	Bytes int64
}

// recovering is a segment file found in the directory.
type recovering struct {
	file   vfs.File
	report Report
}

// recover reads all segments, judges them, and only then changes anything: a refusal leaves the directory as it was. What
// it keeps is durable and sealed on return, so that a second recovery finds the same. It returns the highest id present.
func (l *Log) recover(names []string, recovery *Recovery) (highest uint64, err error) {
	var found []*recovering
	defer func() {
		for _, r := range found {
			if r.file != nil {
				err = errors.Join(err, r.file.Close())
			}
		}
	}()
	for _, name := range names { // ascending, and so are the ids
		id, ok := parseSegmentName(name)
		if !ok {
			continue
		}
		highest = id
		r, err := l.openFound(id, path.Join(l.dir, name))
		if err != nil {
			return 0, err
		}
		found = append(found, r)
	}
	if err := l.judge(found); err != nil {
		return 0, err
	}
	for _, name := range names {
		if strings.HasSuffix(name, temporarySuffix) {
			if err := l.fs.Remove(path.Join(l.dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return 0, fmt.Errorf("remove temporary file: %w", err)
			}
		}
	}
	if err := syncLastSealed(found); err != nil {
		return 0, err
	}
	for _, r := range found {
		if err := l.settle(r, recovery); err != nil {
			return 0, err
		}
	}
	return highest, l.fs.SyncDir(l.dir)
}

// syncLastSealed makes the last footer durable: the process may have been killed between writing and syncing it.
func syncLastSealed(found []*recovering) error {
	for i := len(found) - 1; i >= 0; i-- {
		r := found[i].report
		if r.Tail != TailSealed {
			continue
		}
		if err := found[i].file.Sync(); err != nil {
			return fmt.Errorf("sync footer of segment %d: %w", r.Header.Segment, err)
		}
		return nil
	}
	return nil
}

// openFound reads a segment's two ends.
func (l *Log) openFound(id uint64, name string) (*recovering, error) {
	file, err := l.fs.OpenReadWrite(name)
	if err != nil {
		return nil, fmt.Errorf("open segment %d: %w", id, err)
	}
	report, err := l.inspect(file, id, name)
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return &recovering{file: file, report: report}, nil
}

// inspect reads a segment's two ends and checks that it belongs where it is.
func (l *Log) inspect(file vfs.File, id uint64, name string) (Report, error) {
	report, err := inspectEnds(file, name)
	switch {
	case err != nil:
		return report, err
	case report.Header.DiskUUID != l.diskUUID:
		return report, &CorruptionError{Path: name, Segment: id, Reason: "written on disk " + report.Header.DiskUUID.String(), Err: ErrForeignDisk}
	case report.Header.Segment != id:
		return report, &CorruptionError{Path: name, Segment: id, Reason: fmt.Sprintf("header names segment %d", report.Header.Segment)}
	}
	return report, nil
}

// judge checks the segments against each other and scans those without a footer.
func (l *Log) judge(found []*recovering) error {
	knownEnds := make(map[uint64]int64)
	for _, r := range found {
		if r.report.Previous != 0 {
			knownEnds[r.report.Previous] = int64(r.report.PreviousEnd)
		}
	}
	var group errgroup.Group
	group.SetLimit(scanWorkers)
	for _, r := range found {
		group.Go(func() error {
			return r.report.judge(r.file, knownEnds[r.report.Header.Segment], l.cfg.VerifySealed)
		})
	}
	return group.Wait()
}

// judge completes a report that inspectEnds began. knownEnd is what the next segment states, or 0.
func (r *Report) judge(file vfs.File, knownEnd int64, deep bool) error {
	if r.Tail != TailSealed {
		return r.scan(file, knownEnd, nil)
	}
	if knownEnd != 0 && knownEnd != r.End {
		return &CorruptionError{Path: r.Path, Segment: r.Header.Segment, Position: r.End,
			Reason: fmt.Sprintf("footer ends the frames here, the next segment at %d", knownEnd)}
	}
	if deep {
		return r.scan(file, 0, nil)
	}
	return nil
}

// settle keeps a segment, sealing it where it has no footer, or deletes it where it holds no chunk.
func (l *Log) settle(r *recovering, recovery *Recovery) error {
	id := r.report.Header.Segment
	if r.report.TornBytes > 0 {
		recovery.TornTails = append(recovery.TornTails, TornTail{Segment: id, Position: r.report.End, Bytes: r.report.TornBytes})
	}
	if r.report.Chunks == 0 {
		if err := l.fs.Remove(r.report.Path); err != nil {
			return fmt.Errorf("remove empty segment %d: %w", id, err)
		}
		recovery.Discarded = append(recovery.Discarded, id)
		return nil
	}
	fileBytes := r.report.FileBytes
	if r.report.Tail != TailSealed {
		var err error
		if fileBytes, err = sealFound(r); err != nil {
			return fmt.Errorf("seal segment %d: %w", id, err)
		}
	}
	segment := newSegment(r.file, r.report.Path, r.report.Header)
	r.file = nil
	segment.end.Store(uint32(r.report.End))
	segment.chunks.Store(r.report.Chunks)
	segment.fileBytes.Store(fileBytes)
	segment.sealed.Store(true)
	l.add(segment)
	recovery.Segments = append(recovery.Segments, segment.info())
	l.writer.previous = begin{previous: id, previousEnd: uint32(r.report.End)}
	return nil
}

// sealFound cuts the tail of a segment that has no footer, makes what is left durable, and gives it one. It returns the
// file's size.
//
// Frames above the highest durable end that is stated may have been read from the page cache only, and after a failed fsync
// the kernel takes such pages for clean; so they are written once more before they are synced. The footer claims that all is
// durable, so it follows in a sync of its own. A full disk is no reason to fail: the segment then stays without a footer.
func sealFound(r *recovering) (fileBytes int64, err error) {
	end := r.report.End
	if err := r.file.Truncate(end); err != nil {
		return 0, err
	}
	if err := rewrite(r.file, r.report.durableEnd, end); err != nil {
		return 0, err
	}
	if err := r.file.Sync(); err != nil {
		return 0, err
	}
	footer := make([]byte, sealFrameBytes)
	encodeSealFrame(footer, r.report.Header.Salt, uint32(end), r.report.lastSequence+1, seal{
		begin: begin{previous: r.report.Previous, previousEnd: r.report.PreviousEnd}, chunks: r.report.Chunks,
	})
	if _, err := r.file.WriteAt(footer, end); err != nil {
		if vfs.IsNoSpace(err) {
			return end, nil
		}
		return 0, err
	}
	return end + sealFrameBytes, r.file.Sync()
}

// rewrite writes bytes [from, to) of a file over themselves.
func rewrite(file vfs.File, from, to int64) error {
	b := make([]byte, min(to-from, scanWindowBytes))
	for from < to {
		b = b[:min(int64(len(b)), to-from)]
		if err := readFull(file, b, from); err != nil {
			return err
		}
		if _, err := file.WriteAt(b, from); err != nil {
			return err
		}
		from += int64(len(b))
	}
	return nil
}
