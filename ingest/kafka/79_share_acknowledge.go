package kafka

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/coordinator/meta"
)

// ShareAcknowledge (key 79), version 1 (KIP-932). Version 0 was an early access of Kafka 4.0.

const shareAcknowledgeTimeout = 30 * time.Second

func handleShareAcknowledge(ctx context.Context, call *call, r *kmsg.ShareAcknowledgeRequest) (kmsg.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, shareAcknowledgeTimeout)
	defer cancel()
	response := kmsg.NewPtrShareAcknowledgeResponse()
	key := shareSessionKey{orEmpty(r.GroupID), orEmpty(r.MemberID)}
	fail := func(e *kerr.Error) (kmsg.Response, error) {
		response.ErrorCode = e.Code
		return response, nil
	}
	if e := call.mayGroup(Read, key.group); e != nil {
		return fail(e)
	}
	if !isMemberID(key.member) || !isText(key.group) {
		return fail(kerr.UnknownServerError)
	}
	switch r.ShareSessionEpoch {
	case initialShareEpoch:
		return fail(kerr.InvalidShareSessionEpoch)
	case finalShareEpoch:
		if !call.server().shareSessions.has(key) {
			return fail(kerr.ShareSessionNotFound)
		}
	default:
		if _, e := call.server().shareSessions.next(key, r.ShareSessionEpoch, nil, nil); e != nil {
			return fail(e)
		}
	}
	var asked []shareAcknowledgements
	for i := range r.Topics {
		for j := range r.Topics[i].Partitions {
			p := &r.Topics[i].Partitions[j]
			asked = append(asked, shareAcknowledgements{meta.TopicPartition{Topic: r.Topics[i].TopicID, Partition: p.Partition}, p.AcknowledgementBatches, false})
		}
	}
	codes, told := call.acknowledgeShares(ctx, key.group, key.member, asked)
	for i := range asked {
		if !told[i] {
			continue
		}
		p := kmsg.NewShareAcknowledgeResponseTopicPartition()
		if p.Partition, p.ErrorCode = asked[i].Partition, codes[i]; p.ErrorCode != 0 {
			p.CurrentLeader.LeaderID, p.CurrentLeader.LeaderEpoch = unknownShareLeader, unknownShareLeader
		}
		if p.ErrorCode != 0 && !asked[i].refused { // only what the share partition itself refused has a message in Kafka
			p.ErrorMessage = kmsg.StringPtr(kerr.TypedErrorForCode(p.ErrorCode).Description)
		}
		if n := len(response.Topics); n == 0 || response.Topics[n-1].TopicID != asked[i].Topic {
			topic := kmsg.NewShareAcknowledgeResponseTopic()
			topic.TopicID = asked[i].Topic
			response.Topics = append(response.Topics, topic)
		}
		t := &response.Topics[len(response.Topics)-1]
		t.Partitions = append(t.Partitions, p)
	}
	if r.ShareSessionEpoch == finalShareEpoch {
		call.conn.closeShareSession(ctx, key)
	}
	return response, nil
}
