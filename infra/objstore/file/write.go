package file

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/varvelog/varve/infra/objstore"
)

// maxDurableFolders bounds the memory for folders known to be durable. Past it the knowledge is dropped, which costs
// each folder one more fsync.
const maxDurableFolders = 1 << 16

// writeSliceBytes is how much of a body is written between two looks at the context.
const writeSliceBytes = 4 << 20

// PutIfAbsent implements objstore.Store.
func (s *Store) PutIfAbsent(ctx context.Context, key string, body []byte) (objstore.Version, error) {
	return s.put(ctx, key, body, func(temp, path string) error {
		err := os.Link(temp, path)
		if errors.Is(err, fs.ErrExist) {
			// The caller will rely on the object it lost to, whose writer may have died before its own fsync.
			if syncErr := syncFolder(filepath.Dir(path)); syncErr != nil {
				return syncErr
			}
			if stat, statErr := os.Lstat(path); statErr == nil && stat.IsDir() {
				return fmt.Errorf("%w: it is another key's folder", objstore.ErrKey)
			}
			return objstore.ErrExists
		}
		return err
	})
}

// PutIfMatch implements objstore.Store.
func (s *Store) PutIfMatch(ctx context.Context, key string, body []byte, old objstore.Version) (objstore.Version, error) {
	return s.put(ctx, key, body, func(temp, path string) error {
		return s.replace(ctx, func() error {
			stat, err := os.Stat(path)
			if errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("%w: it is gone", objstore.ErrConditionFailed)
			}
			if err != nil {
				return err
			}
			if describe(key, stat).Version != old {
				return objstore.ErrConditionFailed
			}
			return os.Rename(temp, path)
		})
	})
}

// Put implements objstore.Store.
func (s *Store) Put(ctx context.Context, key string, body []byte) (objstore.Version, error) {
	return s.put(ctx, key, body, func(temp, path string) error {
		return s.replace(ctx, func() error { return os.Rename(temp, path) })
	})
}

// Delete implements objstore.Store. It is durable on return.
func (s *Store) Delete(ctx context.Context, key string) error {
	path, err := s.pathOf(key)
	if err != nil {
		return fmt.Errorf("delete object: %w", err)
	}
	err = s.replace(ctx, func() error { return syscall.Unlink(path) })
	switch {
	// EISDIR and EPERM (as POSIX has it) are a folder, ENOTDIR a file in a folder's place: no object of that key.
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.EISDIR):
		return nil
	case errors.Is(err, syscall.EPERM):
		if stat, statErr := os.Lstat(path); statErr == nil && stat.IsDir() {
			return nil
		}
		return fmt.Errorf("delete object %q: %w", key, mapError(err))
	case err != nil:
		return fmt.Errorf("delete object %q: %w", key, mapError(err))
	}
	if err := syncFolder(filepath.Dir(path)); err != nil {
		return fmt.Errorf("delete object %q: %w", key, err)
	}
	return nil
}

// put writes body to a temporary file, has place bring it under its name, and makes that durable.
func (s *Store) put(ctx context.Context, key string, body []byte, place func(temp, path string) error) (version objstore.Version, err error) {
	path, err := s.pathOf(key)
	if err != nil {
		return "", fmt.Errorf("put object: %w", err)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("put object %q: %w", key, err)
		}
	}()
	temp, err := s.writeTemp(ctx, body)
	if temp != "" {
		// After a rename there is nothing left to remove.
		defer func() {
			if removeErr := os.Remove(temp); removeErr != nil && !errors.Is(removeErr, fs.ErrNotExist) {
				err = errors.Join(err, removeErr)
			}
		}()
	}
	if err != nil {
		return "", err
	}
	stat, err := os.Stat(temp)
	if err != nil {
		return "", fmt.Errorf("stat temporary file: %w", err)
	}
	if err := s.placeDurably(temp, path, place); err != nil {
		return "", err
	}
	return describe(key, stat).Version, nil
}

// placeDurably makes the folder of path, places temp there, and fsyncs the folder. A folder that somebody removed since
// it was last seen is made again.
func (s *Store) placeDurably(temp, path string, place func(temp, path string) error) error {
	folder := filepath.Dir(path)
	for attempt := 0; ; attempt++ {
		if err := s.makeFolder(folder); err != nil {
			return err
		}
		err := place(temp, path)
		if errors.Is(err, fs.ErrNotExist) && attempt == 0 {
			s.forgetFolders()
			continue
		}
		if err != nil {
			// A rename over a folder fails with EISDIR or EEXIST, as the system likes.
			if errors.Is(err, syscall.EISDIR) || errors.Is(err, syscall.EEXIST) || errors.Is(err, syscall.ENOTDIR) {
				return fmt.Errorf("%w: a key is another key's folder: %w", objstore.ErrKey, err)
			}
			return denied(err)
		}
		return syncFolder(folder)
	}
}

