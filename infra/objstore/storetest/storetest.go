// Package storetest is the acceptance suite of the object store contract: every implementation and every wrapper runs
// it, so that what is written against one store holds on all.
package storetest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/varvelog/varve/infra/objstore"
)

// Option changes what the suite asks of a store.
type Option func(*suite)

// Writes keeps to the tests of bodies and conditions, for another transport to a store that is tested in full elsewhere.
func Writes() Option {
	return func(s *suite) {
		s.only = []string{"PutAndGet", "EmptyObject", "LargeObject", "Ranges", "PutIfAbsent", "PutIfMatch", "UnusualKeys", "Probe"}
	}
}

type suite struct {
	open func(t *testing.T) objstore.Store
	// listKeys is how many keys the test of long listings puts. S3 lists in pages of 1,000.
	listKeys int
	racers   int
	// only names the tests to run; nil means all.
	only []string
}

// Run runs the suite. open returns an empty store; it is called once per subtest and registers its own clean-up.
func Run(t *testing.T, open func(t *testing.T) objstore.Store, options ...Option) {
	s := &suite{open: open, listKeys: 1010, racers: 16}
	for _, option := range options {
		option(s)
	}
	for _, test := range []struct {
		name string
		run  func(t *testing.T, store objstore.Store)
	}{
		{"PutAndGet", s.testPutAndGet},
		{"EmptyObject", s.testEmptyObject},
		{"LargeObject", s.testLargeObject},
		{"Ranges", s.testRanges},
		{"NotFound", s.testNotFound},
		{"Head", s.testHead},
		{"PutIfAbsent", s.testPutIfAbsent},
		{"PutIfMatch", s.testPutIfMatch},
		{"PutReplaces", s.testPutReplaces},
		{"BodyNotRetained", s.testBodyNotRetained},
		{"Delete", s.testDelete},
		{"ReaderSeesOneVersion", s.testReaderSeesOneVersion},
		{"RacingPutIfAbsent", s.testRacingPutIfAbsent},
		{"RacingPutIfMatch", s.testRacingPutIfMatch},
		{"ListOrder", s.testListOrder},
		{"ListStopsEarly", s.testListStopsEarly},
		{"ListManyKeys", s.testListManyKeys},
		{"UnusualKeys", s.testUnusualKeys},
		{"InvalidKeys", s.testInvalidKeys},
		{"ContextEnded", s.testContextEnded},
		{"ContextEndsWhileReading", s.testContextEndsWhileReading},
		{"Now", s.testNow},
		{"Probe", s.testProbe},
	} {
		if s.only != nil && !slices.Contains(s.only, test.name) {
			continue
		}
		t.Run(test.name, func(t *testing.T) { test.run(t, s.open(t)) })
	}
}

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func mustPut(t *testing.T, store objstore.Store, key string, body []byte) objstore.Version {
	t.Helper()
	version, err := store.PutIfAbsent(testContext(t), key, body)
	if err != nil {
		t.Fatalf("PutIfAbsent %q: %v", key, err)
	}
	if version == "" {
		t.Fatalf("PutIfAbsent %q returned no version", key)
	}
	return version
}

func mustRead(t *testing.T, store objstore.Store, key string, offset, length int64) ([]byte, objstore.Info) {
	t.Helper()
	reader, info, err := store.Get(testContext(t), key, offset, length)
	if err != nil {
		t.Fatalf("Get %q [%d,+%d): %v", key, offset, length, err)
	}
	body, err := io.ReadAll(reader)
	if err != nil {
		t.Fatalf("read %q: %v", key, err)
	}
	if err := reader.Close(); err != nil {
		t.Fatalf("close %q: %v", key, err)
	}
	return body, info
}

func wantBody(t *testing.T, store objstore.Store, key string, want []byte) {
	t.Helper()
	got, info := mustRead(t, store, key, 0, -1)
	if !bytes.Equal(got, want) {
		t.Fatalf("Get %q returned %s, want %s", key, summary(got), summary(want))
	}
	if info.SizeBytes != int64(len(want)) || info.Key != key {
		t.Fatalf("Get %q described %+v, want %d bytes", key, info, len(want))
	}
}

func summary(body []byte) string {
	if len(body) <= 64 {
		return fmt.Sprintf("%q", body)
	}
	return fmt.Sprintf("%d bytes", len(body))
}

// listKeys returns the keys of a listing, having checked that they ascend.
func listKeys(t *testing.T, store objstore.Store, prefix, startAfter string) []string {
	t.Helper()
	var keys []string
	for info, err := range store.List(testContext(t), prefix, startAfter) {
		if err != nil {
			t.Fatalf("List %q after %q: %v", prefix, startAfter, err)
		}
		if len(keys) > 0 && strings.Compare(keys[len(keys)-1], info.Key) >= 0 {
			t.Fatalf("List %q yielded %q after %q", prefix, info.Key, keys[len(keys)-1])
		}
		keys = append(keys, info.Key)
	}
	return keys
}

func wantKeys(t *testing.T, store objstore.Store, prefix, startAfter string, want ...string) {
	t.Helper()
	if got := listKeys(t, store, prefix, startAfter); !slices.Equal(got, want) {
		t.Errorf("List(%q, %q):\n got %q\nwant %q", prefix, startAfter, got, want)
	}
}

// randomBytes does not compress and differs at every offset, so that a wrong range shows.
func randomBytes(seed uint64, n int) []byte {
	source := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	body := make([]byte, n)
	for rest := body; len(rest) > 0; {
		read, err := source.Read(rest)
		if err != nil {
			panic(err) // ChaCha8 never fails.
		}
		rest = rest[read:]
	}
	return body
}
