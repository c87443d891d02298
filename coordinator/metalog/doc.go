// Package metalog is the contract of the metadata log: a sequence of entries, numbered from 1 without gaps, to which one
// writer at a time appends by compare-and-append.
//
// The log is Varve's only authority. It guarantees:
//
//   - An append names the sequence it takes. Of several writers that race for one sequence exactly one wins, and every
//     entry that was ever readable at a sequence stays the entry of that sequence.
//   - An entry is durable when Append returns nil.
//   - Truncation removes a prefix; numbering goes on.
//
// A writer fences another by appending an entry marked Fence: whoever still believes to be the writer finds its next
// sequence taken. Backends keep that true for ever, also after truncation, whatever the old writer slept through.
//
// What an entry says is left to coordinator/metapb, who appends to coordinator/leader. The backends are in jetstream and
// bucket; mem is a model for tests that can lose requests and answers. metalogtest is the acceptance suite of all three.
package metalog
