// Package open chooses and opens an object store by URL, so that neither the contract nor its users import the
// implementations.
//
//	file:///absolute/dir, file://relative/dir
//	mem://name                               one store per name within the process, for tests
//	s3://bucket/prefix?region=…&endpoint=…   aws-sdk-go-v2; credentials from its default chain
//	minio://host:port/bucket/prefix?secure=false
//	                                         minio-go; credentials from the environment, see below
//
// Parameters of s3: region, endpoint (a URL; the bucket is then named in the path), create. Of minio: secure (true
// unless said), region, create. create=true makes a missing bucket; s3 takes it only together with endpoint, since buckets on
// AWS are made with the rest of the infrastructure.
//
// Credentials of minio are the first pair set of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (with AWS_SESSION_TOKEN),
// MINIO_ACCESS_KEY and MINIO_SECRET_KEY, MINIO_ROOT_USER and MINIO_ROOT_PASSWORD. A URL never carries any.
package open

import (
	"context"
	"fmt"
	"os"
	"sync"

	"github.com/varvelog/varve/infra/objstore"
	"github.com/varvelog/varve/infra/objstore/file"
	"github.com/varvelog/varve/infra/objstore/mem"
	"github.com/varvelog/varve/infra/objstore/minio"
	"github.com/varvelog/varve/infra/objstore/s3"
)

// URL opens the store that rawURL names. The bucket has to exist unless create=true says otherwise; the directory of
// file:// is made.
func URL(ctx context.Context, rawURL string) (objstore.Store, error) {
	opener, err := parse(rawURL)
	if err != nil {
		return nil, err
	}
	return opener(ctx)
}

// Validate tells whether URL would know what to open, without opening it.
func Validate(rawURL string) error {
	_, err := parse(rawURL)
	return err
}

// opener opens what a URL has been understood to mean.
type opener func(ctx context.Context) (objstore.Store, error)

func openFile(dir string) opener {
	return func(context.Context) (objstore.Store, error) {
		store, err := file.Open(dir)
		if err != nil {
			return nil, err
		}
		return store, nil
	}
}

// memStores are the stores in memory by name, so that several parts of one process share a bucket as they would outside.
var memStores sync.Map

func openMem(name string) opener {
	return func(context.Context) (objstore.Store, error) {
		store, _ := memStores.LoadOrStore(name, mem.New(name))
		return store.(*mem.Store), nil
	}
}

func openS3(config s3.Config) opener {
	return func(ctx context.Context) (objstore.Store, error) { return s3.Open(ctx, config) }
}

func openMinIO(config minio.Config) opener {
	return func(ctx context.Context) (objstore.Store, error) {
		config := config
		if !minioCredentials(&config) {
			return nil, fmt.Errorf("open minio://%s/%s: %w: no credentials in the environment: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
				config.Address, config.Bucket, objstore.ErrAccess)
		}
		return minio.Open(ctx, config)
	}
}

func minioCredentials(config *minio.Config) bool {
	for _, names := range [][3]string{
		{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"},
		{"MINIO_ACCESS_KEY", "MINIO_SECRET_KEY", ""},
		{"MINIO_ROOT_USER", "MINIO_ROOT_PASSWORD", ""},
	} {
		access, secret := os.Getenv(names[0]), os.Getenv(names[1])
		if access == "" || secret == "" {
			continue
		}
		config.AccessKey, config.SecretKey = access, secret
		if names[2] != "" {
			config.SessionToken = os.Getenv(names[2])
		}
		return true
	}
	return false
}
