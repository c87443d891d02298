package s3server

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/varvelog/varve/infra/objstore"
)

// maxBodyBytes is the largest object taken.
const maxBodyBytes = 128 << 20

// Handler serves store.
func Handler(store objstore.Store) http.Handler { return handler{store} }

type handler struct{ store objstore.Store }

// ServeHTTP implements http.Handler.
func (h handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	var err error
	switch {
	case key == "" && r.Method == http.MethodGet:
		err = h.list(w, r)
	case key == "" && (r.Method == http.MethodHead || r.Method == http.MethodPut):
		return // the bucket is there
	case r.URL.Query().Has("uploads") || r.URL.Query().Has("uploadId"):
		err = errNotImplemented
	case r.Method == http.MethodPut:
		err = h.put(w, r, key)
	case r.Method == http.MethodGet:
		err = h.get(w, r, key)
	case r.Method == http.MethodHead:
		err = h.head(w, r, key)
	case r.Method == http.MethodDelete:
		if err = h.store.Delete(r.Context(), key); err == nil {
			w.WriteHeader(http.StatusNoContent)
		}
	default:
		err = errNotImplemented
	}
	if err != nil {
		fail(w, err)
	}
}

var errNotImplemented = errors.New("not implemented")

func (h handler) put(w http.ResponseWriter, r *http.Request, key string) error {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBodyBytes))
	if err != nil {
		return fmt.Errorf("read body: %w", err)
	}
	var version objstore.Version
	switch {
	case r.Header.Get("If-None-Match") == "*":
		version, err = h.store.PutIfAbsent(r.Context(), key, body)
	case r.Header.Get("If-Match") != "":
		version, err = h.store.PutIfMatch(r.Context(), key, body, objstore.Version(strings.Trim(r.Header.Get("If-Match"), `"`)))
	default:
		version, err = h.store.Put(r.Context(), key, body)
	}
	if err != nil {
		return err
	}
	w.Header().Set("ETag", quoted(version))
	return nil
}

func quoted(version objstore.Version) string { return `"` + string(version) + `"` }

func (h handler) get(w http.ResponseWriter, r *http.Request, key string) error {
	offset, length, ranged := int64(0), int64(-1), false
	if from, to, found := strings.Cut(strings.TrimPrefix(r.Header.Get("Range"), "bytes="), "-"); found {
		var err error
		if offset, err = strconv.ParseInt(from, 10, 64); err != nil {
			return fmt.Errorf("range %q: %w", r.Header.Get("Range"), objstore.ErrRange)
		}
		if last, err := strconv.ParseInt(to, 10, 64); err == nil {
			length = last - offset + 1
		}
		ranged = true
	}
	body, info, err := h.store.Get(r.Context(), key, offset, length)
	if err != nil {
		return err
	}
	defer body.Close()
	if rest := info.SizeBytes - offset; length < 0 || length > rest {
		length = rest
	}
	describe(w, info, length)
	if ranged && info.SizeBytes > 0 {
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", offset, offset+length-1, info.SizeBytes))
		w.WriteHeader(http.StatusPartialContent)
	}
	if n, err := io.Copy(w, body); err != nil || n < length {
		panic(http.ErrAbortHandler) // the caller sees the body end early
	}
	return nil
}

func (h handler) head(w http.ResponseWriter, r *http.Request, key string) error {
	info, err := h.store.Head(r.Context(), key)
	if err == nil {
		describe(w, info, info.SizeBytes)
	}
	return err
}

func describe(w http.ResponseWriter, info objstore.Info, length int64) {
	w.Header().Set("ETag", quoted(info.Version))
	w.Header().Set("Last-Modified", info.Modified.UTC().Format(http.TimeFormat))
	w.Header().Set("Content-Length", strconv.FormatInt(length, 10))
}

// failures are the answers to the contract's errors, in the order in which they are looked for.
var failures = []struct {
	err    error
	status int
	code   string
}{
	{objstore.ErrNotFound, http.StatusNotFound, "NoSuchKey"},
	{objstore.ErrExists, http.StatusPreconditionFailed, "PreconditionFailed"},
	{objstore.ErrConditionFailed, http.StatusPreconditionFailed, "PreconditionFailed"},
	{objstore.ErrRange, http.StatusRequestedRangeNotSatisfiable, "InvalidRange"},
	{objstore.ErrThrottled, http.StatusServiceUnavailable, "SlowDown"},
	{objstore.ErrAccess, http.StatusForbidden, "AccessDenied"},
	{objstore.ErrKey, http.StatusBadRequest, "InvalidArgument"},
	{errNotImplemented, http.StatusNotImplemented, "NotImplemented"},
}

type xmlError struct {
	XMLName xml.Name `xml:"Error"`
	Code    string
	Message string
}

func fail(w http.ResponseWriter, err error) {
	status, code := http.StatusInternalServerError, "InternalError"
	for _, f := range failures {
		if errors.Is(err, f.err) {
			status, code = f.status, f.code
			break
		}
	}
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	_ = xml.NewEncoder(w).Encode(xmlError{Code: code, Message: err.Error()}) // who has gone needs no answer
}
