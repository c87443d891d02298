package minio_test

import (
	"context"
	"errors"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/varvelog/varve/localstack/minio"
	"github.com/varvelog/varve/localstack/minio/miniotest"
)

func TestServerAnswersUntilStopped(t *testing.T) {
	server := miniotest.Start(t)
	response, err := http.Get(server.URL() + "/minio/health/live")
	if err != nil {
		t.Fatal(err)
	}
	if err := response.Body.Close(); err != nil {
		t.Fatal(err)
	}
	if response.StatusCode != http.StatusOK {
		t.Errorf("health answers %s", response.Status)
	}
	if err := server.Stop(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-server.Exited():
	default:
		t.Error("Stop returned before the process had ended")
	}
	// The test's clean-up stops it again, which must be harmless.
}

func TestMissingBinaryIsNamed(t *testing.T) {
	t.Setenv("VARVE_MINIO_BINARY", filepath.Join(t.TempDir(), "absent"))
	_, err := minio.Start(t.Context(), minio.Config{DataDir: t.TempDir()})
	if !errors.Is(err, minio.ErrNoBinary) || !strings.Contains(err.Error(), "build.sh") {
		t.Errorf("Start: %v, want ErrNoBinary", err)
	}
}

func TestServerThatEndsAtOnceIsAnError(t *testing.T) {
	_, err := minio.Start(context.Background(), minio.Config{Binary: "/bin/false", DataDir: filepath.Join(t.TempDir(), "data")})
	if err == nil || !strings.Contains(err.Error(), "it ended") {
		t.Errorf("Start: %v, want that it ended", err)
	}
}
