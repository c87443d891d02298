package kafka

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/coordinator/replica"
	"github.com/varvelog/varve/ingest/fetch"
	"github.com/varvelog/varve/ingest/lane"
)

func TestEveryOutcomeHasACode(t *testing.T) {
	for code := meta.Code(1); code.String() != "code-unknown"; code++ {
		if codeError(code) == nil && code != meta.AlreadyCommitted {
			t.Errorf("%v is success", code)
		}
	}
	for failure := lane.Failure(1); failure.String() != "unknown"; failure++ {
		code, _ := produceError(&lane.Result{Failure: failure}, 13)
		if failure == lane.TooLarge {
			if code != kerr.MessageTooLarge.Code {
				t.Errorf("%v becomes %v, at which producers make no smaller batches", failure, kerr.ErrorForCode(code))
			}
			continue
		}
		if !kerr.IsRetriable(kerr.ErrorForCode(code)) {
			t.Errorf("%v becomes %v, which producers do not retry", failure, kerr.ErrorForCode(code))
		}
	}
	for code := fetch.Code(1); code.String() != "unknown"; code++ {
		if readError(code, true) == 0 || readError(code, false) == 0 {
			t.Errorf("%v is success", code)
		}
	}
	for value, name := range metapb.GroupCode_name {
		if (groupError(metapb.GroupCode(value)) == nil) != (value == 0) {
			t.Errorf("%s: %v", name, groupError(metapb.GroupCode(value)))
		}
	}
}

// What has no verdict may yet come to pass, so nothing definite may be answered.
func TestCommandsWithoutAVerdictAreRetriable(t *testing.T) {
	for _, test := range []struct {
		err  error
		want *kerr.Error // nil: any that clients retry
	}{
		{fmt.Errorf("propose: %w: %w", replica.ErrAmbiguous, context.DeadlineExceeded), nil},
		{replica.ErrNoLeader, nil},
		{errors.New("connection reset"), nil},
		{replica.ErrTooLarge, kerr.InvalidRequest},
	} {
		c := newCluster(t)
		_, addr := start(t, c, Config{})
		id := c.createTopic(t, "topic", 2)
		c.createTopic(t, "growing", 1)
		c.createTopic(t, "doomed-a", 1)
		c.mu.Lock()
		c.mu.propose = test.err
		c.mu.Unlock()
		client := dial(t, addr)
		for _, request := range []kmsg.Request{
			kmsg.NewPtrCreateTopicsRequest(), kmsg.NewPtrDeleteTopicsRequest(), kmsg.NewPtrCreatePartitionsRequest(), kmsg.NewPtrAlterConfigsRequest(),
			kmsg.NewPtrIncrementalAlterConfigsRequest(), kmsg.NewPtrInitProducerIDRequest(),
		} {
			request.SetVersion(max(newApis().lookup(request.Key()).min, 0))
			fill(request, "topic", id)
			if r, ok := request.(*kmsg.CreatePartitionsRequest); ok {
				r.Topics[0].Count = 9
			}
			if r, ok := request.(*kmsg.DeleteTopicsRequest); ok {
				r.TopicNames = []string{"doomed-a"}
			}
			for _, code := range errorCodes(reflect.ValueOf(client.request(request))) {
				got := kerr.ErrorForCode(code)
				if test.want != nil && !errors.Is(got, test.want) || test.want == nil && !kerr.IsRetriable(got) {
					t.Errorf("%s after %v: %v", kmsg.NameForKey(request.Key()), test.err, got)
				}
			}
		}
	}
}

func TestWithoutABarrierNothingIsInvented(t *testing.T) {
	c := newCluster(t)
	_, addr := start(t, c, Config{})
	id := c.createTopic(t, "topic", 1)
	c.mu.Lock()
	c.mu.barrier = replica.ErrNoLeader
	c.mu.Unlock()
	client := dial(t, addr)
	for _, version := range []int16{1, 7, 8, 9} {
		r := kmsg.NewPtrOffsetFetchRequest()
		r.Version = version
		fill(r, "topic", id)
		codes := errorCodes(reflect.ValueOf(client.request(r)))
		if !slices.ContainsFunc(codes, func(code int16) bool { return kerr.IsRetriable(kerr.ErrorForCode(code)) }) {
			t.Errorf("OffsetFetch v%d: %v", version, codes)
		}
	}
	list := kmsg.NewPtrListOffsetsRequest()
	list.Version = 8
	list.Topics = []kmsg.ListOffsetsRequestTopic{{Topic: "topic", Partitions: []kmsg.ListOffsetsRequestTopicPartition{{CurrentLeaderEpoch: -1, Timestamp: -1}}}}
	got := client.request(list).(*kmsg.ListOffsetsResponse).Topics[0].Partitions[0]
	if !kerr.IsRetriable(kerr.ErrorForCode(got.ErrorCode)) || got.Offset != -1 {
		t.Errorf("ListOffsets: offset %d, %v", got.Offset, kerr.ErrorForCode(got.ErrorCode))
	}
}
