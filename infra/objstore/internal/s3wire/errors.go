package s3wire

import (
	"context"
	"fmt"
	"net/http"

	"github.com/varvelog/varve/infra/objstore"
)

// sentinel returns the contract's error for an answer, or nil for one that is transient.
func sentinel(status int, code string, condition Condition) error {
	switch code {
	case "NoSuchBucket":
		return objstore.ErrNoBucket
	case "SlowDown", "SlowDownRead", "SlowDownWrite", "TooManyRequests", "Throttling", "ThrottlingException", "RequestLimitExceeded", "RequestThrottled":
		return objstore.ErrThrottled
	case "NoSuchUpload":
		// The upload, not the object: somebody aborted it.
		return nil
	}
	switch status {
	case http.StatusNotFound:
		if condition.IfMatch != "" {
			return objstore.ErrConditionFailed
		}
		return objstore.ErrNotFound
	case http.StatusPreconditionFailed:
		if condition.IfAbsent {
			return objstore.ErrExists
		}
		return objstore.ErrConditionFailed
	case http.StatusRequestedRangeNotSatisfiable:
		return objstore.ErrRange
	case http.StatusUnauthorized, http.StatusForbidden:
		return objstore.ErrAccess
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		return objstore.ErrThrottled
	}
	return nil
}

// wrap adds the operation, the key and the contract's sentinel to an SDK's error.
func (s *Store) wrap(ctx context.Context, err error, operation, key string, condition Condition) error {
	if err == nil {
		return nil
	}
	// SDKs lose the context's error in some of their wrappings. An answer that did come says more than the context.
	status, code := s.client.Failure(err)
	if status == 0 && ctx.Err() != nil {
		return fmt.Errorf("%s %q: %w: %w", operation, key, ctx.Err(), err)
	}
	if known := sentinel(status, code, condition); known != nil {
		return fmt.Errorf("%s %q: %w: %w", operation, key, known, err)
	}
	return fmt.Errorf("%s %q: %w", operation, key, err)
}

// conflicted tells whether the server gave up a conditional write because another was in progress on the key (S3's 409
// ConditionalRequestConflict): nothing was written, and the same request may succeed or fail its condition next time.
func (s *Store) conflicted(err error) bool {
	status, _ := s.client.Failure(err)
	return status == http.StatusConflict
}
