package hotlog

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/google/uuid"
	"github.com/varvelog/varve/infra/vfs"
)

// Log is a node's hot log. Its methods may be called from any goroutine; those that write (Append, Roll, Abandon, Close) run one
// at a time. Lock order: writer, spare, segments, recycler.
type Log struct {
	fs       vfs.FS
	dir      string
	cfg      Config
	diskUUID uuid.UUID
	lock     io.Closer

	writer   writer
	spare    spare
	recycler recycler

	segments struct {
		sync.RWMutex
		byID   map[uint64]*segment
		closed bool
	}

	counters struct {
		groups, chunks, payloadBytes, syncs, rolls, overwrites, poisonings, noSpace atomic.Uint64
	}
}

// Place is where a chunk's payload stands. Together with the disk's UUID it is unique for ever.
type Place struct {
	Segment  uint64
	Position uint32
	Length   uint32
}

// SegmentInfo describes a segment.
type SegmentInfo struct {
	ID uint64
	// SizeBytes counts header, frames and footer, not what is preallocated.
	SizeBytes int64
	// Frames counts chunks.
	Frames uint64
	// Sealed: nothing is ever appended to it again.
	Sealed bool
}

// Stats counts since Open.
type Stats struct {
	// Groups counts writes that became durable, Chunks and PayloadBytes what they held.
	Groups, Chunks, PayloadBytes uint64
	// Syncs counts fdatasyncs of groups, failed ones included; Rolls segments sealed; Overwrites segments made that overwrite the file of
	// a removed one.
	Syncs, Rolls, Overwrites uint64
	// Poisonings and NoSpace count failures by kind.
	Poisonings, NoSpace uint64
}

// Open locks dir, creating it if needed, recovers what is there and begins a new segment. On a full disk it opens without
// one: reads work, and Append fails with ErrNoSpace until there is space. Errors: vfs.ErrLocked, *CorruptionError,
// *VersionError, or the file system's.
func Open(fsys vfs.FS, dir string, cfg Config) (_ *Log, _ *Recovery, err error) {
	if err := cfg.Validate(); err != nil {
		return nil, nil, fmt.Errorf("hot log configuration: %w", err)
	}
	l := &Log{fs: fsys, dir: dir, cfg: cfg.withDefaults()}
	l.segments.byID = make(map[uint64]*segment)
	if err := fsys.MkdirAll(dir); err != nil {
		return nil, nil, l.classify(fmt.Errorf("create hot log directory: %w", err))
	}
	if l.lock, err = fsys.Lock(path.Join(dir, lockName)); err != nil {
		return nil, nil, l.classify(fmt.Errorf("open hot log: %w", err))
	}
	recovery, err := l.start()
	if err != nil {
		return nil, nil, errors.Join(l.classify(fmt.Errorf("open hot log %s: %w", dir, err)), l.releaseSegments(), l.lock.Close())
	}
	return l, recovery, nil
}

// start does what Open does under the lock.
func (l *Log) start() (*Recovery, error) {
	names, err := l.fs.List(l.dir)
	if err != nil {
		return nil, err
	}
	isNew := !slices.ContainsFunc(names, func(name string) bool {
		_, isSegment := parseSegmentName(name)
		return isSegment || name == highMarkName
	})
	recovery := &Recovery{}
	if recovery.Created, err = l.loadIdentity(isNew); err != nil {
		return nil, err
	}
	recovery.DiskUUID = l.diskUUID
	highMark, err := l.loadHighMark()
	if err != nil {
		return nil, err
	}
	highest, err := l.recover(names, recovery)
	if err != nil {
		return nil, err
	}
	l.spare.nextID = max(highMark, highest) + 1
	if err := l.openNext(); err != nil && !vfs.IsNoSpace(err) {
		return nil, err
	}
	return recovery, nil
}

// Close seals the active segment if it has chunks, so that the next Open need not read it, waits for what runs in the background and
// releases the lock. Readers that are open stay usable; everything else fails with ErrClosed.
func (l *Log) Close() error {
	l.writer.Lock()
	defer l.writer.Unlock()
	if l.writer.closed {
		return ErrClosed
	}
	l.writer.closed = true
	err := errors.Join(l.closeActive(), l.dropSpare(), l.dropRecycled(true), l.releaseSegments())
	return errors.Join(err, l.fs.SyncDir(l.dir), l.lock.Close())
}

// closeActive leaves the active segment as the next Open likes it best: sealed, or, where it says nothing, gone. One that has a begin
// frame but no chunks still states where an abandoned segment ended.
func (l *Log) closeActive() error {
	active := l.writer.active
	if active == nil || l.writer.poison != nil {
		return nil
	}
	if active.begun {
		return l.sealActive()
	}
	l.drop(active.id)
	return errors.Join(active.release(), l.fs.Remove(active.path))
}

