// Package copies brings chunks of the class replicated to a second node, durably, and takes those of others.
//
//	lane ──Send──▶ Sender ──frames, pipelined──▶ Receiver ──AcceptCopy──▶ the peer's hot log (its own group commit)
//	  ◀────Done──────┴◀──────────answers──────────────┘
//
// # What it guarantees
//
//   - Done is called once for each chunk: with the place of a copy that was durable on another node, or with an error, after which
//     nobody may use whatever copies there are.
//   - One peer at a time has the chunks of a Sender: the first in rendezvous order that can be reached and is not slow. When it fails,
//     or has not answered for a multiple of its usual time, everything without an answer is sent to the next, under the same
//     sequence numbers. Copies that were made and not answered are garbage: the metadata names the place.
//   - What arrives is what was sent, or is refused: frames have checksums over header and body.
//   - Everything is bounded: what a Receiver holds by a budget of bytes, at which it stops reading; what a Sender holds by its caller.
//
// # What it leaves to others
//
// Who is eligible (Candidates says it of a state), connections (infra/rpc), what becomes of a chunk without a copy (ingest/lane).
//
// # Frames
//
// Integers are little-endian, CRC means CRC32C. A chunk, 56 bytes and its body:
//
//	0   4  "VCPY"             24  8  node epoch
//	4   2  version, 1         32  8  seq
//	6   2  zero               40  4  length of the body
//	8   8  id of the frame    44  4  CRC of the body
//	16  4  node               48  4  zero
//	20  4  lane               52  4  CRC of bytes 0-51
//
// An answer, 48 bytes, in any order:
//
//	0   4  "VCPA"             24  8  epoch of the node that has the copy
//	4   2  version, 1         32  8  segment
//	6   2  0 durable, 1 not   40  4  zero
//	8   8  id of the frame    44  4  CRC of bytes 0-43
//	16  4  node
//	20  4  position
package copies
