package rpc

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"google.golang.org/protobuf/proto"
)

// stranger is whoever is at an address and knows no secret. It takes down what it is sent.
func stranger(t *testing.T, listener net.Listener, answer http.HandlerFunc) (addr string, heard *lockedBuffer) {
	t.Helper()
	heard = new(lockedBuffer)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := r.Write(heard); err != nil {
			t.Error(err)
		}
		answer(w, r)
	}))
	if listener != nil {
		if err := s.Listener.Close(); err != nil {
			t.Fatal(err)
		}
		s.Listener = listener
	}
	s.Start()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String(), heard
}

func TestAStrangerIsToldNothing(t *testing.T) {
	s := serve(t, ServerConfig{}, echo)
	for name, answer := range map[string]http.HandlerFunc{
		"that is no service": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) },
		"that agrees":        func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Length", "0") },
		"that wants a password": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("WWW-Authenticate", `Basic realm="printer"`)
			http.Error(w, "please log in", http.StatusUnauthorized)
		},
		"that says it has much to say": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", strconv.Itoa(maxErrorBytes+1))
			if _, err := w.Write(make([]byte, maxErrorBytes+1)); err != nil {
				panic(http.ErrAbortHandler) // it was heard long enough
			}
		},
		"that names an incarnation": func(w http.ResponseWriter, _ *http.Request) { WriteError(w, &otherIncarnation{7}) },
	} {
		t.Run(name, func(t *testing.T) {
			addr, heard := stranger(t, nil, answer)
			c := client(t, "secret")
			_, err := call(c, addr, "echo", "what only the cluster may know")
			if !errors.Is(err, ErrStranger) || !NotExecuted(err) {
				t.Errorf("call: %v, want ErrStranger", err)
			}
			if _, _, err := c.Get(t.Context(), addr, "/hot"); !errors.Is(err, ErrStranger) {
				t.Errorf("get: %v, want ErrStranger", err)
			}
			if _, err := c.OpenStream(t.Context(), addr, "/stream"); !errors.Is(err, ErrStranger) {
				t.Errorf("open stream: %v, want ErrStranger", err)
			}
			if text := heard.String(); strings.Contains(text, "what only") || strings.Contains(text, "/hot") || strings.Contains(text, "/v1/echo") {
				t.Errorf("a stranger heard\n%s", text)
			}
			// What it heard opens nothing elsewhere.
			request, err := http.ReadRequest(bufio.NewReader(strings.NewReader(heard.String())))
			if err != nil {
				t.Fatal(err)
			}
			request.RequestURI, request.URL.Scheme, request.URL.Host, request.URL.Path = "", "http", s.Addr(), "/v1/echo"
			if answer, err := http.DefaultTransport.RoundTrip(request); err != nil || answer.StatusCode != http.StatusUnauthorized {
				t.Errorf("with what a stranger heard: %v, %v", answer, err)
			} else if err := answer.Body.Close(); err != nil {
				t.Error(err)
			}
			http.DefaultTransport.(*http.Transport).CloseIdleConnections()
		})
	}
}

