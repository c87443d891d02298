package file

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/varvelog/varve/infra/objstore"
)

// reservedFolder holds temporary files and the lock. No key maps to it, since a leading dot is escaped.
const reservedFolder = ".varve-tmp"

var (
	segmentUnescaper = strings.NewReplacer("%25", "%", "%2E", ".")
)

// pathOf maps a key to its file.
func (s *Store) pathOf(key string) (string, error) {
	if err := objstore.ValidateKey(key); err != nil {
		return "", err
	}
	if !strings.ContainsAny(key, "%.") {
		return filepath.Join(s.root, filepath.FromSlash(key)), nil
	}
	segments := strings.Split(key, "/")
	for i, segment := range segments {
		segments[i] = escapeSegment(segment)
		// The longest file name common file systems take is 255 bytes; escaping may reach it.
		if len(segments[i]) > 255 {
			return "", fmt.Errorf("%w %q: segment of %d bytes when escaped", objstore.ErrKey, key, len(segments[i]))
		}
	}
	return filepath.Join(s.root, filepath.Join(segments...)), nil
}

func escapeSegment(segment string) string {
	segment = strings.ReplaceAll(segment, "%", "%25")
	if strings.HasPrefix(segment, ".") {
		segment = "%2E" + segment[1:]
	}
	return segment
}

// unescapeName returns the key segment a file name stands for; ok is false for names this package does not make.
func unescapeName(name string) (segment string, ok bool) {
	if strings.HasPrefix(name, ".") {
		return "", false
	}
	segment = name
	if strings.Contains(name, "%") {
		segment = segmentUnescaper.Replace(name)
	}
	return segment, escapeSegment(segment) == name
}
