package objstore

import "errors"

// ErrNoBucket: the bucket itself is missing. Not transient.
var ErrNoBucket = errors.New("bucket does not exist")

// definite are the errors after which the operation is known not to have happened.
var definite = []error{ErrNotFound, ErrExists, ErrConditionFailed, ErrRange, ErrAccess, ErrKey, ErrNoBucket}

// Ambiguous tells whether err leaves open if the operation happened or may still happen: true of transient errors,
// throttling and ended contexts, false of nil and of the sentinels that settle it.
//
// ErrExists and ErrConditionFailed settle that the call which returned them did not write. An earlier attempt of the same
// writer (a retry after a timeout, inside an SDK too) may have written what it now finds.
func Ambiguous(err error) bool {
	if err == nil {
		return false
	}
	for _, sentinel := range definite {
		if errors.Is(err, sentinel) {
			return false
		}
	}
	return true
}
