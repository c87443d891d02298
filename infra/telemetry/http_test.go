package telemetry

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
)

func get(t *testing.T, s *Server, path string) (int, string) {
	t.Helper()
	response, err := http.Get("http://" + s.Addr() + path)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

func TestStatusTellsWhatIsNotReady(t *testing.T) {
	var reason error
	readiness := &Readiness{}
	readiness.Add("metalog", func() error { return reason })
	s, err := Serve("127.0.0.1:0", NewRegistry(), readiness, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(context.Background())

	if code, _ := get(t, s, "/healthz"); code != 200 {
		t.Errorf("/healthz: %d", code)
	}
	if code, _ := get(t, s, "/readyz"); code != 200 {
		t.Errorf("/readyz when ready: %d", code)
	}
	reason = errors.New("no leader")
	if code, body := get(t, s, "/readyz"); code != 503 || !strings.Contains(body, "metalog: no leader") {
		t.Errorf("/readyz: %d %q", code, body)
	}
	if code, body := get(t, s, "/metrics"); code != 200 || !strings.Contains(body, "go_goroutines") {
		t.Errorf("/metrics: %d", code)
	}
}

func TestPortInUseNamesTheFlag(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	first, err := Serve("127.0.0.1:0", NewRegistry(), &Readiness{}, log)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close(context.Background())
	_, err = Serve(first.Addr(), NewRegistry(), &Readiness{}, log)
	if err == nil || !strings.Contains(err.Error(), "--http-addr") || !strings.Contains(err.Error(), "in use") {
		t.Errorf("got %v", err)
	}
}
