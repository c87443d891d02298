package rpc

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
)

// upgradeToken is what the two sides of a stream agree on.
const upgradeToken = "varve-stream"

// streams are a server's connections that have become streams.
type streams struct {
	sync.Mutex
	closed  bool
	open    map[net.Conn]struct{}
	running sync.WaitGroup
}

// add counts a stream; false when the server shuts down.
func (s *streams) add(c net.Conn) bool {
	s.Lock()
	defer s.Unlock()
	if s.closed {
		return false
	}
	if s.open == nil {
		s.open = make(map[net.Conn]struct{})
	}
	s.open[c] = struct{}{}
	s.running.Add(1)
	return true
}

func (s *streams) remove(c net.Conn) {
	s.Lock()
	delete(s.open, c)
	s.Unlock()
	s.running.Done()
}

// shutdown closes all streams and waits for those who serve them.
func (s *streams) shutdown() {
	s.Lock()
	s.closed = true
	for c := range s.open {
		_ = c.Close()
	}
	s.Unlock()
	s.running.Wait()
}

// HandleStream registers serve for connections that a client opens under path, which begins with "/": after an authenticated request
// the connection belongs to serve alone. serve returns when it fails, which Shutdown brings about, and does not close it.
func (s *Server) HandleStream(path string, serve func(net.Conn)) {
	s.mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != upgradeToken {
			s.refuse(w, r, fmt.Errorf("%w: %s is a stream", ErrBadRequest, path))
			return
		}
		proof := w.Header().Get(answerHeader)
		raw, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			WriteError(w, fmt.Errorf("open stream %s: %w", path, err))
			return
		}
		defer func() { _ = raw.Close() }()
		conn := &bufferedConn{Conn: raw, reader: buffered.Reader}
		if !s.streams.add(raw) {
			return
		}
		defer s.streams.remove(raw)
		_, err = raw.Write([]byte("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: " + upgradeToken + "\r\n" + answerHeader + ": " + proof + "\r\n\r\n"))
		if err = errors.Join(err, raw.SetDeadline(time.Time{})); err != nil {
			return // the caller has gone
		}
		serve(conn)
	})
}

// OpenStream opens a stream that addr serves under path. ctx governs the opening only. Errors are those of Call.
func (c *Client) OpenStream(ctx context.Context, addr, path string) (conn net.Conn, err error) {
	err = c.named(ctx, addr, func(name callName) (err error) {
		conn, err = c.openStream(ctx, addr, path, name)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open stream %s at %s: %w", path, addr, err)
	}
	return conn, nil
}

func (c *Client) openStream(ctx context.Context, addr, path string, name callName) (_ net.Conn, err error) {
	raw, err := c.dial(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	opened := false
	defer func() {
		if !opened {
			err = errors.Join(err, raw.Close())
		}
	}()
	stop := context.AfterFunc(ctx, func() { _ = raw.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	request, err := c.streamRequest(ctx, addr, path, name)
	if err != nil {
		return nil, err
	}
	if err := request.Write(raw); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBroken, err)
	}
	reader := bufio.NewReaderSize(raw, 64<<10)
	answer, err := http.ReadResponse(reader, request)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBroken, err)
	}
	if answer.StatusCode != http.StatusSwitchingProtocols {
		return nil, c.readError(addr, name, request, answer)
	}
	if err := c.isCallee(addr, name, request, answer); err != nil {
		return nil, err
	}
	if !stop() {
		return nil, fmt.Errorf("%w: %w", ErrBroken, context.Cause(ctx))
	}
	opened = true
	return &bufferedConn{Conn: raw, reader: reader}, nil
}

// streamRequest is one that opens a stream. It names no deadline: the stream outlives the opening.
func (c *Client) streamRequest(ctx context.Context, addr, path string, name callName) (*http.Request, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+path, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	request.Header.Set(callHeader, name.String())
	request.Header.Set("Connection", "Upgrade")
	request.Header.Set("Upgrade", upgradeToken)
	c.signer.sign(request, nil)
	return request, nil
}

// bufferedConn is a connection of which something has been read ahead.
type bufferedConn struct {
	net.Conn
	reader *bufio.Reader
}

// Read implements net.Conn.
func (c *bufferedConn) Read(p []byte) (int, error) { return c.reader.Read(p) }
