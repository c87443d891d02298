package group

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/infra/rpc"
)

// The methods on the leader's internal listener.
const (
	methodHeartbeat = "group/heartbeat"
	methodLeave     = "group/leave"
	methodCommit    = "group/commit"
	methodDescribe  = "group/describe"
	methodList      = "group/list"
	methodDelete    = "group/delete"

	methodConsumerHeartbeat = "group/consumer-heartbeat"
	methodConsumerDescribe  = "group/consumer-describe"
	methodStreamsHeartbeat  = "group/streams-heartbeat"
	methodStreamsDescribe   = "group/streams-describe"
	methodDeleteOffsets     = "group/delete-offsets"

	methodBeats = "group/beats" // many of the heartbeats together

	methodShareHeartbeat = "group/share-heartbeat"
	methodShareDescribe  = "group/share-describe"
)

// Members wait in these until all others of their group have come.
var (
	methodJoin = rpc.Waiting("group/join")
	methodSync = rpc.Waiting("group/sync")
)

// Register serves c on the internal listener.
func Register(r rpc.Registrar, c *Coordinator) {
	rpc.Method(r, methodJoin, c.Join)
	rpc.Method(r, methodSync, c.Sync)
	rpc.Method(r, methodHeartbeat, c.Heartbeat)
	rpc.Method(r, methodLeave, c.Leave)
	rpc.Method(r, methodCommit, c.Commit)
	rpc.Method(r, methodDescribe, c.Describe)
	rpc.Method(r, methodList, c.List)
	rpc.Method(r, methodDelete, c.Delete)
	rpc.Method(r, methodConsumerHeartbeat, c.ConsumerHeartbeat)
	rpc.Method(r, methodConsumerDescribe, c.ConsumerDescribe)
	rpc.Method(r, methodStreamsHeartbeat, c.StreamsHeartbeat)
	rpc.Method(r, methodStreamsDescribe, c.StreamsDescribe)
	rpc.Method(r, methodDeleteOffsets, c.DeleteOffsets)
	rpc.Method(r, methodShareHeartbeat, c.ShareHeartbeat)
	rpc.Method(r, methodShareDescribe, c.ShareDescribe)
	rpc.Method(r, methodBeats, c.Beats)
}

// Caller asks the leader, wherever it is (coordinator/replica.Remote).
type Caller interface {
	Call(ctx context.Context, method string, request, response proto.Message) error
}

// Remote has the methods of a Coordinator in another process. An error means that there was no answer: whether the request
// took effect is not known, and the client may repeat it. Heartbeats that say nothing new are gathered, and leave together.
type Remote struct {
	caller Caller
	beats  *gatherer
}

// NewRemote returns a Remote. The caller must Close it.
func NewRemote(caller Caller) *Remote {
	caller = insistent{caller}
	return &Remote{caller, newGatherer(caller)}
}

// insistent asks again where an answer is lost, as it is with everybody's when a leader ends: what a group holds in memory ends with it, and what is in
// the log already is found there again.
type insistent struct{ Caller }

// insistence bounds how often that is.
const insistence = 5

// Call implements Caller.
func (i insistent) Call(ctx context.Context, method string, request, response proto.Message) error {
	for attempt := 1; ; attempt++ {
		err := i.Caller.Call(ctx, method, request, response)
		if err == nil || !errors.Is(err, rpc.ErrBroken) || ctx.Err() != nil || attempt == insistence {
			return err
		}
	}
}

// Close ends the heartbeats that are under way. None are sent after it.
func (r *Remote) Close() { r.beats.stop() }

// aloneTimeout bounds a heartbeat that goes by itself.
const aloneTimeout = 20 * time.Second

// beginBeat sends a heartbeat. One that says nothing new is gathered with others. Another may change the group and wait for others to be told: it
// goes alone, and none wait for it.
func beginBeat[R any, P interface {
	*R
	proto.Message
}](r *Remote, method string, request proto.Message, saysNothingNew bool, answer func(P, error)) {
	if saysNothingNew {
		r.beats.begin(method, request, func(encoded []byte, err error) {
			if err != nil {
				answer(nil, err)
				return
			}
			response := P(new(R))
			if err := proto.Unmarshal(encoded, response); err != nil {
				answer(nil, fmt.Errorf("decode answer of %s: %w", method, err))
				return
			}
			answer(response, nil)
		})
		return
	}
	if !r.beats.alone(func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, aloneTimeout)
		defer cancel()
		answer(call[R, P](ctx, r, method, request))
	}) {
		answer(nil, ErrClosed)
	}
}

func call[R any, P interface {
	*R
	proto.Message
}](ctx context.Context, r *Remote, method string, request proto.Message) (P, error) {
	answer := P(new(R))
	if err := r.caller.Call(ctx, method, request, answer); err != nil {
		return nil, err
	}
	return answer, nil
}

// Join is Coordinator.Join.
func (r *Remote) Join(ctx context.Context, q *metapb.GroupJoinRequest) (*metapb.GroupJoinResponse, error) {
	return call[metapb.GroupJoinResponse](ctx, r, methodJoin, q)
}

