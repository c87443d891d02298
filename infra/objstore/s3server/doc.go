// Package s3server serves an object store over S3's protocol, so that a process which knows only a bucket's URL can be given any store: one in
// memory with S3's latencies (faulty over mem), or one that stalls and recovers. It is for measurements and tests on the loopback
// interface: signatures are not checked, every bucket exists and shows the same store, and uploads in parts are not implemented.
//
// It speaks what infra/objstore/s3 needs: PUT with If-None-Match and If-Match, GET with Range, HEAD, DELETE and ListObjectsV2. Bodies must come
// as they are, without aws-chunked encoding, as they do over http://.
package s3server
