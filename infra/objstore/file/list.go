package file

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/varvelog/varve/infra/objstore"
)

// List implements objstore.Store. Objects put or deleted meanwhile may or may not appear; those that stay appear once.
func (s *Store) List(ctx context.Context, prefix, startAfter string) func(yield func(objstore.Info, error) bool) {
	return func(yield func(objstore.Info, error) bool) {
		l := lister{ctx: ctx, prefix: prefix, startAfter: startAfter, yield: yield}
		if _, err := l.folder(s.root, ""); err != nil {
			yield(objstore.Info{}, fmt.Errorf("list objects %q: %w", prefix, err))
		}
	}
}

type lister struct {
	ctx        context.Context
	prefix     string
	startAfter string
	yield      func(objstore.Info, error) bool
}

// entry is a file or folder with the key it stands for; a folder's ends in '/', so that sorting entries by key sorts
// the keys below them too ("a-b" before "a/b").
type entry struct {
	key      string
	isDir    bool
	dirEntry fs.DirEntry
}

// folder yields the objects under path, whose keys begin with keyPrefix. It returns false when the iteration is over.
func (l *lister) folder(path, keyPrefix string) (more bool, err error) {
	if err := l.ctx.Err(); err != nil {
		return false, err
	}
	entries, err := l.read(path, keyPrefix)
	if err != nil {
		return false, err
	}
	for _, e := range entries {
		if e.isDir {
			if more, err := l.folder(filepath.Join(path, e.dirEntry.Name()), e.key); err != nil || !more {
				return false, err
			}
			continue
		}
		stat, err := e.dirEntry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return false, denied(err)
		}
		if err := l.ctx.Err(); err != nil {
			return false, err
		}
		if !l.yield(describe(e.key, stat), nil) {
			return false, nil
		}
	}
	return true, nil
}

// read returns the entries of one folder that the listing may want, in the order of keys.
func (l *lister) read(path, keyPrefix string) ([]entry, error) {
	dirEntries, err := os.ReadDir(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, denied(err)
	}
	entries := make([]entry, 0, len(dirEntries))
	for _, dirEntry := range dirEntries {
		segment, ok := unescapeName(dirEntry.Name())
		if !ok {
			continue
		}
		e := entry{key: keyPrefix + segment, isDir: dirEntry.IsDir(), dirEntry: dirEntry}
		if e.isDir {
			e.key += "/"
		}
		if l.wants(e) {
			entries = append(entries, e)
		}
	}
	slices.SortFunc(entries, func(a, b entry) int { return strings.Compare(a.key, b.key) })
	return entries, nil
}

func (l *lister) wants(e entry) bool {
	if !e.isDir {
		return e.dirEntry.Type().IsRegular() && strings.HasPrefix(e.key, l.prefix) && e.key > l.startAfter
	}
	// A folder may hold wanted keys if its key and the prefix agree as far as both go, and if startAfter is not past all
	// keys that begin with it.
	agree := strings.HasPrefix(e.key, l.prefix) || strings.HasPrefix(l.prefix, e.key)
	return agree && (e.key > l.startAfter || strings.HasPrefix(l.startAfter, e.key))
}
