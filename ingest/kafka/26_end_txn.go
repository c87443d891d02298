package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/coordinator/metapb"
)

// EndTxn (key 26), versions 0 to 5.
//
//	v2  PRODUCER_FENCED
//	v3  flexible
//	v4  TRANSACTION_ABORTABLE; same bytes
//	v5  the producer goes on with the next epoch, which the answer tells (KIP-890)
//
// One command, whatever the number of partitions. When it is answered the outcome can be read.

func handleEndTxn(ctx context.Context, call *call, r *kmsg.EndTxnRequest) (kmsg.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, transactionTimeout)
	defer cancel()
	response := kmsg.NewPtrEndTxnResponse()
	response.ProducerID, response.ProducerEpoch = -1, -1
	refuse := func(e *kerr.Error) (kmsg.Response, error) {
		response.ErrorCode = e.Code
		return response, nil
	}
	if e := call.mayTransactionalID(Write, r.TransactionalID); e != nil {
		return refuse(e)
	}
	if r.TransactionalID == "" {
		return refuse(kerr.InvalidRequest)
	}
	verdict, failed := call.proposeTransaction(ctx, &metapb.Command{Kind: &metapb.Command_EndTransaction{EndTransaction: &metapb.EndTransaction{
		TransactionalId: r.TransactionalID, ProducerId: r.ProducerID, ProducerEpoch: int32(r.ProducerEpoch), Commit: r.Commit, BumpsEpoch: r.Version >= 5,
	}}})
	if failed == nil {
		failed = transactionError(verdict.Code, r.Version, 2)
	}
	if failed != nil {
		return refuse(failed)
	}
	response.ProducerID, response.ProducerEpoch = verdict.ProducerID, verdict.ProducerEpoch
	return response, nil
}
