package kafka

import (
	"context"
	"errors"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/coordinator/replica"
)

// What the handlers of transactions share. Every node serves every transactional id: commands go to the leader, and what is read is read
// from this node's replica behind a barrier. The end of a transaction is one command, so CONCURRENT_TRANSACTIONS is never answered.

// joinsTransactions is the version of Produce from which on a transactional batch adds its partition by itself (KIP-890), as a commit of
// offsets adds its group from joinsTxnOffsetCommit on.
const (
	joinsTransactions    = 12
	joinsTxnOffsetCommit = 5
)

// transactionError maps the outcome of a command about a transaction. fencedSince is the version that knows PRODUCER_FENCED.
func transactionError(code meta.Code, version, fencedSince int16) *kerr.Error {
	switch code {
	case meta.OK:
		return nil
	case meta.ProducerFenced:
		if version < fencedSince {
			return kerr.InvalidProducerEpoch
		}
		return kerr.ProducerFenced
	case meta.InvalidTransactionState:
		return kerr.InvalidTxnState
	case meta.InvalidProducerIDMapping:
		return kerr.InvalidProducerIDMapping
	case meta.InvalidTransactionTimeout:
		return kerr.InvalidTransactionTimeout
	default:
		return codeError(code)
	}
}

// abortable puts TRANSACTION_ABORTABLE, which tells a client to abort and go on, in the place of INVALID_TXN_STATE where the client
// knows it.
func abortable(e *kerr.Error, version, since int16) *kerr.Error {
	if e == kerr.InvalidTxnState && version >= since {
		return kerr.TransactionAbortable
	}
	return e
}

// proposeTransaction proposes a command about a transaction. Whatever keeps it from having a verdict is retriable, and a repeat of it
// is told from a new one by the state; but before KIP-890 not from one of the producer's next transaction, since they have one epoch. One that was held up must not
// come behind what its client, having given up, does through another node: it would end the next transaction in the middle, or begin one that nobody ends. So it goes
// the way of commits of offsets (whileHere), and the connection is closed where the client may be elsewhere.
func (c *call) proposeTransaction(ctx context.Context, command *metapb.Command) (verdict meta.Verdict, failed *kerr.Error) {
	var err error
	if e := c.whileHere(ctx, func(ctx context.Context) (settled bool) {
		// Each attempt has an id of its own: an answer to one does not say that another is in the log, or never will be.
		verdict, err = c.propose(ctx, &metapb.Command{Kind: command.Kind})
		return err == nil || errors.Is(err, replica.ErrTooLarge)
	}); e != nil {
		c.elsewhere = errors.Is(e, errCloseConnection)
		return verdict, kerr.CoordinatorNotAvailable
	}
	switch {
	case errors.Is(err, replica.ErrTooLarge):
		return verdict, kerr.InvalidRequest
	case err != nil:
		return verdict, kerr.CoordinatorNotAvailable
	}
	return verdict, nil
}

// mayTransactionalID is allowed as an error; nil is yes.
func (c *call) mayTransactionalID(operation Operation, id string) *kerr.Error {
	if c.conn.allowed(operation, TransactionalIDResource, id) {
		return nil
	}
	return kerr.TransactionalIDAuthorizationFailed
}

func errorCode(e *kerr.Error) int16 {
	if e == nil {
		return 0
	}
	return e.Code
}
