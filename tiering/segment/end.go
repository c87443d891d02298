package segment

import (
	"context"
	"errors"
	"fmt"

	"github.com/varvelog/varve/infra/objstore"
)

// endBytes is how much of an object's end is read at first.
const endBytes = 64 << 10

// ReadEnd reads an object's end, far enough back for its directory. It is ErrCorrupt or ErrTruncated where that is none, and ErrVersion where header and
// trailer say so.
func ReadEnd(ctx context.Context, store objstore.Store, info objstore.Info) ([]byte, error) {
	end := make([]byte, min(info.SizeBytes, endBytes))
	if _, _, err := objstore.ReadRange(ctx, store, info.Key, info.SizeBytes-int64(len(end)), end); err != nil {
		return nil, err
	}
	trailer, err := ParseTrailer(end)
	switch {
	case errors.Is(err, ErrVersion):
		return nil, confirmVersion(ctx, store, info, end)
	case err != nil:
		return nil, err
	case trailer.ObjectBytes != uint64(info.SizeBytes):
		return nil, fmt.Errorf("%d bytes where the trailer says %d: %w", info.SizeBytes, trailer.ObjectBytes, ErrCorrupt)
	}
	if need := int64(trailer.DirectoryBytes) + TrailerBytes; need > int64(len(end)) {
		end = make([]byte, need)
		if _, _, err := objstore.ReadRange(ctx, store, info.Key, info.SizeBytes-need, end); err != nil {
			return nil, err
		}
	}
	return end, nil
}

// confirmVersion is the error of an object whose end has a version that this program does not know: it may be a flipped bit.
func confirmVersion(ctx context.Context, store objstore.Store, info objstore.Info, end []byte) error {
	head := make([]byte, min(info.SizeBytes, HeaderBytes))
	if _, _, err := objstore.ReadRange(ctx, store, info.Key, 0, head); err != nil {
		return err
	}
	_, _, err := parseEnds(head, end)
	return err
}
