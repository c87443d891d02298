package objstore_test

import (
	"context"
	"errors"
	"testing"

	"github.com/varvelog/varve/infra/objstore"
	"github.com/varvelog/varve/infra/objstore/faulty"
	"github.com/varvelog/varve/infra/objstore/mem"
)

// careless is a store that takes conditions and ignores one kind of them, as some servers do.
type careless struct {
	objstore.Store
	ignoresAbsent, ignoresMatch bool
}

func (c careless) PutIfAbsent(ctx context.Context, key string, body []byte) (objstore.Version, error) {
	if c.ignoresAbsent {
		return c.Put(ctx, key, body)
	}
	return c.Store.PutIfAbsent(ctx, key, body)
}

func (c careless) PutIfMatch(ctx context.Context, key string, body []byte, old objstore.Version) (objstore.Version, error) {
	if c.ignoresMatch {
		return c.Put(ctx, key, body)
	}
	return c.Store.PutIfMatch(ctx, key, body, old)
}

func TestProbeFindsIgnoredConditions(t *testing.T) {
	for _, store := range []careless{
		{Store: mem.New("absent"), ignoresAbsent: true},
		{Store: mem.New("match"), ignoresMatch: true},
	} {
		if err := objstore.Probe(t.Context(), store); !errors.Is(err, objstore.ErrConditionsIgnored) {
			t.Errorf("%s: %v, want ErrConditionsIgnored", store, err)
		}
		for info, err := range store.List(t.Context(), "", "") {
			t.Errorf("%s: left %+v, %v", store, info, err)
		}
	}
}

func TestProbeToleratesItsOwnRepeatedWrite(t *testing.T) {
	// The SDK repeats a put whose answer was lost, and finds its own object.
	store := repeating{mem.New("inner")}
	if err := objstore.Probe(t.Context(), store); err != nil {
		t.Errorf("Probe: %v", err)
	}
}

type repeating struct{ objstore.Store }

func (r repeating) PutIfAbsent(ctx context.Context, key string, body []byte) (objstore.Version, error) {
	if _, err := r.Store.PutIfAbsent(ctx, key, body); err != nil {
		return "", err
	}
	return r.Store.PutIfAbsent(ctx, key, body)
}

func (r repeating) PutIfMatch(ctx context.Context, key string, body []byte, old objstore.Version) (objstore.Version, error) {
	if _, err := r.Store.PutIfMatch(ctx, key, body, old); err != nil {
		return "", err
	}
	return r.Store.PutIfMatch(ctx, key, body, old)
}

func TestProbeDoesNotMistakeFailureForCarelessness(t *testing.T) {
	for skip := range 5 {
		inner := mem.New("inner")
		store := faulty.New(inner, faulty.Config{Rules: []faulty.Rule{{Ops: faulty.Put | faulty.Head, Skip: skip, Times: 1, Fail: true}}})
		if err := objstore.Probe(t.Context(), store); !errors.Is(err, faulty.ErrInjected) || errors.Is(err, objstore.ErrConditionsIgnored) {
			t.Errorf("failing at step %d: %v, want ErrInjected alone", skip, err)
		}
		for info, err := range inner.List(t.Context(), "", "") {
			t.Errorf("failing at step %d: left %+v, %v", skip, info, err)
		}
	}
}

func TestAmbiguous(t *testing.T) {
	for err, want := range map[error]bool{
		nil: false, objstore.ErrNotFound: false, objstore.ErrExists: false, objstore.ErrConditionFailed: false, objstore.ErrAccess: false,
		objstore.ErrThrottled: true, context.Canceled: true, context.DeadlineExceeded: true, errors.New("connection reset"): true,
	} {
		if got := objstore.Ambiguous(err); got != want {
			t.Errorf("Ambiguous(%v) = %v", err, got)
		}
	}
}

// What Probe could not delete is told from everything else by its key.
func TestLeftoversOfProbesAreKnown(t *testing.T) {
	inner := mem.New("inner")
	store := faulty.New(inner, faulty.Config{Rules: []faulty.Rule{{Ops: faulty.Delete, Fail: true, Err: objstore.ErrAccess}}})
	if err := objstore.Probe(t.Context(), store); !errors.Is(err, objstore.ErrAccess) {
		t.Errorf("Probe: %v, want ErrAccess", err)
	}
	left := 0
	for info, err := range inner.List(t.Context(), "", "") {
		if left++; err != nil || !objstore.IsProbe(info.Key) {
			t.Errorf("%q is not known for a probe's: %v", info.Key, err)
		}
	}
	if left != 1 {
		t.Errorf("%d objects are left", left)
	}
	for _, key := range []string{"probe/", "probe/notes.txt", "x/probe/ABCDEFGHIJKLMNOPQRSTUVWX27", "probe/ABCDEFGHIJKLMNOPQRSTUVWX27/x"} {
		if objstore.IsProbe(key) {
			t.Errorf("%q is taken for a probe's", key)
		}
	}
}
