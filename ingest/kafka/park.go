package kafka

import (
	"bufio"
	"errors"
	"net"
	"sync"
	"time"
)

// Parking. Most connections of a large cluster are idle most of the time: members that send a heartbeat every few seconds, producers that wait for
// something to happen. A connection without anything in flight for Config.ParkAfter gives back its goroutines and its buffers, and is parked: one
// goroutine of the node's, the parker, waits for what all parked connections send.
//
// The parker answers brief requests itself, where a whole one and nothing else has come: that takes a read and a write and wakes nobody. It never
// waits. A request whose answer comes later leaves its connection parked and is answered when the answer is there; the next one is read then. What
// is none of that, large, pipelined, of another kind, or comes while the client has to wait or the node has no room, goes with its connection
// back to a reading and an answering goroutine, which judge it as they do all others.
//
// Everything of a parked connection belongs to the parker's goroutine. Others leave it a note.

// parking is what a connection's goroutines know of parking.
type parking struct {
	after time.Duration // without anything in flight, until it is parked; 0 for never
	ahead []byte        // what the parker has read and not answered
}

// errParks is why a connection's goroutines end that is to be parked.
var errParks = errors.New("park connection")

// maxParkBackoff bounds how often ParkAfter is doubled for a connection that is woken by what the parker cannot answer.
const maxParkBackoff = 64

// backOff keeps a connection that has been woken from being parked again soon, and more so each time.
func (c *conn) backOff() {
	c.parking.after = min(2*c.parking.after, maxParkBackoff*c.server.config.ParkAfter)
}

var readBuffers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, readBufferBytes) }}

// takeBuffer gives a connection its read buffer, with what has been read of it already.
func (c *conn) takeBuffer() {
	c.in = readBuffers.Get().(*bufio.Reader) //nolint:forcetypeassert // the pool's New made it
	if len(c.parking.ahead) == 0 {
		c.in.Reset(c.nc)
		return
	}
	c.in.Reset(&aheadReader{ahead: c.parking.ahead, nc: c.nc})
	c.parking.ahead = nil
}

func (c *conn) returnBuffer() {
	c.in.Reset(nil)
	readBuffers.Put(c.in)
	c.in = nil
}

// aheadReader reads what has been read already, which fits into one read, before the connection.
type aheadReader struct {
	ahead []byte
	nc    net.Conn
}

func (r *aheadReader) Read(b []byte) (int, error) {
	if len(r.ahead) == 0 {
		return r.nc.Read(b)
	}
	n := copy(b, r.ahead)
	r.ahead = r.ahead[n:]
	return n, nil
}
