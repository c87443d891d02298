// Package s3 is the object store on Amazon S3 and what speaks its protocol, through aws-sdk-go-v2.
//
// Credentials and region come from the SDK's default chain (environment, shared files, instance or task role) where the
// Config does not say. Uploads carry a checksum which the server verifies. Bodies above 64 MiB are uploaded in parts,
// the condition standing on the completion; the bucket should have a lifecycle rule that aborts incomplete uploads.
//
// The SDK repeats requests whose answer was lost. A PutIfAbsent that reached the server, lost its answer and was repeated
// returns ErrExists for its own write: callers tell by an id inside the object.
package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/varvelog/varve/infra/objstore"
	"github.com/varvelog/varve/infra/objstore/internal/s3wire"
)

// defaultMaxAttempts bounds the SDK's tries of one request, and maxBackoff the wait between two. Longer patience is the
// caller's to have, with its own bounds.
const (
	defaultMaxAttempts = 4
	maxBackoff         = time.Second
)

// Config says which bucket, where. Bucket is required.
type Config struct {
	Bucket string
	// Prefix stands before all keys. It neither begins nor ends with a slash.
	Prefix string
	// Region, where empty, comes from the SDK's chain; with an Endpoint it defaults to us-east-1.
	Region string
	// Endpoint is the URL of a store that is not AWS. With it, the bucket is named in the path, not in the host.
	Endpoint string
	// CreateBucket makes the bucket where it is missing.
	CreateBucket bool
	// Credentials replace the SDK's chain where not nil.
	Credentials aws.CredentialsProvider
	// MaxAttempts bounds the tries of one request, the first included. Zero means 4.
	MaxAttempts int
	// MultipartBytes and PartBytes override the sizes at which uploads are cut. For tests on small bodies.
	MultipartBytes int
	PartBytes      int
}

// Validate names the field that is wrong.
func (c Config) Validate() error {
	if c.Bucket == "" {
		return errors.New("bucket: missing")
	}
	if c.MaxAttempts < 0 {
		return errors.New("MaxAttempts: negative")
	}
	if c.Endpoint != "" {
		endpoint, err := url.Parse(c.Endpoint)
		if err != nil {
			return fmt.Errorf("endpoint: %w", err)
		}
		if (endpoint.Scheme != "http" && endpoint.Scheme != "https") || endpoint.Host == "" {
			return fmt.Errorf("endpoint: %q is no http:// or https:// URL", c.Endpoint)
		}
	}
	return nil
}

// Open checks the credentials and the bucket and returns the store.
func Open(ctx context.Context, c Config) (objstore.Store, error) {
	name := "s3://" + c.Bucket
	if c.Prefix != "" {
		name += "/" + c.Prefix
	}
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	if c.MaxAttempts == 0 {
		c.MaxAttempts = defaultMaxAttempts
	}
	options := []func(*config.LoadOptions) error{
		config.WithRetryer(func() aws.Retryer {
			return retry.NewStandard(func(o *retry.StandardOptions) { o.MaxAttempts, o.MaxBackoff = c.MaxAttempts, maxBackoff })
		}),
	}
	if c.Region != "" {
		options = append(options, config.WithRegion(c.Region))
	} else if c.Endpoint != "" {
		options = append(options, config.WithDefaultRegion("us-east-1"))
	}
	if c.Credentials != nil {
		options = append(options, config.WithCredentialsProvider(c.Credentials))
	}
	sdk, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return nil, fmt.Errorf("open %s: load AWS configuration: %w", name, err)
	}
	if sdk.Region == "" {
		return nil, fmt.Errorf("open %s: region: missing here and in the environment (AWS_REGION)", name)
	}
	if _, err := sdk.Credentials.Retrieve(ctx); err != nil {
		return nil, fmt.Errorf("open %s: find credentials: %w: %w", name, objstore.ErrAccess, err)
	}
	// The SDK's own client could not be told to close its connections. Its transport knows AWS_CA_BUNDLE.
	buildable, ok := sdk.HTTPClient.(*awshttp.BuildableClient)
	if !ok {
		buildable = awshttp.NewBuildableClient()
	}
	transport := buildable.GetTransport()
	s3wire.Tune(transport)
	api := s3.NewFromConfig(sdk, func(o *s3.Options) {
		if c.Endpoint != "" {
			o.BaseEndpoint = aws.String(c.Endpoint)
			o.UsePathStyle = true
		}
		o.HTTPClient = &http.Client{Transport: transport, CheckRedirect: followPreserving}
		o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenSupported
		o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenSupported
		// Ranges have no checksum to validate; the formats read carry their own.
		o.DisableLogOutputChecksumValidationSkipped = true
	})
	return s3wire.Open(ctx, &client{api: api, transport: transport, bucket: c.Bucket, region: sdk.Region}, s3wire.Config{
		Name: name, Prefix: c.Prefix, CreateBucket: c.CreateBucket, MultipartBytes: c.MultipartBytes, PartBytes: c.PartBytes,
	})
}

