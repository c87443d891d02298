// Package minio is the object store on MinIO, and on others that speak S3 at an address of their own, through minio-go.
//
// What MinIO is known to do differently from S3, and what follows:
//
//   - PUT with If-Match on a missing key answers 404, where S3 does too since 2024: both are ErrConditionFailed here.
//   - DELETE ignores If-Match, so the contract has no conditional delete.
//   - A key that is another key's folder is hidden from listings, so the contract forbids such keys.
//   - It answers 503 while it starts or heals: ErrThrottled, transient.
//
// As with package s3, a request that is repeated after its answer was lost may find its own write.
package minio

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"iter"
	"net"
	"net/http"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/varvelog/varve/infra/objstore"
	"github.com/varvelog/varve/infra/objstore/internal/s3wire"
)

// defaultMaxAttempts bounds the SDK's tries of one request, between which it waits up to a second.
const defaultMaxAttempts = 4

// Config says which server and bucket. Address and Bucket are required.
type Config struct {
	// Address is the server's host:port.
	Address string
	// Insecure speaks HTTP instead of HTTPS.
	Insecure bool
	Bucket   string
	// Prefix stands before all keys. It neither begins nor ends with a slash.
	Prefix string
	// Region is us-east-1 where empty, as on a server that was given none.
	Region string
	// CreateBucket makes the bucket where it is missing.
	CreateBucket bool
	// AccessKey and SecretKey identify the user.
	AccessKey string
	SecretKey string
	// SessionToken goes with temporary keys.
	SessionToken string
	// MaxAttempts bounds the tries of one request, the first included. Zero means 4.
	MaxAttempts int
	// MultipartBytes and PartBytes override the sizes at which uploads are cut. For tests on small bodies.
	MultipartBytes int
	PartBytes      int
}

// Validate names the field that is wrong.
func (c Config) Validate() error {
	if _, _, err := net.SplitHostPort(c.Address); err != nil {
		return fmt.Errorf("address: %q is no host:port: %w", c.Address, err)
	}
	if c.Bucket == "" {
		return errors.New("bucket: missing")
	}
	if c.MaxAttempts < 0 {
		return errors.New("MaxAttempts: negative")
	}
	if c.AccessKey == "" || c.SecretKey == "" {
		return fmt.Errorf("credentials: missing: %w", objstore.ErrAccess)
	}
	return nil
}

// Open checks the bucket and returns the store.
func Open(ctx context.Context, c Config) (objstore.Store, error) {
	name := "minio://" + c.Address + "/" + c.Bucket
	if c.Prefix != "" {
		name += "/" + c.Prefix
	}
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	if c.Region == "" {
		c.Region = "us-east-1"
	}
	if c.MaxAttempts == 0 {
		c.MaxAttempts = defaultMaxAttempts
	}
	transport, err := minio.DefaultTransport(!c.Insecure)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	s3wire.Tune(transport)
	api, err := minio.NewCore(c.Address, &minio.Options{
		Creds:        credentials.NewStaticV4(c.AccessKey, c.SecretKey, c.SessionToken),
		Secure:       !c.Insecure,
		Transport:    dateKeeper{transport},
		Region:       c.Region,
		BucketLookup: minio.BucketLookupPath,
		MaxRetries:   c.MaxAttempts,
	})
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	return s3wire.Open(ctx, &client{api: api, insecure: c.Insecure, transport: transport, bucket: c.Bucket, region: c.Region}, s3wire.Config{
		Name: name, Prefix: c.Prefix, CreateBucket: c.CreateBucket, MultipartBytes: c.MultipartBytes, PartBytes: c.PartBytes,
	})
}

// client is a bucket through the SDK.
type client struct {
	api       *minio.Core
	insecure  bool
	transport *http.Transport
	bucket    string
	region    string
}

func conditionOptions(condition s3wire.Condition) minio.PutObjectOptions {
	options := minio.PutObjectOptions{}
	if condition.IfAbsent {
		options.SetMatchETagExcept("*")
	}
	if condition.IfMatch != "" {
		options.SetMatchETag(condition.IfMatch)
	}
	return options
}

// castagnoli is the polynomial of S3's CRC32C.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Put sends body in one piece: it is in memory, so there is no need for the SDK's chunks, each signed on its way, which some
// servers do not read to the end.
func (c *client) Put(ctx context.Context, key string, body []byte, condition s3wire.Condition) (string, error) {
	options := conditionOptions(condition)
	options.DisableContentSha256 = true
	// The server verifies this one, in every case.
	options.UserMetadata = map[string]string{
		"x-amz-checksum-crc32c": base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, crc32.Checksum(body, castagnoli))),
	}
	info, err := c.api.PutObject(ctx, c.bucket, key, bytes.NewReader(body), int64(len(body)), "", c.signedHash(body), options)
	if err != nil {
		return "", err
	}
	return s3wire.TrimETag(info.ETag), nil
}

// signedHash is the hash of a body that the request's signature should cover: where TLS does not protect the body.
func (c *client) signedHash(body []byte) string {
	if !c.insecure {
		return ""
	}
	hash := sha256.Sum256(body)
	return hex.EncodeToString(hash[:])
}

