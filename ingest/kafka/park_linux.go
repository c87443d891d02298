package kafka

import (
	"bytes"
	"container/list"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// parker waits for what parked connections send, and answers the brief of it.
//
// It has an epoll instance of its own for them, which is itself a file that the runtime's poller waits for: so its goroutine waits as any other
// does, for all of them at once. Connections stay with the runtime's poller as well, for the time when they are not parked.
type parker struct {
	server *Server
	done   chan struct{}  // closed when the goroutine has ended
	tasks  sync.WaitGroup // requests whose handlers wait

	mu struct {
		sync.Mutex
		epoll  *os.File // nil until the first connection is parked
		notes  []parkerNote
		closed bool
	}

	// Of the goroutine.
	epoll      *os.File
	raw        syscall.RawConn
	places     []*parkedConn // by what epoll tells of them
	free       []int32
	generation int32
	byIdle     list.List // of *parkedConn, the longest idle first
	armed      time.Time // when the wait ends without an event; zero for never
	expired    bool      // it has ended so
	in, out    []byte
	events     []unix.EpollEvent
	socket     socketCall
}

// parkedConn is a connection that is parked.
type parkedConn struct {
	conn              *conn
	raw               syscall.RawConn
	place, generation int32 // as epoll tells of it; a place's next connection has another generation
	idleSince         time.Time
	inIdle            *list.Element
	inFlight          *parkedRequest // nothing is read while there is one
	hasNews           bool           // epoll has told of something meanwhile
	hasEnded          bool           // the client sends no more than has come
}

// parkerNote is what others have for the parker: a connection that is to be parked, an answer, or, without either, a connection that may
// have to end.
type parkerNote struct {
	conn   *conn
	parks  bool
	answer *parkedRequest
}

const parkerEvents = 256 // taken at once

func newParker(s *Server) *parker { return &parker{server: s, done: make(chan struct{})} }

// isParkable: whatever is more than a socket has a state that must not be read past.
func isParkable(nc net.Conn) bool {
	_, ok := nc.(*net.TCPConn)
	return ok
}

// take parks a connection; false where that cannot be.
func (k *parker) take(c *conn) bool {
	k.mu.Lock()
	if k.mu.epoll == nil && !k.mu.closed {
		if err := k.start(); err != nil {
			k.mu.Unlock()
			k.server.warn("park connection", "err", err)
			return false
		}
	}
	k.mu.Unlock()
	return k.leave(parkerNote{conn: c, parks: true})
}

// start is called with the lock held.
func (k *parker) start() error {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return fmt.Errorf("make epoll: %w", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil { // so that the runtime waits for it
		return errors.Join(fmt.Errorf("make epoll: %w", err), unix.Close(fd))
	}
	k.epoll = os.NewFile(uintptr(fd), "epoll")
	if k.raw, err = k.epoll.SyscallConn(); err != nil {
		return errors.Join(fmt.Errorf("make epoll: %w", err), k.epoll.Close())
	}
	k.in, k.events = make([]byte, readBufferBytes), make([]unix.EpollEvent, parkerEvents)
	k.socket.init()
	k.mu.epoll = k.epoll
	go k.run()
	return nil
}

// look makes the parker see whether a connection has to end. It does nothing for one that is not parked.
func (k *parker) look(c *conn) { k.leave(parkerNote{conn: c}) }

// leave leaves a note; false where nobody will read it.
func (k *parker) leave(n parkerNote) bool {
	k.mu.Lock()
	if k.mu.closed || k.mu.epoll == nil {
		k.mu.Unlock()
		return false
	}
	k.mu.notes = append(k.mu.notes, n)
	first, epoll := len(k.mu.notes) == 1, k.mu.epoll
	k.mu.Unlock()
	if first {
		_ = epoll.SetReadDeadline(time.Unix(1, 0)) //nolint:errcheck // it fails only when the parker has ended
	}
	return true
}

// close ends the parker, which has no connections any more.
func (k *parker) close() {
	k.mu.Lock()
	k.mu.closed = true
	epoll := k.mu.epoll
	k.mu.Unlock()
	if epoll == nil {
		return
	}
	_ = epoll.SetReadDeadline(time.Unix(1, 0)) //nolint:errcheck // as in leave
	<-k.done
	k.tasks.Wait()
	closeQuietly(epoll)
}

func (k *parker) run() {
	defer close(k.done)
	for {
		k.endIdle(time.Now())
		k.arm()
		notes, open := k.takeNotes() // after arm, which may undo what leave does to wake it
		for _, n := range notes {
			k.heed(n)
		}
		switch {
		case !open:
			return
		case len(notes) > 0:
			continue
		}
		for _, e := range k.events[:k.wait()] {
			k.heedEvent(e)
		}
	}
}

func (k *parker) heedEvent(e unix.EpollEvent) {
	p := k.places[e.Fd]
	if p == nil || p.generation != e.Pad {
		return // it has gone meanwhile
	}
	p.hasEnded = p.hasEnded || e.Events&^unix.EPOLLIN != 0
	if p.inFlight != nil {
		p.hasNews = true
		return
	}
	k.read(p)
}

func (k *parker) takeNotes() (notes []parkerNote, open bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	notes, k.mu.notes = k.mu.notes, nil
	return notes, !k.mu.closed
}

// arm has wait end when the connection that is idle for longest has been so for too long.
func (k *parker) arm() {
	var next time.Time
	if front := k.byIdle.Front(); front != nil {
		next = idleOf(front).idleSince.Add(k.server.config.ConnectionsMaxIdle)
	}
	if k.expired || (!next.IsZero() && (k.armed.IsZero() || next.Before(k.armed))) {
		_ = k.epoll.SetReadDeadline(next) //nolint:errcheck // it is a file that can wait
		k.armed, k.expired = next, false
	}
}

func idleOf(e *list.Element) *parkedConn { return e.Value.(*parkedConn) } //nolint:forcetypeassert // nothing else is in the list

// wait waits for events, a note or the deadline, and returns how many events there are.
func (k *parker) wait() (n int) {
	err := k.raw.Read(func(fd uintptr) bool {
		n = epollNow(fd, k.events)
		return n > 0
	})
	k.expired = k.expired || err != nil
	return n
}

// endIdle ends connections that have been idle for too long.
func (k *parker) endIdle(now time.Time) {
	for front := k.byIdle.Front(); front != nil; front = k.byIdle.Front() {
		p := idleOf(front)
		switch {
		case now.Sub(p.idleSince) < k.server.config.ConnectionsMaxIdle:
			return
		case p.inFlight != nil: // waiting for an answer is not idling
			k.touch(p, now)
		default:
			k.end(p)
		}
	}
}

func (k *parker) touch(p *parkedConn, now time.Time) {
	p.idleSince = now
	k.byIdle.MoveToBack(p.inIdle)
}

// heed does what a note says.
func (k *parker) heed(n parkerNote) {
	switch {
	case n.parks:
		k.adopt(n.conn)
	case n.answer != nil:
		k.answered(n.answer)
	default:
		if p := n.conn.parked; p != nil && (n.conn.ctx.Err() != nil || (n.conn.draining.Load() && p.inFlight == nil)) {
			k.end(p)
		}
	}
}

// adopt begins to wait for what a connection sends.
func (k *parker) adopt(c *conn) {
	now := time.Now()
	p := &parkedConn{conn: c, idleSince: now.Add(-c.parking.after)}
	if len(k.free) == 0 {
		k.places = append(k.places, nil)
		k.free = append(k.free, int32(len(k.places)-1))
	}
	p.place = k.free[len(k.free)-1]
	k.free = k.free[:len(k.free)-1]
	k.generation++
	p.generation = k.generation
	k.places[p.place], c.parked, p.inIdle = p, p, k.byIdle.PushBack(p)
	k.server.config.Metrics.Parked(k.byIdle.Len())
	if c.draining.Load() || c.ctx.Err() != nil {
		k.end(p)
		return
	}
	if err := k.watch(p); err != nil {
		k.server.warn("park connection", "remote", c.nc.RemoteAddr(), "err", err)
		k.wake(p, nil)
		c.parking.after = 0
	}
}

// watch adds a connection's socket to epoll, which tells of everything that comes from then on, and of what is there already.
func (k *parker) watch(p *parkedConn) (err error) {
	if err := p.conn.nc.SetDeadline(time.Time{}); err != nil {
		return fmt.Errorf("end deadlines: %w", err)
	}
	if p.raw, err = p.conn.nc.(*net.TCPConn).SyscallConn(); err != nil { //nolint:forcetypeassert // isParkable
		return fmt.Errorf("look at socket: %w", err)
	}
	event := &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLET, Fd: p.place, Pad: p.generation}
	return k.control(p, unix.EPOLL_CTL_ADD, event)
}

func (k *parker) control(p *parkedConn, operation int, event *unix.EpollEvent) (err error) {
	return errors.Join(p.raw.Control(func(socket uintptr) {
		err = k.raw.Control(func(epoll uintptr) {
			err = os.NewSyscallError("epoll_ctl", unix.EpollCtl(int(epoll), operation, int(socket), event))
		})
	}), err)
}

// remove forgets a parked connection, which is then its caller's.
func (k *parker) remove(p *parkedConn) {
	if p.raw != nil {
		_ = k.control(p, unix.EPOLL_CTL_DEL, &unix.EpollEvent{}) //nolint:errcheck // it fails where the socket is closed, and so removed
	}
	k.byIdle.Remove(p.inIdle)
	k.places[p.place], p.conn.parked = nil, nil
	k.free = append(k.free, p.place)
	k.server.config.Metrics.Parked(k.byIdle.Len())
}

// wake gives a connection back to goroutines of its own, with what has been read of it.
func (k *parker) wake(p *parkedConn, ahead []byte) {
	k.remove(p)
	p.conn.parking.ahead = bytes.Clone(ahead)
	p.conn.backOff()
	go k.server.host(p.conn)
}

// end ends a connection. What is in flight on it is discarded when its answer comes.
func (k *parker) end(p *parkedConn) {
	k.remove(p)
	c := p.conn
	if c.opensShares { // the leader is told
		go k.server.end(c, nil)
		return
	}
	k.server.end(c, nil)
}