// Sync is Coordinator.Sync.
func (r *Remote) Sync(ctx context.Context, q *metapb.GroupSyncRequest) (*metapb.GroupSyncResponse, error) {
	return call[metapb.GroupSyncResponse](ctx, r, methodSync, q)
}

// BeginHeartbeat is Coordinator.BeginHeartbeat.
func (r *Remote) BeginHeartbeat(q *metapb.GroupHeartbeatRequest, answer func(*metapb.GroupHeartbeatResponse, error)) {
	beginBeat(r, methodHeartbeat, q, true, answer)
}

// Leave is Coordinator.Leave.
func (r *Remote) Leave(ctx context.Context, q *metapb.GroupLeaveRequest) (*metapb.GroupLeaveResponse, error) {
	return call[metapb.GroupLeaveResponse](ctx, r, methodLeave, q)
}

// Commit is Coordinator.Commit.
func (r *Remote) Commit(ctx context.Context, q *metapb.GroupCommitRequest) (*metapb.GroupCommitResponse, error) {
	return call[metapb.GroupCommitResponse](ctx, r, methodCommit, q)
}

// Describe is Coordinator.Describe.
func (r *Remote) Describe(ctx context.Context, q *metapb.GroupDescribeRequest) (*metapb.GroupDescribeResponse, error) {
	return call[metapb.GroupDescribeResponse](ctx, r, methodDescribe, q)
}

// List is Coordinator.List.
func (r *Remote) List(ctx context.Context, q *metapb.GroupListRequest) (*metapb.GroupListResponse, error) {
	return call[metapb.GroupListResponse](ctx, r, methodList, q)
}

// Delete is Coordinator.Delete.
func (r *Remote) Delete(ctx context.Context, q *metapb.GroupDeleteRequest) (*metapb.GroupDeleteResponse, error) {
	return call[metapb.GroupDeleteResponse](ctx, r, methodDelete, q)
}

// BeginConsumerHeartbeat is Coordinator.BeginConsumerHeartbeat.
func (r *Remote) BeginConsumerHeartbeat(q *metapb.ConsumerHeartbeatRequest, answer func(*metapb.ConsumerHeartbeatResponse, error)) {
	saysNothingNew := q.MemberEpoch > epochJoin && q.RebalanceTimeoutMillis == -1 && q.Topics == nil && q.TopicRegex == nil && q.ServerAssignor == nil && q.Owned == nil
	beginBeat(r, methodConsumerHeartbeat, q, saysNothingNew, answer)
}

// ConsumerDescribe is Coordinator.ConsumerDescribe.
func (r *Remote) ConsumerDescribe(ctx context.Context, q *metapb.ConsumerDescribeRequest) (*metapb.ConsumerDescribeResponse, error) {
	return call[metapb.ConsumerDescribeResponse](ctx, r, methodConsumerDescribe, q)
}

// StreamsHeartbeat is Coordinator.StreamsHeartbeat.
func (r *Remote) StreamsHeartbeat(ctx context.Context, q *metapb.StreamsHeartbeatRequest) (*metapb.StreamsHeartbeatResponse, error) {
	saysNothingNew := q.MemberEpoch > epochJoin && q.RebalanceTimeoutMillis == -1 && q.Topology == nil && q.Owned == nil && q.ProcessId == nil &&
		q.Endpoint == nil && q.ClientTags == nil && !q.ShutdownApplication
	return await(ctx, func(q *metapb.StreamsHeartbeatRequest, answer func(*metapb.StreamsHeartbeatResponse, error)) {
		beginBeat(r, methodStreamsHeartbeat, q, saysNothingNew, answer)
	}, q)
}

// StreamsDescribe is Coordinator.StreamsDescribe.
func (r *Remote) StreamsDescribe(ctx context.Context, q *metapb.StreamsDescribeRequest) (*metapb.StreamsDescribeResponse, error) {
	return call[metapb.StreamsDescribeResponse](ctx, r, methodStreamsDescribe, q)
}

// DeleteOffsets is Coordinator.DeleteOffsets.
func (r *Remote) DeleteOffsets(ctx context.Context, q *metapb.GroupDeleteOffsetsRequest) (*metapb.GroupDeleteOffsetsResponse, error) {
	return call[metapb.GroupDeleteOffsetsResponse](ctx, r, methodDeleteOffsets, q)
}

// BeginShareHeartbeat is Coordinator.BeginShareHeartbeat.
func (r *Remote) BeginShareHeartbeat(q *metapb.ShareHeartbeatRequest, answer func(*metapb.ShareHeartbeatResponse, error)) {
	beginBeat(r, methodShareHeartbeat, q, q.MemberEpoch > epochJoin && q.Topics == nil, answer)
}

// ShareDescribe is Coordinator.ShareDescribe.
func (r *Remote) ShareDescribe(ctx context.Context, q *metapb.ShareDescribeRequest) (*metapb.ShareDescribeResponse, error) {
	return call[metapb.ShareDescribeResponse](ctx, r, methodShareDescribe, q)
}