// add makes a segment readable.
func (l *Log) add(s *segment) {
	l.segments.Lock()
	defer l.segments.Unlock()
	l.segments.byID[s.id] = s
}

// drop makes a segment unreadable for new readers. It reports how many references there are, the log's own included, which is the caller's
// now, and whether the segment was there.
func (l *Log) drop(id uint64) (refs int32, ok bool) {
	l.segments.Lock()
	defer l.segments.Unlock()
	s, ok := l.segments.byID[id]
	if !ok {
		return 0, false
	}
	delete(l.segments.byID, id)
	return s.refs.Load(), true
}

// acquire takes a reference to a segment; the caller releases it.
func (l *Log) acquire(id uint64) (*segment, error) {
	l.segments.RLock()
	defer l.segments.RUnlock()
	if l.segments.closed {
		return nil, ErrClosed
	}
	s := l.segments.byID[id]
	if s == nil {
		return nil, fmt.Errorf("segment %d: %w", id, ErrSegmentGone)
	}
	s.refs.Add(1)
	return s, nil
}

func (l *Log) releaseSegments() error {
	l.segments.Lock()
	defer l.segments.Unlock()
	l.segments.closed = true
	var err error
	for _, s := range l.segments.byID {
		err = errors.Join(err, s.release())
	}
	clear(l.segments.byID)
	return err
}

// DiskUUID returns the identity of the data directory.
func (l *Log) DiskUUID() uuid.UUID { return l.diskUUID }

// MaxChunkBytes is the largest chunk that Append takes.
func (l *Log) MaxChunkBytes() int64 { return l.cfg.SegmentBytes - overheadBytes - frameAlignBytes }

// Segments returns the segments, the active one included, ascending by id.
func (l *Log) Segments() []SegmentInfo {
	l.segments.RLock()
	defer l.segments.RUnlock()
	infos := make([]SegmentInfo, 0, len(l.segments.byID))
	for _, s := range l.segments.byID {
		infos = append(infos, s.info())
	}
	slices.SortFunc(infos, func(a, b SegmentInfo) int { return cmp.Compare(a.ID, b.ID) })
	return infos
}

// SizeBytes returns the sum of the segments' sizes.
func (l *Log) SizeBytes() int64 {
	l.segments.RLock()
	defer l.segments.RUnlock()
	sum := int64(0)
	for _, s := range l.segments.byID {
		sum += s.sizeBytes()
	}
	return sum
}

// Remove deletes a segment. Readers that hold it go on reading; new ones get ErrSegmentGone. Its id is never used again. Errors:
// ErrSegmentActive, ErrSegmentGone, or the file system's, after which the segment may still be there.
func (l *Log) Remove(id uint64) (err error) {
	s, err := l.acquire(id)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.release()) }()
	if !s.sealed.Load() {
		return fmt.Errorf("remove segment %d: %w", id, ErrSegmentActive)
	}
	keep, err := l.isRecyclable(s)
	if err != nil {
		return err
	}
	if keep {
		return l.recycle(s)
	}
	if err := l.fs.Remove(s.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove segment %d: %w", id, err)
	}
	if _, ok := l.drop(id); !ok {
		return fmt.Errorf("remove segment %d: %w", id, ErrSegmentGone)
	}
	if err := s.release(); err != nil {
		return err
	}
	return l.syncRemoval(id)
}

// syncRemoval makes it durable that a segment's file has lost its name.
func (l *Log) syncRemoval(id uint64) error {
	if err := l.fs.SyncDir(l.dir); err != nil {
		return fmt.Errorf("sync directory after removing segment %d: %w", id, err)
	}
	return nil
}

// Stats returns the counters.
func (l *Log) Stats() Stats {
	c := &l.counters
	return Stats{
		Groups: c.groups.Load(), Chunks: c.chunks.Load(), PayloadBytes: c.payloadBytes.Load(),
		Syncs: c.syncs.Load(), Rolls: c.rolls.Load(), Overwrites: c.overwrites.Load(), Poisonings: c.poisonings.Load(), NoSpace: c.noSpace.Load(),
	}
}

// classify marks an error that says the disk is full.
func (l *Log) classify(err error) error {
	if err != nil && vfs.IsNoSpace(err) && !errors.Is(err, ErrNoSpace) {
		l.counters.noSpace.Add(1)
		return fmt.Errorf("%w: %w", ErrNoSpace, err)
	}
	return err
}
