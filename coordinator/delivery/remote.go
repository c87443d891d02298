package delivery

import (
	"context"

	"google.golang.org/protobuf/proto"

	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/infra/rpc"
)

// The methods on the leader's internal listener.
const (
	methodTake        = "delivery/take"
	methodAcknowledge = "delivery/acknowledge"
	methodRelease     = "delivery/release"
)

// methodOffer waits until there are records, for as long as the client's fetch does.
var methodOffer = rpc.Waiting("delivery/offer")

// Register serves c on the internal listener.
func Register(r rpc.Registrar, c *Coordinator) {
	rpc.Method(r, methodOffer, c.Offer)
	rpc.Method(r, methodTake, c.Take)
	rpc.Method(r, methodAcknowledge, c.Acknowledge)
	rpc.Method(r, methodRelease, c.Release)
}

// Caller asks the leader, wherever it is (coordinator/replica.Remote).
type Caller interface {
	Call(ctx context.Context, method string, request, response proto.Message) error
}

// Remote has the methods of a Coordinator in another process. An error means that there was no answer: whether the request took effect is
// not known. A reservation that is lost runs out, and records that are lost are given out again when their lock ends.
type Remote struct {
	caller Caller
}

// NewRemote returns a Remote.
func NewRemote(caller Caller) *Remote { return &Remote{caller} }

// Offer is Coordinator.Offer.
func (r *Remote) Offer(ctx context.Context, q *metapb.DeliveryOfferRequest) (*metapb.DeliveryOfferResponse, error) {
	answer := &metapb.DeliveryOfferResponse{}
	return answer, r.caller.Call(ctx, methodOffer, q, answer)
}

// Take is Coordinator.Take.
func (r *Remote) Take(ctx context.Context, q *metapb.DeliveryTakeRequest) (*metapb.DeliveryTakeResponse, error) {
	answer := &metapb.DeliveryTakeResponse{}
	return answer, r.caller.Call(ctx, methodTake, q, answer)
}

// Acknowledge is Coordinator.Acknowledge.
func (r *Remote) Acknowledge(ctx context.Context, q *metapb.DeliveryAcknowledgeRequest) (*metapb.DeliveryAcknowledgeResponse, error) {
	answer := &metapb.DeliveryAcknowledgeResponse{}
	return answer, r.caller.Call(ctx, methodAcknowledge, q, answer)
}

// Release is Coordinator.Release.
func (r *Remote) Release(ctx context.Context, q *metapb.DeliveryReleaseRequest) (*metapb.DeliveryReleaseResponse, error) {
	answer := &metapb.DeliveryReleaseResponse{}
	return answer, r.caller.Call(ctx, methodRelease, q, answer)
}
