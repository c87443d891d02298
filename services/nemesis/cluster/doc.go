// Package cluster runs the processes of a Varve cluster, each in a network namespace and on a small disk of its own, with an object store behind a
// proxy that can break it. Processes are killed, paused and started again by whoever asks; one that ends without being asked is noted.
package cluster