func TestOnlyWhatWasSignedIsExecuted(t *testing.T) {
	defer http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	var executed atomic.Int64
	s := serve(t, ServerConfig{}, func(s *Server) {
		for _, method := range []string{"count", "erase"} {
			s.Handle(method, func(context.Context, []byte) (proto.Message, error) {
				executed.Add(1)
				return nil, nil
			})
		}
	})
	tape := new(recorder)
	c := NewClient(ClientConfig{Secret: []byte("secret"), ClusterID: cluster, Transport: tape})
	if _, err := call(c, s.Addr(), "count", "body"); err != nil {
		t.Fatal(err)
	}
	var n callName
	n, err := parseCallName(tape.requests[len(tape.requests)-1].Header.Get(callHeader))
	if err != nil {
		t.Fatal(err)
	}
	next := func(request *http.Request) { n.number++; request.Header.Set(callHeader, n.String()) }
	for name, row := range map[string]struct {
		change func(request *http.Request, body *string)
		want   error
	}{
		"another name":   {func(r *http.Request, _ *string) { next(r) }, ErrUnauthorized},
		"another method": {func(r *http.Request, _ *string) { r.URL.Path = "/v1/erase" }, ErrUnauthorized},
		"a query":        {func(r *http.Request, _ *string) { r.URL.RawQuery = "x=1" }, ErrUnauthorized},
		"more time":      {func(r *http.Request, _ *string) { r.Header.Set(timeoutHeader, "86400000") }, ErrUnauthorized},
		"a body's hash":  {func(r *http.Request, b *string) { *b = "other"; r.Header.Set(bodyHeader, bodyHash([]byte(*b))) }, ErrUnauthorized},
		"no signature":   {func(r *http.Request, _ *string) { r.Header.Del(requestHeader) }, ErrUnauthorized},
		"the same again": {func(*http.Request, *string) {}, ErrRepeated},
	} {
		if err := tape.forge(t, s.Addr(), row.change); !errors.Is(err, row.want) {
			t.Errorf("%s: %v, want %v", name, err, row.want)
		}
	}
	if got := executed.Load(); got != 1 {
		t.Errorf("executed %d times", got)
	}
}

// swapped is a transport on which somebody puts another body in the place of each.
type swapped struct{}

func (swapped) RoundTrip(request *http.Request) (*http.Response, error) {
	if request.ContentLength > 0 {
		request = request.Clone(request.Context())
		request.Body, request.ContentLength = io.NopCloser(strings.NewReader("swapped")), int64(len("swapped"))
	}
	return http.DefaultTransport.RoundTrip(request)
}

func TestAnotherBodyIsNotExecuted(t *testing.T) {
	defer http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	s := serve(t, ServerConfig{}, func(s *Server) {
		s.Handle("count", func(context.Context, []byte) (proto.Message, error) {
			t.Error("executed")
			return nil, nil
		})
	})
	c := NewClient(ClientConfig{Secret: []byte("secret"), ClusterID: cluster, Transport: swapped{}})
	if _, err := call(c, s.Addr(), "count", "body"); !errors.Is(err, ErrBadRequest) {
		t.Errorf("%v, want ErrBadRequest", err)
	}
}

func TestReadsAndStreamsAreNotRepeated(t *testing.T) {
	defer http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	var read, opened atomic.Int64
	s := serve(t, ServerConfig{}, func(s *Server) {
		s.HandleGet("/hot", http.HandlerFunc(func(http.ResponseWriter, *http.Request) { read.Add(1) }))
		s.HandleStream("/stream", func(net.Conn) { opened.Add(1) })
	})
	tape := new(recorder)
	c := NewClient(ClientConfig{Secret: []byte("secret"), ClusterID: cluster, Transport: tape})
	body, _, err := c.Get(t.Context(), s.Addr(), "/hot")
	if err == nil {
		err = body.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := tape.replay(t, s.Addr()); !errors.Is(err, ErrRepeated) {
		t.Errorf("read again: %v, want ErrRepeated", err)
	}
	open := func(name callName) error {
		request, err := c.streamRequest(t.Context(), s.Addr(), "/stream", name)
		if err != nil {
			return err
		}
		answer, err := http.DefaultTransport.RoundTrip(request)
		if err != nil {
			return err
		}
		defer func() { _ = answer.Body.Close() }()
		if answer.StatusCode == http.StatusSwitchingProtocols {
			return nil
		}
		return c.readError(s.Addr(), name, request, answer)
	}
	name := c.names.next(s.Addr())
	if err := open(name); err != nil {
		t.Fatal(err)
	}
	if err := open(name); !errors.Is(err, ErrRepeated) {
		t.Errorf("opened again: %v, want ErrRepeated", err)
	}
	if read.Load() != 1 {
		t.Errorf("read %d times", read.Load())
	}
}

func TestWhoeverTakesACalleesPlaceIsNotBelieved(t *testing.T) {
	s, err := Listen(ServerConfig{Secret: []byte("secret"), ClusterID: cluster})
	if err != nil {
		t.Fatal(err)
	}
	echo(s)
	s.Serve()
	c := client(t, "secret")
	if _, err := call(c, s.Addr(), "echo", ""); err != nil {
		t.Fatal(err)
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.Close()
	listener, err := net.Listen("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	addr, _ := stranger(t, listener, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Length", "0") })
	// It may have passed the call on to whom it was meant for.
	if _, err := call(c, addr, "echo", "x"); !errors.Is(err, ErrBroken) || NotExecuted(err) {
		t.Errorf("the first call: %v, want ErrBroken", err)
	}
	if _, err := call(c, addr, "echo", "x"); !errors.Is(err, ErrStranger) {
		t.Errorf("the next call: %v, want ErrStranger", err)
	}
}

