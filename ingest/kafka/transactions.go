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
// is told from a new one by the state.
func (c *call) proposeTransaction(ctx context.Context, command *metapb.Command) (meta.Verdict, *kerr.Error) {
	verdict, err := c.propose(ctx, command)
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
