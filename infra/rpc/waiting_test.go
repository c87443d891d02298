package rpc

import (
	"context"
	"errors"
	"testing"

	"google.golang.org/protobuf/proto"
)

var methodLinger = Waiting("linger")

// Members of groups that wait, however many, took all connections to the leader, and all its places: its nodes were silent to it, and nothing was committed, for as long as
// the slowest member took.
func TestCallsThatWaitKeepNoOthers(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	s := serve(t, ServerConfig{MaxInFlight: 1, MaxWaiting: 2, MaxInFlightBytes: 1000, MaxBodyBytes: 1000}, func(s *Server) {
		echo(s)
		s.Handle(methodLinger, func(context.Context, []byte) (proto.Message, error) {
			entered <- struct{}{}
			<-release
			return nil, nil
		})
	})
	c := NewClient(ClientConfig{Secret: []byte("secret"), ClusterID: cluster, MaxConnsPerAddr: 1, MaxWaitingPerAddr: 3})
	t.Cleanup(c.Close)
	body := string(make([]byte, 490)) // two fill the bound for bodies
	done := make(chan error)
	for range 2 {
		go func() { _, err := call(c, s.Addr(), methodLinger, body); done <- err }()
		<-entered
	}
	if got, err := call(c, s.Addr(), "echo", body); err != nil || got != "re: "+body {
		t.Fatalf("beside calls that wait a call is answered %.10q, %v", got, err)
	}
	if _, err := call(c, s.Addr(), methodLinger, ""); !errors.Is(err, ErrOverloaded) {
		t.Fatalf("a third call that waits: %v, want ErrOverloaded", err)
	}
	close(release)
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// A call that waits for minutes, or is small, would else keep what a large one left.
func TestALargeBodyLeavesNoBuffer(t *testing.T) {
	s := serve(t, ServerConfig{}, echo)
	c := NewClient(ClientConfig{Secret: []byte("secret"), ClusterID: cluster})
	t.Cleanup(c.Close)
	for range 4 {
		if _, err := call(c, s.Addr(), "echo", string(make([]byte, 2*maxKeptBody))); err != nil {
			t.Fatal(err)
		}
	}
	for range 8 {
		if buffer := s.bodies.Get().(*[]byte); cap(*buffer) > maxKeptBody {
			t.Fatalf("a buffer of %d bytes is kept", cap(*buffer))
		}
	}
}
