package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// What a heartbeat and its answer have, about.
const (
	echoRequestBytes = 64
	echoAnswerBytes  = 20
	echoConnections  = 2000
	echoInterval     = time.Second
)

// bareEcho answers requests as they come on many connections from one thread that does nothing but wait for them, read them and write as
// many bytes as an answer has. It returns that thread's processor time, and how many it answered.
func bareEcho(ctx context.Context, d time.Duration) (cpu time.Duration, requests int64, err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, 0, fmt.Errorf("listen: %w", err)
	}
	defer listener.Close()
	clients, sockets, err := echoPairs(ctx, listener)
	defer func() {
		for _, s := range sockets {
			err = errors.Join(err, s.Close())
		}
	}()
	var beating sync.WaitGroup
	beats, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	stop := func() { // the answering thread ends when all of its clients have
		cancel()
		beating.Wait()
		for _, c := range clients {
			_ = c.Close() // nothing is lost with it
		}
		clients = nil
	}
	defer stop()
	if err != nil {
		return 0, 0, err
	}
	type outcome struct {
		cpu      time.Duration
		requests int64
		err      error
	}
	answered := make(chan outcome, 1)
	go func() {
		defer lockThread()()
		var o outcome
		o.cpu, o.requests, o.err = echoAll(sockets)
		answered <- o
	}()
	for i, c := range clients {
		beating.Go(func() { echoBeats(beats, c, echoInterval*time.Duration(i)/echoConnections) })
	}
	<-beats.Done()
	stop()
	o := <-answered
	return o.cpu, o.requests, errors.Join(o.err, context.Cause(ctx))
}

func echoPairs(ctx context.Context, listener net.Listener) (clients []net.Conn, sockets []*os.File, err error) {
	var dialer net.Dialer
	for range echoConnections {
		client, err := dialer.DialContext(ctx, "tcp", listener.Addr().String())
		if err != nil {
			return clients, sockets, fmt.Errorf("connect: %w", err)
		}
		clients = append(clients, client)
		opened, err := listener.Accept()
		if err != nil {
			return clients, sockets, fmt.Errorf("accept: %w", err)
		}
		socket, err := opened.(*net.TCPConn).File() //nolint:forcetypeassert // a TCP listener
		if err = errors.Join(err, opened.Close()); err != nil {
			return clients, sockets, fmt.Errorf("accept: %w", err)
		}
		sockets = append(sockets, socket)
	}
	return clients, sockets, nil
}

// echoBeats sends a request every interval until ctx ends.
func echoBeats(ctx context.Context, c net.Conn, phase time.Duration) {
	err := wait(ctx, phase)
	ticks := time.NewTicker(echoInterval)
	defer ticks.Stop()
	request, answer := make([]byte, echoRequestBytes), make([]byte, echoAnswerBytes)
	for err == nil {
		if _, err = c.Write(request); err == nil {
			_, err = io.ReadFull(c, answer)
		}
		select {
		case <-ticks.C:
		case <-ctx.Done():
			return
		}
	}
}

// echoAll answers until every client has gone.
func echoAll(sockets []*os.File) (cpu time.Duration, requests int64, err error) {
	before, err := threadCPU()
	if err != nil {
		return 0, 0, err
	}
	poll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return 0, 0, fmt.Errorf("make epoll: %w", err)
	}
	defer func() { err = errors.Join(err, unix.Close(poll)) }()
	for _, s := range sockets {
		fd := int(s.Fd())
		if err := unix.EpollCtl(poll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}); err != nil {
			return 0, 0, fmt.Errorf("watch connection: %w", err)
		}
	}
	request, answer := make([]byte, echoRequestBytes), make([]byte, echoAnswerBytes)
	events := make([]unix.EpollEvent, 128)
	for open := len(sockets); open > 0; {
		n, err := unix.EpollWait(poll, events, -1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return 0, 0, fmt.Errorf("wait for requests: %w", err)
		}
		for _, event := range events[:max(n, 0)] {
			fd := int(event.Fd)
			if got, err := unix.Read(fd, request); err != nil || got == 0 {
				open--
				if err := unix.EpollCtl(poll, unix.EPOLL_CTL_DEL, fd, nil); err != nil {
					return 0, 0, fmt.Errorf("forget connection: %w", err)
				}
				continue
			}
			if _, err := unix.Write(fd, answer); err != nil {
				continue // the next read tells
			}
			requests++
		}
	}
	after, err := threadCPU()
	return after - before, requests, err
}
