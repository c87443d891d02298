package hotlog

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path"
	"sync"

	"github.com/varvelog/varve/infra/vfs"
)

const (
	// maxRecycled is how many files of removed segments are kept to be overwritten: segments are removed several at a time, as they are shipped.
	maxRecycled = 8
	// recycledFraction: a file is kept only where it holds at least a sixteenth of a full segment.
	recycledFraction = 16
	// recycledFree: files are kept only while this many times as much as all of them is free.
	recycledFree = 4
	// pageBytes is the size of a page of the kernel's cache, on most machines.
	pageBytes = 4 << 10
)

// recycler keeps files of removed segments, under names that the next Open deletes, for segments to come. To overwrite blocks costs a file
// system a fraction of what it costs to write them first: there is no extent to convert, and with fdatasync nothing for the
// journal. What stands in such a file was written under other salts, and so is no frame of the new segment.
type recycler struct {
	sync.Mutex
	files []recycled
	// reserved counts the files that are being removed in order to be kept.
	reserved int
	closed   bool
}

type recycled struct {
	file vfs.File
	path string
}

// reserve says whether the file of a segment that is about to be removed is to be kept; then the caller calls keep, or forgo. Where the disk
// fills up, what is kept already is deleted.
func (l *Log) reserve(s *segment) (bool, error) {
	if l.cfg.Preallocate == PreallocateNone {
		return false, nil
	}
	space, err := l.fs.DiskFree(l.dir)
	if err != nil || int64(min(space.FreeBytes, math.MaxInt64)) < recycledFree*maxRecycled*l.cfg.SegmentBytes {
		return false, l.dropRecycled(false) // it need not be known to remove a segment
	}
	if s.fileBytes.Load() < l.cfg.SegmentBytes/recycledFraction { // as an abandoned one, which has no footer: its disk has failed where it is
		return false, nil
	}
	r := &l.recycler
	r.Lock()
	defer r.Unlock()
	if r.closed || len(r.files)+r.reserved >= maxRecycled {
		return false, nil
	}
	r.reserved++
	return true, nil
}

// recycle removes a segment, to which the caller has a reference, and keeps its file unless somebody reads it.
func (l *Log) recycle(s *segment) error {
	kept := recycled{file: s.file, path: s.path + temporarySuffix}
	err := l.fs.Rename(s.path, kept.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		l.recycler.forgo()
		return fmt.Errorf("remove segment %d: %w", s.id, err)
	}
	named := err == nil
	refs, ok := l.drop(s.id)
	if !ok {
		l.recycler.forgo()
		return fmt.Errorf("remove segment %d: %w", s.id, ErrSegmentGone)
	}
	err = l.syncRemoval(s.id)
	if err == nil && named && refs == 2 {
		return l.keep(kept) // and the log's reference with it
	}
	l.recycler.forgo()
	if named {
		err = errors.Join(err, l.fs.Remove(kept.path))
	}
	return errors.Join(err, s.release())
}

// forgo gives a reservation back.
func (r *recycler) forgo() {
	r.Lock()
	defer r.Unlock()
	r.reserved--
}

// keep takes a file for which a place was reserved. Nobody else has it open, and its removal under its former name is durable: else a crash
// could bring that name back, with what has been written since.
func (l *Log) keep(file recycled) error {
	r := &l.recycler
	r.Lock()
	defer r.Unlock()
	r.reserved--
	if r.closed {
		return l.discard(file)
	}
	r.files = append(r.files, file)
	return nil
}

// take returns a file to overwrite, the one that was kept last, if there is one.
func (r *recycler) take() (file recycled, ok bool) {
	r.Lock()
	defer r.Unlock()
	last := len(r.files) - 1
	if last < 0 {
		return recycled{}, false
	}
	file, r.files = r.files[last], r.files[:last]
	return file, true
}

// dropRecycled deletes the files that are kept. After the last time no more are.
func (l *Log) dropRecycled(last bool) error {
	r := &l.recycler
	r.Lock()
	files := r.files
	r.files = nil
	r.closed = r.closed || last
	r.Unlock()
	var err error
	for _, file := range files {
		err = errors.Join(err, l.discard(file))
	}
	return err
}

func (l *Log) discard(file recycled) error {
	return errors.Join(file.file.Close(), l.fs.Remove(file.path))
}

// createFile opens the file of a segment to be, under a temporary name, and notes in the header whether it has been another's.
func (l *Log) createFile(id uint64, header *Header) (file vfs.File, temporary string, err error) {
	if r, ok := l.recycler.take(); ok {
		header.Overwrites = true
		return r.file, r.path, nil
	}
	temporary = path.Join(l.dir, segmentName(id)+temporarySuffix)
	if file, err = l.fs.Create(temporary); err != nil {
		return nil, "", fmt.Errorf("create segment %d: %w", id, err)
	}
	return file, temporary, nil
}

// filler is what is written behind a write that ends at end: where it overwrites, zeros to the end of the page, since the kernel reads a
// page of which a part is written unless it has it.
func (l *Log) filler(header Header, end int64) []byte {
	if !header.Overwrites {
		return nil
	}
	return zeroBlock[:min(-end&(pageBytes-1), l.cfg.SegmentBytes-end)]
}
