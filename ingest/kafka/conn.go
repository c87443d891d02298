package kafka

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime/debug"
	"sync/atomic"
	"time"
)

// conn is one client's connection. run reads; answer, in a goroutine that run owns, answers in the same order. While it has nothing to do it may be
// parked.
type conn struct {
	server *Server
	nc     net.Conn
	host   string // the client's address without port
	since  time.Time
	// listener is the zone whose listener the client came through, "" for the general one.
	listener string

	parking parking
	parked  *parkedConn // of the parker

	ctx    context.Context // ends when the connection does: a long poll for nobody stops
	cancel context.CancelFunc

	// Of one run.
	in   *bufio.Reader
	poll context.Context // ends with ctx, and when the server shuts down: what waits returns early, and is answered
	// fetchPoll ends before, when the server turns clients away.
	fetchPoll context.Context
	queue     chan *exchange // read and not answered, in order
	inFlight  atomic.Int32   // exchanges in queue or being answered
	draining  atomic.Bool
	until     atomic.Int64 // unix nanoseconds: nothing is waited for after that; 0 for ever
	asked     atomic.Bool  // something has come on it
	stage     pressStage

	mutedUntil atomic.Int64 // by the server's clock: until then no further request is read
	readQuota  quotaClient  // of the reading goroutine

	// Of the answering goroutine, or of the reading one while nothing is in flight.
	out         outbox
	opened      openedPartitions
	rotation    uint32 // of fetches without a session
	rack        string // of the last fetch, "" where the client does not say
	opensShares bool   // share sessions may have been opened on it

	answerQuota quotaClient

	softwareName, softwareVersion string // as the client's ApiVersions gave them
}

// exchange is one request on its way to its answer.
type exchange struct {
	api      *api
	header   requestHeader
	body     []byte // of the frame
	frame    *frame
	received time.Time
	produce  *produceRequest // of a Produce request, which the reading goroutine has begun
}

const readBufferBytes = 8 << 10

func newConn(s *Server, nc net.Conn) *conn {
	c := &conn{server: s, nc: nc, since: time.Now()}
	if isParkable(nc) {
		c.parking.after = s.config.ParkAfter
	}
	if host, _, err := net.SplitHostPort(nc.RemoteAddr().String()); err == nil {
		c.host = host
	} else {
		c.host = nc.RemoteAddr().String()
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c
}

// run serves the connection until it is to end, or to be parked (errParks).
func (c *conn) run() error {
	poll, cancelPoll := context.WithCancel(c.ctx)
	defer cancelPoll()
	defer context.AfterFunc(c.server.ctx, cancelPoll)()
	fetchPoll, cancelFetchPoll := context.WithCancel(poll)
	defer cancelFetchPoll()
	defer context.AfterFunc(c.server.turning, cancelFetchPoll)()
	c.poll, c.fetchPoll, c.queue = poll, fetchPoll, make(chan *exchange, c.server.config.MaxPipelined)
	c.takeBuffer()
	defer c.returnBuffer()

	if err := c.flush(); err != nil { // what the client did not take while it was parked
		return err
	}
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		c.answer()
	}()
	err := c.readFrames()
	c.stage.finish()
	close(c.queue)
	if !errors.Is(err, errParks) && (!c.draining.Load() || err != nil) {
		c.cancel()
	}
	<-answered
	if err == nil && c.draining.Load() && c.ctx.Err() == nil {
		c.linger()
	}
	return err
}

// end leaves nothing behind. err is why, if not because somebody wished so.
func (c *conn) end(err error) {
	c.cancel()
	c.endShareSessions()
	closeQuietly(c.nc)
	if err != nil {
		c.server.warn("close connection", "remote", c.nc.RemoteAddr(), "err", err)
	}
}