// followPreserving follows the redirects that keep a request's method, as the SDK's own client does.
func followPreserving(request *http.Request, via []*http.Request) error {
	const maxRedirects = 5
	status := request.Response.StatusCode
	if len(via) > maxRedirects || (status != http.StatusTemporaryRedirect && status != http.StatusPermanentRedirect) {
		return http.ErrUseLastResponse
	}
	return nil
}

// client is a bucket through the SDK.
type client struct {
	api       *s3.Client
	transport *http.Transport
	bucket    string
	region    string
}

func conditionHeaders(condition s3wire.Condition) (ifMatch, ifNoneMatch *string) {
	if condition.IfAbsent {
		return nil, aws.String("*")
	}
	if condition.IfMatch != "" {
		return aws.String(s3wire.QuoteETag(condition.IfMatch)), nil
	}
	return nil, nil
}

func (c *client) Put(ctx context.Context, key string, body []byte, condition s3wire.Condition) (string, error) {
	ifMatch, ifNoneMatch := conditionHeaders(condition)
	out, err := c.api.PutObject(ctx, &s3.PutObjectInput{
		Bucket: &c.bucket, Key: &key, Body: bytes.NewReader(body), IfMatch: ifMatch, IfNoneMatch: ifNoneMatch,
	})
	if err != nil {
		return "", err
	}
	return s3wire.TrimETag(aws.ToString(out.ETag)), nil
}

func (c *client) Get(ctx context.Context, key, rangeHeader string) (io.ReadCloser, s3wire.Object, error) {
	in := &s3.GetObjectInput{Bucket: &c.bucket, Key: &key}
	if rangeHeader != "" {
		in.Range = &rangeHeader
	}
	out, err := c.api.GetObject(ctx, in)
	if err != nil {
		return nil, s3wire.Object{}, err
	}
	sizeBytes, err := s3wire.TotalBytes(aws.ToString(out.ContentRange), aws.ToInt64(out.ContentLength))
	if err != nil {
		return nil, s3wire.Object{}, errors.Join(err, out.Body.Close())
	}
	return out.Body, describe(key, sizeBytes, out.ETag, out.LastModified), nil
}

func (c *client) Head(ctx context.Context, key string) (s3wire.Object, error) {
	out, err := c.api.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &c.bucket, Key: &key})
	if err != nil {
		return s3wire.Object{}, err
	}
	return describe(key, aws.ToInt64(out.ContentLength), out.ETag, out.LastModified), nil
}

func describe(key string, sizeBytes int64, etag *string, modified *time.Time) s3wire.Object {
	return s3wire.Object{Key: key, SizeBytes: sizeBytes, ETag: s3wire.TrimETag(aws.ToString(etag)), Modified: aws.ToTime(modified)}
}

func (c *client) Delete(ctx context.Context, key string) error {
	_, err := c.api.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &c.bucket, Key: &key})
	return err
}

