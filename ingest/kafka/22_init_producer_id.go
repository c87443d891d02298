package kafka

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/coordinator/metapb"
)

// InitProducerId (key 22), versions 0 to 5.
//
//	v2  flexible
//	v3  the producer's present id and epoch, to be bumped (KIP-360)
//	v4  PRODUCER_FENCED
//	v5  transactions without AddPartitionsToTxn (KIP-890); same bytes
//
// An idempotent producer that wants a new epoch gets a new id instead, as Kafka's broker gives it where there is no transactional id. A
// transactional one gets the next epoch of its id; a transaction that is open is aborted in the same command.

const initProducerIDTimeout = 10 * time.Second

func handleInitProducerID(ctx context.Context, call *call, r *kmsg.InitProducerIDRequest) (kmsg.Response, error) {
	response := kmsg.NewPtrInitProducerIDResponse()
	response.ProducerID, response.ProducerEpoch = -1, -1
	command, refused := initProducerCommand(call, r)
	if refused != nil {
		response.ErrorCode = refused.Code
		return response, nil
	}
	ctx, cancel := context.WithTimeout(ctx, initProducerIDTimeout)
	defer cancel()
	verdict, failed := call.proposeTransaction(ctx, command)
	if failed == nil {
		failed = transactionError(verdict.Code, r.Version, 4)
	}
	if failed != nil {
		response.ErrorCode = failed.Code
		return response, nil
	}
	response.ProducerID, response.ProducerEpoch = verdict.ProducerID, verdict.ProducerEpoch
	return response, nil
}

func initProducerCommand(call *call, r *kmsg.InitProducerIDRequest) (*metapb.Command, *kerr.Error) {
	if (r.ProducerID == -1) != (r.ProducerEpoch == -1) {
		return nil, kerr.InvalidRequest // one without the other says nothing
	}
	if r.TransactionalID == nil {
		if e := call.mayCluster(IdempotentWrite); e != nil {
			return nil, e
		}
		return &metapb.Command{Kind: &metapb.Command_AllocateProducerId{AllocateProducerId: &metapb.AllocateProducerId{}}}, nil
	}
	id := *r.TransactionalID
	if e := call.mayTransactionalID(Write, id); e != nil {
		return nil, e
	}
	if id == "" || !isText(id) {
		return nil, kerr.InvalidRequest
	}
	return &metapb.Command{Kind: &metapb.Command_InitTransactionalProducer{InitTransactionalProducer: &metapb.InitTransactionalProducer{
		TransactionalId: id, TimeoutMillis: r.TransactionTimeoutMillis,
		ExpectedProducerId: r.ProducerID, ExpectedProducerEpoch: int32(r.ProducerEpoch),
	}}}, nil
}
