// Package e2e holds the tests of the whole: the binary as it is built, in processes of its own, through the clients that people
// use (kcat, confluent-kafka for Python, franz-go) and through the command line. Each test names what it proves. What they share, processes
// with directories, ports and signals, is in package cluster.
//
// The tests need a minute or two on two cores, and no network but loopback. What a machine may lack is skipped with a message that says how to get it:
// MinIO (localstack/minio/build.sh), Python's client (services/e2e/python.sh), kcat (from the distribution), and permission to mount a
// small file system.
package e2e
