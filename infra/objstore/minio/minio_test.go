package minio_test

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"github.com/varvelog/varve/infra/objstore"
	"github.com/varvelog/varve/infra/objstore/internal/s3wire/s3wiretest"
	"github.com/varvelog/varve/infra/objstore/minio"
	"github.com/varvelog/varve/infra/objstore/storetest"
	localminio "github.com/varvelog/varve/localstack/minio"
	"github.com/varvelog/varve/localstack/minio/miniotest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var buckets atomic.Int64

func config(server *localminio.Server) minio.Config {
	return minio.Config{
		Bucket:       fmt.Sprintf("bucket-%d", buckets.Add(1)),
		Address:      server.Address,
		Insecure:     true,
		CreateBucket: true,
		AccessKey:    server.AccessKey,
		SecretKey:    server.SecretKey,
	}
}

func open(t *testing.T, c minio.Config) objstore.Store {
	t.Helper()
	store, err := minio.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return store
}

func TestAcceptanceOnMinIO(t *testing.T) {
	server := miniotest.Start(t)
	storetest.Run(t, func(t *testing.T) objstore.Store {
		c := config(server)
		c.Prefix = "a/prefix"
		return open(t, c)
	})
}

func TestMultipartOnMinIO(t *testing.T) {
	server := miniotest.Start(t)
	c := config(server)
	c.MultipartBytes, c.PartBytes = 6<<20, 5<<20
	storetest.RunMultipart(t, open(t, c))
}

// TestOverTLS: bodies are signed and checked in other ways there.
func TestOverTLS(t *testing.T) {
	server := miniotest.StartTLS(t)
	storetest.Run(t, func(t *testing.T) objstore.Store {
		c := config(server)
		c.Insecure = false
		return open(t, c)
	}, storetest.Writes())
	t.Run("Multipart", func(t *testing.T) {
		c := config(server)
		c.Insecure = false
		c.MultipartBytes, c.PartBytes = 6<<20, 5<<20
		storetest.RunMultipart(t, open(t, c))
	})
}

func TestOpenExplainsItself(t *testing.T) {
	server := miniotest.Start(t)

	noBucket := config(server)
	noBucket.CreateBucket = false
	badSecret := config(server)
	badSecret.SecretKey = "not the secret"
	badEndpoint := config(server)
	badEndpoint.Address = "localhost"
	badPrefix := config(server)
	badPrefix.Prefix = "/leading"
	for _, test := range []struct {
		name   string
		config minio.Config
		is     error
		says   string
	}{
		{"no bucket", noBucket, objstore.ErrNoBucket, noBucket.Bucket},
		{"bad secret", badSecret, objstore.ErrAccess, "head bucket"},
		{"bad endpoint", badEndpoint, nil, "address"},
		{"bad prefix", badPrefix, objstore.ErrKey, "prefix"},
		{"empty", minio.Config{}, nil, "address"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := minio.Open(t.Context(), test.config)
			if err == nil || !strings.Contains(err.Error(), test.says) || (test.is != nil && !errors.Is(err, test.is)) {
				t.Errorf("Open: %v, want one that is %v and says %q", err, test.is, test.says)
			}
		})
	}
}

func TestScriptedAnswers(t *testing.T) {
	s3wiretest.Run(t, func(t *testing.T, address string, attempts int) objstore.Store {
		return open(t, minio.Config{Bucket: "bucket", Address: address, Insecure: true, MaxAttempts: attempts, AccessKey: "access", SecretKey: "secret"})
	})
}
