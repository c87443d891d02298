// Package recovery rebuilds a cluster's metadata from what is in its bucket, when the metadata log is lost.
//
// Prepare reads: the newest snapshot that is whole and the entries behind it (coordinator/salvage), then every segment and chunk that may have
// become part of the log after them, which are adopted where they continue a partition. What the state has on disks that are gone becomes
// lost offsets, which readers pass over. With neither snapshot nor log it begins from the segments' directories alone.
//
// Execute writes the recovered state as the first snapshot of a new log, under a prefix of its own, and only then puts a new identity in
// the place of cluster.json, by one conditional write. Before that write nothing has changed, whatever was interrupted; after it everything has.
// Processes of the former log are fenced by the new log id, the new secret, and epochs and ids that begin far above the old ones.
package recovery
