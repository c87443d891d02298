package conformance

import "syscall"

// childAttributes have the kernel end a child whose parent dies.
func childAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
