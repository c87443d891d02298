package archive

import (
	"context"
	"errors"
	"fmt"

	"github.com/varvelog/varve/coordinator/metalog"
	"github.com/varvelog/varve/infra/objstore"
)

// Seed puts the first entry, which a recovery has left in the archive, into a log that is empty yet. A log that has lost what was in it
// is left alone: its archive holds more than that entry.
func Seed(ctx context.Context, store objstore.Store, logID [16]byte, log metalog.Log) error {
	_, next, err := log.Bounds(ctx)
	if err != nil || next > 1 {
		return err
	}
	objects, err := List(ctx, store)
	if err != nil || len(objects) != 1 || objects[0] != (Object{First: 1, Next: 2}) {
		return err
	}
	for record, err := range Read(ctx, store, logID, 1) {
		if err != nil {
			return fmt.Errorf("read the first entry of a recovered log: %w", err)
		}
		// Several processes may find it empty; all of them have the same bytes.
		if err := log.Append(ctx, record.Seq, record.Entry, metalog.Fence); err != nil && !errors.Is(err, metalog.ErrConflict) {
			return fmt.Errorf("begin a recovered log: %w", err)
		}
	}
	return nil
}
