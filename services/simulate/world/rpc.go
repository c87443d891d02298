package world

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"syscall"
)

// endpoint is who answers at an address.
type endpoint struct {
	process *Process
	handler http.Handler
	accept  chan net.Conn // of a stream listener
}

// Serve answers internal calls to address with handler, until the process dies.
func (p *Process) Serve(address string, handler http.Handler) {
	p.listen(address, &endpoint{process: p, handler: handler})
}

// listen has e reached at the address, unless whoever has taken the process's place meanwhile is.
func (p *Process) listen(address string, e *endpoint) {
	w := p.world
	w.mu.Lock()
	if before := w.mu.servers[address]; before == nil || !p.precedes(before.process) {
		w.mu.servers[address] = e
	}
	w.mu.Unlock()
	p.OnDeath(func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.mu.servers[address] == e {
			delete(w.mu.servers, address)
		}
	})
}

func (w *World) endpoint(address string) *endpoint {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.mu.servers[address]
}

// Transport carries a process's internal calls. A call is a message there and one back; either may be lost, late or cut off, and
// a message there may arrive twice.
func (p *Process) Transport() http.RoundTripper { return transport{p} }

type transport struct{ from *Process }

var (
	errRefused = &net.OpError{Op: "dial", Net: "sim", Err: syscall.ECONNREFUSED}
	errReset   = &net.OpError{Op: "read", Net: "sim", Err: syscall.ECONNRESET}
)

// RoundTrip implements http.RoundTripper.
func (t transport) RoundTrip(request *http.Request) (*http.Response, error) {
	p, w := t.from, t.from.world
	ctx := request.Context()
	var body []byte
	if request.Body != nil {
		var err error
		if body, err = io.ReadAll(request.Body); err != nil {
			return nil, err
		}
		_ = request.Body.Close()
	}
	if err := p.Step(); err != nil {
		return nil, err
	}
	e := w.endpoint(request.URL.Host)
	if e == nil || e.handler == nil {
		if err := p.Sleep(ctx, w.latency()); err != nil {
			return nil, err
		}
		return nil, errRefused
	}
	there, back := w.link(p.Host, e.process.Host), w.link(e.process.Host, p.Host)
	if w.Chance(w.Swarm.RequestLost) {
		return nil, t.lost(ctx)
	}
	if w.Chance(w.Swarm.Repeated) {
		go func() {
			_ = Sleep(e.process.ctx, w.Between(0, 50*w.Swarm.Delay))
			_, _ = t.execute(e, request.Clone(context.WithoutCancel(ctx)), body)
		}()
	}
	if err := Sleep(ctx, w.latency()); err != nil {
		return nil, err
	}
	if err := there.open(ctx); err != nil {
		return nil, err
	}
	type outcome struct {
		response *http.Response
		err      error
	}
	done := make(chan outcome, 1)
	go func() {
		response, err := t.execute(e, request.Clone(ctx), body)
		done <- outcome{response, err}
	}()
	var answer outcome
	select {
	case answer = <-done:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if answer.err != nil {
		return nil, errReset
	}
	if w.Chance(w.Swarm.AnswerLost) {
		return nil, t.lost(ctx)
	}
	if err := Sleep(ctx, w.latency()); err != nil {
		return nil, err
	}
	if err := back.open(ctx); err != nil {
		return nil, err
	}
	if err := p.Step(); err != nil {
		return nil, err
	}
	return answer.response, nil
}

// lost is how a caller learns that a message was lost: after a while by a reset, or by its own patience.
func (t transport) lost(ctx context.Context) error {
	w := t.from.world
	w.Count("message lost")
	if err := t.from.Sleep(ctx, w.Between(0, 1000*w.Swarm.Delay)); err != nil {
		return err
	}
	return errReset
}

// execute runs the handler in the callee. It fails where the callee dies with it.
func (t transport) execute(e *endpoint, request *http.Request, body []byte) (*http.Response, error) {
	if err := e.process.Step(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(request.Context())
	defer cancel()
	defer context.AfterFunc(e.process.ctx, cancel)()
	request = request.WithContext(ctx)
	request.Body = io.NopCloser(bytes.NewReader(body))
	request.ContentLength = int64(len(body))
	request.RemoteAddr = t.from.Host + ":1"
	recorder := httptest.NewRecorder()
	if !serve(e.handler, recorder, request) {
		return nil, errReset
	}
	if err := e.process.Step(); err != nil {
		return nil, err
	}
	response := recorder.Result()
	response.ContentLength = int64(recorder.Body.Len())
	response.Request = request
	return response, nil
}

// serve calls the handler; false where it breaks the connection off.
func serve(h http.Handler, w http.ResponseWriter, r *http.Request) (whole bool) {
	defer func() {
		if cause := recover(); cause != nil {
			if cause == http.ErrAbortHandler {
				return
			}
			panic(cause)
		}
	}()
	h.ServeHTTP(w, r)
	return true
}
