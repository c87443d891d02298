package replica

import (
	"errors"

	"github.com/varvelog/varve/infra/rpc"
)

// The errors on which callers branch. ErrNotLeader, ErrBusy, ErrWithdrawn, ErrTooLarge and ErrMalformed are definite: nothing of what was
// submitted is in the log or will be.
var (
	// ErrNotLeader: the coordinator asked does not lead.
	ErrNotLeader = errors.New("this coordinator does not lead")
	// ErrBusy: the leader's queue is full.
	ErrBusy = errors.New("the leader's queue is full")
	// ErrWithdrawn: the caller had given it up, or it was not valid any more, before it was submitted.
	ErrWithdrawn = errors.New("withdrawn before it was submitted")
	// ErrTooLarge: the commands can never be submitted at once.
	ErrTooLarge = errors.New("commands are too large to submit")
	// ErrMalformed: a command cannot be written to the log, for it holds a string that is not UTF-8.
	ErrMalformed = errors.New("command cannot be encoded")
	// ErrNoLeader: no leader was found before the deadline; nothing was submitted.
	ErrNoLeader = errors.New("no leader was found")
	// ErrAmbiguous: the deadline passed without a verdict; the command may be applied, now or later.
	ErrAmbiguous = errors.New("outcome is not known")
	// ErrClosed: the replica was closed.
	ErrClosed = errors.New("replica is closed")
	// ErrForked: an entry does not continue the log this replica has applied.
	ErrForked = errors.New("metalog entry does not follow its predecessor")
	// ErrLogLost: entries are gone from the log that were in it, and were applied. A node that starts on what is left of it deletes the hot segments that it does not know.
	ErrLogLost = errors.New("the metadata log has lost entries that were acknowledged: `varve recover --hotlog` adopts what the nodes' hot logs hold of them, if no node is started before")
	// ErrLogShort: the log ends before the newest snapshot or the archive of it.
	ErrLogShort = errors.New("metalog has lost its tail, or --data-dir or --nats-url is not this cluster's")
	// errSeemsShort: what may be ErrLogShort, and may be a server that is behind the others.
	errSeemsShort = errors.New("the log's servers do not agree on its end yet")
	// ErrNoSnapshot: the log's beginning was truncated and the snapshot that stands for it is missing.
	ErrNoSnapshot = errors.New("snapshot that the metalog continues is missing")
)

func init() {
	rpc.RegisterError("NOT_LEADER", ErrNotLeader)
	rpc.RegisterError("BUSY", ErrBusy)
	rpc.RegisterError("WITHDRAWN", ErrWithdrawn)
	rpc.RegisterError("COMMANDS_TOO_LARGE", ErrTooLarge)
	rpc.RegisterError("COMMAND_MALFORMED", ErrMalformed)
	rpc.RegisterError("NO_LEADER", ErrNoLeader)
	rpc.RegisterError("AMBIGUOUS", ErrAmbiguous)
}

// definite says whether err proves that nothing was submitted and it may be tried again.
func definite(err error) bool {
	return errors.Is(err, ErrNotLeader) || errors.Is(err, ErrNoLeader) || errors.Is(err, ErrBusy) || errors.Is(err, ErrWithdrawn) || rpc.NotExecuted(err)
}
