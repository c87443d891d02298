package kafka

import (
	"context"
	"encoding/base64"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
)

// Shares gives out the records of share groups (coordinator/delivery): itself where it runs in this process, else the way to it.
type Shares interface {
	// Offer waits as long as it is told until there are records for the member, and reserves them.
	Offer(context.Context, *metapb.DeliveryOfferRequest) (*metapb.DeliveryOfferResponse, error)
	Take(context.Context, *metapb.DeliveryTakeRequest) (*metapb.DeliveryTakeResponse, error)
	Acknowledge(context.Context, *metapb.DeliveryAcknowledgeRequest) (*metapb.DeliveryAcknowledgeResponse, error)
	Release(context.Context, *metapb.DeliveryReleaseRequest) (*metapb.DeliveryReleaseResponse, error)
}

// deliveryError maps an outcome of the delivery of records, 0 is success.
func deliveryError(code metapb.DeliveryCode, unavailable *kerr.Error) int16 {
	switch code {
	case metapb.DeliveryCode_DELIVERY_OK:
		return 0
	case metapb.DeliveryCode_DELIVERY_UNKNOWN_TOPIC:
		return kerr.UnknownTopicOrPartition.Code
	case metapb.DeliveryCode_DELIVERY_NO_STATE:
		return kerr.UnknownServerError.Code // as Kafka has it for a partition that the group was not assigned
	case metapb.DeliveryCode_DELIVERY_RECORD_STATE:
		return kerr.InvalidRecordState.Code
	case metapb.DeliveryCode_DELIVERY_INVALID_REQUEST:
		return kerr.InvalidRequest.Code
	default:
		return unavailable.Code
	}
}

// unknownShareLeader stands for the current leader and its epoch beside an error. Kafka leaves both 0, which some clients take for node 0.
const unknownShareLeader = -1

// isMemberID says whether a string is an id as members of share groups make them: a UUID in URL-safe base64. Topic ids are written so, too.
func isMemberID(id string) bool {
	b, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(id, "="))
	return err == nil && len(b) == 16 && len(id) <= 24
}

// shareAcknowledgements are what a request says of one partition's records.
type shareAcknowledgements struct {
	meta.TopicPartition
	batches []kmsg.ShareAcknowledgeRequestTopicPartitionAcknowledgementBatch
	refused bool // before the share partition was asked
}

// acknowledgeShares does what a member says of its records; answers[i] is the code for asked[i], and told says whether it is to be answered.
func (c *call) acknowledgeShares(ctx context.Context, group, member string, asked []shareAcknowledgements) (answers []int16, told []bool) {
	answers, told = make([]int16, len(asked)), make([]bool, len(asked))
	request := &metapb.DeliveryAcknowledgeRequest{Group: group, MemberId: member}
	var places []int
	for i := range asked {
		if answers[i] = c.checkAcknowledgements(&asked[i]); answers[i] != 0 {
			told[i], asked[i].refused = true, true
			continue
		}
		if len(asked[i].batches) > 0 {
			request.Partitions = append(request.Partitions, asked[i].proto())
			places = append(places, i)
		}
	}
	if len(places) == 0 {
		return answers, told
	}
	for k, code := range c.acknowledgePatiently(ctx, request) {
		if answers[places[k]] = deliveryError(code, kerr.CoordinatorNotAvailable); answers[places[k]] == 0 {
			asked[places[k]].count(c.server().config.Metrics)
		}
	}
	for i := range told {
		told[i] = true // Kafka answers for partitions of which nothing was said as soon as something was said of any
	}
	return answers, told
}

const (
	acknowledgePatience = 10 * time.Second
	acknowledgePause    = 50 * time.Millisecond
)

