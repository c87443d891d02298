package kafka

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// What a request names twice is answered as Kafka answers it: refused where acting twice would be wrong, told once where it is only read.
func TestWhatARequestRepeats(t *testing.T) {
	t.Run("delete", func(t *testing.T) {
		if got := repeatedTopics(nil, []kmsg.DeleteTopicsRequestTopic{{}, {}}); !got[0] || !got[1] {
			t.Errorf("two that name nothing: %v", got)
		}
	})
	t.Run("producer id without epoch", func(t *testing.T) {
		r := kmsg.NewPtrInitProducerIDRequest()
		r.ProducerID = 5
		answer, err := handleInitProducerID(t.Context(), nil, r)
		if err != nil {
			t.Fatal(err)
		}
		if code := answer.(*kmsg.InitProducerIDResponse).ErrorCode; code != kerr.InvalidRequest.Code {
			t.Errorf("code %d, want %d", code, kerr.InvalidRequest.Code)
		}
	})
}
