// Package httpserver ends HTTP servers in time.
package httpserver

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"
)

// unusedGrace is how long a connection on which no request has come may stay when a server is to stop. http.Server waits five seconds for one.
const unusedGrace = 100 * time.Millisecond

// Stopper stops a server. It knows the connections on which no request has come yet: clients open some in advance, and use others.
type Stopper struct {
	server *http.Server
	mu     sync.Mutex
	unused map[net.Conn]struct{}
}

// NewStopper returns the stopper of a server that does not serve yet. It takes the server's ConnState.
func NewStopper(server *http.Server) *Stopper {
	s := &Stopper{server: server, unused: map[net.Conn]struct{}{}}
	server.ConnState = s.changed
	return s
}

func (s *Stopper) changed(conn net.Conn, state http.ConnState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if state == http.StateNew {
		s.unused[conn] = struct{}{}
	} else {
		delete(s.unused, conn)
	}
}

// Shutdown does what http.Server's does, except that it does not wait for connections on which no request has come.
func (s *Stopper) Shutdown(ctx context.Context) error {
	timer := time.AfterFunc(unusedGrace, s.closeUnused)
	defer timer.Stop()
	return s.server.Shutdown(ctx)
}

func (s *Stopper) closeUnused() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for conn := range s.unused {
		_ = conn.Close() // nobody has sent anything on it
	}
}
