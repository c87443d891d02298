package kafka

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime/debug"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// parkedRequest is a brief request of a parked connection on its way to its answer.
type parkedRequest struct {
	conn     *conn
	call     call
	exchange exchange
	busy     time.Duration // that it took of the node's own time
	settled  bool          // it has been discarded

	// What came of it.
	response kmsg.Response
	err      error

	// order tells who was first: the answer, or the return of what began the request. Whoever is second goes on.
	order atomic.Int32
}

const (
	answerFirst int32 = iota + 1
	returnFirst
)

// read reads what has come and answers it, where it can be answered here.
func (k *parker) read(p *parkedConn) {
	c := p.conn
	n, errno := k.socket.read(p.raw, k.in)
	switch {
	case errno == syscall.EAGAIN:
		return
	case errno != 0 || n == 0 || c.draining.Load() || c.ctx.Err() != nil:
		k.end(p) // the client has left, or has to
		return
	}
	now := time.Now()
	k.touch(p, now)
	var r *parkedRequest
	if !p.hasEnded && n < len(k.in) { // else there may be more to read, and epoll tells of nothing twice
		r = c.briefRequest(k.in[:n], now)
	}
	if r == nil {
		k.wake(p, k.in[:n])
		return
	}
	c.parking.after = k.server.config.ParkAfter
	k.begin(p, r)
}

// briefRequest makes a request of b where that is a whole brief one and nothing else, and nothing keeps it waiting; else it returns nil.
func (c *conn) briefRequest(b []byte, now time.Time) *parkedRequest {
	if len(b) < 12 || uint64(len(b)-4) != uint64(binary.BigEndian.Uint32(b)) || c.muted() > 0 {
		return nil
	}
	b = b[4:]
	key, version, err := keyAndVersion(b)
	if err != nil {
		return nil
	}
	a := c.server.apis.lookup(key)
	if a == nil || !a.brief || !a.serves(version) || len(b) > c.server.config.MaxControlRequestBytes {
		return nil
	}
	charge, ok := c.server.budget.tryAcquire(int64(len(b)) * decodeFactor)
	if !ok {
		return nil
	}
	r := &parkedRequest{conn: c}
	x := &r.exchange
	x.api, x.received, x.frame = a, now, newFrame(len(b), charge, c.server.budget)
	copy(x.frame.bytes, b)
	if x.header, x.body, err = parseHeader(x.frame.bytes, version >= a.flexibleFrom); err != nil {
		x.frame.release()
		return nil
	}
	r.call.conn, r.call.header = c, x.header
	c.inFlight.Add(1)
	return r
}

// begin has a request handled, and answers it if that is done at once.
func (k *parker) begin(p *parkedConn, r *parkedRequest) {
	defer k.recoverFrom(r)
	p.inFlight = r
	request, err := r.conn.decode(&r.exchange)
	if err != nil {
		k.fail(r, err)
		return
	}
	r.busy = time.Since(r.exchange.received)
	if r.exchange.api.later == nil {
		k.tasks.Go(func() {
			r.response, r.err = r.handle(request)
			k.leaveAnswer(r)
		})
		return
	}
	r.exchange.api.later(&r.call, request, func(response kmsg.Response) {
		r.response = response
		if !r.order.CompareAndSwap(0, answerFirst) {
			k.leaveAnswer(r)
		}
	})
	if !r.order.CompareAndSwap(0, returnFirst) {
		k.answer(p, r)
	}
}

// handle has a handler that may wait answer.
func (r *parkedRequest) handle(request kmsg.Request) (_ kmsg.Response, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = r.panicked(p)
		}
	}()
	return r.conn.respond(&r.call, &r.exchange, request)
}

func (r *parkedRequest) panicked(p any) error {
	r.conn.server.config.Metrics.Refused("panic")
	return fmt.Errorf("panic answering %s v%d: %v\n%s", r.exchange.api.name, r.exchange.header.version, p, debug.Stack())
}

// leaveAnswer leaves the parker an answer that has come later.
func (k *parker) leaveAnswer(r *parkedRequest) {
	if !k.leave(parkerNote{conn: r.conn, answer: r}) {
		r.discard() // the parker has ended, and nobody else knows of it
	}
}

// answered answers a request whose answer came later, and goes on with its connection.
func (k *parker) answered(r *parkedRequest) {
	defer k.recoverFrom(r)
	p := r.conn.parked
	if p == nil || p.inFlight != r { // it has ended
		r.discard()
		return
	}
	k.answer(p, r)
	if r.conn.parked != p {
		return
	}
	if r.conn.draining.Load() || r.conn.ctx.Err() != nil {
		k.end(p)
		return
	}
	if p.hasNews {
		p.hasNews = false
		k.read(p)
	}
}

// answer sends a request's answer.
func (k *parker) answer(p *parkedConn, r *parkedRequest) {
	c, x := r.conn, &r.exchange
	c.out.buf = k.out[:0]
	if r.err == nil {
		r.err = c.complete(&r.call, x, r.response, r.busy)
	}
	answer := c.out.buf
	k.out, c.out.buf = answer[:0], nil
	if cap(k.out) > keepBytes {
		k.out = nil
	}
	if r.err != nil {
		k.fail(r, r.err)
		return
	}
	c.server.config.Metrics.Request(x.api.name, x.header.version, time.Since(x.received), len(x.frame.bytes)+4, len(answer))
	p.inFlight = nil
	r.discard()
	n, errno := k.socket.write(p.raw, answer)
	switch {
	case n == len(answer):
	case errno == 0 || errno == syscall.EAGAIN: // the client does not read: a goroutine waits for it
		c.out.buf = bytes.Clone(answer[n:])
		k.wake(p, nil)
	default:
		k.end(p) // the client has left
	}
}

// fail ends a request's connection.
func (k *parker) fail(r *parkedRequest, err error) {
	c := r.conn
	if !errors.Is(err, errCloseConnection) && c.ctx.Err() == nil {
		c.server.warn("close connection", "remote", c.nc.RemoteAddr(), "err", err)
	}
	r.discard()
	if c.parked != nil {
		k.end(c.parked)
	}
}

// recoverFrom is deferred: a handler that panics costs its connection, and no other's.
func (k *parker) recoverFrom(r *parkedRequest) {
	if p := recover(); p != nil {
		k.fail(r, r.panicked(p))
	}
}

// discard ends the request, answered or not.
func (r *parkedRequest) discard() {
	if !r.settled {
		r.settled = true
		r.conn.discard(&r.exchange)
	}
}
