// Package vfs is the seam between Varve's durable files and the operating system: exactly the operations that a log
// needs, with what each of them makes durable written down, so that a crash can be simulated.
//
// There are three implementations.
//
//   - OS is the real one. On Linux a vectored write is one pwritev without copying, SyncData is fdatasync and
//     Preallocate is fallocate; other Unix systems get the nearest equivalents.
//   - Mem lives in memory and can crash. It remembers, beside what a reader sees, what would be found on the disk
//     after a power failure: everything that was synced, and a seeded part of everything that was not.
//   - Faulty wraps another FS and fails, shortens or counts operations as a function decides.
//
// # Durability
//
// Contents and names are separate. A file's contents are durable after File.SyncData or File.Sync; a name (created,
// renamed or removed) is durable after FS.SyncDir of its directory. Between the two an operation may or may not survive,
// independently of the others: contents by sector of SectorBytes bytes, each as it was before or after any of the
// writes that touched it since the last sync; names one by one, save that a rename is one step. A sector that is
// overwritten is afterwards old or new, never a mixture and never unreadable: the log relies on that where a group begins in the
// sector in which the last one ended.
//
// After a failed SyncData or Sync nothing may be concluded about any unsynced content, and another call that succeeds proves nothing:
// the kernel may have dropped the dirty pages. Callers abandon the file.
//
// # What it leaves to others
//
// No buffering, no paths relative to a root, no permissions other than the defaults (0o640 for files, 0o750 for directories), no
// contexts: a write or fsync that the kernel has begun cannot be called off.
package vfs
