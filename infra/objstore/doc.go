// Package objstore is the contract for the bucket: a flat map from keys to objects with conditional writes, on which
// everything durable in Varve ends.
//
// The contract is Store and the errors beside it. Implementations are sub-packages (file, mem, s3, minio), as are the
// wrappers faulty (injected faults, for tests) and metered (counts and metrics); package open chooses one by URL. This
// package imports none of them. storetest is the acceptance suite that each of them passes.
//
// What all implementations guarantee beyond the interface's comments:
//
//   - A put replaces an object whole or not at all; a reader sees one version from first byte to last.
//   - Of any number of concurrent PutIfAbsent of a key, or PutIfMatch of a version, at most one returns nil.
//   - An error that matches none of the sentinels, or ErrThrottled, or a context's error, settles nothing: the operation
//     may have happened, and may still happen shortly after the call has returned. Ambiguous says which errors those are.
//
// What is left to the caller: settling ambiguity (an id of the writer inside the object, read back after ErrExists), and
// distinct content for each replacement by PutIfMatch. On S3 a Version is derived from content, so an object that went
// from A to B and back to A has the first version again.
//
// Some stores accept the conditional headers and ignore them. Probe finds out before anything relies on them.
package objstore
