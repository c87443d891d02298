package rpc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errTooEarly = errors.New("too early")

func init() { RegisterError("TEST_TOO_EARLY", errTooEarly) }

const cluster = "MkU3OEVBNTcwNTJENDM2Qg"

func serve(t *testing.T, cfg ServerConfig, register func(*Server)) *Server {
	t.Helper()
	cfg.Secret, cfg.ClusterID = []byte("secret"), cluster
	s, err := Listen(cfg)
	if err != nil {
		t.Fatal(err)
	}
	register(s)
	s.Serve()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	})
	return s
}

func client(t *testing.T, secret string) *Client {
	t.Helper()
	c := NewClient(ClientConfig{Secret: []byte(secret), ClusterID: cluster})
	t.Cleanup(c.Close)
	return c
}

func echo(s *Server) {
	Method(s, "echo", func(_ context.Context, r *wrapperspb.StringValue) (*wrapperspb.StringValue, error) {
		return wrapperspb.String("re: " + r.Value), nil
	})
}

func call(c *Client, addr, method, text string) (string, error) {
	var answer wrapperspb.StringValue
	err := c.Call(context.Background(), addr, method, wrapperspb.String(text), &answer)
	return answer.Value, err
}

func TestCallIsAnswered(t *testing.T) {
	s := serve(t, ServerConfig{}, echo)
	if got, err := call(client(t, "secret"), s.Addr(), "echo", "x"); err != nil || got != "re: x" {
		t.Fatalf("call = %q, %v", got, err)
	}
}

func TestErrorsSurviveTheWire(t *testing.T) {
	s := serve(t, ServerConfig{}, func(s *Server) {
		s.Handle("early", func(context.Context, []byte) (proto.Message, error) {
			return nil, NotLeader(fmt.Errorf("look up 7: %w", errTooEarly), "10.0.0.7:9")
		})
		s.Handle("odd", func(context.Context, []byte) (proto.Message, error) { return nil, errors.New("odd") })
	})
	c := client(t, "secret")
	_, err := call(c, s.Addr(), "early", "")
	if !errors.Is(err, errTooEarly) || !strings.Contains(err.Error(), "look up 7") || LeaderHint(err) != "10.0.0.7:9" || NotExecuted(err) {
		t.Fatalf("error %v, leader %q", err, LeaderHint(err))
	}
	var remote *Error
	if _, err := call(c, s.Addr(), "odd", ""); !errors.As(err, &remote) || remote.Code != codeInternal || errors.Is(err, errTooEarly) {
		t.Fatalf("error %v", err)
	}
	if _, err := call(c, s.Addr(), "missing", ""); !errors.Is(err, ErrUnknownMethod) || !NotExecuted(err) {
		t.Fatalf("unknown method: %v", err)
	}
}

func TestWrongSecretIsRefused(t *testing.T) {
	s := serve(t, ServerConfig{}, echo)
	if _, err := call(client(t, "guess"), s.Addr(), "echo", "x"); !errors.Is(err, ErrUnauthorized) {
		t.Fatalf("error %v, want ErrUnauthorized", err)
	}
}

func TestOversizedBodyIsRefusedUnread(t *testing.T) {
	s := serve(t, ServerConfig{MaxBodyBytes: 1000}, echo)
	if _, err := call(client(t, "secret"), s.Addr(), "echo", strings.Repeat("x", 2000)); !errors.Is(err, ErrTooLarge) {
		t.Fatalf("error %v, want ErrTooLarge", err)
	}
}

func TestCallsBeyondTheBoundArePushedBack(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	s := serve(t, ServerConfig{MaxInFlight: 1}, func(s *Server) {
		s.Handle("wait", func(context.Context, []byte) (proto.Message, error) {
			close(entered)
			<-release
			return nil, nil
		})
	})
	c := client(t, "secret")
	done := make(chan error)
	go func() { _, err := call(c, s.Addr(), "wait", ""); done <- err }()
	<-entered
	if _, err := call(c, s.Addr(), "wait", ""); !errors.Is(err, ErrOverloaded) || !NotExecuted(err) {
		t.Fatalf("error %v, want ErrOverloaded", err)
	}
	close(release)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestDeadlineTravels(t *testing.T) {
	s := serve(t, ServerConfig{}, func(s *Server) {
		s.Handle("deadline", func(ctx context.Context, _ []byte) (proto.Message, error) {
			deadline, ok := ctx.Deadline()
			return wrapperspb.String(fmt.Sprint(ok && time.Until(deadline) < time.Minute)), nil
		})
	})
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var answer wrapperspb.StringValue
	if err := client(t, "secret").Call(ctx, s.Addr(), "deadline", &wrapperspb.StringValue{}, &answer); err != nil || answer.Value != "true" {
		t.Fatalf("handler's deadline within the caller's: %q, %v", answer.Value, err)
	}
}

func TestNobodyThereIsUnreachable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := call(client(t, "secret"), addr, "echo", ""); !errors.Is(err, ErrUnreachable) || !NotExecuted(err) {
		t.Fatalf("error %v, want ErrUnreachable", err)
	}
}

