package versitytest

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/versity/versitygw/backend/meta"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/embedgw"

	"github.com/varvelog/varve/infra/objstore"
	"github.com/varvelog/varve/infra/objstore/minio"
	"github.com/varvelog/varve/infra/objstore/s3"
	"github.com/varvelog/varve/infra/objstore/storetest"
)

const (
	accessKey = "varve"
	secretKey = "varve-secret"
)

// start runs the gateway for the duration of the test and returns its address. It allows one instance in a process.
func start(t *testing.T) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address = listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	data, metadata := t.TempDir(), t.TempDir()
	// The backend changes the working directory to its own; this puts it back.
	t.Chdir(data)
	// Metadata in files of their own: not every file system has extended attributes.
	sidecar, err := meta.NewSideCar(metadata)
	if err != nil {
		t.Fatal(err)
	}
	backend, err := posix.New(data, sidecar, posix.PosixOpts{SideCarDir: metadata, Concurrency: 1000})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- embedgw.RunVersityGW(ctx, backend, &embedgw.Config{
			RootUserAccess: accessKey, RootUserSecret: secretKey, Ports: []string{address}, Quiet: true, KeepAlive: true,
			MaxConnections: 1000, MaxRequests: 1000, MultipartMaxParts: 10000,
		})
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	deadline := time.NewTimer(30 * time.Second)
	defer deadline.Stop()
	// A connection kept alive would hold up the gateway's end.
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for {
		response, err := client.Get("http://" + address)
		if err == nil {
			if err := response.Body.Close(); err != nil {
				t.Fatal(err)
			}
			return address
		}
		select {
		case err := <-ended:
			t.Fatalf("the gateway ended: %v", err)
		case <-deadline.C:
			t.Fatalf("the gateway does not answer: %v", err)
		case <-ticker.C:
		}
	}
}

func TestAcceptance(t *testing.T) {
	address := start(t)
	var buckets atomic.Int64
	bucket := func() string { return fmt.Sprintf("bucket-%d", buckets.Add(1)) }
	openS3 := func(t *testing.T, multipartBytes, partBytes int) objstore.Store {
		return opened(t)(s3.Open(t.Context(), s3.Config{
			Bucket: bucket(), Prefix: "pre/fix", Region: "us-east-1", Endpoint: "http://" + address, CreateBucket: true,
			Credentials:    credentials.NewStaticCredentialsProvider(accessKey, secretKey, ""),
			MultipartBytes: multipartBytes, PartBytes: partBytes,
		}))
	}
	openMinIO := func(t *testing.T, multipartBytes, partBytes int) objstore.Store {
		return opened(t)(minio.Open(t.Context(), minio.Config{
			Address: address, Insecure: true, Bucket: bucket(), CreateBucket: true, AccessKey: accessKey, SecretKey: secretKey,
			MultipartBytes: multipartBytes, PartBytes: partBytes,
		}))
	}
	for name, open := range map[string]func(t *testing.T, multipartBytes, partBytes int) objstore.Store{"s3": openS3, "minio": openMinIO} {
		t.Run(name, func(t *testing.T) {
			storetest.Run(t, func(t *testing.T) objstore.Store { return open(t, 0, 0) })
			t.Run("Multipart", func(t *testing.T) { storetest.RunMultipart(t, open(t, 6<<20, 5<<20)) })
		})
	}
}

func opened(t *testing.T) func(store objstore.Store, err error) objstore.Store {
	return func(store objstore.Store, err error) objstore.Store {
		t.Helper()
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
}
