package kafka

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/coordinator/meta"
)

// ShareFetch (key 78), version 1 (KIP-932). Version 0 was an early access of Kafka 4.0.
//
// Acknowledgements that come with a fetch are done before it, and answered with it. The fetch itself is in share_reading.go.

// answerShareFetch answers a ShareFetch request.
func answerShareFetch(ctx context.Context, call *call, request kmsg.Request) error {
	r := request.(*kmsg.ShareFetchRequest) //nolint:forcetypeassert // the table's key made it
	began := time.Now()
	f := &shareFetching{
		call: call, key: shareSessionKey{orEmpty(r.GroupID), orEmpty(r.MemberID)}, request: r, rows: map[meta.TopicPartition]*shareFetchRow{},
	}
	partitions, refused := f.open(ctx)
	if refused != nil {
		f.encode(refused, f.throttle(0))
		return nil
	}
	planned := time.Since(began)
	asked := shareFetchAcknowledgements(r)
	var codes []int16
	var told []bool
	if r.ShareSessionEpoch != initialShareEpoch && hasAcknowledgements(asked) {
		codes, told = call.acknowledgeShares(ctx, f.key.group, f.key.member, asked)
	}
	f.run(ctx, partitions)
	for i := range told {
		if told[i] {
			f.row(asked[i].TopicPartition).acknowledged = codes[i]
		}
	}
	f.encode(nil, f.throttle(planned))
	if r.ShareSessionEpoch == finalShareEpoch {
		call.conn.closeShareSession(ctx, f.key)
	}
	return nil
}

// open judges the request as a whole, and returns the partitions to fetch from.
func (f *shareFetching) open(ctx context.Context) ([]meta.TopicPartition, *kerr.Error) {
	if e := f.call.mayGroup(Read, f.key.group); e != nil {
		return nil, e
	}
	if !isMemberID(f.key.member) || !isText(f.key.group) {
		return nil, kerr.UnknownServerError
	}
	return f.call.shareSession(ctx, f.key, f.request)
}

// shareSession finds or opens the session of a fetch, and returns the partitions to fetch from, in the order in which they are to be
// looked at.
func (c *call) shareSession(ctx context.Context, key shareSessionKey, r *kmsg.ShareFetchRequest) ([]meta.TopicPartition, *kerr.Error) {
	sessions := c.server().shareSessions
	var named, forgotten []meta.TopicPartition
	for i := range r.Topics {
		for j := range r.Topics[i].Partitions {
			named = append(named, meta.TopicPartition{Topic: r.Topics[i].TopicID, Partition: r.Topics[i].Partitions[j].Partition})
		}
	}
	for i := range r.ForgottenTopicsData {
		for _, p := range r.ForgottenTopicsData[i].Partitions {
			forgotten = append(forgotten, meta.TopicPartition{Topic: r.ForgottenTopicsData[i].TopicID, Partition: p})
		}
	}
	switch r.ShareSessionEpoch {
	case finalShareEpoch:
		if !sessions.has(key) {
			return nil, kerr.ShareSessionNotFound
		}
		return nil, nil
	case initialShareEpoch:
		if hasAcknowledgements(shareFetchAcknowledgements(r)) {
			return nil, kerr.InvalidRequest
		}
		bound := 0
		c.domain().Metadata.View(func(s *meta.State) { bound = s.MaxShareSessions() })
		c.conn.opensShares = true
		if e := sessions.open(c.conn, key, named, bound); e != nil {
			c.waitIdly(ctx, r.MaxWaitMillis)
			return nil, e
		}
		return distinct(named), nil
	}
	partitions, e := sessions.next(key, r.ShareSessionEpoch, named, forgotten)
	if e != nil || len(partitions) == 0 {
		return nil, e
	}
	first := int(r.ShareSessionEpoch) % len(partitions)
	return append(partitions[first:len(partitions):len(partitions)], partitions[:first]...), nil
}

// waitIdly keeps a client that is turned away from asking again at once.
func (c *call) waitIdly(ctx context.Context, millis int32) {
	c.pause(ctx, min(max(time.Duration(millis)*time.Millisecond, 0), maxFetchMaxWait))
}

// pause returns after a while, or when the client or the server goes.
func (c *call) pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	case <-c.conn.poll.Done():
	}
}

// shareFetchAcknowledgements are those of a fetch, one for each partition named, with or without batches.
func shareFetchAcknowledgements(r *kmsg.ShareFetchRequest) (asked []shareAcknowledgements) {
	for i := range r.Topics {
		for j := range r.Topics[i].Partitions {
			p := &r.Topics[i].Partitions[j]
			a := shareAcknowledgements{TopicPartition: meta.TopicPartition{Topic: r.Topics[i].TopicID, Partition: p.Partition}}
			for _, b := range p.AcknowledgementBatches {
				a.batches = append(a.batches, kmsg.ShareAcknowledgeRequestTopicPartitionAcknowledgementBatch{
					FirstOffset: b.FirstOffset, LastOffset: b.LastOffset, AcknowledgeTypes: b.AcknowledgeTypes,
				})
			}
			asked = append(asked, a)
		}
	}
	return asked
}

func hasAcknowledgements(asked []shareAcknowledgements) bool {
	for i := range asked {
		if len(asked[i].batches) > 0 {
			return true
		}
	}
	return false
}
