// Package election finds out when a coordinator of a static group is to take over as leader.
//
// Every member asks every other how it is, a few times a second, over the internal listener, and on its own monotonic clock. A member
// that hears nothing of the leader any more is told that it is its turn (Member.AwaitTurn).
//
// What it guarantees:
//
//   - It is about liveness alone. Who leads is decided by the log: a member whose turn it is appends LeaderStart, and whoever leads
//     without being the last to have done so is fenced (coordinator/leader). Two members whose turn it is at once do no harm.
//   - A leader that any reachable member hears is left alone.
//   - A leader that cannot be there (its port is closed, or it says that it does not lead) is succeeded after a fraction of the time
//     for which one that is merely silent is waited for. One that yields is succeeded at once.
//   - Members take turns: each waits longer than those with lower numbers that live, and with jitter. One that lost its lead again soon
//     waits longer each time.
//   - A process that was itself asleep does not take its own sleep for the leader's silence.
//
// Membership is static: peers that were told different lists, or that use another cluster's bucket, are found out (Member.Check).
package election
