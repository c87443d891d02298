// Package s3wire is what the stores that speak S3 have in common: one objstore.Store over a small Client, which s3 and
// minio implement with their SDKs. Here live the rules of the protocol that no SDK settles: which status means which
// error, conflicts to retry, ranges of empty objects, multipart uploads with a condition, keys under a prefix.
package s3wire

import (
	"context"
	"io"
	"iter"
	"time"
)

// Object describes an object as the server does. ETag comes without quotes.
type Object struct {
	Key       string
	SizeBytes int64
	ETag      string
	Modified  time.Time
}

// Condition is sent with a write. At most one field is set; the zero value asks for nothing.
type Condition struct {
	// IfAbsent sends If-None-Match: *.
	IfAbsent bool
	// IfMatch sends If-Match with this ETag.
	IfMatch string
}

// Part is an uploaded part of a multipart upload. ETag is as the server gave it.
type Part struct {
	Number int
	ETag   string
	// ChecksumCRC32 is in base64, empty where the SDK keeps no account of it.
	ChecksumCRC32 string
}

// Client is one bucket, with keys as the server has them. Errors are the SDK's own: Failure takes them apart.
type Client interface {
	Put(ctx context.Context, key string, body []byte, condition Condition) (etag string, err error)
	// Get sends rangeHeader where it is not empty. The Object's size is the whole object's.
	Get(ctx context.Context, key, rangeHeader string) (io.ReadCloser, Object, error)
	Head(ctx context.Context, key string) (Object, error)
	Delete(ctx context.Context, key string) error
	List(ctx context.Context, prefix, startAfter string) iter.Seq2[Object, error]

	CreateUpload(ctx context.Context, key string) (uploadID string, err error)
	UploadPart(ctx context.Context, key, uploadID string, number int, body []byte) (Part, error)
	CompleteUpload(ctx context.Context, key, uploadID string, parts []Part, condition Condition) (etag string, err error)
	AbortUpload(ctx context.Context, key, uploadID string) error

	// HeadBucket asks whether the bucket is there and returns the answer's Date.
	HeadBucket(ctx context.Context) (time.Time, error)
	CreateBucket(ctx context.Context) error

	// Failure returns the HTTP status and the S3 error code of an error; zero and empty where there was no answer.
	Failure(err error) (status int, code string)
	// Close gives up idle connections.
	Close()
}
