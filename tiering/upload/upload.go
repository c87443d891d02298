// Package upload stores the objects that tiering workers build.
package upload

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/varvelog/varve/infra/objstore"
)

// Put stores the object, and tries again while the store fails in passing. An object that is there already is this worker's own, from
// an attempt whose answer was lost: keys are made of a job and an ordinal, which are given once.
func Put(ctx context.Context, store objstore.Store, key string, body []byte, log *slog.Logger) error {
	backOff := 50 * time.Millisecond
	for {
		_, err := store.PutIfAbsent(ctx, key, body)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, objstore.ErrExists):
			return checkOwn(ctx, store, key, body)
		case ctx.Err() != nil || errors.Is(err, objstore.ErrAccess):
			return fmt.Errorf("put %s (%d bytes): %w", key, len(body), err)
		}
		log.Debug("put failed; it will be tried again", "key", key, "error", err)
		timer := time.NewTimer(backOff/2 + rand.N(backOff))
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
		backOff = min(2*backOff, 5*time.Second)
	}
}

func checkOwn(ctx context.Context, store objstore.Store, key string, body []byte) error {
	stored, _, err := objstore.ReadAll(ctx, store, key, int64(len(body)))
	if err != nil {
		return fmt.Errorf("read back %s: %w", key, err)
	}
	if string(stored) != string(body) {
		return fmt.Errorf("put %s: another object has this key: %w", key, objstore.ErrExists)
	}
	return nil
}