func TestAnswerCutOffIsBroken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	group.Go(func() {
		conn, err := l.Accept()
		if err != nil {
			t.Error(err)
			return
		}
		if _, err := conn.Read(make([]byte, 1)); err != nil {
			t.Error(err)
		}
		_ = conn.Close()
	})
	_, err = call(client(t, "secret"), l.Addr().String(), "echo", "")
	if !errors.Is(err, ErrBroken) || NotExecuted(err) {
		t.Fatalf("error %v, want ErrBroken", err)
	}
	group.Wait()
	_ = l.Close()
}

func TestStreamingRead(t *testing.T) {
	s := serve(t, ServerConfig{}, func(s *Server) {
		s.HandleGet("/hot/{disk}/{segment}", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.PathValue("segment") == "9" {
				WriteError(w, errTooEarly)
				return
			}
			_, _ = io.WriteString(w, r.PathValue("disk")+" "+r.PathValue("segment")+" "+r.URL.Query().Get("position"))
		}))
	})
	c := client(t, "secret")
	body, _, err := c.Get(context.Background(), s.Addr(), "/hot/d1/7?position=12&length=3")
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(body)
	if err := errors.Join(err, body.Close()); err != nil || string(text) != "d1 7 12" {
		t.Fatalf("read %q, %v", text, err)
	}
	if _, _, err := c.Get(context.Background(), s.Addr(), "/hot/d1/9"); !errors.Is(err, errTooEarly) {
		t.Fatalf("error %v, want errTooEarly", err)
	}
}

func TestGarbageIsLoggedOnceAndSurvived(t *testing.T) {
	var log lockedBuffer
	s := serve(t, ServerConfig{Logger: slog.New(slog.NewTextHandler(&log, nil))}, echo)
	for range 5 {
		conn, err := net.Dial("tcp", s.Addr())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write([]byte("\x00\x00\x00\x10garbage\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, conn)
		_ = conn.Close()
	}
	c := client(t, "guess")
	for range 5 {
		if _, err := call(c, s.Addr(), "echo", ""); !errors.Is(err, ErrUnauthorized) {
			t.Fatal(err)
		}
	}
	if n := strings.Count(log.String(), ErrUnauthorized.Error()); n != 1 {
		t.Fatalf("logged %d times, want once:\n%s", n, log.String())
	}
	if got, err := call(client(t, "secret"), s.Addr(), "echo", "x"); err != nil || got != "re: x" {
		t.Fatalf("after garbage: %q, %v", got, err)
	}
}

func TestBadProtobufIsABadRequest(t *testing.T) {
	s := serve(t, ServerConfig{}, echo)
	c := client(t, "secret")
	_, err := c.post(context.Background(), s.Addr(), "echo", []byte{0xff, 0xff, 0xff})
	if !errors.Is(err, ErrBadRequest) {
		t.Fatalf("error %v, want ErrBadRequest", err)
	}
}

func TestTakenPortNamesTheFlag(t *testing.T) {
	s := serve(t, ServerConfig{}, echo)
	if _, err := Listen(ServerConfig{Addr: s.Addr()}); err == nil || !strings.Contains(err.Error(), "--internal-addr") {
		t.Fatalf("error %v does not name the flag", err)
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// BenchmarkCall has calls answered with what they bring. What they cost the processor, on both sides, is told apart from the time they take.
func BenchmarkCall(b *testing.B) {
	for name, size := range map[string]int{"1B": 1, "4KiB": 4 << 10, "64KiB": 64 << 10, "1MiB": 1 << 20} {
		b.Run(name, func(b *testing.B) {
			s, err := Listen(ServerConfig{})
			if err != nil {
				b.Fatal(err)
			}
			echo(s)
			s.Serve()
			c, text := NewClient(ClientConfig{}), strings.Repeat("x", size)
			b.ReportAllocs()
			before := processorTime(b)
			for b.Loop() {
				if _, err := call(c, s.Addr(), "echo", text); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(processorTime(b)-before)/float64(b.N), "cpu-ns/op")
			c.Close()
			if err := s.Shutdown(context.Background()); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// processorTime is what this process has used.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func TestAServerThatNeverServedGivesItsPortBack(t *testing.T) {
	s, err := Listen(ServerConfig{Secret: []byte("secret"), ClusterID: cluster})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	again, err := Listen(ServerConfig{Secret: []byte("secret"), ClusterID: cluster, Addr: s.Addr()})
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}
