package ingestd

import "syscall"

// diskSpace tells the size of the disk that dir is on, and what is left of it; -1 where it cannot be known.
func diskSpace(dir string) func() (total, usable int64) {
	return func() (total, usable int64) {
		var fs syscall.Statfs_t
		if err := syscall.Statfs(dir, &fs); err != nil {
			return -1, -1
		}
		return int64(fs.Blocks) * fs.Bsize, int64(fs.Bavail) * fs.Bsize
	}
}
