// Package metered counts what passes through an object store: requests, bytes and latencies by operation, as Prometheus
// metrics and as a plain snapshot for tables.
//
// It counts calls of the contract, not HTTP requests: an SDK's repeats and the parts of a multipart upload are one put. A
// listing counts a request for each page of 1,000 keys begun, as S3 charges it.
package metered

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/varvelog/varve/infra/objstore"
)

var _ objstore.Store = (*Store)(nil)

// operation indexes the kinds of requests that stores charge for.
type operation int

const (
	opPut operation = iota
	opGet
	opHead
	opList
	opDelete
	operationCount
)

var operationNames = [operationCount]string{"put", "get", "head", "list", "delete"}

// listPageKeys is how many keys S3 returns for one LIST.
const listPageKeys = 1000

// Count is what one kind of request added up to.
type Count struct {
	Requests uint64
	// Failures are the requests that returned an error other than the contract's answers "not found", "exists", "changed"
	// and "outside".
	Failures uint64
	// Bytes sent for puts, received for gets.
	Bytes uint64
}

// Snapshot holds the counts since the store was wrapped.
type Snapshot struct {
	Put, Get, Head, List, Delete Count
}

// Sub returns what happened between an earlier snapshot and this one.
func (s Snapshot) Sub(earlier Snapshot) Snapshot {
	sub := func(a, b Count) Count {
		return Count{Requests: a.Requests - b.Requests, Failures: a.Failures - b.Failures, Bytes: a.Bytes - b.Bytes}
	}
	return Snapshot{
		Put: sub(s.Put, earlier.Put), Get: sub(s.Get, earlier.Get), Head: sub(s.Head, earlier.Head),
		List: sub(s.List, earlier.List), Delete: sub(s.Delete, earlier.Delete),
	}
}

// Requests is their number over all kinds.
func (s Snapshot) Requests() uint64 {
	return s.Put.Requests + s.Get.Requests + s.Head.Requests + s.List.Requests + s.Delete.Requests
}

// Store counts the requests to another.
type Store struct {
	inner  objstore.Store
	counts [operationCount]counter
	metrics
}

type counter struct{ requests, failures, bytes atomic.Uint64 }

type metrics struct {
	requests *prometheus.CounterVec
	bytes    *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
}

// New wraps inner, which Close closes.
func New(inner objstore.Store) *Store {
	return &Store{inner: inner, metrics: metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "varve_object_requests_total", Help: "Requests to the object store.",
		}, []string{"op", "result"}),
		bytes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "varve_object_bytes_total", Help: "Bytes of objects sent (put) and received (get).",
		}, []string{"op"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "varve_object_request_duration_seconds", Help: "Time to the answer; of a get, to its first byte.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}, []string{"op"}),
	}}
}

// Describe implements prometheus.Collector.
func (s *Store) Describe(descriptions chan<- *prometheus.Desc) {
	s.metrics.requests.Describe(descriptions)
	s.metrics.bytes.Describe(descriptions)
	s.metrics.seconds.Describe(descriptions)
}

// Collect implements prometheus.Collector.
func (s *Store) Collect(collected chan<- prometheus.Metric) {
	s.metrics.requests.Collect(collected)
	s.metrics.bytes.Collect(collected)
	s.metrics.seconds.Collect(collected)
}

// Snapshot returns the counts so far. Kinds are read one after the other, not in one instant.
func (s *Store) Snapshot() Snapshot {
	read := func(op operation) Count {
		c := &s.counts[op]
		return Count{Requests: c.requests.Load(), Failures: c.failures.Load(), Bytes: c.bytes.Load()}
	}
	return Snapshot{Put: read(opPut), Get: read(opGet), Head: read(opHead), List: read(opList), Delete: read(opDelete)}
}

func (s *Store) countRequest(op operation, started time.Time, err error) {
	result, failed := resultOf(err)
	s.counts[op].requests.Add(1)
	if failed {
		s.counts[op].failures.Add(1)
	}
	s.metrics.requests.WithLabelValues(operationNames[op], result).Inc()
	s.metrics.seconds.WithLabelValues(operationNames[op]).Observe(time.Since(started).Seconds())
}

func (s *Store) countBytes(op operation, n int) {
	s.counts[op].bytes.Add(uint64(n))
	s.metrics.bytes.WithLabelValues(operationNames[op]).Add(float64(n))
}