// writeTemp writes and fsyncs a temporary file. It returns its path also with an error, where there is a file to remove.
func (s *Store) writeTemp(ctx context.Context, body []byte) (path string, err error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	file, err := os.CreateTemp(s.tempDir, "put-*")
	if errors.Is(err, fs.ErrNotExist) {
		// Somebody emptied the directory under us. A bucket that vanished for good will fail here too.
		s.forgetFolders()
		if err := s.makeFolder(s.tempDir); err != nil {
			return "", err
		}
		file, err = os.CreateTemp(s.tempDir, "put-*")
	}
	if err != nil {
		return "", fmt.Errorf("create temporary file: %w", denied(err))
	}
	defer func() {
		if closeErr := file.Close(); err == nil && closeErr != nil {
			err = fmt.Errorf("close temporary file: %w", closeErr)
		}
	}()
	for rest := body; len(rest) > 0; {
		if err := ctx.Err(); err != nil {
			return file.Name(), err
		}
		n, err := file.Write(rest[:min(len(rest), writeSliceBytes)])
		if err != nil {
			return file.Name(), fmt.Errorf("write temporary file: %w", err)
		}
		rest = rest[n:]
	}
	modified := s.nextModified()
	if err := os.Chtimes(file.Name(), modified, modified); err != nil {
		return file.Name(), fmt.Errorf("stamp temporary file: %w", err)
	}
	if err := file.Sync(); err != nil {
		return file.Name(), fmt.Errorf("fsync temporary file: %w", err)
	}
	return file.Name(), nil
}

// nextModified returns the clock's time, or a nanosecond after the last one given out where the clock has not moved.
func (s *Store) nextModified() time.Time {
	for {
		last := s.lastModified.Load()
		next := max(time.Now().UnixNano(), last+1)
		if s.lastModified.CompareAndSwap(last, next) {
			return time.Unix(0, next)
		}
	}
}

// makeFolder makes folder and those above it, each fsynced in its parent. A folder that is there but not known to be
// durable is fsynced too: whoever made it may not have come to that.
func (s *Store) makeFolder(folder string) error {
	if s.folderDurable(folder) {
		return nil
	}
	err := os.Mkdir(folder, 0o755)
	if errors.Is(err, fs.ErrNotExist) {
		if err := s.makeFolder(filepath.Dir(folder)); err != nil {
			return err
		}
		err = os.Mkdir(folder, 0o755)
	}
	existed := errors.Is(err, fs.ErrExist)
	switch {
	case errors.Is(err, syscall.ENOTDIR):
		return fmt.Errorf("%w: a key is another key's folder: %w", objstore.ErrKey, err)
	case existed:
		if stat, statErr := os.Stat(folder); statErr == nil && !stat.IsDir() {
			return fmt.Errorf("%w: a key is another key's folder: %w", objstore.ErrKey, err)
		}
	case err != nil:
		return fmt.Errorf("make folder: %w", denied(err))
	}
	if strings.HasPrefix(folder, s.root+string(filepath.Separator)) {
		if err := s.makeFolder(filepath.Dir(folder)); err != nil {
			return err
		}
	}
	err = syncFolder(filepath.Dir(folder))
	// A root that was made for us may stand in a folder that we may not read; then whoever made it answers for it.
	if err != nil && !(existed && folder == s.root && errors.Is(err, fs.ErrPermission)) {
		return err
	}
	s.folders.Lock()
	defer s.folders.Unlock()
	if len(s.folders.durable) >= maxDurableFolders {
		clear(s.folders.durable)
	}
	s.folders.durable[folder] = struct{}{}
	return nil
}

func (s *Store) folderDurable(folder string) bool {
	s.folders.Lock()
	defer s.folders.Unlock()
	_, durable := s.folders.durable[folder]
	return durable
}

func (s *Store) forgetFolders() {
	s.folders.Lock()
	defer s.folders.Unlock()
	clear(s.folders.durable)
}

func syncFolder(path string) error {
	folder, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open folder to fsync: %w", err)
	}
	if err := folder.Sync(); err != nil {
		return errors.Join(fmt.Errorf("fsync folder: %w", err), folder.Close())
	}
	return folder.Close()
}

// denied marks refused permission. Other errors of a write, a missing folder among them, are transient.
func denied(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w: %w", objstore.ErrAccess, err)
	}
	return err
}
