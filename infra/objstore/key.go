package objstore

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// ErrKey: the key breaks the rules that ValidateKey states. The caller's fault.
var ErrKey = errors.New("invalid object key")

// MaxKeyBytes bounds a key within its store. S3 allows 1,024 bytes including the bucket's prefix.
const MaxKeyBytes = 896

// MaxKeySegmentBytes bounds what stands between two slashes, since the file store makes it a file name.
const MaxKeySegmentBytes = 200

// ValidateKey tells whether every store can hold key: UTF-8 without control characters, segments separated by single
// slashes, none of them empty, "." or "..", none too long. The error matches ErrKey.
func ValidateKey(key string) error {
	switch {
	case key == "":
		return fmt.Errorf("%w: empty", ErrKey)
	case len(key) > MaxKeyBytes:
		return fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrKey, len(key), MaxKeyBytes)
	case !utf8.ValidString(key):
		return fmt.Errorf("%w %q: not UTF-8", ErrKey, key)
	}
	for _, r := range key {
		if r < ' ' || r == 0x7f {
			return fmt.Errorf("%w %q: control character", ErrKey, key)
		}
	}
	for segment := range strings.SplitSeq(key, "/") {
		switch {
		case segment == "":
			return fmt.Errorf("%w %q: empty segment", ErrKey, key)
		case segment == "." || segment == "..":
			return fmt.Errorf("%w %q: segment %q", ErrKey, key, segment)
		case len(segment) > MaxKeySegmentBytes:
			return fmt.Errorf("%w %q: segment of %d bytes, at most %d are allowed", ErrKey, key, len(segment), MaxKeySegmentBytes)
		}
	}
	return nil
}
