// Package file is an object store in a directory: one file per object, for a laptop, a single node, or a shared POSIX
// file system with working hard links, rename and flock.
//
// A put is durable on return: the body goes to a temporary file, which is fsynced, then linked (PutIfAbsent; link(2) is
// atomic and fails where the name is taken) or renamed (Put, PutIfMatch) into place, and the folder is fsynced. Folders
// that had to be made are fsynced in their parents first. No other state is kept, so the folder may be copied.
//
// Replacing and deleting take one lock per store, within the process and across processes (flock on a file in the
// reserved folder), since the check of a version and the rename after it have to be one step. PutIfAbsent takes none.
//
// Layout of the directory:
//
//	<root>/chunk/3f/…        object "chunk/3f/…", its bytes and nothing else
//	<root>/.varve-tmp/       temporary files and the lock; never listed, never a key
//
// A key's segment becomes a file name as it is, but for '%' (written %25) and a leading '.' (written %2E), which leaves
// names beginning with a dot to this package and to the system. Folders that became empty are kept. The file system
// must tell case and Unicode forms apart.
//
// A version is the file's inode, size and modification time. This package sets that time itself, to the nanosecond and
// never twice the same in one process, since the kernel's own clock ticks too slowly to tell two quick writes apart.
package file
