package kafka

import (
	"context"
	"math"
	"strings"
	"unicode/utf8"

	"github.com/varvelog/varve/coordinator/metapb"
)

// textGroups refuses, definitely and for one client alone, the strings that Kafka's protocol does not allow: the log keeps
// text as UTF-8, and could not take a group with anything else in it.
type textGroups struct{ Groups }

// isText says whether Kafka's protocol allows the strings: they are UTF-8, and no longer than an int16 can say, though its flexible versions could carry longer
// ones. What they name stays in the state for days.
func isText(fields ...string) bool {
	for _, f := range fields {
		if len(f) > math.MaxInt16 || !utf8.ValidString(f) {
			return false
		}
	}
	return true
}

// Join refuses ids that are not text. What is for people to read is made readable.
func (g textGroups) Join(ctx context.Context, r *metapb.GroupJoinRequest) (*metapb.GroupJoinResponse, error) {
	text := isText(r.Group, r.MemberId, r.GetInstanceId(), r.ProtocolType)
	for _, p := range r.Protocols {
		text = text && isText(p.Name)
	}
	if !text {
		return &metapb.GroupJoinResponse{Code: metapb.GroupCode_GROUP_INVALID_ID, Generation: -1}, nil
	}
	r.ClientId = strings.ToValidUTF8(r.ClientId, "?")
	r.Reason = strings.ToValidUTF8(r.Reason, "?")
	return g.Groups.Join(ctx, r)
}

// Sync refuses ids that are not text.
func (g textGroups) Sync(ctx context.Context, r *metapb.GroupSyncRequest) (*metapb.GroupSyncResponse, error) {
	text := isText(r.Group, r.MemberId, r.GetInstanceId(), r.GetProtocol(), r.GetProtocolType())
	for _, a := range r.Assignments {
		text = text && isText(a.MemberId)
	}
	if !text {
		return &metapb.GroupSyncResponse{Code: metapb.GroupCode_GROUP_INVALID_ID}, nil
	}
	return g.Groups.Sync(ctx, r)
}

// BeginHeartbeat refuses ids that are not text.
func (g textGroups) BeginHeartbeat(r *metapb.GroupHeartbeatRequest, answer func(*metapb.GroupHeartbeatResponse, error)) {
	if !isText(r.Group, r.MemberId, r.GetInstanceId()) {
		answer(&metapb.GroupHeartbeatResponse{Code: metapb.GroupCode_GROUP_INVALID_ID}, nil)
		return
	}
	g.Groups.BeginHeartbeat(r, answer)
}

// Leave refuses ids that are not text.
func (g textGroups) Leave(ctx context.Context, r *metapb.GroupLeaveRequest) (*metapb.GroupLeaveResponse, error) {
	text := isText(r.Group)
	for _, l := range r.Members {
		text = text && isText(l.MemberId, l.GetInstanceId())
		l.Reason = strings.ToValidUTF8(l.Reason, "?")
	}
	if !text {
		return &metapb.GroupLeaveResponse{Code: metapb.GroupCode_GROUP_INVALID_ID}, nil
	}
	return g.Groups.Leave(ctx, r)
}

// Commit refuses ids that are not text, and metadata that is not, offset by offset.
func (g textGroups) Commit(ctx context.Context, r *metapb.GroupCommitRequest) (*metapb.GroupCommitResponse, error) {
	codes := make([]metapb.GroupCode, len(r.Offsets))
	if !isText(r.Group, r.MemberId, r.GetInstanceId()) {
		for i := range codes {
			codes[i] = metapb.GroupCode_GROUP_INVALID_ID
		}
		return &metapb.GroupCommitResponse{Codes: codes}, nil
	}
	for _, o := range r.Offsets {
		if !isText(o.Metadata) {
			return g.commitText(ctx, r, codes)
		}
	}
	return g.Groups.Commit(ctx, r)
}

// commitText commits the offsets whose metadata is text.
func (g textGroups) commitText(ctx context.Context, r *metapb.GroupCommitRequest, codes []metapb.GroupCode) (*metapb.GroupCommitResponse, error) {
	all := r.Offsets
	r.Offsets = nil
	var places []int
	for i, o := range all {
		if !isText(o.Metadata) {
			codes[i] = metapb.GroupCode_GROUP_METADATA_TOO_LARGE
			continue
		}
		r.Offsets = append(r.Offsets, o)
		places = append(places, i)
	}
	answer, err := g.Groups.Commit(ctx, r)
	if err != nil {
		return nil, err
	}
	for i, place := range places {
		codes[place] = answer.Codes[i]
	}
	return &metapb.GroupCommitResponse{Codes: codes}, nil
}

// Describe knows no group whose name is not text.
func (g textGroups) Describe(ctx context.Context, r *metapb.GroupDescribeRequest) (*metapb.GroupDescribeResponse, error) {
	if !isText(r.Groups...) {
		answer := &metapb.GroupDescribeResponse{}
		for _, name := range r.Groups {
			answer.Groups = append(answer.Groups, &metapb.GroupDescribed{Group: name, State: "Dead", Code: metapb.GroupCode_GROUP_INVALID_ID})
		}
		return answer, nil
	}
	return g.Groups.Describe(ctx, r)
}

// Delete knows no group whose name is not text.
func (g textGroups) Delete(ctx context.Context, r *metapb.GroupDeleteRequest) (*metapb.GroupDeleteResponse, error) {
	if !isText(r.Groups...) {
		codes := make([]metapb.GroupCode, len(r.Groups))
		for i := range codes {
			codes[i] = metapb.GroupCode_GROUP_INVALID_ID
		}
		return &metapb.GroupDeleteResponse{Codes: codes}, nil
	}
	return g.Groups.Delete(ctx, r)
}

// BeginShareHeartbeat refuses names that are not text.
func (g textGroups) BeginShareHeartbeat(r *metapb.ShareHeartbeatRequest, answer func(*metapb.ShareHeartbeatResponse, error)) {
	if !isText(r.Group, r.MemberId, r.GetRackId()) || !isText(r.Topics.GetNames()...) {
		answer(&metapb.ShareHeartbeatResponse{Code: metapb.GroupCode_GROUP_INVALID_REQUEST}, nil)
		return
	}
	r.ClientId = strings.ToValidUTF8(r.ClientId, "?")
	g.Groups.BeginShareHeartbeat(r, answer)
}

// ShareDescribe knows no group whose name is not text.
func (g textGroups) ShareDescribe(ctx context.Context, r *metapb.ShareDescribeRequest) (*metapb.ShareDescribeResponse, error) {
	if isText(r.Groups...) {
		return g.Groups.ShareDescribe(ctx, r)
	}
	answer := &metapb.ShareDescribeResponse{}
	for _, name := range r.Groups {
		answer.Groups = append(answer.Groups, &metapb.ShareDescribed{Group: name, Code: metapb.GroupCode_GROUP_INVALID_ID})
	}
	return answer, nil
}