func TestBuildsThatShowATokenAreToldWhatToDo(t *testing.T) {
	s := serve(t, ServerConfig{}, echo)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+s.Addr()+"/v1/echo", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Varve "+strings.Repeat("0f", 32))
	request.Header.Set(callHeader, "0 1 1")
	c := client(t, "secret")
	answer, err := c.send(request)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := readAnswer(answer, true)
	if err := errors.Join(err, answer.Body.Close()); err != nil {
		t.Fatal(err)
	}
	if err := parseError(answer.Status, encoded); !errors.Is(err, ErrUnauthorized) || !strings.Contains(err.Error(), "all processes of a cluster") {
		t.Errorf("got %v", err)
	}
}

func TestACalleeThatAsksForATokenIsNamed(t *testing.T) {
	addr, _ := stranger(t, nil, func(w http.ResponseWriter, _ *http.Request) { WriteError(w, ErrUnauthorized) })
	if _, err := call(client(t, "secret"), addr, "echo", "x"); !errors.Is(err, ErrUnsigned) || !strings.Contains(err.Error(), "does not sign its calls") {
		t.Errorf("got %v", err)
	}
	s := serve(t, ServerConfig{}, echo)
	if _, err := call(client(t, "another secret"), s.Addr(), "echo", "x"); !errors.Is(err, ErrUnauthorized) || errors.Is(err, ErrUnsigned) {
		t.Errorf("of another cluster: %v", err)
	}
}

// TestCallersMeetACalleeSideBySide has many calls meet one that is not known yet.
func TestCallersMeetACalleeSideBySide(t *testing.T) {
	s := serve(t, ServerConfig{}, echo)
	c := client(t, "secret")
	var group sync.WaitGroup
	for range 50 {
		group.Go(func() {
			if got, err := call(c, s.Addr(), "echo", "x"); err != nil || got != "re: x" {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
	group.Wait()
}

// BenchmarkProofs is what a call and its answer cost both sides for proving themselves.
func BenchmarkProofs(b *testing.B) {
	signer := newSigner([]byte("secret"), cluster)
	for name, size := range map[string]int{"1B": 1, "4KiB": 4 << 10, "64KiB": 64 << 10} {
		b.Run(name, func(b *testing.B) {
			body, answer := make([]byte, size), make([]byte, 16)
			request, err := http.NewRequestWithContext(b.Context(), http.MethodPost, "http://127.0.0.1:9644/v1/submit", nil)
			if err != nil {
				b.Fatal(err)
			}
			request.Header.Set(callHeader, callName{1 << 60, 1 << 60, 1 << 30}.String())
			b.ReportAllocs()
			before := processorTime(b)
			for b.Loop() {
				signer.sign(request, body)
				shown := request.Header.Get(requestHeader)
				if !signer.signs(request) || !hasBody(request, body) || !signer.isAnswer(signer.answer(shown, http.StatusOK, answer), shown, http.StatusOK, answer) {
					b.Fatal("not proved")
				}
			}
			b.ReportMetric(float64(processorTime(b)-before)/float64(b.N), "cpu-ns/op")
		})
	}
}
