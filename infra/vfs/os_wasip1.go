package vfs

import (
	"errors"
	"fmt"
	"io"
)

// OS is no file system on WebAssembly, whose runtimes neither lock nor sync: every operation fails with
// errors.ErrUnsupported. The simulation, which runs there, gives each node a Mem.
type OS struct{}

var _ FS = OS{}

func unsupported(op Op, name string) error {
	return fmt.Errorf("%s %s: %w", op, name, errors.ErrUnsupported)
}

// Create implements FS.
func (OS) Create(name string) (File, error) { return nil, unsupported(OpCreate, name) }

// Open implements FS.
func (OS) Open(name string) (File, error) { return nil, unsupported(OpOpen, name) }

// OpenReadWrite implements FS.
func (OS) OpenReadWrite(name string) (File, error) { return nil, unsupported(OpOpenReadWrite, name) }

// Remove implements FS.
func (OS) Remove(name string) error { return unsupported(OpRemove, name) }

// Rename implements FS.
func (OS) Rename(_, newName string) error { return unsupported(OpRename, newName) }

// MkdirAll implements FS.
func (OS) MkdirAll(dir string) error { return unsupported(OpMkdirAll, dir) }

// List implements FS.
func (OS) List(dir string) ([]string, error) { return nil, unsupported(OpList, dir) }

// Stat implements FS.
func (OS) Stat(name string) (Info, error) { return Info{}, unsupported(OpStat, name) }

// SyncDir implements FS.
func (OS) SyncDir(dir string) error { return unsupported(OpSyncDir, dir) }

// Lock implements FS.
func (OS) Lock(name string) (io.Closer, error) { return nil, unsupported(OpLock, name) }

// DiskFree implements FS.
func (OS) DiskFree(dir string) (Space, error) { return Space{}, unsupported(OpDiskFree, dir) }
