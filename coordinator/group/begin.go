package group

import "context"

// The Begin functions do what those without the word do, and tell by a call what came of it, so that whoever takes many heartbeats needs no
// goroutine that waits for each. answer is called once: before Begin returns, or later from another goroutine. Either may hold locks of the
// coordinator's, so answer must neither block nor ask the coordinator anything.

// await begins a request and waits for its answer.
func await[Req, Res any](ctx context.Context, begin func(Req, func(Res, error)), request Req) (Res, error) {
	type outcome struct {
		response Res
		err      error
	}
	outcomes := make(chan outcome, 1)
	begin(request, func(response Res, err error) { outcomes <- outcome{response, err} })
	o, err := wait(ctx, outcomes)
	if err != nil {
		return o.response, err
	}
	return o.response, o.err
}
