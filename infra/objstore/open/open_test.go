package open_test

import (
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/varvelog/varve/infra/objstore"
	"github.com/varvelog/varve/infra/objstore/open"
	"github.com/varvelog/varve/localstack/minio/miniotest"
)

func mustOpen(t *testing.T, rawURL string) objstore.Store {
	t.Helper()
	store, err := open.URL(t.Context(), rawURL)
	if err != nil {
		t.Fatalf("open %s: %v", rawURL, err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return store
}

func TestFile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a dir")
	for _, rawURL := range []string{"file://" + dir, "file://" + strings.ReplaceAll(dir, " ", "%20")} {
		store := mustOpen(t, rawURL)
		if store.String() != "file://"+dir {
			t.Errorf("%s opened %s", rawURL, store)
		}
	}
}

func TestRelativeFile(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, rawURL := range []string{"file://bucket/here", "file://./bucket/here"} {
		mustOpen(t, rawURL)
		if stat, err := os.Stat("bucket/here"); err != nil || !stat.IsDir() {
			t.Errorf("%s: %v", rawURL, err)
		}
	}
}

func TestMemIsSharedByName(t *testing.T) {
	if _, err := mustOpen(t, "mem://"+t.Name()).PutIfAbsent(t.Context(), "key", []byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := mustOpen(t, "mem://"+t.Name()).Head(t.Context(), "key"); err != nil {
		t.Errorf("the second store of the name: %v", err)
	}
	if _, err := mustOpen(t, "mem://"+t.Name()+"-other").Head(t.Context(), "key"); !errors.Is(err, objstore.ErrNotFound) {
		t.Errorf("a store of another name: %v", err)
	}
}

func TestMalformedURLsNameTheirFault(t *testing.T) {
	for rawURL, says := range map[string]string{
		"":                                   "scheme: missing",
		"/var/lib/varve":                     "scheme: missing",
		"gs://bucket":                        `scheme: "gs" is none of file, mem, s3, minio`,
		"file://":                            "directory: missing",
		"file:///dir?fsync=off":              "parameter fsync: unknown",
		"file:///dir#x":                      "fragment",
		"s3://":                              "bucket: missing",
		"s3:///prefix":                       "bucket: missing",
		"s3://bucket?regoin=x":               "parameter regoin: unknown",
		"s3://bucket?region=a&region=b":      "parameter region: given 2 times",
		"s3://bucket?endpoint=localhost":     "endpoint",
		"s3://bucket?create=true":            "create: only together with endpoint",
		"s3://bucket//double":                "prefix",
		"s3://key:secret@bucket":             "bucket",
		"minio://":                           "bucket: missing",
		"minio://host:9000":                  "bucket: missing",
		"minio://host/bucket":                "address",
		"minio://host:9000/bucket?secure=no": `parameter secure: "no" is neither true nor false`,
		"minio://host:9000/bucket?tls=true":  "parameter tls: unknown",
		"minio://key:secret@host:9000/b":     "user: credentials",
		"s3://bucket?a=%zz":                  "parameters",
		"file://%zz":                         "path",
	} {
		err := open.Validate(rawURL)
		if !errors.Is(err, open.ErrURL) || !strings.Contains(err.Error(), says) {
			t.Errorf("Validate(%q): %v, want one that says %q", rawURL, err, says)
		}
		if err != nil && strings.Contains(err.Error(), "secret@") {
			t.Errorf("Validate(%q) repeats the secret: %v", rawURL, err)
		}
	}
}

func TestWellFormedURLs(t *testing.T) {
	for _, rawURL := range []string{
		"file:///dir", "file://dir", "file://C%23/dir", "mem://", "mem://name", "s3://bucket", "s3://bucket/", "s3://bucket/a/b/?region=eu-west-1",
		"s3://bucket?endpoint=https://host:443&create=true", "minio://host:9000/bucket", "minio://[::1]:9000/bucket/a/b?secure=false&region=x&create=true",
	} {
		if err := open.Validate(rawURL); err != nil {
			t.Errorf("Validate(%q): %v", rawURL, err)
		}
	}
}

func TestMinIOWithoutCredentials(t *testing.T) {
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "MINIO_ACCESS_KEY", "MINIO_ROOT_USER"} {
		t.Setenv(name, "")
	}
	_, err := open.URL(t.Context(), "minio://127.0.0.1:1/bucket?secure=false")
	if !errors.Is(err, objstore.ErrAccess) || !strings.Contains(err.Error(), "AWS_ACCESS_KEY_ID") {
		t.Errorf("Open: %v", err)
	}
}

// TestServer opens one bucket of a real server through both SDKs.
func TestServer(t *testing.T) {
	server := miniotest.Start(t)
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_PROFILE", "MINIO_ACCESS_KEY"} {
		t.Setenv(name, "")
	}
	t.Setenv("MINIO_ROOT_USER", server.AccessKey)
	t.Setenv("MINIO_ROOT_PASSWORD", server.SecretKey)
	minioURL := "minio://" + server.Address + "/shared/pre/fix?secure=false"
	if _, err := open.URL(t.Context(), minioURL); !errors.Is(err, objstore.ErrNoBucket) {
		t.Errorf("a missing bucket: %v, want ErrNoBucket", err)
	}
	viaMinIO := mustOpen(t, minioURL+"&create=true")
	t.Setenv("AWS_ACCESS_KEY_ID", server.AccessKey)
	t.Setenv("AWS_SECRET_ACCESS_KEY", server.SecretKey)
	viaS3 := mustOpen(t, "s3://shared/pre/fix?endpoint="+url.QueryEscape(server.URL())+"&create=true")

	version, err := viaMinIO.PutIfAbsent(t.Context(), "key", []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	if info, err := viaS3.Head(t.Context(), "key"); err != nil || info.Version != version {
		t.Errorf("Head through the other SDK: %+v, %v, want version %s", info, err, version)
	}
	if viaMinIO.String() != "minio://"+server.Address+"/shared/pre/fix" || viaS3.String() != "s3://shared/pre/fix" {
		t.Errorf("names %s and %s", viaMinIO, viaS3)
	}
}
