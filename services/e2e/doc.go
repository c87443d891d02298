// Package e2e holds the tests of the whole: the binary as it is built, in processes of its own, through the clients that people
// use (kcat, confluent-kafka for Python, franz-go) and through the command line. Each test names what it proves. What they share, processes
// with directories, ports and signals, is in package cluster.
//
// A test waits for most of its time, so twice as many as there are cores run in parallel. Those that hold times against bounds do not: they run first, each
// by itself.
//
// The tests need a few minutes on two cores, and no network but loopback. What a machine may lack is skipped with a message that says how to get it:
// MinIO (localstack/minio/build.sh), Python's client (services/e2e/python.sh), kcat (from the distribution), and permission to mount a
// small file system.
package e2e
