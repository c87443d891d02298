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
//	v4  PRODUCER_FENCED; v5 transactions without AddPartitionsToTxn (KIP-890)
//
// A producer with a transactional id is refused, as authorisation would refuse it: there are no transactions yet. An idempotent producer
// that wants a new epoch gets a new id instead, as Kafka's broker gives it where there is no transactional id.

const initProducerIDTimeout = 10 * time.Second

func handleInitProducerID(ctx context.Context, call *call, r *kmsg.InitProducerIDRequest) (kmsg.Response, error) {
	response := kmsg.NewPtrInitProducerIDResponse()
	response.ProducerID, response.ProducerEpoch = -1, -1
	if (r.ProducerID == -1) != (r.ProducerEpoch == -1) {
		response.ErrorCode = kerr.InvalidRequest.Code // one without the other says nothing
		return response, nil
	}
	if r.TransactionalID != nil {
		response.ErrorCode = kerr.TransactionalIDAuthorizationFailed.Code
		if *r.TransactionalID == "" {
			response.ErrorCode = kerr.InvalidRequest.Code
		}
		return response, nil
	}
	if e := call.mayCluster(IdempotentWrite); e != nil {
		response.ErrorCode = e.Code
		return response, nil
	}
	ctx, cancel := context.WithTimeout(ctx, initProducerIDTimeout)
	defer cancel()
	verdict, err := call.propose(ctx, &metapb.Command{Kind: &metapb.Command_AllocateProducerId{AllocateProducerId: &metapb.AllocateProducerId{}}})
	if err != nil {
		response.ErrorCode = proposalError(err, kerr.CoordinatorNotAvailable).Code
		return response, nil
	}
	if e := codeError(verdict.Code); e != nil {
		response.ErrorCode = e.Code
		return response, nil
	}
	response.ProducerID, response.ProducerEpoch = verdict.ProducerID, 0
	return response, nil
}
