package kafka

import (
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// What a request names twice is refused where acting on it twice, or on one of the two, would be a guess.
func TestATopicThatIsNamedTwiceIsNotDeleted(t *testing.T) {
	c := newCluster(t)
	_, addr := start(t, c, Config{})
	id := c.createTopic(t, "topic", 1)
	r := kmsg.NewPtrDeleteTopicsRequest()
	r.Version, r.TimeoutMillis = 6, 1000
	r.Topics = []kmsg.DeleteTopicsRequestTopic{{Topic: kmsg.StringPtr("topic")}, {TopicID: id}}
	answer := dial(t, addr).request(r).(*kmsg.DeleteTopicsResponse)
	if !slices.Equal(errorCodesOf(answer), []int16{kerr.InvalidRequest.Code}) {
		t.Errorf("by name and by id: %v", errorCodesOf(answer))
	}
	r.Topics = r.Topics[:1]
	if answer = dial(t, addr).request(r).(*kmsg.DeleteTopicsResponse); answer.Topics[0].ErrorCode != 0 {
		t.Errorf("afterwards, once: %v", kerr.ErrorForCode(answer.Topics[0].ErrorCode))
	}
}

func errorCodesOf(r *kmsg.DeleteTopicsResponse) (codes []int16) {
	for i := range r.Topics {
		codes = append(codes, r.Topics[i].ErrorCode)
	}
	return codes
}

func TestAProducerIDWithoutItsEpochIsRefused(t *testing.T) {
	r := kmsg.NewPtrInitProducerIDRequest()
	r.ProducerID = 5
	answer, err := handleInitProducerID(t.Context(), nil, r)
	if err != nil {
		t.Fatal(err)
	}
	if code := answer.(*kmsg.InitProducerIDResponse).ErrorCode; code != kerr.InvalidRequest.Code {
		t.Errorf("code %d, want %d", code, kerr.InvalidRequest.Code)
	}
}
