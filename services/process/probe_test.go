package process

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"github.com/varvelog/varve/coordinator/identity"
	"github.com/varvelog/varve/infra/objstore"
	"github.com/varvelog/varve/infra/objstore/mem"
	"github.com/varvelog/varve/infra/objstore/metered"
)

// ignoring is a store that takes conditional writes for plain ones, as some do.
type ignoring struct{ objstore.Store }

func (s ignoring) PutIfAbsent(ctx context.Context, key string, body []byte) (objstore.Version, error) {
	return s.Put(ctx, key, body)
}

func (s ignoring) PutIfMatch(ctx context.Context, key string, body []byte, _ objstore.Version) (objstore.Version, error) {
	return s.Put(ctx, key, body)
}

// A bucket that has a cluster is probed too: it may have been copied from a store that honours conditions.
func TestAStoreThatIgnoresConditionsIsRefusedWhateverItHolds(t *testing.T) {
	store := mem.New("bucket")
	if _, err := identity.LoadOrCreate(t.Context(), store, identity.MetalogBucket); err != nil {
		t.Fatal(err)
	}
	p := &Process{Log: slog.New(slog.DiscardHandler), Store: metered.New(ignoring{store})}
	if err := p.probeBucket(t.Context()); !errors.Is(err, objstore.ErrConditionsIgnored) {
		t.Errorf("error %v, want ErrConditionsIgnored", err)
	}
	p.Store = metered.New(store)
	if err := p.probeBucket(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestAProcessOfAFormerLogFindsOut(t *testing.T) {
	store := mem.New("bucket")
	first, err := identity.LoadOrCreate(t.Context(), store, identity.MetalogBucket)
	if err != nil {
		t.Fatal(err)
	}
	p := &Process{Log: slog.New(slog.DiscardHandler), Store: metered.New(store), Cluster: first}
	if err := p.CheckIdentity(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, version, err := identity.LoadVersion(t.Context(), store)
	if err == nil {
		err = identity.Replace(t.Context(), store, identity.Successor(first), version)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := p.CheckIdentity(t.Context()); !errors.Is(err, identity.ErrSucceeded) {
		t.Errorf("error %v, want ErrSucceeded", err)
	}
}
