// Package cluster runs Varve for tests as an operator would: the binary, in processes of its own, on free loopback ports, with
// directories that live as long as the test. A process can be stopped, killed, frozen and started again on what it left behind.
//
// # What it guarantees
//
//   - Start returns when /readyz says yes, or fails the test with the end of the process's log.
//   - When the test ends every process it started is gone, and none but those; should the test's process die, the kernel ends them.
//   - The log of each process of a failed test is printed.
//   - Ports come from below the range that the kernel gives to outgoing connections, so that a port is still free when a process is
//     started again on it.
//
// # What it leaves to others
//
// Clients. Nothing here speaks Kafka.
package cluster
