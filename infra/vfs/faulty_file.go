package vfs

import (
	"errors"
	"fmt"
)

// faultyFile asks its Faulty before every operation.
type faultyFile struct {
	fs    *Faulty
	name  string // as of the last Rename; guarded by fs.mu
	inner File
}

func (f *faultyFile) before(op Op, bytes int) (*Fault, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	return f.fs.judge(op, f.name, bytes)
}

// ReadAt implements File.
func (f *faultyFile) ReadAt(p []byte, off int64) (int, error) {
	if _, err := f.before(OpRead, len(p)); err != nil {
		return 0, err
	}
	return f.inner.ReadAt(p, off)
}

// WriteAt implements File.
func (f *faultyFile) WriteAt(p []byte, off int64) (int, error) {
	return f.WritevAt([][]byte{p}, off)
}

// WritevAt implements File.
func (f *faultyFile) WritevAt(bufs [][]byte, off int64) (int, error) {
	total := 0
	for _, buf := range bufs {
		total += len(buf)
	}
	fault, err := f.before(OpWrite, total)
	if fault == nil {
		return f.inner.WritevAt(bufs, off)
	}
	if fault.ShortBytes == 0 {
		return 0, err
	}
	short := make([]byte, 0, min(fault.ShortBytes, total))
	for _, buf := range bufs {
		short = append(short, buf[:min(len(buf), cap(short)-len(short))]...)
	}
	n, innerErr := f.inner.WriteAt(short, off)
	return n, errors.Join(err, innerErr)
}

// Preallocate implements File.
func (f *faultyFile) Preallocate(sizeBytes int64) error {
	if _, err := f.before(OpPreallocate, 0); err != nil {
		return err
	}
	return f.inner.Preallocate(sizeBytes)
}

// SyncData implements File.
func (f *faultyFile) SyncData() error {
	if _, err := f.before(OpSyncData, 0); err != nil {
		return err
	}
	return f.inner.SyncData()
}

// Sync implements File.
func (f *faultyFile) Sync() error {
	if _, err := f.before(OpSync, 0); err != nil {
		return err
	}
	return f.inner.Sync()
}

// Size implements File.
func (f *faultyFile) Size() (int64, error) {
	if _, err := f.before(OpSize, 0); err != nil {
		return 0, err
	}
	return f.inner.Size()
}

// Truncate implements File.
func (f *faultyFile) Truncate(sizeBytes int64) error {
	if _, err := f.before(OpTruncate, 0); err != nil {
		return err
	}
	return f.inner.Truncate(sizeBytes)
}

// Close implements File. The inner file is closed even where a fault is injected, as close(2) does.
func (f *faultyFile) Close() error {
	_, err := f.before(OpClose, 0)
	f.fs.forget(f)
	innerErr := f.inner.Close()
	if err != nil && innerErr != nil {
		return fmt.Errorf("%w; %w", err, innerErr)
	}
	return errors.Join(err, innerErr)
}
