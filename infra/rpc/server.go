package rpc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/varvelog/varve/infra/httpserver"
)

const (
	timeoutHeader = "Varve-Timeout-Millis"
	protobufType  = "application/x-protobuf"
)

// ServerConfig configures the listener. The zero value listens on a free loopback port, with an empty secret.
type ServerConfig struct {
	// Addr is host:port; "127.0.0.1:0" by default.
	Addr string
	// AddrFlag names the setting behind Addr in error messages; "--internal-addr" by default.
	AddrFlag string
	// Secret and ClusterID must be the callers' too.
	Secret    []byte
	ClusterID string
	// MaxBodyBytes bounds one request; 8 MiB by default.
	MaxBodyBytes int64
	// MaxInFlight bounds the calls under way but for those that wait (Waiting); 4096 by default.
	MaxInFlight int
	// MaxWaiting bounds those that wait; 32,768 by default.
	MaxWaiting int
	// MaxInFlightBytes bounds the bytes of their bodies, of the ones and of the others; 128 MiB by default.
	MaxInFlightBytes int64
	// Logger receives one line for each kind of bad request; nil drops them.
	Logger *slog.Logger
}

// Validate reports the first field that cannot be used.
func (c *ServerConfig) Validate() error {
	if c.Addr != "" {
		if _, _, err := net.SplitHostPort(c.Addr); err != nil {
			return fmt.Errorf("%s: address %q is not host:port: %w", c.addrFlag(), c.Addr, err)
		}
	}
	if c.MaxBodyBytes < 0 || c.MaxInFlight < 0 || c.MaxWaiting < 0 || c.MaxInFlightBytes < 0 {
		return errors.New("fields MaxBodyBytes, MaxInFlight, MaxWaiting and MaxInFlightBytes must not be negative")
	}
	return nil
}

func (c *ServerConfig) addrFlag() string {
	if c.AddrFlag == "" {
		return "--internal-addr"
	}
	return c.AddrFlag
}

func orDefault[T int | int64](value, fallback T) T {
	if value == 0 {
		return fallback
	}
	return value
}

// Handler serves one method. body is valid until it returns. The answer may be nil for an empty one.
type Handler func(ctx context.Context, body []byte) (proto.Message, error)

// Registrar is where handlers are registered; Server is one.
type Registrar interface {
	Handle(method string, h Handler)
}

// Method registers f under method, decoding its request.
func Method[Req any, P interface {
	*Req
	proto.Message
}, Resp proto.Message](r Registrar, method string, f func(context.Context, P) (Resp, error)) {
	r.Handle(method, func(ctx context.Context, body []byte) (proto.Message, error) {
		request := P(new(Req))
		if err := proto.Unmarshal(body, request); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrBadRequest, err)
		}
		answer, err := f(ctx, request)
		if err != nil {
			return nil, err
		}
		return answer, nil
	})
}

// Server is the internal listener.
type Server struct {
	cfg      ServerConfig
	signer   *signer
	listener net.Listener // nil for none
	http     http.Server
	stopper  *httpserver.Stopper
	mux      *http.ServeMux
	once     *once
	inFlight admitted
	waiting  admitted  // the calls that wait, which leave the others their places
	bodies   sync.Pool // of *[]byte
	seenBad  sync.Map  // kind of bad request → true once logged
	serving  atomic.Bool
	served   chan error
	streams  streams
}

// Listen opens the listener; calls wait until Serve. Its error names the flag where the port is taken.
func Listen(cfg ServerConfig) (*Server, error) {
	s, err := NewServer(cfg)
	if err != nil {
		return nil, err
	}
	addr := cmp.Or(cfg.Addr, "127.0.0.1:0")
	if s.listener, err = net.Listen("tcp", addr); err != nil {
		return nil, fmt.Errorf("listen for internal calls on %s (set %s to another host:port): %w", addr, cfg.addrFlag(), err)
	}
	return s, nil
}

