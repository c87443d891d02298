// Package miniotest gives a test a MinIO server of its own.
package miniotest

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/varvelog/varve/localstack/minio"
)

// Start runs a server for the duration of the test. It skips the test where the binary has not been built.
func Start(t *testing.T) *minio.Server {
	t.Helper()
	return start(t, minio.Config{})
}

// StartTLS is Start with HTTPS. The server's certificate becomes a root that the process trusts, by the variables that Go
// (SSL_CERT_FILE) and the AWS SDK (AWS_CA_BUNDLE) read. Go reads its own once in a process.
func StartTLS(t *testing.T) *minio.Server {
	t.Helper()
	certsDir := t.TempDir()
	certificatePath := writeCertificate(t, certsDir)
	t.Setenv("SSL_CERT_FILE", certificatePath)
	t.Setenv("AWS_CA_BUNDLE", certificatePath)
	return start(t, minio.Config{CertsDir: certsDir})
}

// writeCertificate writes the key pair that net/http/httptest brings for 127.0.0.1.
func writeCertificate(t *testing.T, certsDir string) (certificatePath string) {
	t.Helper()
	source := httptest.NewTLSServer(nil)
	source.Close()
	pair := source.TLS.Certificates[0]
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	certificatePath = filepath.Join(certsDir, "public.crt")
	for path, block := range map[string]*pem.Block{
		certificatePath:                        {Type: "CERTIFICATE", Bytes: pair.Certificate[0]},
		filepath.Join(certsDir, "private.key"): {Type: "PRIVATE KEY", Bytes: key},
	} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certificatePath
}

func start(t *testing.T, config minio.Config) *minio.Server {
	t.Helper()
	config.DataDir = filepath.Join(t.TempDir(), "minio")
	// The test's own context ends before its clean-up, so it would be of no use to a server that has to be stopped there.
	server, err := minio.Start(context.WithoutCancel(t.Context()), config)
	if errors.Is(err, minio.ErrNoBinary) {
		t.Skip(err)
	}
	if err != nil {
		if output, readErr := os.ReadFile(config.DataDir + ".log"); readErr == nil {
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
