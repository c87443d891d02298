package storetest

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/varvelog/varve/infra/objstore"
)

func (s *suite) testPutAndGet(t *testing.T, store objstore.Store) {
	mustPut(t, store, "plain", []byte("one"))
	mustPut(t, store, "folder/in/folder", []byte("two"))

	wantBody(t, store, "plain", []byte("one"))
	wantBody(t, store, "folder/in/folder", []byte("two"))
}

func (s *suite) testEmptyObject(t *testing.T, store objstore.Store) {
	mustPut(t, store, "empty", nil)

	wantBody(t, store, "empty", nil)
	for _, length := range []int64{0, 10} {
		if body, info := mustRead(t, store, "empty", 0, length); len(body) != 0 || info.SizeBytes != 0 {
			t.Errorf("%d bytes of an empty object: %q, %+v", length, body, info)
		}
	}
	info, err := store.Head(testContext(t), "empty")
	if err != nil || info.SizeBytes != 0 {
		t.Errorf("Head: %+v, %v", info, err)
	}
	wantKeys(t, store, "", "", "empty")
}

func (s *suite) testLargeObject(t *testing.T, store objstore.Store) {
	body := randomBytes(1, 10<<20)
	mustPut(t, store, "large", body)

	wantBody(t, store, "large", body)
	got, info := mustRead(t, store, "large", 7<<20+13, 64<<10)
	if !bytes.Equal(got, body[7<<20+13:][:64<<10]) || info.SizeBytes != int64(len(body)) {
		t.Errorf("a range of a large object is wrong: %s, %+v", summary(got), info)
	}
}

func (s *suite) testRanges(t *testing.T, store objstore.Store) {
	body := []byte("0123456789")
	version := mustPut(t, store, "digits", body)

	for _, test := range []struct {
		offset, length int64
		want           string
	}{
		{0, -1, "0123456789"}, {0, 10, "0123456789"}, {0, 1, "0"}, {3, 4, "3456"}, {9, 1, "9"},
		{3, -1, "3456789"}, {8, 100, "89"}, {0, 100, "0123456789"}, {4, 0, ""}, {0, 0, ""},
	} {
		got, info := mustRead(t, store, "digits", test.offset, test.length)
		if string(got) != test.want {
			t.Errorf("Get(%d, %d) = %q, want %q", test.offset, test.length, got, test.want)
		}
		if info.SizeBytes != 10 || info.Key != "digits" || info.Version != version {
			t.Errorf("Get(%d, %d) described %+v, want 10 bytes of version %s", test.offset, test.length, info, version)
		}
	}
	for _, offset := range []int64{10, 11, 1 << 40} {
		for _, length := range []int64{-1, 0, 5} {
			if reader, _, err := store.Get(testContext(t), "digits", offset, length); !errors.Is(err, objstore.ErrRange) {
				t.Errorf("Get(%d, %d): %v, %v, want ErrRange", offset, length, reader, err)
			}
		}
	}
}

func (s *suite) testNotFound(t *testing.T, store objstore.Store) {
	ctx := testContext(t)
	mustPut(t, store, "folder/object", []byte("x"))
	for _, key := range []string{"absent", "absent/absent", "folder", "folder/absent"} {
		for _, length := range []int64{-1, 0, 4} {
			if _, _, err := store.Get(ctx, key, 0, length); !errors.Is(err, objstore.ErrNotFound) {
				t.Errorf("Get %q: %v, want ErrNotFound", key, err)
			}
		}
		if _, err := store.Head(ctx, key); !errors.Is(err, objstore.ErrNotFound) {
			t.Errorf("Head %q: %v, want ErrNotFound", key, err)
		}
	}
}

func (s *suite) testHead(t *testing.T, store objstore.Store) {
	before := time.Now()
	version := mustPut(t, store, "key", []byte("12345"))
	info, err := store.Head(testContext(t), "key")
	if err != nil {
		t.Fatal(err)
	}
	if info.Key != "key" || info.SizeBytes != 5 || info.Version != version {
		t.Errorf("Head: %+v, want 5 bytes of version %s", info, version)
	}
	if skew := info.Modified.Sub(before).Abs(); skew > time.Minute {
		t.Errorf("modified %v away from now", skew)
	}
	for listed, err := range store.List(testContext(t), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		if listed.Version != info.Version || listed.SizeBytes != info.SizeBytes {
			t.Errorf("List described %+v, Head %+v", listed, info)
		}
	}
}

