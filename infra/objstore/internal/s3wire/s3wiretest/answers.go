// Package s3wiretest tests that both SDKs' answers and failures come out as the contract's errors, against a server that
// answers as scripted: what a healthy server never says.
package s3wiretest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/varvelog/varve/infra/objstore"
)

// answer is one scripted response.
type answer struct {
	status int
	code   string
	header map[string]string
	body   string
	// cut ends the connection after the body, short of the promised Content-Length.
	cut bool
}

// server answers object requests as scripted, the last answer repeatedly, and says of every bucket that it is there.
type server struct {
	mu struct {
		sync.Mutex
		answers  []answer
		requests int
		body     []byte
	}
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	sent, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	if r.Method == http.MethodHead && strings.Trim(r.URL.Path, "/") == "bucket" {
		return
	}
	next := s.take(sent)
	for name, value := range next.header {
		w.Header().Set(name, value)
	}
	body := next.body
	if next.code != "" {
		w.Header().Set("Content-Type", "application/xml")
		body = fmt.Sprintf("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>%s</Code><Message>scripted</Message></Error>", next.code)
	}
	if !next.cut {
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	}
	w.WriteHeader(next.status)
	if _, err := io.WriteString(w, body); err != nil {
		return
	}
	if next.cut {
		// Otherwise the server would drop what it has not sent.
		if err := http.NewResponseController(w).Flush(); err != nil {
			return
		}
		panic(http.ErrAbortHandler)
	}
}

func (s *server) take(sent []byte) answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.requests++
	s.mu.body = sent
	next := s.mu.answers[0]
	if len(s.mu.answers) > 1 {
		s.mu.answers = s.mu.answers[1:]
	}
	return next
}

func (s *server) requests() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.requests
}

func (s *server) lastBody() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.body
}

var stored = answer{status: http.StatusOK, header: map[string]string{"ETag": `"abc"`}}

// Run runs the tests. open opens the bucket "bucket" at the server's address, with that many attempts per request.
func Run(t *testing.T, open func(t *testing.T, address string, attempts int) objstore.Store) {
	startTrying := func(t *testing.T, attempts int, answers ...answer) (*server, objstore.Store) {
		scripted := &server{}
		scripted.mu.answers = answers
		listening := httptest.NewServer(scripted)
		t.Cleanup(listening.Close)
		return scripted, open(t, listening.Listener.Addr().String(), attempts)
	}
	start := func(t *testing.T, answers ...answer) (*server, objstore.Store) { return startTrying(t, 1, answers...) }
	t.Run("RepeatedPutSendsTheWholeBody", func(t *testing.T) {
		scripted, store := startTrying(t, 2, answer{status: http.StatusServiceUnavailable, code: "SlowDown"}, stored)
		body := bytes.Repeat([]byte("varve"), 50000)
		if _, err := store.PutIfAbsent(t.Context(), "key", body); err != nil {
			t.Fatal(err)
		}
		if sent := scripted.lastBody(); scripted.requests() != 2 || !bytes.Contains(sent, body) {
			t.Errorf("%d requests, the last with %d bytes", scripted.requests(), len(sent))
		}
	})
	t.Run("Failures", func(t *testing.T) { testFailures(t, start) })
	t.Run("ConflictIsTriedAgain", func(t *testing.T) {
		conflict := answer{status: http.StatusConflict, code: "ConditionalRequestConflict"}
		scripted, store := start(t, conflict, conflict, stored)
		version, err := store.PutIfAbsent(t.Context(), "key", []byte("x"))
		if err != nil || version != "abc" || scripted.requests() != 3 {
			t.Errorf("PutIfAbsent: %q, %v after %d requests, want success at the third", version, err, scripted.requests())
		}
	})
	t.Run("ConflictEndsInTheAnswer", func(t *testing.T) {
		_, store := start(t, answer{status: http.StatusConflict, code: "ConditionalRequestConflict"}, answer{status: http.StatusPreconditionFailed, code: "PreconditionFailed"})
		if _, err := store.PutIfAbsent(t.Context(), "key", []byte("x")); !errors.Is(err, objstore.ErrExists) {
			t.Errorf("PutIfAbsent: %v, want ErrExists", err)
		}
	})
	t.Run("ConflictForEver", func(t *testing.T) {
		scripted, store := start(t, answer{status: http.StatusConflict, code: "ConditionalRequestConflict"})
		if _, err := store.PutIfMatch(t.Context(), "key", []byte("x"), "v"); !objstore.Ambiguous(err) {
			t.Errorf("PutIfMatch: %v, want a transient error", err)
		}
		if requests := scripted.requests(); requests < 3 || requests > 10 {
			t.Errorf("%d requests, want a few", requests)
		}
	})
	t.Run("BodyBreaksOff", func(t *testing.T) {
		_, store := start(t, answer{status: http.StatusOK, body: "0123", cut: true, header: map[string]string{
			"ETag": `"abc"`, "Content-Length": "10", "Last-Modified": time.Now().UTC().Format(http.TimeFormat),
		}})
		_, _, err := objstore.ReadAll(t.Context(), store, "key", 100)
		if !errors.Is(err, io.ErrUnexpectedEOF) || !objstore.Ambiguous(err) {
			t.Errorf("ReadAll: %v, want a transient ErrUnexpectedEOF", err)
		}
	})
	t.Run("NoServer", func(t *testing.T) {
		scripted := &server{}
		listening := httptest.NewServer(scripted)
		store := open(t, listening.Listener.Addr().String(), 1)
		listening.Close()
		_, err := store.PutIfAbsent(t.Context(), "key", []byte("x"))
		if !objstore.Ambiguous(err) || errors.Is(err, context.Canceled) {
			t.Errorf("PutIfAbsent: %v, want a transient error", err)
		}
	})
}