func (c *client) List(ctx context.Context, prefix, startAfter string) iter.Seq2[s3wire.Object, error] {
	return func(yield func(s3wire.Object, error) bool) {
		in := &s3.ListObjectsV2Input{Bucket: &c.bucket, Prefix: &prefix}
		if startAfter != "" {
			in.StartAfter = &startAfter
		}
		pages := s3.NewListObjectsV2Paginator(c.api, in)
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				yield(s3wire.Object{}, err)
				return
			}
			for _, object := range page.Contents {
				if !yield(describe(aws.ToString(object.Key), aws.ToInt64(object.Size), object.ETag, object.LastModified), nil) {
					return
				}
			}
		}
	}
}

func (c *client) CreateUpload(ctx context.Context, key string) (string, error) {
	out, err := c.api.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{
		Bucket: &c.bucket, Key: &key, ChecksumAlgorithm: types.ChecksumAlgorithmCrc32,
	})
	if err != nil {
		return "", err
	}
	return aws.ToString(out.UploadId), nil
}

func (c *client) UploadPart(ctx context.Context, key, uploadID string, number int, body []byte) (s3wire.Part, error) {
	out, err := c.api.UploadPart(ctx, &s3.UploadPartInput{
		Bucket: &c.bucket, Key: &key, UploadId: &uploadID, PartNumber: aws.Int32(int32(number)), Body: bytes.NewReader(body),
		ChecksumAlgorithm: types.ChecksumAlgorithmCrc32,
	})
	if err != nil {
		return s3wire.Part{}, err
	}
	return s3wire.Part{Number: number, ETag: aws.ToString(out.ETag), ChecksumCRC32: aws.ToString(out.ChecksumCRC32)}, nil
}

func (c *client) CompleteUpload(ctx context.Context, key, uploadID string, parts []s3wire.Part, condition s3wire.Condition) (string, error) {
	completed := make([]types.CompletedPart, len(parts))
	for i, part := range parts {
		completed[i] = types.CompletedPart{PartNumber: aws.Int32(int32(part.Number)), ETag: aws.String(part.ETag)}
		if part.ChecksumCRC32 != "" {
			completed[i].ChecksumCRC32 = aws.String(part.ChecksumCRC32)
		}
	}
	ifMatch, ifNoneMatch := conditionHeaders(condition)
	out, err := c.api.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
		Bucket: &c.bucket, Key: &key, UploadId: &uploadID, IfMatch: ifMatch, IfNoneMatch: ifNoneMatch,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: completed},
	})
	if err != nil {
		return "", err
	}
	return s3wire.TrimETag(aws.ToString(out.ETag)), nil
}

func (c *client) AbortUpload(ctx context.Context, key, uploadID string) error {
	_, err := c.api.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &c.bucket, Key: &key, UploadId: &uploadID})
	return err
}

func (c *client) HeadBucket(ctx context.Context) (time.Time, error) {
	out, err := c.api.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: &c.bucket})
	if err != nil {
		return time.Time{}, err
	}
	serverTime, _ := awsmiddleware.GetServerTime(out.ResultMetadata)
	return serverTime, nil
}

func (c *client) CreateBucket(ctx context.Context) error {
	in := &s3.CreateBucketInput{Bucket: &c.bucket}
	// us-east-1 is the one region that must not be named.
	if c.region != "us-east-1" {
		in.CreateBucketConfiguration = &types.CreateBucketConfiguration{LocationConstraint: types.BucketLocationConstraint(c.region)}
	}
	_, err := c.api.CreateBucket(ctx, in)
	return err
}

func (c *client) Failure(err error) (status int, code string) {
	var response *smithyhttp.ResponseError
	if errors.As(err, &response) && response.Response != nil {
		status = response.HTTPStatusCode()
	}
	// An answer of 200 whose body failed to arrive or to be understood is no answer.
	if status < http.StatusMultipleChoices {
		status = 0
	}
	var api smithy.APIError
	if errors.As(err, &api) {
		code = api.ErrorCode()
	}
	return status, code
}

func (c *client) Close() { c.transport.CloseIdleConnections() }