// drain makes run read no further and answer what it has. A connection on which nothing has come yet gets firstRequestGrace, since there are
// clients that take one that is closed before its first answer for one that wants a password.
func (c *conn) drain() {
	until := int64(1)
	if !c.asked.Load() {
		until = time.Now().Add(firstRequestGrace).UnixNano()
	}
	c.until.Store(until)
	c.draining.Store(true)
	c.setReadDeadline(time.Unix(0, until))
	c.server.parker.look(c)
}

const (
	firstRequestGrace = 500 * time.Millisecond
	// lingering is how long a client may take to notice that the connection has ended.
	lingering = 250 * time.Millisecond
)

// linger says that no answer follows, and waits for the client to leave. Closing at once would have the kernel reset the connection where
// requests have come that nobody will read, and the client lose answers that it has not read yet.
func (c *conn) linger() {
	half, ok := c.nc.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil || c.nc.SetReadDeadline(time.Now().Add(lingering)) != nil {
		return
	}
	_, _ = io.Copy(io.Discard, c.nc) //nolint:errcheck // it ends in one way or another
}

// abort cuts the connection.
func (c *conn) abort() {
	c.cancel()
	closeQuietly(c.nc)
	c.server.parker.look(c)
}

// setReadDeadline fails only on a connection that is closed, which the next read will say.
func (c *conn) setReadDeadline(t time.Time) {
	_ = c.nc.SetReadDeadline(t) //nolint:errcheck // see above
	if until := c.until.Load(); until != 0 {
		_ = c.nc.SetReadDeadline(time.Unix(0, until)) //nolint:errcheck // see above
	}
}

// expect gives the client StallTimeout for the next n bytes. What is there already needs no time.
func (c *conn) expect(n int) {
	if c.in.Buffered() < n {
		c.setReadDeadline(time.Now().Add(c.server.config.StallTimeout))
	}
}

// readFrames reads and begins requests until the client leaves (nil), the server drains (nil), or something is wrong.
func (c *conn) readFrames() (err error) {
	current := &exchange{}
	defer func() {
		if p := recover(); p != nil {
			c.server.config.Metrics.Refused("panic")
			err = fmt.Errorf("panic reading request %d v%d: %v\n%s", current.header.key, current.header.version, p, debug.Stack())
		}
	}()
	for {
		size, err := c.nextFrame()
		if err != nil || size < 0 {
			return err
		}
		if !c.awaitUnmuted() {
			return nil
		}
		c.asked.Store(true)
		x, err := c.readExchange(size)
		if err != nil {
			if c.ctx.Err() != nil || c.draining.Load() {
				return nil
			}
			return err
		}
		current = x
		if x.api.begin != nil {
			if err := x.api.begin(c, x); err != nil {
				x.frame.release()
				if c.ctx.Err() != nil {
					return nil
				}
				return err
			}
		}
		alone := c.inFlight.Add(1) == 1
		if c.draining.Load() {
			c.until.Store(1) // this was what it waited for
		}
		if alone && x.api.brief && c.in.Buffered() == 0 {
			c.answerOrAbort(x)
			continue
		}
		select {
		case c.queue <- x:
		case <-c.ctx.Done():
			c.discard(x)
			return nil
		}
	}
}

// nextFrame waits for the length of the next frame; -1 means that there is none.
func (c *conn) nextFrame() (int, error) {
	ends := time.Now().Add(c.server.config.ConnectionsMaxIdle)
	for {
		until, mayPark := ends, false
		if parks := time.Now().Add(c.parking.after); c.parking.after > 0 && c.in.Buffered() == 0 && parks.Before(ends) {
			until, mayPark = parks, true
		}
		c.setReadDeadline(until)
		prefix, err := c.in.Peek(4)
		switch {
		case err == nil:
			size := int32(binary.BigEndian.Uint32(prefix))
			if size < 8 || int(size) > c.server.config.MaxRequestBytes {
				c.server.config.Metrics.Refused("frame length")
				return -1, fmt.Errorf("refuse frame: length %d is not between 8 and %d", size, c.server.config.MaxRequestBytes)
			}
			return int(size), nil
		case c.draining.Load() || c.ctx.Err() != nil:
			return -1, nil
		case errors.Is(err, os.ErrDeadlineExceeded):
			switch {
			case c.inFlight.Load() > 0: // waiting for an answer is not idling
				ends = time.Now().Add(c.server.config.ConnectionsMaxIdle)
			case mayPark && len(prefix) == 0:
				return -1, errParks
			case !time.Now().Before(ends):
				return -1, nil
			}
		case errors.Is(err, io.EOF) && len(prefix) > 0:
			return -1, fmt.Errorf("read frame length: %w", io.ErrUnexpectedEOF)
		default:
			return -1, nil // the client left
		}
	}
}

