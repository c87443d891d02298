package coordinatord

import (
	"context"
	"testing"
	"testing/synctest"

	"google.golang.org/protobuf/proto"

	"github.com/varvelog/varve/coordinator/replica"
)

// What a group has agreed to, and has not brought into the log before its leader was succeeded, was proposed again when the same process led the next time,
// whatever the group had become under the leader between.
func TestARequestEndsWithTheReignThatHasTakenIt(t *testing.T) {
	for _, method := range []string{"group/commit", "delivery/acknowledge", replica.MethodJobFinish} {
		synctest.Test(t, func(t *testing.T) {
			n := newReign(func() {})
			n.Handle(method, func(ctx context.Context, _ []byte) (proto.Message, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			})
			ended := make(chan error, 1)
			go func() { _, err := n.handlers[method](t.Context(), nil); ended <- err }()
			synctest.Wait()
			if len(ended) > 0 {
				t.Fatalf("%s ended before the reign", method)
			}
			n.End()
			synctest.Wait()
			if len(ended) == 0 {
				t.Fatalf("%s goes on after the reign", method)
			}
			if err := <-ended; err == nil {
				t.Errorf("%s was answered", method)
			}
		})
	}
}
