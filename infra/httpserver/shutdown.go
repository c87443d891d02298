// Package httpserver ends HTTP servers in time.
package httpserver

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"
)

// unusedGrace is how long a connection may be that has not sent a request when a server is about to end. http.Server waits for five seconds.
const unusedGrace = 100 * time.Millisecond

// Unused knows the connections of a server on which no request has come yet: clients open some in advance, and use others.
type Unused struct {
	server *http.Server
	mu     sync.Mutex
	conns  map[net.Conn]struct{}
}

// Watch has Unused know the connections of a server that does not serve yet, and whose ConnState is not set.
func Watch(server *http.Server) *Unused {
	u := &Unused{server: server, conns: map[net.Conn]struct{}{}}
	server.ConnState = u.changed
	return u
}

func (u *Unused) changed(conn net.Conn, state http.ConnState) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if state == http.StateNew {
		u.conns[conn] = struct{}{}
	} else {
		delete(u.conns, conn)
	}
}

// Shutdown stops the server as http.Server's does, except that it does not wait for connections without a request.
func (u *Unused) Shutdown(ctx context.Context) error {
	timer := time.AfterFunc(unusedGrace, u.close)
	defer timer.Stop()
	return u.server.Shutdown(ctx)
}

func (u *Unused) close() {
	u.mu.Lock()
	defer u.mu.Unlock()
	for conn := range u.conns {
		_ = conn.Close() // nobody has sent anything on it
	}
}
