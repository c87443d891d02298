//go:build !linux

package bench

import (
	"errors"
	"os"
	"syscall"
	"time"
)

var errPlatform = errors.New("bench reads other processes' processor time and memory, and so runs on Linux only")

func checkPlatform() error { return errPlatform }

func fdatasync(*os.File) error { return errPlatform }

func threadCPU() (time.Duration, error) { return 0, errPlatform }

func processCPU(int) (time.Duration, error) { return 0, errPlatform }

func ownCPU() (time.Duration, error) { return 0, errPlatform }

func sleepUntil(origin time.Time, deadline time.Duration) { time.Sleep(deadline - time.Since(origin)) }

func lockThread() (unlock func()) { return func() {} }

func childAttributes() *syscall.SysProcAttr { return nil }

func allocate(*os.File, int64) error { return errPlatform }
