//go:build !linux

package cluster

import "syscall"

// childAttributes: only Linux ends children with their parent; elsewhere a test's process that is killed leaves them behind.
func childAttributes() *syscall.SysProcAttr { return nil }
