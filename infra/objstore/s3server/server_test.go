package s3server_test

import (
	"errors"
	"net/http/httptest"
	"testing"

	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/varvelog/varve/infra/objstore"
	"github.com/varvelog/varve/infra/objstore/faulty"
	"github.com/varvelog/varve/infra/objstore/mem"
	"github.com/varvelog/varve/infra/objstore/s3"
	"github.com/varvelog/varve/infra/objstore/s3server"
	"github.com/varvelog/varve/infra/objstore/storetest"
)

func open(t *testing.T, served objstore.Store) objstore.Store {
	t.Helper()
	server := httptest.NewServer(s3server.Handler(served))
	t.Cleanup(server.Close)
	store, err := s3.Open(t.Context(), s3.Config{
		Bucket: "bucket", Prefix: "pre/fix", Region: "us-east-1", Endpoint: server.URL, MaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider("key", "secret", ""),
	})
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

func TestAcceptance(t *testing.T) {
	storetest.Run(t, func(t *testing.T) objstore.Store { return open(t, mem.New(t.Name())) })
}

func TestFailuresComeThrough(t *testing.T) {
	for _, failure := range []error{objstore.ErrThrottled, objstore.ErrAccess} {
		served := faulty.New(mem.New("bucket"), faulty.Config{Rules: []faulty.Rule{{Ops: faulty.PutIfAbsent, Fail: true, Err: failure}}})
		if _, err := open(t, served).PutIfAbsent(t.Context(), "key", []byte("body")); !errors.Is(err, failure) {
			t.Errorf("%v comes through as %v", failure, err)
		}
	}
}