func (s *suite) testPutReplaces(t *testing.T, store objstore.Store) {
	ctx := testContext(t)
	first, err := store.Put(ctx, "key", []byte("first"))
	if err != nil {
		t.Fatal(err)
	}
	second, err := store.Put(ctx, "key", []byte("second"))
	if err != nil {
		t.Fatal(err)
	}
	if first == second {
		t.Errorf("both contents have version %s", first)
	}
	wantBody(t, store, "key", []byte("second"))
	wantKeys(t, store, "", "", "key")
}

func (s *suite) testBodyNotRetained(t *testing.T, store objstore.Store) {
	body := []byte("as it was")
	mustPut(t, store, "key", body)
	copy(body, "overwrite")
	wantBody(t, store, "key", []byte("as it was"))
}

func (s *suite) testDelete(t *testing.T, store objstore.Store) {
	ctx := testContext(t)
	mustPut(t, store, "folder/a", []byte("a"))
	mustPut(t, store, "folder/b", []byte("b"))

	for _, key := range []string{"folder/a", "folder/a", "never", "never/there", "folder", "folder/b/below"} {
		if err := store.Delete(ctx, key); err != nil {
			t.Errorf("Delete %q: %v", key, err)
		}
	}
	if _, err := store.Head(ctx, "folder/a"); !errors.Is(err, objstore.ErrNotFound) {
		t.Errorf("Head of the deleted: %v", err)
	}
	wantKeys(t, store, "", "", "folder/b")
	mustPut(t, store, "folder/a", []byte("again"))
	wantBody(t, store, "folder/a", []byte("again"))
}

func (s *suite) testReaderSeesOneVersion(t *testing.T, store objstore.Store) {
	ctx := testContext(t)
	old := randomBytes(2, 1<<20)
	mustPut(t, store, "key", old)
	reader, info, err := store.Get(ctx, "key", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	replaced := randomBytes(3, 1<<20)
	if _, err := store.PutIfMatch(ctx, "key", replaced, info.Version); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 0, len(old))
	buffer := bytes.NewBuffer(got)
	_, readErr := buffer.ReadFrom(reader)
	if err := reader.Close(); err != nil {
		t.Error(err)
	}
	// A store may fail the reader of a replaced object; it may not mix.
	if readErr == nil && !bytes.Equal(buffer.Bytes(), old) {
		t.Errorf("the reader of the old version got %s that differ from it", summary(buffer.Bytes()))
	}
	wantBody(t, store, "key", replaced)
}

func (s *suite) testContextEnded(t *testing.T, store objstore.Store) {
	mustPut(t, store, "key", []byte("x"))
	ctx, cancel := context.WithCancel(testContext(t))
	cancel()

	_, putErr := store.PutIfAbsent(ctx, "other", []byte("x"))
	_, matchErr := store.PutIfMatch(ctx, "key", []byte("y"), "any")
	_, plainErr := store.Put(ctx, "other", []byte("x"))
	_, _, getErr := store.Get(ctx, "key", 0, -1)
	_, headErr := store.Head(ctx, "key")
	var listErr error
	for _, err := range store.List(ctx, "", "") {
		listErr = err
	}
	for name, err := range map[string]error{
		"PutIfAbsent": putErr, "PutIfMatch": matchErr, "Put": plainErr, "Get": getErr, "Head": headErr,
		"Delete": store.Delete(ctx, "key"), "List": listErr,
	} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s with an ended context: %v, want context.Canceled", name, err)
		}
	}
	wantBody(t, store, "key", []byte("x"))
}

func (s *suite) testContextEndsWhileReading(t *testing.T, store objstore.Store) {
	mustPut(t, store, "key", randomBytes(4, 10<<20))
	ctx, cancel := context.WithCancel(testContext(t))
	defer cancel()
	reader, _, err := store.Get(ctx, "key", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := reader.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := bytes.NewBuffer(nil).ReadFrom(reader); !errors.Is(err, context.Canceled) {
		t.Errorf("reading on after the context ended: %v, want context.Canceled", err)
	}
	if err := reader.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

func (s *suite) testNow(t *testing.T, store objstore.Store) {
	now, err := store.Now(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	if skew := time.Since(now).Abs(); skew > time.Minute {
		t.Errorf("the store's clock is %v away", skew)
	}
}

func (s *suite) testProbe(t *testing.T, store objstore.Store) {
	if err := objstore.Probe(testContext(t), store); err != nil {
		t.Fatal(err)
	}
	wantKeys(t, store, "", "")
}
