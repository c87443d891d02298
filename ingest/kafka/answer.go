package kafka

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime/debug"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/ingest/lane"
)

// errCloseConnection makes the answering goroutine close the connection without a word, as Kafka answers a failed acks=0 produce.
var errCloseConnection = errors.New("close connection")

// answer answers the queue in order until it is closed and empty. After a failure it takes the rest off the queue unanswered.
func (c *conn) answer() {
	defer c.out.reset()
	for x := range c.queue {
		if c.ctx.Err() != nil {
			c.discard(x)
			continue
		}
		c.answerOrAbort(x)
	}
}

// answerOrAbort answers x, or cuts the connection where that fails. The reading goroutine calls it while the answering one has nothing: what that
// one has done it did before inFlight fell to nothing, and what is done here comes before the next exchange in the queue.
func (c *conn) answerOrAbort(x *exchange) {
	if err := c.answerOne(x); err != nil {
		if !errors.Is(err, errCloseConnection) && c.ctx.Err() == nil {
			c.server.warn("close connection", "remote", c.nc.RemoteAddr(), "err", err)
		}
		c.abort()
	}
}

// answerOne answers x. Answers gather in the outbox while the next one is ready, and leave together.
func (c *conn) answerOne(x *exchange) (err error) {
	defer func() {
		if p := recover(); p != nil {
			c.server.config.Metrics.Refused("panic")
			err = fmt.Errorf("panic answering %s v%d: %v\n%s", x.api.name, x.header.version, p, debug.Stack())
		}
		c.discard(x)
	}()
	before := c.out.size()
	if x.produce != nil {
		if !x.produce.resolved() {
			if err := c.flush(); err != nil {
				return err
			}
			before = 0
		}
		err = c.answerProduce(x)
	} else {
		if x.api.mayWait {
			if err := c.flush(); err != nil {
				return err
			}
			before = 0
		}
		err = c.handle(x)
	}
	if err != nil {
		return err
	}
	c.server.config.Metrics.Request(x.api.name, x.header.version, time.Since(x.received), len(x.frame.bytes)+4, c.out.size()-before)
	if len(c.queue) == 0 || c.out.size() >= flushBytes {
		return c.flush()
	}
	return nil
}

// handle decodes a request's body, has its handler answer and encodes the answer.
func (c *conn) handle(x *exchange) error {
	call := &call{conn: c, header: x.header}
	if !x.api.serves(x.header.version) {
		return c.encode(x, unsupportedApiVersions(x.api))
	}
	began := time.Now()
	request, err := c.decode(x)
	if err != nil {
		return err
	}
	if x.api.answer != nil {
		return x.api.answer(c.ctx, call, request)
	}
	decoded := time.Since(began)
	response, err := c.respond(call, x, request)
	if err != nil {
		return err
	}
	busy := decoded
	if !x.api.mayWait {
		busy = time.Since(began)
	}
	return c.complete(call, x, response, busy)
}

// decode decodes a request's body, and charges one that may wait for no more than what it is now.
func (c *conn) decode(x *exchange) (kmsg.Request, error) {
	request := kmsg.RequestForKey(x.header.key)
	request.SetVersion(x.header.version)
	if err := request.ReadFrom(x.body); err != nil {
		c.server.config.Metrics.Refused("malformed body")
		return nil, fmt.Errorf("decode %s v%d: %w", x.api.name, x.header.version, err)
	}
	if x.api.mayWait {
		x.frame.chargeOnly(int64(len(x.frame.bytes)) + decodedBytes(request))
	}
	return request, nil
}

// respond has the handler answer, and waits for it.
func (c *conn) respond(call *call, x *exchange, request kmsg.Request) (kmsg.Response, error) {
	if x.api.later != nil {
		answers := make(chan kmsg.Response, 1)
		x.api.later(call, request, func(response kmsg.Response) { answers <- response })
		select {
		case response := <-answers:
			return response, nil
		case <-c.ctx.Done():
			return nil, fmt.Errorf("handle %s v%d: %w", x.api.name, x.header.version, c.ctx.Err())
		}
	}
	ctx, cancel := context.WithTimeout(c.ctx, handlerTimeout)
	defer cancel()
	response, err := x.api.handle(ctx, call, request)
	if call.elsewhere {
		err = errCloseConnection
	}
	if err != nil {
		return nil, fmt.Errorf("handle %s v%d: %w", x.api.name, x.header.version, err)
	}
	return response, nil
}

