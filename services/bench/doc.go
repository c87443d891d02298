// Package bench measures a running varve: it starts its own `varve serve` in a process of its own, puts a known load on it over
// the Kafka protocol, and sets what that costs against the bare operation, which it measures in the same run, on the same disk,
// interleaved with the load. Absolute figures differ from machine to machine; the ratios are what counts.
//
// # How it measures
//
//   - Processor time is the server process's own, user and system, read from the kernel before and after a phase. The bare
//     operations run on a thread of their own whose processor time is read likewise. What the kernel does in threads of its own
//     (writing pages back) is in neither.
//   - The load generator costs little: requests are encoded once and replayed with a new correlation id, answers are read whole.
//     It shares the machine's cores with the server all the same, so wall-clock figures understate the server.
//   - A latency runs from the moment before a request is written to the moment after its answer was read, on a schedule that
//     does not wait for answers: a stall is seen by every request that falls into it.
//   - Where slices of load and bare operation alternate, the figure is the median of the pairs' ratios.
//   - Shipping to the bucket is held back where the path of a record into or out of the hot log is measured: its work is
//     deferred, and belongs to no request.
//
// # What it guarantees
//
// Every phase is bounded in time; every process and file it makes is gone when Run returns, whatever happened; it ends no process
// but its own children. A miss is a row in the table, never an error.
//
// # What it leaves to others
//
// Correctness: answers are checked for error codes and offsets are followed, no more.
package bench
