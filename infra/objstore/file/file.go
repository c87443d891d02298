package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/varvelog/varve/infra/objstore"
)

var _ objstore.Store = (*Store)(nil)

// strayAge is how old a temporary file must be before Open takes it for one that a dead process left.
const strayAge = time.Hour

// Store keeps objects under one directory.
type Store struct {
	root    string
	tempDir string

	// replacing admits one replacement or deletion at a time within the process; the flock under it does so across
	// processes. It is a channel so that waiting respects a context.
	replacing chan struct{}

	// lastModified is the last modification time given to a file, in nanoseconds since 1970.
	lastModified atomic.Int64

	folders struct {
		sync.Mutex
		// durable holds the folders known to be fsynced in their parents.
		durable map[string]struct{}
	}
}

// Open opens the store in dir, which is made where it does not exist, and removes stray temporary files.
func Open(dir string) (*Store, error) {
	root, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open file store %q: %w", dir, err)
	}
	s := &Store{
		root:      root,
		tempDir:   filepath.Join(root, reservedFolder),
		replacing: make(chan struct{}, 1),
	}
	s.folders.durable = make(map[string]struct{})
	if err := s.makeFolder(s.tempDir); err != nil {
		return nil, fmt.Errorf("open file store: %w", err)
	}
	if err := s.removeStrays(time.Now().Add(-strayAge)); err != nil {
		return nil, fmt.Errorf("open file store: %w", err)
	}
	return s, nil
}

// removeStrays deletes temporary files last written before the given time: their writers are dead. Younger ones may
// belong to another process that is alive.
func (s *Store) removeStrays(before time.Time) error {
	entries, err := os.ReadDir(s.tempDir)
	if err != nil {
		return fmt.Errorf("read temporary folder: %w", err)
	}
	for _, entry := range entries {
		if entry.Name() == lockName {
			continue
		}
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("stat temporary file: %w", err)
		}
		if !info.ModTime().Before(before) {
			continue
		}
		if err := os.Remove(filepath.Join(s.tempDir, entry.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove stray temporary file: %w", err)
		}
	}
	return nil
}

// Get implements objstore.Store. The reader holds the file open, so it outlives a replacement or deletion.
func (s *Store) Get(ctx context.Context, key string, offset, length int64) (io.ReadCloser, objstore.Info, error) {
	path, err := s.pathOf(key)
	if err != nil {
		return nil, objstore.Info{}, fmt.Errorf("get object: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return nil, objstore.Info{}, fmt.Errorf("get object %q: %w", key, err)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, objstore.Info{}, fmt.Errorf("get object %q: %w", key, mapError(err))
	}
	stat, err := file.Stat()
	if err == nil && stat.IsDir() {
		err = fs.ErrNotExist
	}
	if err != nil {
		return nil, objstore.Info{}, errors.Join(fmt.Errorf("get object %q: %w", key, mapError(err)), file.Close())
	}
	info := describe(key, stat)
	length, err = objstore.CheckRange(key, info.SizeBytes, offset, length)
	if err != nil {
		return nil, objstore.Info{}, errors.Join(err, file.Close())
	}
	return &reader{ctx: ctx, file: file, section: io.NewSectionReader(file, offset, length)}, info, nil
}

// Head implements objstore.Store.
func (s *Store) Head(ctx context.Context, key string) (objstore.Info, error) {
	path, err := s.pathOf(key)
	if err != nil {
		return objstore.Info{}, fmt.Errorf("head object: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return objstore.Info{}, fmt.Errorf("head object %q: %w", key, err)
	}
	stat, err := os.Stat(path)
	if err == nil && stat.IsDir() {
		err = fs.ErrNotExist
	}
	if err != nil {
		return objstore.Info{}, fmt.Errorf("head object %q: %w", key, mapError(err))
	}
	return describe(key, stat), nil
}

// Now implements objstore.Store with the machine's clock, which is also the one files are stamped by.
func (s *Store) Now(ctx context.Context) (time.Time, error) {
	return time.Now(), ctx.Err()
}

// String implements objstore.Store.
func (s *Store) String() string { return "file://" + filepath.ToSlash(s.root) }

// Close implements objstore.Store. Between calls the store holds nothing open.
func (s *Store) Close() error { return nil }

func describe(key string, stat fs.FileInfo) objstore.Info {
	version := strconv.FormatInt(stat.ModTime().UnixNano(), 36) + "-" + strconv.FormatInt(stat.Size(), 36)
	if unixStat, ok := stat.Sys().(*syscall.Stat_t); ok {
		version += "-" + strconv.FormatUint(uint64(unixStat.Ino), 36)
	}
	return objstore.Info{Key: key, SizeBytes: stat.Size(), Version: objstore.Version(version), Modified: stat.ModTime()}
}

// mapError gives the contract's sentinel to errors of the file system that have one.
func mapError(err error) error {
	switch {
	// A file where the key wants a folder: the key names nothing.
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return fmt.Errorf("%w: %w", objstore.ErrNotFound, err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: %w", objstore.ErrAccess, err)
	}
	return err
}

// reader serves part of an open file until its context ends.
type reader struct {
	ctx     context.Context
	file    *os.File
	section *io.SectionReader
}

func (r *reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, fmt.Errorf("read object: %w", err)
	}
	return r.section.Read(p)
}

func (r *reader) Close() error { return r.file.Close() }