func testFailures(t *testing.T, start func(t *testing.T, answers ...answer) (*server, objstore.Store)) {
	operations := map[string]func(ctx context.Context, store objstore.Store) error{
		"PutIfAbsent": func(ctx context.Context, store objstore.Store) error {
			_, err := store.PutIfAbsent(ctx, "key", []byte("x"))
			return err
		},
		"PutIfMatch": func(ctx context.Context, store objstore.Store) error {
			_, err := store.PutIfMatch(ctx, "key", []byte("x"), "v")
			return err
		},
		"Get": func(ctx context.Context, store objstore.Store) error {
			_, _, err := store.Get(ctx, "key", 5, 5)
			return err
		},
		"Delete": func(ctx context.Context, store objstore.Store) error { return store.Delete(ctx, "key") },
		"List": func(ctx context.Context, store objstore.Store) error {
			for _, err := range store.List(ctx, "", "") {
				return err
			}
			return nil
		},
	}
	for _, test := range []struct {
		status int
		code   string
		// want is the sentinel, nil for a transient error without one.
		want error
		ops  []string
	}{
		{http.StatusServiceUnavailable, "SlowDown", objstore.ErrThrottled, []string{"PutIfAbsent", "PutIfMatch", "Get", "Delete", "List"}},
		{http.StatusTooManyRequests, "TooManyRequests", objstore.ErrThrottled, []string{"PutIfAbsent", "Get"}},
		{http.StatusInternalServerError, "InternalError", nil, []string{"PutIfAbsent", "Get", "Delete"}},
		{http.StatusForbidden, "AccessDenied", objstore.ErrAccess, []string{"PutIfAbsent", "Get", "Delete", "List"}},
		{http.StatusForbidden, "SignatureDoesNotMatch", objstore.ErrAccess, []string{"Get"}},
		{http.StatusNotFound, "NoSuchBucket", objstore.ErrNoBucket, []string{"PutIfAbsent", "PutIfMatch", "Get", "Delete", "List"}},
		{http.StatusNotFound, "NoSuchKey", objstore.ErrConditionFailed, []string{"PutIfMatch"}},
		{http.StatusPreconditionFailed, "PreconditionFailed", objstore.ErrConditionFailed, []string{"PutIfMatch"}},
		{http.StatusRequestedRangeNotSatisfiable, "InvalidRange", objstore.ErrRange, []string{"Get"}},
		{http.StatusNotImplemented, "NotImplemented", nil, []string{"PutIfAbsent"}},
	} {
		for _, op := range test.ops {
			t.Run(test.code+"/"+op, func(t *testing.T) {
				_, store := start(t, answer{status: test.status, code: test.code})
				err := operations[op](t.Context(), store)
				if err == nil || (test.want != nil && !errors.Is(err, test.want)) || (test.want == nil && !objstore.Ambiguous(err)) {
					t.Errorf("%v, want %v", err, test.want)
				}
			})
		}
	}
}
