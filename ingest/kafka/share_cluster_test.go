package kafka

import (
	"context"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
)

type noShares struct{}

// Release has nothing to give back: a connection may end with a share session open.
func (noShares) Release(context.Context, *metapb.DeliveryReleaseRequest) (*metapb.DeliveryReleaseResponse, error) {
	return &metapb.DeliveryReleaseResponse{}, nil
}

// Watch implements delivery.Log: every commit wakes everybody.
func (c *cluster) Watch(_ []meta.TopicPartition, ch chan<- struct{}) (cancel func()) {
	ctx, stop := context.WithCancel(context.Background())
	c.mu.Lock()
	committed := c.mu.committed
	c.mu.Unlock()
	c.wait.Go(func() {
		for {
			select {
			case <-committed:
			case <-ctx.Done():
				return
			}
			c.mu.Lock()
			committed = c.mu.committed
			c.mu.Unlock()
			select {
			case ch <- struct{}{}:
			default:
			}
		}
	})
	return stop
}

func (noShares) Offer(context.Context, *metapb.DeliveryOfferRequest) (*metapb.DeliveryOfferResponse, error) {
	return &metapb.DeliveryOfferResponse{}, nil
}

func (noShares) Take(context.Context, *metapb.DeliveryTakeRequest) (*metapb.DeliveryTakeResponse, error) {
	return &metapb.DeliveryTakeResponse{}, nil
}

func (noShares) Acknowledge(context.Context, *metapb.DeliveryAcknowledgeRequest) (*metapb.DeliveryAcknowledgeResponse, error) {
	return &metapb.DeliveryAcknowledgeResponse{}, nil
}
