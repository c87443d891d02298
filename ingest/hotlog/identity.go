package hotlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path"

	"github.com/google/uuid"
	"github.com/varvelog/varve/infra/vfs"
)

// loadIdentity reads the disk's UUID, or draws one where the directory is new: it has then neither segments nor a high mark.
func (l *Log) loadIdentity(isNew bool) (created bool, err error) {
	name := path.Join(l.dir, identityName)
	value, err := readState(l.fs, name, identityMagic)
	switch {
	case err == nil:
		l.diskUUID = value
		return false, nil
	case !errors.Is(err, fs.ErrNotExist):
		return false, err
	case !isNew:
		return false, &CorruptionError{Path: name, Reason: "file is missing, but there are segments", Err: ErrForeignDisk}
	}
	if l.diskUUID, err = uuid.NewRandomFromReader(l.cfg.Random); err != nil {
		return false, fmt.Errorf("draw disk uuid: %w", err)
	}
	if err := writeState(l.fs, name, identityMagic, l.diskUUID); err != nil {
		return false, err
	}
	if err := l.fs.SyncDir(l.dir); err != nil {
		return false, fmt.Errorf("sync directory for identity: %w", err)
	}
	return true, nil
}

// ReadIdentity reads the UUID of the disk whose hot log is in dir. It wraps fs.ErrNotExist where there is none.
func ReadIdentity(fsys vfs.FS, dir string) (uuid.UUID, error) {
	value, err := readState(fsys, path.Join(dir, identityName), identityMagic)
	return value, err
}

// loadHighMark reads the highest segment id ever given out; 0 where none was.
func (l *Log) loadHighMark() (uint64, error) {
	value, err := readState(l.fs, path.Join(l.dir, highMarkName), highMarkMagic)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	return binary.LittleEndian.Uint64(value[:]), err
}

// raiseHighMark records that id is given out. It is durable once the directory is synced.
func (l *Log) raiseHighMark(id uint64) error {
	var value [16]byte
	binary.LittleEndian.PutUint64(value[:], id)
	return writeState(l.fs, path.Join(l.dir, highMarkName), highMarkMagic, value)
}

func readState(fsys vfs.FS, name string, magic [8]byte) (value [16]byte, err error) {
	file, err := fsys.Open(name)
	if err != nil {
		return value, fmt.Errorf("open %s: %w", name, err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	size, err := file.Size()
	if err != nil {
		return value, fmt.Errorf("size %s: %w", name, err)
	}
	b := make([]byte, min(size, stateFileBytes+1))
	if err := readFull(file, b, 0); err != nil {
		return value, fmt.Errorf("read %s: %w", name, err)
	}
	return decodeState(b, magic, name)
}

// writeState replaces a small file in one step. The new name is durable once the directory is synced.
func writeState(fsys vfs.FS, name string, magic [8]byte, value [16]byte) (err error) {
	temporary := name + temporarySuffix
	file, err := fsys.Create(temporary)
	if err != nil {
		return fmt.Errorf("create %s: %w", temporary, err)
	}
	_, writeErr := file.WriteAt(encodeState(magic, value), 0)
	if writeErr == nil {
		writeErr = file.Sync()
	}
	if err := errors.Join(writeErr, file.Close()); err != nil {
		return fmt.Errorf("write %s: %w", temporary, err)
	}
	if err := fsys.Rename(temporary, name); err != nil {
		return fmt.Errorf("name %s: %w", name, err)
	}
	return nil
}