func (c *client) Get(ctx context.Context, key, rangeHeader string) (io.ReadCloser, s3wire.Object, error) {
	options := minio.GetObjectOptions{}
	if rangeHeader != "" {
		options.Set("Range", rangeHeader)
	}
	body, info, header, err := c.api.GetObject(ctx, c.bucket, key, options)
	if err != nil {
		return nil, s3wire.Object{}, err
	}
	info.Key = key
	info.Size, err = s3wire.TotalBytes(header.Get("Content-Range"), info.Size)
	if err != nil {
		return nil, s3wire.Object{}, errors.Join(err, body.Close())
	}
	return body, describe(info), nil
}

func (c *client) Head(ctx context.Context, key string) (s3wire.Object, error) {
	info, err := c.api.StatObject(ctx, c.bucket, key, minio.StatObjectOptions{})
	if err != nil {
		return s3wire.Object{}, err
	}
	return describe(info), nil
}

func describe(info minio.ObjectInfo) s3wire.Object {
	return s3wire.Object{Key: info.Key, SizeBytes: info.Size, ETag: s3wire.TrimETag(info.ETag), Modified: info.LastModified}
}

func (c *client) Delete(ctx context.Context, key string) error {
	return c.api.RemoveObject(ctx, c.bucket, key, minio.RemoveObjectOptions{})
}

func (c *client) List(ctx context.Context, prefix, startAfter string) iter.Seq2[s3wire.Object, error] {
	return func(yield func(s3wire.Object, error) bool) {
		for info := range c.api.ListObjectsIter(ctx, c.bucket, minio.ListObjectsOptions{Prefix: prefix, StartAfter: startAfter, Recursive: true}) {
			if info.Err != nil {
				yield(s3wire.Object{}, info.Err)
				return
			}
			if !yield(describe(info), nil) {
				return
			}
		}
		// The SDK's iterator may end in silence when its context does.
		if err := ctx.Err(); err != nil {
			yield(s3wire.Object{}, err)
		}
	}
}

func (c *client) CreateUpload(ctx context.Context, key string) (string, error) {
	return c.api.NewMultipartUpload(ctx, c.bucket, key, minio.PutObjectOptions{})
}

func (c *client) UploadPart(ctx context.Context, key, uploadID string, number int, body []byte) (s3wire.Part, error) {
	hash := sha256.Sum256(body)
	part, err := c.api.PutObjectPart(ctx, c.bucket, key, uploadID, number, bytes.NewReader(body), int64(len(body)), minio.PutObjectPartOptions{
		DisableContentSha256: true, Sha256Hex: hex.EncodeToString(hash[:]),
	})
	if err != nil {
		return s3wire.Part{}, err
	}
	return s3wire.Part{Number: number, ETag: part.ETag}, nil
}

func (c *client) CompleteUpload(ctx context.Context, key, uploadID string, parts []s3wire.Part, condition s3wire.Condition) (string, error) {
	completed := make([]minio.CompletePart, len(parts))
	for i, part := range parts {
		completed[i] = minio.CompletePart{PartNumber: part.Number, ETag: part.ETag}
	}
	info, err := c.api.CompleteMultipartUpload(ctx, c.bucket, key, uploadID, completed, conditionOptions(condition))
	if err != nil {
		return "", err
	}
	return s3wire.TrimETag(info.ETag), nil
}

func (c *client) AbortUpload(ctx context.Context, key, uploadID string) error {
	return c.api.AbortMultipartUpload(ctx, c.bucket, key, uploadID)
}

func (c *client) HeadBucket(ctx context.Context) (time.Time, error) {
	var date time.Time
	found, err := c.api.BucketExists(context.WithValue(ctx, dateKey{}, &date), c.bucket)
	if err == nil && !found {
		// The SDK turns this answer into a boolean; the contract wants it back.
		err = minio.ErrorResponse{XMLName: xml.Name{Local: "Error"}, Code: minio.NoSuchBucket, Message: "no such bucket", BucketName: c.bucket, StatusCode: http.StatusNotFound}
	}
	return date, err
}

func (c *client) CreateBucket(ctx context.Context) error {
	return c.api.MakeBucket(ctx, c.bucket, minio.MakeBucketOptions{Region: c.region})
}

func (c *client) Failure(err error) (status int, code string) {
	var response minio.ErrorResponse
	if !errors.As(err, &response) {
		return 0, ""
	}
	if response.StatusCode == 0 {
		// An error in the body of an answer of 200, as a completion may have.
		response.StatusCode = statusOfCode[response.Code]
	}
	return response.StatusCode, response.Code
}

// statusOfCode has the statuses of error codes that may arrive in the body of an answer that began well.
var statusOfCode = map[string]int{
	minio.PreconditionFailed:     http.StatusPreconditionFailed,
	minio.NoSuchKey:              http.StatusNotFound,
	"ConditionalRequestConflict": http.StatusConflict,
	minio.AccessDenied:           http.StatusForbidden,
	minio.InternalError:          http.StatusInternalServerError,
}

func (c *client) Close() { c.transport.CloseIdleConnections() }

// dateKey is the context's key for a *time.Time that takes the Date of the answer, which the SDK does not hand out.
type dateKey struct{}

type dateKeeper struct{ *http.Transport }

func (d dateKeeper) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := d.Transport.RoundTrip(request)
	if date, wanted := request.Context().Value(dateKey{}).(*time.Time); wanted && err == nil {
		// An answer without a date, or with an odd one, leaves the time zero.
		if parsed, parseErr := http.ParseTime(response.Header.Get("Date")); parseErr == nil {
			*date = parsed
		}
	}
	return response, err
}
