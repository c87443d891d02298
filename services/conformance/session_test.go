package conformance

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// answerTimeout is how long an answer may take. Nothing in the scenarios makes a server wait that long; Kafka leaves some requests without any.
const answerTimeout = 4 * time.Second

// observation is what one server answered to one check.
type observation struct {
	api     string
	version int16
	label   string
	fields  map[string]string // path to value; one field "(connection)" where there was no answer
}

func (o *observation) name() string { return fmt.Sprintf("%s v%d %s", o.api, o.version, o.label) }

// session runs a scenario on one server, and records what it answered.
type session struct {
	t       testing.TB
	server  *server
	now     int64 // milliseconds, the same for both servers
	prefix  string
	conn    *wire
	symbols symbols
	seen    []*observation
}

// wire is one connection.
type wire struct {
	address   string
	nc        net.Conn
	formatter *kmsg.RequestFormatter
	next      int32
}

func dial(t testing.TB, address string) *wire {
	t.Helper()
	w, err := dialQuietly(address)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *wire) close() { _ = w.nc.Close() } // nothing is read from it any more

var (
	errClosed  = errors.New("closed")
	errTimeout = errors.New("no answer")
)

func (w *wire) send(frame []byte) error {
	if err := w.nc.SetDeadline(time.Now().Add(answerTimeout)); err != nil {
		return err
	}
	if _, err := w.nc.Write(frame); err != nil {
		return errClosed
	}
	return nil
}

// receive returns the frame after its length.
func (w *wire) receive() ([]byte, error) {
	var prefix [4]byte
	_, err := io.ReadFull(w.nc, prefix[:])
	var frame []byte
	if err == nil {
		frame = make([]byte, binary.BigEndian.Uint32(prefix[:]))
		_, err = io.ReadFull(w.nc, frame)
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, errTimeout
	case err != nil:
		return nil, errClosed
	}
	return frame, nil
}

// request sends a request of the version it has.
func (w *wire) request(r kmsg.Request) error {
	w.next++
	return w.send(w.formatter.AppendRequest(nil, r, w.next))
}

// response reads the answer to r.
func (w *wire) response(r kmsg.Request) (kmsg.Response, error) {
	frame, err := w.receive()
	if err != nil {
		return nil, err
	}
	if id := int32(binary.BigEndian.Uint32(frame)); id != w.next {
		return nil, fmt.Errorf("correlation id %d, want %d", id, w.next)
	}
	frame = frame[4:]
	response := r.ResponseKind()
	if r.Key() != keyApiVersions && response.IsFlexible() {
		frame = frame[1:]
	}
	if err := response.ReadFrom(frame); err != nil {
		return nil, fmt.Errorf("answer that cannot be read: %w", err)
	}
	return response, nil
}

// noAnswer is the one field of an observation where nothing was answered.
const noAnswer = "(connection)"

const keyApiVersions = 18

// dialAgain gives the session a new connection, of a client that says that it reads zstd: others are not given it by Varve.
func (s *session) dialAgain() {
	s.t.Helper()
	if s.conn != nil {
		s.conn.close()
	}
	s.conn = dial(s.t, s.server.address)
	hello := kmsg.NewPtrApiVersionsRequest()
	hello.Version, hello.ClientSoftwareName, hello.ClientSoftwareVersion = 3, "varve", "1"
	err := s.conn.request(hello)
	if err == nil {
		_, err = s.conn.response(hello)
	}
	if err != nil {
		s.t.Fatalf("%s: %v", s.server.name, err)
	}
}

func (s *session) note(r kmsg.Request, label string, fields map[string]string) {
	s.seen = append(s.seen, &observation{api: kmsg.NameForKey(r.Key()), version: r.GetVersion(), label: label, fields: fields})
}

// exchange asks and records under the label, unless that is empty. The answer is nil where there was none.
func (s *session) exchange(label string, w *wire, r kmsg.Request) kmsg.Response {
	s.t.Helper()
	err := w.request(r)
	return s.finish(label, w, r, err)
}

func (s *session) finish(label string, w *wire, r kmsg.Request, err error) kmsg.Response {
	s.t.Helper()
	var response kmsg.Response
	if err == nil {
		response, err = w.response(r)
	}
	if err != nil {
		if label != "" {
			s.note(r, label, map[string]string{noAnswer: err.Error()})
		}
		w.close()
		if w == s.conn {
			s.conn = nil
			s.dialAgain()
		}
		return nil
	}
	if label != "" {
		s.note(r, label, s.symbols.flatten(response))
	}
	return response
}

// ask sends a request of a version, records the answer and returns it; an empty answer where the server closed the connection.
func ask[R kmsg.Response](s *session, label string, version int16, r kmsg.Request) R {
	s.t.Helper()
	r.SetVersion(version)
	return typed[R](r, s.exchange(label, s.conn, r))
}

func typed[R kmsg.Response](r kmsg.Request, response kmsg.Response) R {
	if response == nil {
		response = r.ResponseKind()
	}
	return response.(R) //nolint:forcetypeassert // callers name the request's own answer
}

// pending is a request whose answer is read later, on a connection of its own.
type pending struct {
	w   *wire
	r   kmsg.Request
	err error
}

// start sends a request that may wait.
func (s *session) start(w *wire, version int16, r kmsg.Request) *pending {
	r.SetVersion(version)
	return &pending{w: w, r: r, err: w.request(r)}
}

func await[R kmsg.Response](s *session, label string, p *pending) R {
	s.t.Helper()
	return typed[R](p.r, s.finish(label, p.w, p.r, p.err))
}

// until asks until the answer is good, and records the last one: what an administrative request changed becomes visible a little later.
func until[R kmsg.Response](s *session, label string, version int16, r kmsg.Request, good func(R) bool) R {
	s.t.Helper()
	r.SetVersion(version)
	deadline := time.Now().Add(5 * time.Second)
	for {
		response := typed[R](r, s.exchange("", s.conn, r))
		if good(response) || time.Now().After(deadline) {
			if label != "" {
				s.note(r, label, s.symbols.flatten(response))
			}
			return response
		}
		pause()
	}
}

func pause() { time.Sleep(10 * time.Millisecond) }

// name makes a name of the scenario's own.
func (s *session) name(suffix string) string { return s.prefix + suffix }

func dialQuietly(address string) (*wire, error) {
	nc, err := net.DialTimeout("tcp", address, answerTimeout)
	if err != nil {
		return nil, err
	}
	return &wire{address: address, nc: nc, formatter: kmsg.NewRequestFormatter(kmsg.FormatterClientID("conformance"))}, nil
}

func versioned(r kmsg.Request, version int16) kmsg.Request {
	r.SetVersion(version)
	return r
}
