// Package replica keeps one meta.State up with the metadata log, and is how everything else of a process reads that state,
// proposes changes to it, and waits for them.
//
// A Replica is opened from the newest snapshot in the bucket and the log behind it. From then on entries reach it either
// from the leader in the same process (ApplyLocal) or, with Follow, from the bus as hints, whose gaps are filled from the
// log. Without the bus it goes on: answers of the leader tell how far the log is, and where they stay away too, the log
// is asked.
//
// What it guarantees:
//
//   - Entries are applied in order, each exactly once, checked against the log's id and the hash of its predecessor.
//   - A verdict, a high watermark or a sequence that is waited for is signalled when it can be read here (View).
//   - Barrier returns when everything that was answered to anybody before the call is applied here.
//   - Propose answers definitely, or says that it cannot (ErrAmbiguous, ErrNoLeader).
//
// Lock order: apply lock, state lock, then any one of the small locks of waiters, watchers and sinks; nothing is called out
// to with a small lock held. Callbacks named so run under the state's write lock and must neither block nor call the
// replica; listeners run behind it.
//
// File map: replica.go opening and reading; apply.go one entry; wait.go sequences and verdicts; watch.go long polls;
// propose.go; barrier.go; follow.go the bus and the log; remote.go a leader in another process; snapshot.go and FORMAT.md; save.go
// writing and pruning snapshots; proven.go what of them is known to be whole.
package replica
