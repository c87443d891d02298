package hotlog

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path"
	"slices"
	"sync"

	"github.com/varvelog/varve/infra/vfs"
)

const (
	// maxRecycled is how many files of removed segments are kept to be overwritten: segments are removed several at a time, as they are shipped.
	maxRecycled = 8
	// recycledShare: what is kept takes at most a quarter of what is free beside it.
	recycledShare = 4
	// pageBytes is the size of a page of the kernel's cache, on most machines.
	pageBytes = 4 << 10
)

// recycler keeps files of removed segments, under names that the next Open deletes, for segments to come. To overwrite blocks costs a file
// system a fraction of what it costs to write them first: there is no extent to convert, and with fdatasync nothing for the
// journal. What stands in such a file was written under other salts, and so is no frame of the new segment.
type recycler struct {
	sync.Mutex
	files  []recycled // ascending by size
	closed bool
}

type recycled struct {
	file      vfs.File
	path      string
	sizeBytes int64
}

// isRecyclable says whether the file of a segment that is about to be removed is to be kept. Where the disk fills up, what is kept already is deleted.
func (l *Log) isRecyclable(s *segment) (bool, error) {
	size := s.fileBytes.Load()
	if l.cfg.Preallocate == PreallocateNone || size < pageBytes { // an abandoned one counts as 0: its disk has failed where it is
		return false, nil
	}
	kept := l.recycler.sizeBytes()
	share, err := l.recycledBound()
	if err != nil || kept > share {
		return false, l.dropRecycled(false) // not to know the space is no reason to keep the segment
	}
	return kept+size <= share, nil
}

// recycledBound is how much may be kept beside what else the disk has free.
func (l *Log) recycledBound() (int64, error) {
	space, err := l.fs.DiskFree(l.dir)
	return int64(min(space.FreeBytes, math.MaxInt64)) / recycledShare, err
}

// Relieve deletes the files that are kept to be overwritten where the disk has become too full for them, as whoever shares it may have
// made it. It costs nothing where none is kept.
func (l *Log) Relieve() error {
	kept := l.recycler.sizeBytes()
	if kept == 0 {
		return nil
	}
	share, err := l.recycledBound()
	if err != nil || kept <= share {
		return err
	}
	return l.dropRecycled(false)
}

// sizeBytes is what the files take that are kept.
func (r *recycler) sizeBytes() (sum int64) {
	r.Lock()
	defer r.Unlock()
	for _, file := range r.files {
		sum += file.sizeBytes
	}
	return sum
}

// recycle removes a segment, to which the caller has a reference, and keeps its file unless somebody reads it.
func (l *Log) recycle(s *segment) error {
	kept := recycled{file: s.file, path: s.path + temporarySuffix, sizeBytes: s.fileBytes.Load()}
	err := l.fs.Rename(s.path, kept.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove segment %d: %w", s.id, err)
	}
	named := err == nil
	refs, ok := l.drop(s.id)
	if !ok {
		return fmt.Errorf("remove segment %d: %w", s.id, ErrSegmentGone)
	}
	err = l.syncRemoval(s.id)
	if err == nil && named && refs == 2 {
		return l.keep(kept) // and the log's reference with it
	}
	if named {
		err = errors.Join(err, l.fs.Remove(kept.path))
	}
	return errors.Join(err, s.release())
}

// keep takes a file that nobody else has open; where there are too many, the smallest is deleted. The removal of its segment is durable: else
// a crash could bring the former name back, with what has been written since.
func (l *Log) keep(file recycled) error {
	r := &l.recycler
	r.Lock()
	defer r.Unlock()
	if r.closed {
		return l.discard(file)
	}
	r.files = append(r.files, file)
	slices.SortFunc(r.files, func(a, b recycled) int { return cmp.Compare(a.sizeBytes, b.sizeBytes) })
	if len(r.files) <= maxRecycled {
		return nil
	}
	smallest := r.files[0]
	r.files = slices.Delete(r.files, 0, 1)
	return l.discard(smallest)
}

// take returns a file to overwrite, the largest, if there is one.
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
