package sub_test

import (
	"context"
	"testing"

	"github.com/varvelog/varve/infra/objstore"
	"github.com/varvelog/varve/infra/objstore/mem"
	"github.com/varvelog/varve/infra/objstore/storetest"
	"github.com/varvelog/varve/infra/objstore/sub"
)

func TestAcceptance(t *testing.T) {
	storetest.Run(t, func(t *testing.T) objstore.Store { return sub.New(mem.New(t.Name()), "a/b/") })
}

func TestAViewShowsItsOwnPartAlone(t *testing.T) {
	ctx, store := context.Background(), mem.New("bucket")
	for _, key := range []string{"a/x", "ab", "b/x"} {
		if _, err := store.Put(ctx, key, []byte(key)); err != nil {
			t.Fatal(err)
		}
	}
	view := sub.New(store, "a/")
	if _, err := view.Put(ctx, "y", []byte("y")); err != nil {
		t.Fatal(err)
	}
	var keys []string
	for info, err := range view.List(ctx, "", "") {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, info.Key)
	}
	if len(keys) != 2 || keys[0] != "x" || keys[1] != "y" {
		t.Errorf("the view lists %q", keys)
	}
	if _, err := store.Head(ctx, "a/y"); err != nil {
		t.Errorf("what the view stored: %v", err)
	}
}
