package httpserver

import (
	"context"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

func TestAServerEndsBesideAConnectionThatNobodyUses(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(entered)
		<-leave
		_, _ = io.WriteString(w, "whole")
	})}
	stopper := NewStopper(server)
	opened := make(chan struct{}, 2)
	noted := server.ConnState
	server.ConnState = func(conn net.Conn, state http.ConnState) {
		noted(conn, state)
		if state == http.StateNew {
			opened <- struct{}{}
		}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = server.Serve(listener) }()
	answered := make(chan string, 1)
	go func() {
		answer, err := http.Get("http://" + listener.Addr().String())
		if err != nil {
			answered <- err.Error()
			return
		}
		defer answer.Body.Close()
		body, _ := io.ReadAll(answer.Body)
		answered <- string(body)
	}()
	<-entered
	idle, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	<-opened // that of the request under way
	<-opened
	ended := make(chan error, 1)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	go func() { ended <- stopper.Shutdown(ctx) }()
	if _, err := idle.Read(make([]byte, 1)); err == nil {
		t.Error("something came")
	}
	began := time.Now()
	close(leave)
	if got := <-answered; got != "whole" {
		t.Errorf("the request under way was answered %q", got)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > 4*time.Second { // http.Server's own patience is 5 s
		t.Errorf("it took %v", took)
	}
}
