// Package proof lets the processes of a cluster tell each other's messages from a stranger's: a code (HMAC-SHA256) over a message shows that whoever
// made it knows the cluster's secret, and that the message is as it was made.
//
// The secret itself never travels, nor does anything it follows from. Each purpose has a key of its own, so that a code that was overheard in one
// place says nothing in another. A code says nothing of when its message was made, or how often it has come: that is for those who use it, and
// they need no clocks for it (infra/rpc names its calls, and who asks on infra/bus puts a number in the question that nobody could foresee).
package proof