// acknowledgePatiently asks again while there is no leader, and returns a code for each partition. Where nobody knows what an attempt came to, the
// next one is definite: the records are done with, or the member has them no more.
func (c *call) acknowledgePatiently(ctx context.Context, request *metapb.DeliveryAcknowledgeRequest) []metapb.DeliveryCode {
	ctx, cancel := context.WithTimeout(ctx, acknowledgePatience)
	defer cancel()
	codes := make([]metapb.DeliveryCode, len(request.Partitions))
	left := make([]int, len(codes)) // places of the partitions that are asked for
	for i := range left {
		codes[i], left[i] = metapb.DeliveryCode_DELIVERY_UNAVAILABLE, i
	}
	all := request.Partitions
	for {
		done, err := c.domain().Shares.Acknowledge(ctx, request)
		if err == nil && len(done.Codes) == len(left) {
			for k, i := range left {
				codes[i] = done.Codes[k]
			}
		}
		left = slices.DeleteFunc(left, func(i int) bool { return codes[i] != metapb.DeliveryCode_DELIVERY_UNAVAILABLE })
		if len(left) == 0 {
			return codes
		}
		request = &metapb.DeliveryAcknowledgeRequest{Group: request.Group, MemberId: request.MemberId}
		for _, i := range left {
			request.Partitions = append(request.Partitions, all[i])
		}
		timer := time.NewTimer(acknowledgePause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return codes
		}
	}
}

// checkAcknowledgements is what can be said against a partition's acknowledgements without knowing its records.
func (c *call) checkAcknowledgements(a *shareAcknowledgements) int16 {
	if e := c.sharedPartition(a.TopicPartition); e != nil && e.Code == kerr.UnknownTopicID.Code {
		return e.Code
	}
	previous := int64(-1)
	for i := range a.batches {
		b := &a.batches[i]
		switch {
		case b.FirstOffset > b.LastOffset, b.FirstOffset < previous, len(b.AcknowledgeTypes) == 0,
			len(b.AcknowledgeTypes) > 1 && b.LastOffset-b.FirstOffset != int64(len(b.AcknowledgeTypes)-1):
			return kerr.InvalidRequest.Code
		}
		for _, t := range b.AcknowledgeTypes {
			if t < 0 || t > 3 {
				return kerr.InvalidRequest.Code
			}
		}
		previous = b.LastOffset
	}
	if e := c.sharedPartition(a.TopicPartition); e != nil {
		return e.Code
	}
	return 0
}

// sharedPartition says what is wrong with a partition that a client names by its topic's id; nil is nothing.
func (c *call) sharedPartition(tp meta.TopicPartition) (e *kerr.Error) {
	c.domain().Metadata.View(func(s *meta.State) {
		t := s.Topic(tp.Topic)
		switch {
		case t == nil:
			e = kerr.UnknownTopicID
		case c.mayTopic(Read, t.Name) != nil:
			e = kerr.TopicAuthorizationFailed
		case t.Partition(tp.Partition) == nil:
			e = kerr.UnknownTopicOrPartition
		}
	})
	return e
}

// acknowledgementNames are Kafka's types by number.
var acknowledgementNames = [...]string{"gap", "accept", "release", "reject"}

// count tells of what was said. One type may stand for many records.
func (a *shareAcknowledgements) count(metrics Metrics) {
	for i := range a.batches {
		b := &a.batches[i]
		each := int64(1)
		if len(b.AcknowledgeTypes) == 1 {
			each = b.LastOffset - b.FirstOffset + 1
		}
		for _, t := range b.AcknowledgeTypes {
			metrics.Acknowledged(acknowledgementNames[t], max(each, 0))
		}
	}
}

func (a *shareAcknowledgements) proto() *metapb.DeliveryAcknowledgements {
	out := &metapb.DeliveryAcknowledgements{TopicId: a.Topic[:], Partition: a.Partition}
	for i := range a.batches {
		b := &a.batches[i]
		types := make([]byte, len(b.AcknowledgeTypes))
		for j, t := range b.AcknowledgeTypes {
			types[j] = byte(t)
		}
		next := b.LastOffset
		if next < math.MaxInt64 {
			next++
		}
		out.Batches = append(out.Batches, &metapb.DeliveryAcknowledgement{BaseOffset: b.FirstOffset, NextOffset: next, Types: types})
	}
	return out
}
