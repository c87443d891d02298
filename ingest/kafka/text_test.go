package kafka

import (
	"context"
	"testing"

	"github.com/varvelog/varve/coordinator/metapb"
)

// commits answers every commit that reaches it with OK.
type commits struct {
	Groups
	taken int
}

func (c *commits) Commit(_ context.Context, r *metapb.GroupCommitRequest) (*metapb.GroupCommitResponse, error) {
	c.taken += len(r.Offsets)
	return &metapb.GroupCommitResponse{Codes: make([]metapb.GroupCode, len(r.Offsets))}, nil
}

func TestStringsThatAreNotTextAreRefusedAlone(t *testing.T) {
	const noText = "\xff\xfe"
	inner := &commits{}
	g := textGroups{inner}
	answer, err := g.Commit(t.Context(), &metapb.GroupCommitRequest{Group: "g", Offsets: []*metapb.CommittedOffset{{}, {Metadata: noText}, {Metadata: "ü"}}})
	if err != nil || inner.taken != 2 || answer.Codes[0] != metapb.GroupCode_GROUP_OK || answer.Codes[1] != metapb.GroupCode_GROUP_METADATA_TOO_LARGE || answer.Codes[2] != metapb.GroupCode_GROUP_OK {
		t.Errorf("codes %v, %d taken, %v", answer.GetCodes(), inner.taken, err)
	}
	if answer, err := g.Commit(t.Context(), &metapb.GroupCommitRequest{Group: noText, Offsets: []*metapb.CommittedOffset{{}}}); err != nil || answer.Codes[0] != metapb.GroupCode_GROUP_INVALID_ID {
		t.Errorf("commit of group %q: %v, %v", noText, answer, err)
	}
	if answer, err := g.Join(t.Context(), &metapb.GroupJoinRequest{Group: "g", MemberId: noText}); err != nil || answer.Code != metapb.GroupCode_GROUP_INVALID_ID {
		t.Errorf("join: %v, %v", answer, err)
	}
	if answer, err := g.Delete(t.Context(), &metapb.GroupDeleteRequest{Groups: []string{"g", noText}}); err != nil || answer.Codes[1] != metapb.GroupCode_GROUP_INVALID_ID {
		t.Errorf("delete: %v, %v", answer, err)
	}
}
