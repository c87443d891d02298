// Command nemesis runs a cluster of real processes under real clients while everything that can fail does, and judges by the clients' history
// whether anything was lost, doubled, torn, reordered or shown too early.
//
// It needs Linux and the permission to make network namespaces (root), ip (iproute2), and MinIO's binary; where namespaces are not to be had it says so
// and ends with code 77. The exit code is 1 where something was found.
package main
