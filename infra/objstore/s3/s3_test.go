package s3_test

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/credentials"

	"go.uber.org/goleak"

	"github.com/varvelog/varve/infra/objstore"
	"github.com/varvelog/varve/infra/objstore/internal/s3wire/s3wiretest"
	"github.com/varvelog/varve/infra/objstore/s3"
	"github.com/varvelog/varve/infra/objstore/storetest"
	"github.com/varvelog/varve/localstack/minio"
	"github.com/varvelog/varve/localstack/minio/miniotest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var buckets atomic.Int64

func config(server *minio.Server) s3.Config {
	return s3.Config{
		Bucket:       fmt.Sprintf("bucket-%d", buckets.Add(1)),
		Region:       "us-east-1",
		Endpoint:     server.URL(),
		CreateBucket: true,
		Credentials:  credentials.NewStaticCredentialsProvider(server.AccessKey, server.SecretKey, ""),
	}
}

func open(t *testing.T, c s3.Config) objstore.Store {
	t.Helper()
	store, err := s3.Open(t.Context(), c)
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
		return open(t, c)
	}, storetest.Writes())
	t.Run("Multipart", func(t *testing.T) {
		c := config(server)
		c.MultipartBytes, c.PartBytes = 6<<20, 5<<20
		storetest.RunMultipart(t, open(t, c))
	})
}

func TestOpenExplainsItself(t *testing.T) {
	server := miniotest.Start(t)

	noBucket := config(server)
	noBucket.CreateBucket = false
	badSecret := config(server)
	badSecret.Credentials = credentials.NewStaticCredentialsProvider(server.AccessKey, "not the secret", "")
	badEndpoint := config(server)
	badEndpoint.Endpoint = "localhost:9000"
	badPrefix := config(server)
	badPrefix.Prefix = "/leading"
	for _, test := range []struct {
		name   string
		config s3.Config
		is     error
		says   string
	}{
		{"no bucket", noBucket, objstore.ErrNoBucket, noBucket.Bucket},
		{"bad secret", badSecret, objstore.ErrAccess, "head bucket"},
		{"bad endpoint", badEndpoint, nil, "endpoint"},
		{"bad prefix", badPrefix, objstore.ErrKey, "prefix"},
		{"empty", s3.Config{}, nil, "bucket"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := s3.Open(t.Context(), test.config)
			if err == nil || !strings.Contains(err.Error(), test.says) || (test.is != nil && !errors.Is(err, test.is)) {
				t.Errorf("Open: %v, want one that is %v and says %q", err, test.is, test.says)
			}
		})
	}
}

func TestScriptedAnswers(t *testing.T) {
	s3wiretest.Run(t, func(t *testing.T, address string, attempts int) objstore.Store {
		return open(t, s3.Config{
			Bucket: "bucket", Endpoint: "http://" + address, MaxAttempts: attempts,
			Credentials: credentials.NewStaticCredentialsProvider("access", "secret", ""),
		})
	})
}
