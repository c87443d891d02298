package kafka

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
)

// OffsetCommit (key 8), versions 2 to 9. Version 10 is not stable in Kafka 4.1, and not offered.
//
//	v2  retention time (to v4); v3 throttle time
//	v6  leader epochs (KIP-320)
//	v7  group instance id (KIP-345)
//	v8  flexible
//	v9  KIP-848 members may use it; same bytes
//	v10 topic ids instead of names

// A client that has given up a commit here commits more elsewhere, and what it committed here first must not come behind that. So a commit ends with its
// connection, and is not answered where the connection is read (brief); it waits no longer than clients do (franz-go 10 s, Java 30 s); and it goes on only
// while no client can have been sent to another node in this one's place since its connection was made. Where one may have been, the connection is closed: what stands in it may have been on
// its way for as long as the network was cut. Clients take that for a lost coordinator, look for it and commit again.
const (
	offsetCommitTimeout = 9 * time.Second
	// commitAttempt bounds how long after that was known last a commit is on its way to the leader.
	commitAttempt = 3 * time.Second
)

func handleOffsetCommit(ctx context.Context, call *call, r *kmsg.OffsetCommitRequest) (kmsg.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, offsetCommitTimeout)
	defer cancel()
	response := kmsg.NewPtrOffsetCommitResponse()
	request := &metapb.GroupCommitRequest{Group: r.Group, Generation: r.Generation, MemberId: r.MemberID, InstanceId: r.InstanceID, Version: int32(r.Version)}
	refused := call.mayGroup(Read, r.Group)
	var answers []*int16 // the codes of the request's offsets, to be filled in
	for i := range r.Topics {
		asked := &r.Topics[i]
		id, name, partitions, known := call.resolve(asked.Topic, asked.TopicID, r.Version >= 10)
		topic := kmsg.OffsetCommitResponseTopic{
			Topic: asked.Topic, TopicID: asked.TopicID, Partitions: make([]kmsg.OffsetCommitResponseTopicPartition, len(asked.Partitions)),
		}
		for j := range asked.Partitions {
			p, answer := &asked.Partitions[j], &topic.Partitions[j]
			answer.Partition = p.Partition
			switch {
			case refused != nil:
				answer.ErrorCode = refused.Code
			case !known && r.Version >= 10:
				answer.ErrorCode = kerr.UnknownTopicID.Code
			case !known || p.Partition < 0 || p.Partition >= partitions:
				answer.ErrorCode = kerr.UnknownTopicOrPartition.Code
			case call.mayTopic(Read, name) != nil:
				answer.ErrorCode = kerr.TopicAuthorizationFailed.Code
			default:
				request.Offsets = append(request.Offsets, committedOffset(r, id, p))
				answers = append(answers, &answer.ErrorCode)
			}
		}
		response.Topics = append(response.Topics, topic)
	}
	if len(answers) == 0 {
		return response, nil
	}
	committed, err := call.commitOffsets(ctx, request)
	if errors.Is(err, errCloseConnection) {
		return nil, err
	}
	for i, answer := range answers {
		*answer = groupCode(metapb.GroupCode_GROUP_UNAVAILABLE, err)
		if err == nil && i < len(committed.Codes) {
			*answer = groupCode(committed.Codes[i], nil)
		}
	}
	return response, nil
}

// commitOffsets commits, in a transaction or not, again where contact to the leader was lost meanwhile. It is errCloseConnection where the client may be elsewhere.
func (c *call) commitOffsets(ctx context.Context, request *metapb.GroupCommitRequest) (committed *metapb.GroupCommitResponse, err error) {
	if e := c.whileHere(ctx, func(ctx context.Context) (settled bool) {
		committed, err = c.domain().Groups.Commit(ctx, request)
		return isCommitted(committed)
	}); e != nil {
		return nil, e
	}
	return committed, err
}

// whileHere makes attempts at what must not come behind what its client does elsewhere, until one is settled, fails by itself or ctx ends: each goes on only while
// no client can have been sent to another node since the connection was made. It is errCloseConnection where one may have been.
func (c *call) whileHere(ctx context.Context, try func(ctx context.Context) (settled bool)) error {
	contact := c.domain().Contact
	if contact == nil {
		try(ctx)
		return nil
	}
	for {
		away, checked, err := contact.Await(ctx)
		if err != nil {
			return err
		}
		if !c.conn.since.After(away) {
			return errCloseConnection
		}
		attempt, end := context.WithCancel(ctx)
		watch := time.AfterFunc(time.Until(checked.Add(commitAttempt/2)), func() { c.watchContact(attempt, checked, end) })
		again := !try(attempt) && attempt.Err() != nil && ctx.Err() == nil
		watch.Stop()
		end()
		if !again {
			return nil
		}
	}
}

// watchContact ends an attempt once commitAttempt has passed since the last moment of which it is known that the client was not elsewhere. A slow log is no reason to.
func (c *call) watchContact(attempt context.Context, checked time.Time, end context.CancelFunc) {
	for {
		bounded, cancel := context.WithDeadline(attempt, checked.Add(commitAttempt))
		away, latest, err := c.domain().Contact.Await(bounded)
		cancel()
		if err != nil || !c.conn.since.After(away) {
			end()
			return
		}
		checked = latest
		if !sleep(attempt, commitAttempt/2) {
			return
		}
	}
}

// isCommitted says whether a group has judged a commit: where its call was ended, a leader in this process answers that it cannot tell.
func isCommitted(r *metapb.GroupCommitResponse) bool {
	return r != nil && !slices.Contains(r.Codes, metapb.GroupCode_GROUP_UNAVAILABLE)
}

func committedOffset(r *kmsg.OffsetCommitRequest, topic meta.TopicID, p *kmsg.OffsetCommitRequestTopicPartition) *metapb.CommittedOffset {
	now := time.Now().UnixMilli()
	offset := &metapb.CommittedOffset{
		TopicId: topic[:], Partition: p.Partition, Offset: p.Offset, LeaderEpoch: p.LeaderEpoch, Metadata: orEmpty(p.Metadata), CommitMillis: now,
	}
	if r.Version < 6 {
		offset.LeaderEpoch = -1
	}
	if r.Version <= 4 && r.RetentionTimeMillis >= 0 {
		offset.ExpireMillis = now + r.RetentionTimeMillis
	}
	return offset
}

// resolve finds a topic by its name or id.
func (c *call) resolve(name string, id meta.TopicID, byID bool) (found meta.TopicID, itsName string, partitions int32, ok bool) {
	c.domain().Metadata.View(func(s *meta.State) {
		t := s.Topic(id)
		if !byID {
			t = s.TopicByName(name)
		}
		if t != nil {
			found, itsName, partitions, ok = t.ID, t.Name, int32(t.Partitions()), true
		}
	})
	return found, itsName, partitions, ok
}