// readExchange reads one frame's bytes and header.
func (c *conn) readExchange(size int) (*exchange, error) {
	// The key decides how large a frame may be; prefix and key together are in the buffer before room is made for the rest.
	c.expect(8)
	start, err := c.in.Peek(8)
	if err != nil {
		return nil, fmt.Errorf("read request header: %w", err)
	}
	key, version, err := keyAndVersion(start[4:])
	if err != nil {
		return nil, err
	}
	x := &exchange{api: c.server.apis.lookup(key)}
	x.header.key, x.header.version = key, version
	if x.api == nil {
		c.server.config.Metrics.Refused("api key")
		return nil, fmt.Errorf("refuse request: unknown api key %d, version %d", key, version)
	}
	if !x.api.serves(version) && x.api.key != keyApiVersions {
		c.server.config.Metrics.Refused("api version")
		return nil, fmt.Errorf("refuse request: %s version %d, served are %d to %d", x.api.name, version, x.api.min, x.api.max)
	}
	charge := int64(size)
	if !x.api.carriesRecords {
		if size > c.server.config.MaxControlRequestBytes {
			c.server.config.Metrics.Refused("frame length")
			return nil, fmt.Errorf("refuse frame: %s of %d bytes, the limit is %d", x.api.name, size, c.server.config.MaxControlRequestBytes)
		}
		charge *= decodeFactor
	}
	// Room is taken for what comes, not for what was promised: a client that sends a length and then nothing would keep it from all others
	// until it has stalled for too long.
	begins := min(4+size, c.in.Size())
	c.expect(begins)
	if _, err := c.in.Peek(begins); err != nil {
		return nil, fmt.Errorf("read frame of %d bytes: %w", size, noEOF(err))
	}
	charge, err = c.server.budget.acquire(c.ctx, charge)
	if err != nil {
		return nil, fmt.Errorf("wait for room for a request: %w", err)
	}
	f := newFrame(size, charge, c.server.budget)
	if err := c.readBody(f.bytes); err != nil {
		f.release()
		return nil, fmt.Errorf("read frame of %d bytes: %w", size, err)
	}
	x.frame, x.received = f, time.Now()
	x.header, x.body, err = parseHeader(f.bytes, x.api.serves(version) && version >= x.api.flexibleFrom)
	if err != nil {
		f.release()
		return nil, err
	}
	return x, nil
}

// noEOF: an end within a frame is never a clean one.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// decodeFactor is how many times its bytes a request that kmsg decodes may take in memory: it makes room for as many elements of an
// array as bytes are left, and the largest elements have some 80 bytes. Once it is decoded it is known; see decoded.go.
const decodeFactor = 80

// readBody takes the length prefix off, then reads a frame, expecting each mebibyte of it within StallTimeout.
func (c *conn) readBody(b []byte) error {
	if _, err := c.in.Discard(4); err != nil {
		return err
	}
	for len(b) > 0 {
		n := min(len(b), 1<<20)
		c.expect(n)
		if _, err := io.ReadFull(c.in, b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// discard ends an exchange, answered or not. Its frame goes back to its pool when the lane, too, needs it no more.
func (c *conn) discard(x *exchange) {
	c.inFlight.Add(-1)
	if x.produce != nil {
		x.produce.settle()
	}
	x.frame.release()
}