// complete charges for a request and encodes its response. busy is the time that the request took of the node's own.
func (c *conn) complete(call *call, x *exchange, response kmsg.Response, busy time.Duration) error {
	response.SetVersion(x.header.version)
	c.throttle(response, max(call.wait.longest, c.chargeRequest(&c.answerQuota, x, busy)))
	return c.encode(x, response)
}

// handlerTimeout bounds what no client's timeout bounds. It is above the longest rebalance a group may ask for.
const handlerTimeout = 35 * time.Minute

func (c *conn) encode(x *exchange, response kmsg.Response) error {
	c.out.begin(x.header.correlationID, response.IsFlexible() && x.header.key != keyApiVersions)
	c.out.buf = response.AppendTo(c.out.buf)
	c.out.end()
	return nil
}

func (c *conn) flush() error {
	if c.out.size() == 0 {
		return nil
	}
	if err := c.out.writeTo(c.nc, c.server.config.StallTimeout); err != nil {
		return fmt.Errorf("write answers: %w", err)
	}
	return nil
}

const (
	flushBytes     = 64 << 10 // at this much gathered, answers leave without waiting for more
	keepBytes      = 256 << 10
	directMinBytes = 4 << 10 // spliced bytes below this are copied: a writev element costs more than they do
)

// outbox gathers encoded answers: bytes of its own, and slices of others spliced in between, which are written without a copy.
type outbox struct {
	buf      []byte
	start    int // of the answer being encoded
	mark     int // spliced when it began
	splices  []splice
	spliced  int
	vec      net.Buffers
	releases []lane.Releaser
}

type splice struct {
	at   int // position in buf before which data stands
	data []byte
}

func (o *outbox) begin(correlationID int32, flexible bool) {
	o.start, o.mark = len(o.buf), o.spliced
	o.buf = beginResponse(o.buf, correlationID, flexible)
}

func (o *outbox) end() { endResponse(o.buf[o.start:], o.spliced-o.mark) }

// splice puts data behind what was encoded so far. It is read until the next writeTo has returned.
func (o *outbox) splice(data []byte) {
	if len(data) < directMinBytes {
		o.buf = append(o.buf, data...)
		return
	}
	o.splices = append(o.splices, splice{at: len(o.buf), data: data})
	o.spliced += len(data)
}

// then releases memory once everything gathered so far has been written, or has failed to.
func (o *outbox) then(memory lane.Releaser) { o.releases = append(o.releases, memory) }

func (o *outbox) size() int { return len(o.buf) + o.spliced }

// writeTo writes everything gathered with as few system calls as there can be, and forgets it. It gives up where the client takes nothing for as
// long as stall: what the answers refer to is memory that others wait for.
func (o *outbox) writeTo(nc net.Conn, stall time.Duration) error {
	defer o.reset()
	if len(o.splices) == 0 {
		left := o.buf
		return writePatiently(nc, stall, func() (int64, error) {
			n, err := nc.Write(left)
			left = left[n:]
			return int64(n), err
		})
	}
	vec, at := o.vec[:0], 0
	for _, s := range o.splices {
		if s.at > at {
			vec = append(vec, o.buf[at:s.at])
			at = s.at
		}
		vec = append(vec, s.data)
	}
	if at < len(o.buf) {
		vec = append(vec, o.buf[at:])
	}
	o.vec = vec
	return writePatiently(nc, stall, func() (int64, error) { return vec.WriteTo(nc) })
}

// writePatiently has write go on as long as something is written.
func writePatiently(nc net.Conn, stall time.Duration, write func() (int64, error)) error {
	for {
		if err := nc.SetWriteDeadline(time.Now().Add(stall)); err != nil {
			return err
		}
		if n, err := write(); n == 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
	}
}

func (o *outbox) reset() {
	for i, memory := range o.releases {
		memory.Release()
		o.releases[i] = nil
	}
	clear(o.splices)
	clear(o.vec)
	o.releases, o.splices, o.vec, o.spliced = o.releases[:0], o.splices[:0], o.vec[:0], 0
	if cap(o.buf) > keepBytes {
		o.buf = nil
	}
	o.buf = o.buf[:0]
}
