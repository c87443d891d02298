//go:build linux

package cluster

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// disk is what one process keeps. Without an image it is a tmpfs, which has everything that was ever written. With one it is an ext4 whose
// power can be cut: what was not synced by then, by fsync or by the kernel on its own, is lost.
type disk struct {
	dir       string // where it is mounted
	image     string // in a tmpfs; empty for none
	sizeBytes int64
}

// errNoPower: this machine mounts no file system whose power can be cut.
var errNoPower = errors.New("power cannot be cut here")

// shareMounts has every process see what is mounted and unmounted under dir: each has a mount namespace of its own (ip netns exec), which would keep a
// file system that is unmounted here.
func shareMounts(dir string) error {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	for _, flags := range []uintptr{unix.MS_BIND, unix.MS_SHARED} {
		if err := unix.Mount(dir, dir, "", flags, ""); err != nil {
			return fmt.Errorf("share what is mounted in %s: %w", dir, err)
		}
	}
	return nil
}

// create makes the disk and mounts it.
func (d *disk) create() error {
	if err := os.MkdirAll(d.dir, 0o750); err != nil {
		return err
	}
	if d.image == "" {
		if err := unix.Mount("tmpfs", d.dir, "tmpfs", 0, fmt.Sprint("size=", d.sizeBytes)); err != nil {
			return fmt.Errorf("mount %s: %w", d.dir, err)
		}
		return nil
	}
	file, err := os.Create(d.image)
	if err != nil {
		return err
	}
	if err := errors.Join(file.Truncate(d.sizeBytes), file.Close()); err != nil {
		return err
	}
	// Nothing is left for the kernel to initialise later, and nothing kept for root.
	if err := command("mkfs.ext4", "-q", "-F", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0", d.image); err != nil {
		return fmt.Errorf("%w: %w", errNoPower, err)
	}
	if err := d.mount(); err != nil {
		return fmt.Errorf("%w: %w", errNoPower, err)
	}
	return nil
}

func (d *disk) mount() error { return command("mount", "-t", "ext4", "-o", "loop", d.image, d.dir) }

// shutdownNoFlush ends an ext4 where it is (EXT4_IOC_SHUTDOWN, include/uapi/linux/ext4.h, EXT4_GOING_FLAGS_NOLOGFLUSH): its journal is not written out.
const (
	ioctlShutdown   = 0x8004587d
	shutdownNoFlush = 2
)

// cut has nothing more reach the disk. Processes that use it get errors from then on, until restore.
func (d *disk) cut() error {
	root, err := os.Open(d.dir)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := unix.IoctlSetPointerInt(int(root.Fd()), ioctlShutdown, shutdownNoFlush); err != nil {
		return fmt.Errorf("cut the power of %s: %w", d.dir, err)
	}
	return nil
}

// restore brings a disk back whose power was cut and which nobody uses: its journal is replayed.
func (d *disk) restore() error {
	if err := unix.Unmount(d.dir, 0); err != nil {
		return fmt.Errorf("unmount %s: %w", d.dir, err)
	}
	return d.mount()
}

// wipe removes everything, as if the disk were a new one: for good, even if the power is cut next.
func (d *disk) wipe() error {
	root, err := os.Open(d.dir)
	if err != nil {
		return err
	}
	defer root.Close()
	entries, err := root.ReadDir(-1)
	if err != nil {
		return err
	}
	var failed []error
	for _, entry := range entries {
		if entry.Name() != filler {
			failed = append(failed, os.RemoveAll(filepath.Join(d.dir, entry.Name())))
		}
	}
	return errors.Join(append(failed, unix.Syncfs(int(root.Fd())))...)
}

// free takes back that the disk was filled; the file is gone where the power was cut.
func (d *disk) free() error {
	if err := os.Remove(filepath.Join(d.dir, filler)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func command(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, out)
	}
	return nil
}
