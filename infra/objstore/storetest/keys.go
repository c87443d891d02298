package storetest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/varvelog/varve/infra/objstore"
)

func (s *suite) testListOrder(t *testing.T, store objstore.Store) {
	// '-' and '.' sort before '/', so the order of keys is not the order of a walk through folders.
	keys := []string{"a-b", "a.b", "a/b", "a/b-c", "a/c/d", "a0", "b", "b-", "chunk/00/x", "chunk/01/x", "é"}
	for i := range keys {
		mustPut(t, store, keys[(i*7+3)%len(keys)], []byte("x"))
	}

	wantKeys(t, store, "", "", keys...)
	wantKeys(t, store, "a", "", "a-b", "a.b", "a/b", "a/b-c", "a/c/d", "a0")
	wantKeys(t, store, "a/", "", "a/b", "a/b-c", "a/c/d")
	wantKeys(t, store, "a/b", "", "a/b", "a/b-c")
	wantKeys(t, store, "chunk/0", "", "chunk/00/x", "chunk/01/x")
	wantKeys(t, store, "none", "")

	wantKeys(t, store, "", "a/b", "a/b-c", "a/c/d", "a0", "b", "b-", "chunk/00/x", "chunk/01/x", "é")
	wantKeys(t, store, "a/", "a/b", "a/b-c", "a/c/d")
	// startAfter need not exist, nor begin with the prefix.
	wantKeys(t, store, "a/", "a/bb", "a/c/d")
	wantKeys(t, store, "chunk/", "a", "chunk/00/x", "chunk/01/x")
	wantKeys(t, store, "chunk/", "chunk/00/x", "chunk/01/x")
	wantKeys(t, store, "a", "zzz")
	wantKeys(t, store, "", "é")
}

func (s *suite) testListStopsEarly(t *testing.T, store objstore.Store) {
	for i := range 10 {
		mustPut(t, store, fmt.Sprintf("k/%d", i), []byte("x"))
	}
	var seen []string
	for info, err := range store.List(testContext(t), "k/", "") {
		if err != nil {
			t.Fatal(err)
		}
		if seen = append(seen, info.Key); len(seen) == 3 {
			break
		}
	}
	if !slices.Equal(seen, []string{"k/0", "k/1", "k/2"}) {
		t.Errorf("saw %q", seen)
	}
}

func (s *suite) testListManyKeys(t *testing.T, store objstore.Store) {
	var group errgroup.Group
	group.SetLimit(s.racers)
	want := make([]string, s.listKeys)
	for i := range want {
		want[i] = fmt.Sprintf("many/%02x/%06d", i%16, i)
		group.Go(func() error {
			_, err := store.PutIfAbsent(testContext(t), want[i], nil)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	slices.Sort(want)

	if got := listKeys(t, store, "many/", ""); !slices.Equal(got, want) {
		t.Errorf("%d keys listed, want %d", len(got), len(want))
	}
	middle := len(want) / 3
	if got := listKeys(t, store, "many/", want[middle]); !slices.Equal(got, want[middle+1:]) {
		t.Errorf("%d keys listed after %q, want %d", len(got), want[middle], len(want)-middle-1)
	}
}

func (s *suite) testUnusualKeys(t *testing.T, store objstore.Store) {
	keys := []string{
		"über/straße", "日本/東京", "emoji-🗿", "combining-é", "with space", "plus+plus", "per%cent", "%2Fslash", "%2Edot", "a%25b",
		"question?mark=1&two", "hash#tag", `back\slash`, "quote\"'", "tilde~", "colon:comma,", "star*", "<less>", "brackets[1]{2}",
		".hidden", "folder/.hidden", "dots..inside", "trailing.", ".varve-tmp", ".varve-tmp-not/lock", "lock", "A", "a",
		strings.Repeat("s", objstore.MaxKeySegmentBytes), "long/" + strings.Repeat("0123456789/", 80) + "end",
	}
	for _, key := range keys {
		mustPut(t, store, key, []byte(key))
	}
	for _, key := range keys {
		wantBody(t, store, key, []byte(key))
	}
	slices.Sort(keys)
	wantKeys(t, store, "", "", keys...)
	wantKeys(t, store, "日", "", "日本/東京")
	wantKeys(t, store, "per%", "", "per%cent")
	for _, key := range keys {
		if err := store.Delete(testContext(t), key); err != nil {
			t.Errorf("Delete %q: %v", key, err)
		}
	}
	wantKeys(t, store, "", "")
}

func (s *suite) testInvalidKeys(t *testing.T, store objstore.Store) {
	ctx := testContext(t)
	for _, key := range []string{
		"", "/", "/leading", "trailing/", "double//slash", ".", "..", "../escape", "a/../../escape", "a/./b", "nul\x00", "line\nfeed",
		"\xff\xfe", strings.Repeat("k/", objstore.MaxKeyBytes/2) + "k", strings.Repeat("s", objstore.MaxKeySegmentBytes+1),
	} {
		_, putErr := store.PutIfAbsent(ctx, key, []byte("x"))
		_, plainErr := store.Put(ctx, key, []byte("x"))
		_, matchErr := store.PutIfMatch(ctx, key, []byte("x"), "v")
		_, _, getErr := store.Get(ctx, key, 0, -1)
		_, headErr := store.Head(ctx, key)
		for name, err := range map[string]error{
			"PutIfAbsent": putErr, "Put": plainErr, "PutIfMatch": matchErr, "Get": getErr, "Head": headErr, "Delete": store.Delete(ctx, key),
		} {
			if !errors.Is(err, objstore.ErrKey) {
				t.Errorf("%s %.40q: %v, want ErrKey", name, key, err)
			}
		}
	}
	wantKeys(t, store, "", "")
}
