package vfs

import (
	"fmt"
	"io"
	"sync"
)

// Op names an operation of FS or File.
type Op string

// The operations that Faulty sees. Reads and look-ups are among them, so that a test can count or fail those as well.
const (
	OpCreate        Op = "create"
	OpOpen          Op = "open"
	OpOpenReadWrite Op = "open read-write"
	OpRemove        Op = "remove"
	OpRename        Op = "rename"
	OpMkdirAll      Op = "mkdir"
	OpList          Op = "list"
	OpStat          Op = "stat"
	OpSyncDir       Op = "sync directory"
	OpLock          Op = "lock"
	OpDiskFree      Op = "disk free"
	OpRead          Op = "read"
	OpWrite         Op = "write"
	OpPreallocate   Op = "preallocate"
	OpSyncData      Op = "sync data"
	OpSync          Op = "sync"
	OpSize          Op = "size"
	OpTruncate      Op = "truncate"
	OpClose         Op = "close"
)

// Changes reports whether the operation alters what a crash could leave behind.
func (op Op) Changes() bool {
	switch op {
	case OpCreate, OpRemove, OpRename, OpMkdirAll, OpSyncDir, OpLock, OpWrite, OpPreallocate, OpSyncData, OpSync, OpTruncate:
		return true
	}
	return false
}

// Call is one operation about to happen.
type Call struct {
	Op    Op
	Path  string // an open file's is its present name
	Bytes int    // of a read or write
}

// Fault is what happens instead. A write with ShortBytes > 0 writes that many bytes first; every other operation does
// nothing. Err is returned, wrapped with the operation and path.
type Fault struct {
	Err        error
	ShortBytes int
}

// Decide chooses the fault for a call; nil lets it pass. Faulty calls it one call at a time, so it may keep counts.
type Decide func(Call) *Fault

// Faulty is an FS that injects errors into another one.
type Faulty struct {
	inner FS

	mu struct {
		sync.Mutex
		decide   Decide
		calls    map[Op]int
		injected int
		open     map[*faultyFile]bool
	}
}

var _ FS = (*Faulty)(nil)

// NewFaulty wraps inner. A nil decide lets everything pass.
func NewFaulty(inner FS, decide Decide) *Faulty {
	f := &Faulty{inner: inner}
	f.mu.decide = decide
	f.mu.calls, f.mu.open = make(map[Op]int), make(map[*faultyFile]bool)
	return f
}

// SetDecide replaces the decision for all later calls, including those on files already open.
func (f *Faulty) SetDecide(decide Decide) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.decide = decide
}

// Calls returns how often op was called, failed calls included.
func (f *Faulty) Calls(op Op) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mu.calls[op]
}

// Injected returns how many faults were injected, so that a test can tell a fault that was survived from one that never
// happened.
func (f *Faulty) Injected() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mu.injected
}

// FailNth decides to fail the nth call (from 1) for which match is true, and no other.
func FailNth(n int, match func(Call) bool, err error) Decide {
	return func(c Call) *Fault {
		if !match(c) {
			return nil
		}
		if n--; n != 0 {
			return nil
		}
		return &Fault{Err: err}
	}
}

// FailFrom decides to fail the nth call (from 1) for which match is true and every call of any kind after it, as if the
// machine had stopped there.
func FailFrom(n int, match func(Call) bool, err error) Decide {
	return func(c Call) *Fault {
		if n > 0 && match(c) {
			n--
		}
		if n > 0 {
			return nil
		}
		return &Fault{Err: err}
	}
}

// before counts the call and returns its fault.
func (f *Faulty) before(op Op, path string, bytes int) (*Fault, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.judge(op, path, bytes)
}

// judge is called with mu held.
func (f *Faulty) judge(op Op, path string, bytes int) (*Fault, error) {
	f.mu.calls[op]++
	if f.mu.decide == nil {
		return nil, nil
	}
	fault := f.mu.decide(Call{Op: op, Path: path, Bytes: bytes})
	if fault == nil {
		return nil, nil
	}
	f.mu.injected++
	return fault, fmt.Errorf("%s %s: %w", op, path, fault.Err)
}

func (f *Faulty) file(op Op, name string, open func(string) (File, error)) (File, error) {
	if _, err := f.before(op, name, 0); err != nil {
		return nil, err
	}
	inner, err := open(name)
	if err != nil {
		return nil, err
	}
	file := &faultyFile{fs: f, name: name, inner: inner}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.open[file] = true
	return file, nil
}

func (f *Faulty) forget(file *faultyFile) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.mu.open, file)
}

// Create implements FS.
func (f *Faulty) Create(name string) (File, error) { return f.file(OpCreate, name, f.inner.Create) }

// Open implements FS.
func (f *Faulty) Open(name string) (File, error) { return f.file(OpOpen, name, f.inner.Open) }

// OpenReadWrite implements FS.
func (f *Faulty) OpenReadWrite(name string) (File, error) {
	return f.file(OpOpenReadWrite, name, f.inner.OpenReadWrite)
}

// Remove implements FS.
func (f *Faulty) Remove(name string) error {
	if _, err := f.before(OpRemove, name, 0); err != nil {
		return err
	}
	return f.inner.Remove(name)
}

// Rename implements FS. The call's path is the new name.
func (f *Faulty) Rename(oldName, newName string) error {
	if _, err := f.before(OpRename, newName, 0); err != nil {
		return err
	}
	if err := f.inner.Rename(oldName, newName); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for file := range f.mu.open {
		if file.name == oldName {
			file.name = newName
		}
	}
	return nil
}

// MkdirAll implements FS.
func (f *Faulty) MkdirAll(dir string) error {
	if _, err := f.before(OpMkdirAll, dir, 0); err != nil {
		return err
	}
	return f.inner.MkdirAll(dir)
}

// List implements FS.
func (f *Faulty) List(dir string) ([]string, error) {
	if _, err := f.before(OpList, dir, 0); err != nil {
		return nil, err
	}
	return f.inner.List(dir)
}

// Stat implements FS.
func (f *Faulty) Stat(name string) (Info, error) {
	if _, err := f.before(OpStat, name, 0); err != nil {
		return Info{}, err
	}
	return f.inner.Stat(name)
}

// SyncDir implements FS.
func (f *Faulty) SyncDir(dir string) error {
	if _, err := f.before(OpSyncDir, dir, 0); err != nil {
		return err
	}
	return f.inner.SyncDir(dir)
}

// Lock implements FS.
func (f *Faulty) Lock(name string) (io.Closer, error) {
	if _, err := f.before(OpLock, name, 0); err != nil {
		return nil, err
	}
	return f.inner.Lock(name)
}

// DiskFree implements FS.
func (f *Faulty) DiskFree(dir string) (Space, error) {
	if _, err := f.before(OpDiskFree, dir, 0); err != nil {
		return Space{}, err
	}
	return f.inner.DiskFree(dir)
}
