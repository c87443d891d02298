package metered_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/varvelog/varve/infra/objstore"
	"github.com/varvelog/varve/infra/objstore/mem"
	"github.com/varvelog/varve/infra/objstore/metered"
	"github.com/varvelog/varve/infra/objstore/storetest"
)

func TestAcceptance(t *testing.T) {
	storetest.Run(t, func(t *testing.T) objstore.Store { return metered.New(mem.New(t.Name())) })
}

func TestCounts(t *testing.T) {
	ctx := t.Context()
	store := metered.New(mem.New("counted"))
	if _, err := store.PutIfAbsent(ctx, "key", []byte("12345")); err != nil {
		t.Fatal(err)
	}
	if _, err := store.PutIfAbsent(ctx, "key", []byte("12345")); !errors.Is(err, objstore.ErrExists) {
		t.Fatal(err)
	}
	if _, _, err := objstore.ReadRange(ctx, store, "key", 1, make([]byte, 3)); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Head(ctx, "absent"); !errors.Is(err, objstore.ErrNotFound) {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if err := store.Delete(ended, "key"); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}

	want := metered.Snapshot{
		Put:    metered.Count{Requests: 2, Bytes: 5},
		Get:    metered.Count{Requests: 1, Bytes: 3},
		Head:   metered.Count{Requests: 1},
		Delete: metered.Count{Requests: 1, Failures: 1},
	}
	got := store.Snapshot()
	if got != want {
		t.Errorf("counted %+v, want %+v", got, want)
	}
	if got.Requests() != 5 || got.Sub(want) != (metered.Snapshot{}) {
		t.Errorf("%d requests, difference %+v", got.Requests(), got.Sub(want))
	}
	registry := prometheus.NewPedanticRegistry()
	if err := registry.Register(store); err != nil {
		t.Fatal(err)
	}
	wantMetrics := []string{
		`varve_object_bytes_total{op="get"} 3`,
		`varve_object_bytes_total{op="put"} 5`,
		`varve_object_requests_total{op="delete",result="canceled"} 1`,
		`varve_object_requests_total{op="get",result="ok"} 1`,
		`varve_object_requests_total{op="head",result="not_found"} 1`,
		`varve_object_requests_total{op="put",result="exists"} 1`,
		`varve_object_requests_total{op="put",result="ok"} 1`,
		`varve_object_request_duration_seconds_count{op="put"} 2`,
	}
	page := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(page, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for _, line := range wantMetrics {
		if !strings.Contains(page.Body.String(), line+"\n") {
			t.Errorf("the metrics lack %s:\n%s", line, page.Body)
		}
	}
}

func TestListCountsPages(t *testing.T) {
	for keys, requests := range map[int]uint64{0: 1, 1: 1, 1000: 1, 1001: 2} {
		inner := mem.New("listed")
		for i := range keys {
			if _, err := inner.Put(t.Context(), fmt.Sprintf("%06d", i), nil); err != nil {
				t.Fatal(err)
			}
		}
		store := metered.New(inner)
		for _, err := range store.List(t.Context(), "", "") {
			if err != nil {
				t.Fatal(err)
			}
		}
		if got := store.Snapshot().List.Requests; got != requests {
			t.Errorf("%d keys took %d requests, want %d", keys, got, requests)
		}
	}
}
