// Package versitytest runs the object store acceptance suite against versitygw, an S3 server of another make than
// MinIO, in this process. It is a module of its own so that the server's dependencies stay out of Varve's:
//
//	cd infra/objstore/versitytest && go test ./...
package versitytest
