// Package verify checks every checksum and every reference in a bucket, and in the hot logs of nodes.
//
// It reads only, with bounded memory besides the metadata's state, and may run beside a cluster that works: what it finds amiss about an object is
// told only if newer metadata, read afterwards, still refers to it. What is in the bucket and nothing refers to (orphans, garbage, objects
// with strange names) is counted and is no error.
package verify
