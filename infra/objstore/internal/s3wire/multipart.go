package s3wire

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// DefaultMultipartBytes keeps what Varve usually writes to a single request: one PUT is cheaper and atomic by itself.
	DefaultMultipartBytes = 64 << 20
	// DefaultPartBytes stays far above S3's minimum of 5 MiB, and 10,000 parts of it above any body in memory.
	DefaultPartBytes = 16 << 20
	// partsInFlight bounds the parts of one upload sent at once.
	partsInFlight = 4
	// abortTimeout bounds the clean-up after a failed upload, which runs also when the context has ended.
	abortTimeout = 10 * time.Second
)

// putMultipart uploads body in parts. The condition stands on the completion, which is when the object appears.
func (s *Store) putMultipart(ctx context.Context, key string, body []byte, condition Condition) (string, error) {
	uploadID, err := s.client.CreateUpload(ctx, key)
	if err != nil {
		return "", err
	}
	etag, err := s.uploadParts(ctx, key, uploadID, body, condition)
	if err != nil {
		// Parts of an upload that nobody ends are charged for ever, unless the bucket has a lifecycle rule against it.
		cleanup, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTimeout)
		defer cancel()
		if abortErr := s.client.AbortUpload(cleanup, key, uploadID); abortErr != nil {
			if _, code := s.client.Failure(abortErr); code != "NoSuchUpload" {
				// The abort's error must not be taken for the upload's, so it is not wrapped.
				return "", errors.Join(err, fmt.Errorf("abort upload: %v", abortErr)) //nolint:errorlint // see above
			}
		}
		return "", err
	}
	return etag, nil
}

func (s *Store) uploadParts(ctx context.Context, key, uploadID string, body []byte, condition Condition) (string, error) {
	count := (len(body) + s.config.PartBytes - 1) / s.config.PartBytes
	parts := make([]Part, count)
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(partsInFlight)
	for i := range parts {
		group.Go(func() error {
			from := i * s.config.PartBytes
			part, err := s.client.UploadPart(groupCtx, key, uploadID, i+1, body[from:min(from+s.config.PartBytes, len(body))])
			parts[i] = part
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return "", err
	}
	return s.retryConflicts(ctx, func() (string, error) {
		return s.client.CompleteUpload(ctx, key, uploadID, parts, condition)
	})
}
