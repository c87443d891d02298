package world

import (
	"context"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// socketBytes is what a stream takes from its writer before the reader has it.
const socketBytes = 256 << 10

// Listen accepts connections at address until the process dies.
func (p *Process) Listen(address string) net.Listener {
	l := &listener{process: p, address: address, accept: make(chan net.Conn, 64), closed: make(chan struct{})}
	p.listen(address, &endpoint{process: p, accept: l.accept})
	p.OnDeath(func() { _ = l.Close() })
	return l
}

type listener struct {
	process *Process
	address string
	accept  chan net.Conn
	once    sync.Once
	closed  chan struct{}
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.accept:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	w := l.process.world
	w.mu.Lock()
	defer w.mu.Unlock()
	if e := w.mu.servers[l.address]; e != nil && e.process == l.process {
		delete(w.mu.servers, l.address)
	}
	return nil
}

func (l *listener) Addr() net.Addr { return addr(l.address) }

type addr string

func (addr) Network() string  { return "sim" }
func (a addr) String() string { return string(a) }

// Dial connects to address.
func (p *Process) Dial(ctx context.Context, _, address string) (net.Conn, error) {
	w := p.world
	if err := p.Step(); err != nil {
		return nil, err
	}
	if err := p.Sleep(ctx, w.latency()); err != nil {
		return nil, err
	}
	e := w.endpoint(address)
	if e == nil || e.accept == nil {
		return nil, errRefused
	}
	if err := w.link(p.Host, e.process.Host).open(ctx); err != nil {
		return nil, err
	}
	if err := w.link(e.process.Host, p.Host).open(ctx); err != nil {
		return nil, err
	}
	there, back := newStream(p, e.process), newStream(e.process, p)
	near := &conn{in: back, out: there, local: addr(p.Host + ":1"), remote: addr(address)}
	far := &conn{in: there, out: back, local: addr(address), remote: addr(p.Host + ":1")}
	select {
	case e.accept <- far:
	default:
		return nil, errRefused
	}
	// The other side hears of a death by a reset.
	for _, process := range []*Process{p, e.process} {
		process.OnDeath(func() {
			there.fail(errReset)
			back.fail(errReset)
		})
	}
	go there.run()
	go back.run()
	return near, nil
}

// segment is what was written at once.
type segment struct {
	bytes []byte
	end   bool
}

// stream is one direction of a connection. Bytes arrive in order, a write after a latency of its own or together with the one before it, and
// wait where the link is cut.
type stream struct {
	from, to *Process
	mu       struct {
		sync.Mutex
		sent     []segment // on their way
		sentSize int
		arrived  []byte
		end      bool
		err      error
		changed  chan struct{} // closed when any of these changes
	}
	ctx    context.Context
	cancel context.CancelFunc
}

func newStream(from, to *Process) *stream {
	s := &stream{from: from, to: to}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.mu.changed = make(chan struct{})
	return s
}

// change is called with mu held.
func (s *stream) change() {
	close(s.mu.changed)
	s.mu.changed = make(chan struct{})
}

func (s *stream) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.err == nil {
		s.mu.err = err
		s.change()
	}
	s.cancel()
}

// run carries what was written to the other side.
func (s *stream) run() {
	w := s.from.world
	link := w.link(s.from.Host, s.to.Host)
	for {
		s.mu.Lock()
		for len(s.mu.sent) == 0 {
			changed := s.mu.changed
			done := s.mu.end || s.mu.err != nil
			s.mu.Unlock()
			if done {
				return
			}
			select {
			case <-changed:
			case <-s.ctx.Done():
				return
			}
			s.mu.Lock()
		}
		s.mu.Unlock()
		if Sleep(s.ctx, w.latency()) != nil || link.open(s.ctx) != nil {
			return
		}
		together := w.OneIn(2)
		s.mu.Lock()
		for arriving := true; arriving; arriving = together && len(s.mu.sent) > 0 {
			head := s.mu.sent[0]
			s.mu.sent = s.mu.sent[1:]
			s.mu.sentSize -= len(head.bytes)
			s.mu.arrived = append(s.mu.arrived, head.bytes...)
			s.mu.end = s.mu.end || head.end
		}
		s.change()
		s.mu.Unlock()
	}
}

