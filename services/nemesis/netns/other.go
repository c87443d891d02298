//go:build !linux

package netns

import "errors"

// ErrNotPermitted: this system has no network namespaces.
var ErrNotPermitted = errors.New("network namespaces are Linux's")

// Enter is for Linux.
func Enter() (inside bool, code int, err error) { return false, 0, ErrNotPermitted }