// NewServer is a server without a listener: requests reach it through ServeHTTP alone. It has no Addr, and neither serves nor shuts down.
func NewServer(cfg ServerConfig) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg.MaxBodyBytes = orDefault(cfg.MaxBodyBytes, 8<<20)
	cfg.MaxInFlight = orDefault(cfg.MaxInFlight, 4096)
	cfg.MaxWaiting = orDefault(cfg.MaxWaiting, 32768)
	cfg.MaxInFlightBytes = max(orDefault(cfg.MaxInFlightBytes, 128<<20), cfg.MaxBodyBytes)
	s := &Server{
		cfg:      cfg,
		signer:   newSigner(cfg.Secret, cfg.ClusterID),
		mux:      http.NewServeMux(),
		once:     newOnce(),
		inFlight: admitted{slots: make(chan struct{}, cfg.MaxInFlight)},
		waiting:  admitted{slots: make(chan struct{}, cfg.MaxWaiting)},
		bodies:   sync.Pool{New: func() any { return new([]byte) }},
		served:   make(chan error, 1),
	}
	s.http = http.Server{
		Handler:           s,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(&onceHandler{server: s}, slog.LevelWarn),
	}
	s.stopper = httpserver.NewStopper(&s.http)
	s.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.refuse(w, r, fmt.Errorf("%w: %s %s", ErrUnknownMethod, r.Method, r.URL.Path))
	})
	return s, nil
}

// Addr is the address listened on.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// NetAddr is Addr as the listener has it.
func (s *Server) NetAddr() net.Addr { return s.listener.Addr() }

// admitted are calls under way, and the bytes of their bodies.
type admitted struct {
	slots chan struct{}
	bytes atomic.Int64
}

func (s *Server) admitted(r *http.Request) *admitted {
	if waits(r) {
		return &s.waiting
	}
	return &s.inFlight
}

// Handle registers h under POST /v1/<method>.
func (s *Server) Handle(method string, h Handler) {
	s.mux.HandleFunc("POST /v1/"+method, func(w http.ResponseWriter, r *http.Request) { s.call(w, r, h) })
}

// HandleOthers serves the methods that no Handle names with what find returns for them at the time of the call; it may be nil.
func (s *Server) HandleOthers(find func(method string) Handler) {
	s.mux.HandleFunc("POST /v1/{method...}", func(w http.ResponseWriter, r *http.Request) {
		if h := find(r.PathValue("method")); h != nil {
			s.call(w, r, h)
			return
		}
		s.refuse(w, r, fmt.Errorf("%w: %s", ErrUnknownMethod, r.URL.Path))
	})
}

// HandleGet registers a streaming read under GET <pattern>, in http.ServeMux's syntax without the verb.
func (s *Server) HandleGet(pattern string, h http.Handler) { s.mux.Handle("GET "+pattern, h) }

// Serve begins to answer calls. The caller must Shutdown.
func (s *Server) Serve() {
	s.serving.Store(true)
	go func() { s.served <- s.http.Serve(s.listener) }()
}

// Shutdown stops accepting and waits for calls under way until ctx ends, then cuts them off. Handlers see their context end
// only when their caller goes or they are cut off. A server that never began to Serve only gives its port back.
func (s *Server) Shutdown(ctx context.Context) error {
	if !s.serving.Load() {
		return s.listener.Close()
	}
	s.streams.shutdown()
	err := s.stopper.Shutdown(ctx)
	if err != nil {
		err = errors.Join(fmt.Errorf("stop internal listener: %w", err), s.http.Close())
	}
	if served := <-s.served; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, fmt.Errorf("serve internal calls: %w", served))
	}
	return err
}

// ServeHTTP implements http.Handler, for callers that reach the server by another way than its listener. It does what every request
// needs, authenticating, refusing what has come before, bounding and setting the deadline, and calls the method.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !s.signer.signs(r) {
		s.refuseStranger(w, r)
		return
	}
	if r.Method != http.MethodPost {
		w.Header().Set(answerHeader, s.signer.callee(r.Header.Get(requestHeader)))
	} else if r.ContentLength > s.cfg.MaxBodyBytes {
		s.refuse(w, r, fmt.Errorf("%w: %d bytes, at most %d are taken", ErrTooLarge, r.ContentLength, s.cfg.MaxBodyBytes))
		return
	}
	// Before all else that may refuse it once and not again: whoever is refused calls again under another name, and no copy of this
	// call may be executed then.
	name, err := parseCallName(r.Header.Get(callHeader))
	if err == nil {
		err = s.once.admit(name)
	}
	switch {
	case errors.Is(err, ErrOtherIncarnation):
		// As a caller's first call does. It is to read the answer, so its body is taken: a connection with unread bytes is reset.
		if _, broken := io.CopyN(io.Discard, r.Body, s.cfg.MaxBodyBytes); broken != nil && !errors.Is(broken, io.EOF) {
			return // and so is the connection
		}
		s.fail(w, r, err)
		return
	case err != nil:
		s.refuse(w, r, err)
		return
	}
	under := s.admitted(r)
	select {
	case under.slots <- struct{}{}:
		defer func() { <-under.slots }()
	default:
		s.refuse(w, r, ErrOverloaded)
		return
	}
	if text := r.Header.Get(timeoutHeader); text != "" {
		millis, err := strconv.ParseInt(text, 10, 64)
		if err != nil || millis < 0 || millis > int64(24*time.Hour/time.Millisecond) {
			s.refuse(w, r, fmt.Errorf("%w: %s %q", ErrBadRequest, timeoutHeader, text))
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), time.Duration(millis)*time.Millisecond)
		defer cancel()
		r = r.WithContext(ctx)
	}
	s.mux.ServeHTTP(w, r)
}