// wait is called with mu held and returns with it held; an error says that the deadline has passed.
func (s *stream) wait(deadline *deadline) error {
	changed := s.mu.changed
	s.mu.Unlock()
	defer s.mu.Lock()
	expired, moved := deadline.state()
	select {
	case <-changed:
		return nil
	case <-moved:
		return nil
	case <-expired:
		return os.ErrDeadlineExceeded
	}
}

func (s *stream) read(p []byte, deadline *deadline) (int, error) {
	if deadline.passed() {
		return 0, os.ErrDeadlineExceeded
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case len(s.mu.arrived) > 0:
			n := copy(p, s.mu.arrived)
			if s.mu.arrived = s.mu.arrived[n:]; len(s.mu.arrived) == 0 {
				s.mu.arrived = nil
			}
			s.change()
			return n, nil
		case s.mu.err != nil:
			return 0, s.mu.err
		case s.mu.end:
			return 0, io.EOF
		}
		if err := s.wait(deadline); err != nil {
			return 0, err
		}
	}
}

func (s *stream) write(p []byte, end bool, deadline *deadline) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.mu.err == nil && s.mu.sentSize+len(s.mu.arrived) > socketBytes && !end {
		if err := s.wait(deadline); err != nil {
			return 0, err
		}
	}
	if s.mu.err != nil {
		return 0, s.mu.err
	}
	s.mu.sent = append(s.mu.sent, segment{bytes: append([]byte(nil), p...), end: end})
	s.mu.sentSize += len(p)
	s.change()
	return len(p), nil
}

// deadline is a point in time that may move.
type deadline struct {
	mu struct {
		sync.Mutex
		at      time.Time
		expired chan struct{}
		moved   chan struct{}
		timer   *time.Timer
	}
}

func (d *deadline) init() {
	d.mu.expired, d.mu.moved = make(chan struct{}), make(chan struct{})
}

func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.mu.timer != nil {
		d.mu.timer.Stop()
		d.mu.timer = nil
	}
	d.mu.at = t
	expired := make(chan struct{})
	d.mu.expired = expired
	close(d.mu.moved)
	d.mu.moved = make(chan struct{})
	switch left := time.Until(t); {
	case t.IsZero():
	case left <= 0:
		close(expired)
	default:
		d.mu.timer = time.AfterFunc(left, func() { close(expired) })
	}
}

func (d *deadline) state() (expired, moved <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.mu.expired, d.mu.moved
}

func (d *deadline) passed() bool {
	expired, _ := d.state()
	select {
	case <-expired:
		return true
	default:
		return false
	}
}

// conn is one end of a connection.
type conn struct {
	in, out       *stream
	local, remote addr
	once          sync.Once
	deadlines     sync.Once
	reading       deadline
	writing       deadline
}

func (c *conn) prepare() {
	c.deadlines.Do(func() {
		c.reading.init()
		c.writing.init()
	})
}

// Read implements net.Conn.
func (c *conn) Read(p []byte) (int, error) {
	c.prepare()
	n, err := c.in.read(p, &c.reading)
	if stepErr := c.in.to.Step(); stepErr != nil {
		return 0, stepErr
	}
	return n, err
}

// Write implements net.Conn.
func (c *conn) Write(p []byte) (int, error) {
	c.prepare()
	if err := c.out.from.Step(); err != nil {
		return 0, err
	}
	return c.out.write(p, false, &c.writing)
}

// Close implements net.Conn: the other side reads to the end, what it sends goes nowhere.
func (c *conn) Close() error {
	c.once.Do(func() {
		c.prepare()
		_, _ = c.out.write(nil, true, &c.writing)
		c.in.fail(net.ErrClosed)
	})
	return nil
}

// LocalAddr implements net.Conn.
func (c *conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr implements net.Conn.
func (c *conn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline implements net.Conn.
func (c *conn) SetDeadline(t time.Time) error {
	_ = c.SetReadDeadline(t)
	return c.SetWriteDeadline(t)
}

// SetReadDeadline implements net.Conn.
func (c *conn) SetReadDeadline(t time.Time) error {
	c.prepare()
	c.reading.set(t)
	return nil
}

// SetWriteDeadline implements net.Conn.
func (c *conn) SetWriteDeadline(t time.Time) error {
	c.prepare()
	c.writing.set(t)
	return nil
}
