// Package archive keeps a copy of the metadata log's tail in the bucket, for the log that is kept elsewhere (JetStream): with
// the snapshots it makes the bucket enough to rebuild the metadata from.
//
// The leader hands every durable entry to an Archiver, which writes what has gathered as one object at most a second later, off
// the path of commits. An idle log costs nothing.
//
// What it guarantees:
//
//   - Whatever is archived was durable in the log before. A log that ends before its archive has lost entries; coordinator/replica
//     refuses it.
//   - Objects are contiguous from the log's first entry at the time, or from behind the older kept snapshot, to the archive's end.
//     They may overlap, and are then alike there.
//   - Memory is bounded. Behind a store that fails, entries that no longer fit are read from the log again; commits never wait.
//
// Objects wholly below the older kept snapshot are deleted (Prune). Whether the log may be cut is decided by snapshots alone: they
// stand for everything that is cut.
//
// File map: format.go and FORMAT.md one object; read.go listing and reading; archiver.go writing.
package archive