// results are the labels of the contract's errors, and whether the error is a failure rather than an answer.
var results = []struct {
	err    error
	label  string
	failed bool
}{
	{objstore.ErrNotFound, "not_found", false},
	{objstore.ErrExists, "exists", false},
	{objstore.ErrConditionFailed, "condition_failed", false},
	{objstore.ErrRange, "range", false},
	{objstore.ErrThrottled, "throttled", true},
	{objstore.ErrAccess, "access", true},
	{objstore.ErrKey, "invalid_key", true},
	{objstore.ErrNoBucket, "no_bucket", true},
	{context.Canceled, "canceled", true},
	{context.DeadlineExceeded, "timeout", true},
}

func resultOf(err error) (label string, failed bool) {
	if err == nil {
		return "ok", false
	}
	for _, result := range results {
		if errors.Is(err, result.err) {
			return result.label, result.failed
		}
	}
	return "error", true
}

func (s *Store) put(body []byte, write func() (objstore.Version, error)) (objstore.Version, error) {
	started := time.Now()
	version, err := write()
	s.countRequest(opPut, started, err)
	if err == nil {
		s.countBytes(opPut, len(body))
	}
	return version, err
}

// PutIfAbsent implements objstore.Store.
func (s *Store) PutIfAbsent(ctx context.Context, key string, body []byte) (objstore.Version, error) {
	return s.put(body, func() (objstore.Version, error) { return s.inner.PutIfAbsent(ctx, key, body) })
}

// PutIfMatch implements objstore.Store.
func (s *Store) PutIfMatch(ctx context.Context, key string, body []byte, old objstore.Version) (objstore.Version, error) {
	return s.put(body, func() (objstore.Version, error) { return s.inner.PutIfMatch(ctx, key, body, old) })
}

// Put implements objstore.Store.
func (s *Store) Put(ctx context.Context, key string, body []byte) (objstore.Version, error) {
	return s.put(body, func() (objstore.Version, error) { return s.inner.Put(ctx, key, body) })
}

// Get implements objstore.Store. Bytes count as they are read.
func (s *Store) Get(ctx context.Context, key string, offset, length int64) (io.ReadCloser, objstore.Info, error) {
	started := time.Now()
	body, info, err := s.inner.Get(ctx, key, offset, length)
	s.countRequest(opGet, started, err)
	if err != nil {
		return nil, objstore.Info{}, err
	}
	return &reader{ReadCloser: body, store: s}, info, nil
}

type reader struct {
	io.ReadCloser
	store *Store
}

func (r *reader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if n > 0 {
		r.store.countBytes(opGet, n)
	}
	return n, err
}

// Head implements objstore.Store.
func (s *Store) Head(ctx context.Context, key string) (objstore.Info, error) {
	started := time.Now()
	info, err := s.inner.Head(ctx, key)
	s.countRequest(opHead, started, err)
	return info, err
}

// Delete implements objstore.Store.
func (s *Store) Delete(ctx context.Context, key string) error {
	started := time.Now()
	err := s.inner.Delete(ctx, key)
	s.countRequest(opDelete, started, err)
	return err
}

// List implements objstore.Store. The first page's time runs to its first key; later pages are counted, not timed apart
// from the caller's own work.
func (s *Store) List(ctx context.Context, prefix, startAfter string) func(yield func(objstore.Info, error) bool) {
	return func(yield func(objstore.Info, error) bool) {
		started, keys := time.Now(), 0
		for info, err := range s.inner.List(ctx, prefix, startAfter) {
			if err != nil || keys%listPageKeys == 0 {
				s.countRequest(opList, started, err)
			}
			if !yield(info, err) {
				return
			}
			if keys++; keys%listPageKeys == 0 {
				started = time.Now()
			}
		}
		if keys == 0 {
			s.countRequest(opList, started, nil)
		}
	}
}

// Now implements objstore.Store. It counts as a head.
func (s *Store) Now(ctx context.Context) (time.Time, error) {
	started := time.Now()
	now, err := s.inner.Now(ctx)
	s.countRequest(opHead, started, err)
	return now, err
}

// String implements objstore.Store.
func (s *Store) String() string { return s.inner.String() }

// Close implements objstore.Store.
func (s *Store) Close() error { return s.inner.Close() }
