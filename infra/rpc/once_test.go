package rpc

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"
)

// recorder keeps the requests that pass, so that they can be sent again.
type recorder struct {
	requests []*http.Request
	bodies   []string
}

func (r *recorder) RoundTrip(request *http.Request) (*http.Response, error) {
	var body []byte
	if request.Body != nil {
		var err error
		if body, err = io.ReadAll(request.Body); err != nil {
			return nil, err
		}
	}
	r.requests, r.bodies = append(r.requests, request.Clone(context.Background())), append(r.bodies, string(body))
	request.Body = io.NopCloser(strings.NewReader(string(body)))
	request.ContentLength = int64(len(body))
	return http.DefaultTransport.RoundTrip(request)
}

// replay sends what was recorded last to addr.
func (r *recorder) replay(t *testing.T, addr string) error {
	t.Helper()
	return r.forge(t, addr, func(*http.Request, *string) {})
}

// forge sends what was recorded last to addr, with changes.
func (r *recorder) forge(t *testing.T, addr string, change func(request *http.Request, body *string)) error {
	t.Helper()
	last := len(r.requests) - 1
	request, body := r.requests[last].Clone(t.Context()), r.bodies[last]
	request.URL.Host = addr
	change(request, &body)
	request.Body, request.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
	answer, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := io.ReadAll(answer.Body)
	if err := errors.Join(err, answer.Body.Close()); err != nil {
		t.Fatal(err)
	}
	if answer.StatusCode == http.StatusOK {
		return nil
	}
	return parseError(answer.Status, encoded)
}

func TestACopyOfACallIsNotExecuted(t *testing.T) {
	defer http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	var executed atomic.Int64
	count := func(s *Server) {
		s.Handle("count", func(context.Context, []byte) (proto.Message, error) {
			executed.Add(1)
			return nil, nil
		})
	}
	s := serve(t, ServerConfig{}, count)
	tape := new(recorder)
	c := NewClient(ClientConfig{Secret: []byte("secret"), ClusterID: cluster, Transport: tape})
	for i := range 3 {
		if _, err := call(c, s.Addr(), "count", "body"); err != nil {
			t.Fatal(err)
		}
		if err := tape.replay(t, s.Addr()); !errors.Is(err, ErrRepeated) {
			t.Fatalf("replayed: %v, want ErrRepeated", err)
		}
		if got := executed.Load(); got != int64(i+1) {
			t.Fatalf("%d calls were executed %d times", i+1, got)
		}
	}
	// The callee's next life knows nothing of the call.
	next := serve(t, ServerConfig{}, count)
	if err := tape.replay(t, next.Addr()); !errors.Is(err, ErrOtherIncarnation) || executed.Load() != 3 {
		t.Fatalf("replayed to the next incarnation: %v, executed %d times", err, executed.Load())
	}
}

func TestACallWithoutANameIsRefused(t *testing.T) {
	s := serve(t, ServerConfig{}, echo)
	for _, name := range []string{"", "1", "1 2", "1 2 x", "1 2 3 4", "-1 2 3"} {
		c := client(t, "secret")
		request, err := c.request(t.Context(), http.MethodPost, "http://"+s.Addr()+"/v1/echo", nil, callName{})
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set(callHeader, name)
		c.signer.sign(request, nil)
		answer, err := c.send(request)
		if err != nil {
			t.Fatal(err)
		}
		encoded, err := readAnswer(answer, true)
		if err := errors.Join(err, answer.Body.Close()); err != nil {
			t.Fatal(err)
		}
		if err := parseError(answer.Status, encoded); !errors.Is(err, ErrBadRequest) {
			t.Errorf("name %q: %v, want ErrBadRequest", name, err)
		}
	}
}

func TestACallThatHasComeBeforeBreaksOff(t *testing.T) {
	s := serve(t, ServerConfig{}, echo)
	c := client(t, "secret")
	if _, err := call(c, s.Addr(), "echo", ""); err != nil {
		t.Fatal(err)
	}
	c.names.callees[s.Addr()].last-- // the next call takes a name that was used
	if _, err := call(c, s.Addr(), "echo", ""); !errors.Is(err, ErrBroken) || NotExecuted(err) {
		t.Fatalf("error %v, want ErrBroken", err)
	}
}

func TestCallersBeyondTheBoundBeginAnIncarnation(t *testing.T) {
	o := newOnce()
	first := callName{o.incarnation, 1, 1}
	for caller := range uint64(maxCallers) {
		if err := o.admit(callName{o.incarnation, caller + 1, 1}); err != nil {
			t.Fatal(err)
		}
	}
	if err := o.admit(callName{o.incarnation, maxCallers + 1, 1}); !errors.Is(err, ErrOtherIncarnation) {
		t.Fatalf("one caller too many: %v", err)
	}
	if err := o.admit(first); !errors.Is(err, ErrOtherIncarnation) {
		t.Fatalf("copy of a call of the former incarnation: %v", err)
	}
	if err := o.admit(callName{o.incarnation, 1, 1}); err != nil {
		t.Fatal(err)
	}
}

func TestWindowAdmitsEachNumberOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var w window
		seen := map[uint64]bool{}
		highest := uint64(0)
		steps := rapid.SliceOfN(rapid.OneOf(rapid.Int64Range(-100, 100), rapid.Int64Range(-windowNumbers-2, windowNumbers+2), rapid.Int64Range(0, 1<<40)), 1, 200).Draw(t, "steps")
		for _, step := range steps {
			number := max(int64(highest)+step, 0)
			n := uint64(number)
			want := n != 0 && !seen[n] && n+windowNumbers > highest
			if got := w.add(n); got != want {
				t.Fatalf("add(%d) = %v, want %v; highest %d", n, got, want, highest)
			}
			if want {
				seen[n] = true
			}
			highest = max(highest, n)
		}
	})
}

// An answer of a former incarnation that came late had the numbers of the present one begin anew, and all calls until they were used up break off.
func TestNamesAreGivenOnceAlsoAfterALateAnswer(t *testing.T) {
	n, given := newNamer(), map[callName]bool{}
	for _, incarnation := range []uint64{3, 5, 3, 5, 5, 3} {
		n.learn("a", incarnation)
		for range 4 {
			if name := n.next("a"); given[name] {
				t.Fatalf("name %v was given twice", name)
			} else {
				given[name] = true
			}
		}
	}
}

func TestAFirstCallMayBeLarge(t *testing.T) {
	s := serve(t, ServerConfig{}, echo)
	for range 20 {
		text := strings.Repeat("x", 2<<20)
		if got, err := call(client(t, "secret"), s.Addr(), "echo", text); err != nil || got != "re: "+text {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
	}
}
