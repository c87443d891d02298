// Package identity keeps cluster.json, by which a bucket knows whose it is.
//
// The object is created by conditional PUT before the first entry is appended, so that of two processes that begin on an empty
// bucket one decides and the other follows. It names the cluster, the metalog's backend and log id, and the secret of the
// internal listener; it changes only when `varve recover` puts a successor in its place. Whatever does not fit it is refused at the start with one line that names
// what is wrong, the bucket, and `varve recover`. FORMAT.md describes the object.
//
// That the bucket honours conditional writes at all is objstore.Probe's to find out; that the log's content fits the
// snapshot is coordinator/replica's.
package identity
