package storetest

import (
	"errors"
	"sync"
	"testing"

	"github.com/varvelog/varve/infra/objstore"
)

// RunMultipart tests a store that uploads 12 MiB in parts: the conditions have to hold for the object as a whole.
func RunMultipart(t *testing.T, store objstore.Store) {
	ctx := testContext(t)
	body, other := randomBytes(5, 12<<20), randomBytes(6, 12<<20+1)

	version := mustPut(t, store, "large", body)
	if _, err := store.PutIfAbsent(ctx, "large", other); !errors.Is(err, objstore.ErrExists) {
		t.Errorf("PutIfAbsent of a taken key: %v, want ErrExists", err)
	}
	wantBody(t, store, "large", body)
	if info, err := store.Head(ctx, "large"); err != nil || info.Version != version {
		t.Errorf("Head: %+v, %v, want version %s", info, err, version)
	}
	if _, err := store.PutIfMatch(ctx, "large", other, version); err != nil {
		t.Errorf("PutIfMatch: %v", err)
	}
	if _, err := store.PutIfMatch(ctx, "large", body, version); !errors.Is(err, objstore.ErrConditionFailed) {
		t.Errorf("PutIfMatch of a stale version: %v, want ErrConditionFailed", err)
	}
	wantBody(t, store, "large", other)

	results := make([]error, 3)
	var racers sync.WaitGroup
	for racer := range results {
		racers.Go(func() { _, results[racer] = store.PutIfAbsent(ctx, "race", body) })
	}
	racers.Wait()
	won := 0
	for _, err := range results {
		switch {
		case err == nil:
			won++
		case !errors.Is(err, objstore.ErrExists):
			t.Errorf("racing upload: %v", err)
		}
	}
	if won != 1 {
		t.Errorf("%d of %d racing uploads won", won, len(results))
	}
}
