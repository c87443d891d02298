package hotlog

import (
	"errors"
	"fmt"
	"path"

	"github.com/varvelog/varve/infra/vfs"
)

// Scan reads one segment file byte by byte without opening a log, and calls fn, if any, with every frame, begin and seal
// frames included. It changes nothing and takes no lock; on the active segment of a running log it may find a torn tail
// that is only a write under way. Where it fails the report holds what was read until then.
func Scan(fsys vfs.FS, name string, fn func(Frame) error) (report Report, err error) {
	file, err := fsys.Open(name)
	if err != nil {
		return Report{Path: name}, fmt.Errorf("open segment: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if report, err = inspectEnds(file, name); err != nil {
		return report, err
	}
	err = report.scan(file, 0, fn)
	return report, err
}

// Verify reads all segments of a directory byte by byte, checks them as Open does and also against the directory's
// identity, and calls fn with each report and what is wrong with it, nil if nothing is. It changes nothing. The result
// joins all that is wrong.
func Verify(fsys vfs.FS, dir string, fn func(Report, error)) error {
	l := &Log{fs: fsys, dir: dir}
	value, err := readState(fsys, path.Join(dir, identityName), identityMagic)
	if err != nil {
		return err
	}
	l.diskUUID = value
	if _, err := l.loadHighMark(); err != nil {
		return err
	}
	names, err := fsys.List(dir)
	if err != nil {
		return fmt.Errorf("list hot log: %w", err)
	}
	var wrong []error
	previousEnds := make(map[uint64]int64)
	// Descending, so that what a segment states of the one before it is known when that one is read.
	for i := len(names) - 1; i >= 0; i-- {
		id, ok := parseSegmentName(names[i])
		if !ok {
			continue
		}
		report, err := l.verifySegment(id, path.Join(dir, names[i]), previousEnds)
		fn(report, err)
		if err != nil {
			wrong = append(wrong, err)
		}
	}
	return errors.Join(wrong...)
}

func (l *Log) verifySegment(id uint64, name string, previousEnds map[uint64]int64) (report Report, err error) {
	file, err := l.fs.Open(name)
	if err != nil {
		return Report{Path: name}, fmt.Errorf("open segment: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if report, err = l.inspect(file, id, name); err != nil {
		return report, err
	}
	if err := report.judge(file, previousEnds[id], true); err != nil {
		return report, err
	}
	if report.Previous != 0 {
		previousEnds[report.Previous] = int64(report.PreviousEnd)
	}
	return report, nil
}
