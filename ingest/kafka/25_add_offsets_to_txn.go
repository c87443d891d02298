package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/coordinator/metapb"
)

// AddOffsetsToTxn (key 25), versions 0 to 4.
//
//	v2  PRODUCER_FENCED
//	v3  flexible
//	v4  TRANSACTION_ABORTABLE; same bytes

func handleAddOffsetsToTxn(ctx context.Context, call *call, r *kmsg.AddOffsetsToTxnRequest) (kmsg.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, transactionTimeout)
	defer cancel()
	response := kmsg.NewPtrAddOffsetsToTxnResponse()
	response.ErrorCode = errorCode(addOffsets(ctx, call, r))
	return response, nil
}

func addOffsets(ctx context.Context, call *call, r *kmsg.AddOffsetsToTxnRequest) *kerr.Error {
	if e := call.mayTransactionalID(Write, r.TransactionalID); e != nil {
		return e
	}
	if e := call.mayGroup(Read, r.Group); e != nil {
		return e
	}
	if r.TransactionalID == "" {
		return kerr.InvalidRequest
	}
	if !isText(r.Group) {
		return kerr.InvalidGroupID
	}
	verdict, failed := call.proposeTransaction(ctx, &metapb.Command{Kind: &metapb.Command_AddToTransaction{AddToTransaction: &metapb.AddToTransaction{
		TransactionalId: r.TransactionalID, ProducerId: r.ProducerID, ProducerEpoch: int32(r.ProducerEpoch), Groups: []string{r.Group},
	}}})
	if failed != nil {
		return failed
	}
	return transactionError(verdict.Code, r.Version, 2)
}
