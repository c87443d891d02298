// Package rpc is the internal HTTP listener of Varve's processes and the client that calls it.
//
// A call is POST /v1/<method> with a protobuf body and a protobuf answer; ranged reads of hot segments are streaming GETs
// registered as handlers, and a GET can turn the connection into a stream that belongs to its two ends (HandleStream). It carries whatever needs an answer; hints go over infra/bus.
//
// What it guarantees:
//
//   - Only who knows the cluster's secret gets past the first line, in both directions, and nothing travels that opens anything again: each
//     request carries a code over what it asks for (infra/proof), its name and its body's hash, and each answer one over the request's and itself.
//     Whoever is not known is met first, by a call that asks for nothing, so that no request goes to an address that has not proved itself. Of
//     reads and streams the code covers who answers, and not the bytes, which have checksums. There is no TLS: who sits on the
//     path reads along, and can put bytes into reads and streams; the listener belongs on loopback or a private network.
//   - Everything is bounded: header and body size (413), calls in flight and the bytes of their bodies (503 with Retry-After).
//   - Errors survive the wire: a sentinel registered with RegisterError on both sides satisfies errors.Is at the caller, with
//     the message and, where the callee knows it, the leader's address.
//   - Deadlines travel as the time that remains, so that clocks need not agree.
//   - A call is executed at most once, however often and late copies of it arrive: from a network that repeats, or from somebody
//     who recorded one. Each names the callee's incarnation, which ends with its process, the caller and a number. So do
//     reads and openings of streams. No clock is asked.
//   - A caller can tell "was never sent" (ErrUnreachable) from "may have been executed" (ErrBroken). Nothing is retried here.
//
// It leaves to others what the methods mean and who may be asked what.
package rpc
