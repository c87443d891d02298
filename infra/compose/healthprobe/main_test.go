package main

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestProbeTakesOnly200(t *testing.T) {
	for status, healthy := range map[int]bool{
		http.StatusOK:                  true,
		http.StatusNoContent:           false,
		http.StatusServiceUnavailable:  false,
		http.StatusInternalServerError: false,
	} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
		if err := probe(t.Context(), s.URL); (err == nil) != healthy {
			t.Errorf("status %d: probe says %v", status, err)
		}
		s.Close()
	}
}

func TestProbeFailsWhereNobodyListens(t *testing.T) {
	s := httptest.NewServer(http.NotFoundHandler())
	s.Close()
	if err := probe(t.Context(), s.URL); err == nil {
		t.Error("probe of a closed port succeeded")
	}
}
