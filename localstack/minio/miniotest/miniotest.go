// Package miniotest gives a test a MinIO server of its own.
package miniotest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/varvelog/varve/localstack/minio"
)

// Start runs a server for the duration of the test. It skips the test where the binary has not been built.
func Start(t *testing.T) *minio.Server {
	t.Helper()
	dataDir := filepath.Join(t.TempDir(), "minio")
	// The test's own context ends before its clean-up, so it would be of no use to a server that has to be stopped there.
	server, err := minio.Start(context.WithoutCancel(t.Context()), minio.Config{DataDir: dataDir})
	if errors.Is(err, minio.ErrNoBinary) {
		t.Skip(err)
	}
	if err != nil {
		if output, readErr := os.ReadFile(dataDir + ".log"); readErr == nil {
			t.Logf("the server said:\n%s", output)
		}
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	})
	return server
}
