package segment

import (
	"context"
	"fmt"

	"github.com/varvelog/varve/infra/objstore"
)

// endBytes is how much of an object's end is read at first.
const endBytes = 64 << 10

// ReadEnd reads an object's end, far enough back for its directory. It is ErrCorrupt or ErrTruncated where that is none.
func ReadEnd(ctx context.Context, store objstore.Store, info objstore.Info) ([]byte, error) {
	end := make([]byte, min(info.SizeBytes, endBytes))
	if _, _, err := objstore.ReadRange(ctx, store, info.Key, info.SizeBytes-int64(len(end)), end); err != nil {
		return nil, err
	}
	trailer, err := ParseTrailer(end)
	switch {
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