// maxKeptBody bounds the buffers that are used again: the next that takes one may be small, and is charged for its own length.
const maxKeptBody = 1 << 20

// body is where a request's body is read to, until done is called. A call that waits keeps no more than it needs.
func (s *Server) body(r *http.Request, length int) (body []byte, done func()) {
	if length > maxKeptBody || waits(r) {
		return make([]byte, length), func() {}
	}
	buffer := s.bodies.Get().(*[]byte)
	if cap(*buffer) < length {
		*buffer = make([]byte, length)
	}
	return (*buffer)[:length], func() { s.bodies.Put(buffer) }
}

func (s *Server) call(w http.ResponseWriter, r *http.Request, h Handler) {
	length := r.ContentLength
	if length < 0 {
		s.refuse(w, r, fmt.Errorf("%w: no Content-Length", ErrBadRequest))
		return
	}
	under := s.admitted(r)
	defer under.bytes.Add(-length)
	if under.bytes.Add(length) > s.cfg.MaxInFlightBytes {
		s.refuse(w, r, ErrOverloaded)
		return
	}
	body, done := s.body(r, int(length))
	defer done()
	if _, err := io.ReadFull(r.Body, body); err != nil {
		s.refuse(w, r, fmt.Errorf("%w: body: %w", ErrBadRequest, err))
		return
	}
	if !hasBody(r, body) {
		s.refuse(w, r, fmt.Errorf("%w: the body is another than was signed", ErrBadRequest))
		return
	}
	answer, err := h(r.Context(), body)
	if err != nil {
		if errors.Is(err, ErrBadRequest) {
			s.logOnce(r, err)
		}
		s.fail(w, r, err)
		return
	}
	var encoded []byte
	if answer != nil {
		if encoded, err = proto.Marshal(answer); err != nil {
			s.fail(w, r, fmt.Errorf("encode answer of %s: %w", r.URL.Path, err))
			return
		}
	}
	w.Header().Set("Content-Type", protobufType)
	w.Header().Set("Content-Length", strconv.Itoa(len(encoded)))
	w.Header().Set(answerHeader, s.signer.answer(r.Header.Get(requestHeader), http.StatusOK, encoded))
	// A caller that has gone needs no answer.
	_, _ = w.Write(encoded)
}

func (s *Server) refuse(w http.ResponseWriter, r *http.Request, err error) {
	s.logOnce(r, err)
	s.fail(w, r, err)
}

// fail answers a request that was signed with err.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	status, body := encodeError(err)
	if r.Method == http.MethodPost {
		w.Header().Set(answerHeader, s.signer.answer(r.Header.Get(requestHeader), status, body))
	}
	writeError(w, status, body)
}

// refuseStranger answers a request that does not prove that it comes from the cluster. No proof is given to it in turn.
func (s *Server) refuseStranger(w http.ResponseWriter, r *http.Request) {
	err := ErrUnauthorized
	if strings.HasPrefix(r.Header.Get(requestHeader), bearerScheme) {
		err = fmt.Errorf("%w: the caller shows a token, as builds did that did not sign their calls: all processes of a cluster must be of builds that do", err)
	}
	s.logOnce(r, err)
	w.Header().Set(answerHeader, refusedProof)
	WriteError(w, err)
}

// logOnce logs the first bad request of each kind: what one stranger sends a thousand times is one line.
func (s *Server) logOnce(r *http.Request, err error) {
	if s.cfg.Logger == nil {
		return
	}
	if _, seen := s.seenBad.LoadOrStore(describe(err).code, true); !seen {
		s.cfg.Logger.Warn("internal listener refused a request; further ones of this kind are not logged",
			"remote", r.RemoteAddr, "error", err)
	}
}
