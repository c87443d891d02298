package rpc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"google.golang.org/protobuf/proto"
)

const (
	maxErrorBytes  = 64 << 10
	maxAnswerBytes = 64 << 20
)

// ClientConfig configures a client. Secret and ClusterID must be the callee's.
type ClientConfig struct {
	Secret    []byte
	ClusterID string
	// DialTimeout bounds making a connection; 3 s by default.
	DialTimeout time.Duration
	// MaxConnsPerAddr bounds the connections to one callee; 2,048 by default. Beyond it calls wait.
	MaxConnsPerAddr int
	// MaxWaitingPerAddr bounds those on which members of groups wait (Waiting), which are not counted among the others; 16,384 by default.
	MaxWaitingPerAddr int
	// Transport carries the calls instead of TCP; nil for TCP. The bound on connections is its own matter then.
	Transport http.RoundTripper
	// Dial makes connections; nil for TCP's.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// Client calls internal listeners, keeping connections to each address. It may be used concurrently.
type Client struct {
	signer *signer
	names  *namer
	dial   func(ctx context.Context, network, addr string) (net.Conn, error)
	http   http.Client
	// waiting carries the calls that wait: however many do, the others find a connection.
	waiting http.Client
}

// NewClient returns a client. The caller must Close it.
func NewClient(cfg ClientConfig) *Client {
	if cfg.DialTimeout == 0 {
		cfg.DialTimeout = 3 * time.Second
	}
	if cfg.Dial == nil {
		cfg.Dial = (&net.Dialer{Timeout: cfg.DialTimeout, KeepAlive: 15 * time.Second}).DialContext
	}
	c := &Client{signer: newSigner(cfg.Secret, cfg.ClusterID), names: newNamer(), dial: cfg.Dial}
	waiting := cfg.Transport
	if cfg.Transport == nil {
		cfg.Transport = newTransport(cfg, orDefault(cfg.MaxConnsPerAddr, 2048), 64<<10)
		waiting = newTransport(cfg, orDefault(cfg.MaxWaitingPerAddr, 16384), 4<<10)
	}
	noRedirect := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	c.http = http.Client{Transport: cfg.Transport, CheckRedirect: noRedirect}
	c.waiting = http.Client{Transport: waiting, CheckRedirect: noRedirect}
	return c
}

func newTransport(cfg ClientConfig, maxConns, bufferBytes int) *http.Transport {
	return &http.Transport{
		DialContext:         dropping(cfg.Dial),
		MaxConnsPerHost:     maxConns,
		MaxIdleConnsPerHost: 32,
		IdleConnTimeout:     90 * time.Second,
		DisableCompression:  true,
		ReadBufferSize:      bufferBytes,
		WriteBufferSize:     bufferBytes,
	}
}

// dropping has connections forget, when they are closed, what has not been sent: a call that was given up while the network was cut must not come to the callee
// when it is whole again.
func dropping(dial func(ctx context.Context, network, addr string) (net.Conn, error)) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		nc, err := dial(ctx, network, addr)
		if tcp, ok := nc.(*net.TCPConn); ok && err == nil {
			err = tcp.SetLinger(0)
		}
		if err != nil && nc != nil {
			err = errors.Join(err, nc.Close())
			nc = nil
		}
		return nc, err
	}
}

// Close closes idle connections; calls under way end as their contexts do.
func (c *Client) Close() {
	c.http.CloseIdleConnections()
	c.waiting.CloseIdleConnections()
}

// Call asks addr to execute method and decodes its answer into response. The error is an *Error where the callee answered
// with one, else it wraps ErrUnreachable or ErrBroken.
func (c *Client) Call(ctx context.Context, addr, method string, request, response proto.Message) error {
	body, err := proto.Marshal(request)
	if err != nil {
		return fmt.Errorf("encode request of %s: %w", method, err)
	}
	encoded, err := c.post(ctx, addr, method, body)
	if err != nil {
		return fmt.Errorf("call %s at %s: %w", method, addr, err)
	}
	if err := proto.Unmarshal(encoded, response); err != nil {
		return fmt.Errorf("call %s at %s: %w: decode answer: %w", method, addr, ErrBroken, err)
	}
	return nil
}

// post sends a call and returns its answer's body.
func (c *Client) post(ctx context.Context, addr, method string, body []byte) (encoded []byte, err error) {
	err = c.named(ctx, addr, func(name callName) (err error) {
		encoded, err = c.execute(ctx, addr, method, body, name)
		return err
	})
	if errors.Is(err, ErrRepeated) {
		return nil, fmt.Errorf("%w: %w", ErrBroken, err)
	}
	return encoded, err
}

// named has a request sent under a name of its own, again where the callee is another than the caller knew: it was not executed then. Whoever is
// not known is met first, so that nothing of a request goes to somebody who has not proved that he is of the cluster.
func (c *Client) named(ctx context.Context, addr string, send func(callName) error) error {
	for try := 1; ; try++ {
		name := c.names.next(addr)
		var err error
		if name.incarnation == 0 {
			_, err = c.execute(ctx, addr, methodMeet, nil, name)
		} else {
			err = send(name)
		}
		var remote *Error
		if !errors.Is(err, ErrOtherIncarnation) || try == incarnationTries || !errors.As(err, &remote) {
			return err
		}
		c.names.learn(addr, remote.Incarnation)
	}
}

// methodMeet is what a call asks for that is there to be answered with the callee's incarnation, and is executed nowhere.
const methodMeet = "meet"

// execute sends a call once. Its answer counts only with the proof that it is one: else the callee is a stranger, or was replaced by one.
func (c *Client) execute(ctx context.Context, addr, method string, body []byte, name callName) ([]byte, error) {
	request, err := c.request(ctx, http.MethodPost, "http://"+addr+"/v1/"+method, body, name)
	if err != nil {
		return nil, err
	}
	answer, err := c.send(request)
	if err != nil {
		return nil, err
	}
	encoded, err := readAnswer(answer, name.incarnation != 0)
	if err = errors.Join(err, answer.Body.Close()); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBroken, err)
	}
	if !c.signer.isAnswer(answer.Header.Get(answerHeader), request.Header.Get(requestHeader), answer.StatusCode, encoded) {
		return nil, c.unproved(addr, name, answer, encoded)
	}
	if answer.StatusCode != http.StatusOK {
		return nil, parseError(answer.Status, encoded)
	}
	return encoded, nil
}

// unproved is the error of an answer by somebody who has not proved to be of the cluster. A request that met him first was meant for nobody.
func (c *Client) unproved(addr string, name callName, answer *http.Response, body []byte) error {
	c.names.learn(addr, 0)
	switch {
	case name.incarnation != 0:
		return fmt.Errorf("%w: %v any more", ErrBroken, ErrStranger) // not ErrStranger itself, which was told nothing
	case answer.StatusCode != http.StatusUnauthorized:
		return fmt.Errorf("%w: status %d", ErrStranger, answer.StatusCode)
	}
	said := ""
	var remote *Error
	if errors.As(parseError("", body), &remote) && remote.Message != ErrUnauthorized.Error() {
		said = fmt.Sprintf("; it says: %.200q", remote.Message)
	}
	switch {
	case answer.Header.Get(answerHeader) == refusedProof:
		return fmt.Errorf("%w by a process of another cluster%s", ErrUnauthorized, said)
	case remote != nil && errors.Is(remote, ErrUnauthorized):
		return fmt.Errorf("%w%s", ErrUnsigned, said)
	}
	return fmt.Errorf("%w: it wants to be told who calls", ErrStranger) // as any server may
}

// readAnswer reads the body of an answer to a call. Who was not met yet is believed no length: he may be anybody.
func readAnswer(answer *http.Response, met bool) ([]byte, error) {
	if answer.StatusCode != http.StatusOK || !met {
		return io.ReadAll(io.LimitReader(answer.Body, maxErrorBytes))
	}
	if answer.ContentLength < 0 || answer.ContentLength > maxAnswerBytes {
		return nil, fmt.Errorf("answer of %d bytes", answer.ContentLength)
	}
	encoded := make([]byte, answer.ContentLength)
	_, err := io.ReadFull(answer.Body, encoded)
	return encoded, err
}

// Get opens a streaming read of path, which begins with "/" and may carry a query. sizeBytes is -1 where the callee does not
// say. The body must be closed; ctx governs it until then. Who answers has proved to be of the cluster; the bytes are for the reader to check.
func (c *Client) Get(ctx context.Context, addr, path string) (body io.ReadCloser, sizeBytes int64, err error) {
	var answer *http.Response
	get := func(name callName) error {
		request, err := c.request(ctx, http.MethodGet, "http://"+addr+path, nil, name)
		if err != nil {
			return err
		}
		if answer, err = c.send(request); err != nil {
			return err
		}
		if answer.StatusCode == http.StatusOK || answer.StatusCode == http.StatusPartialContent {
			err = c.isCallee(addr, name, request, answer)
		} else {
			err = c.readError(addr, name, request, answer)
		}
		return err
	}
	err = c.named(ctx, addr, get)
	if errors.Is(err, ErrRepeated) {
		err = c.named(ctx, addr, get) // the transport sends a read again by itself where its connection was about to be closed
	}
	if err != nil {
		return nil, 0, fmt.Errorf("get %s from %s: %w", path, addr, err)
	}
	return answer.Body, answer.ContentLength, nil
}

// isCallee returns nil where the answer to a read or to the opening of a stream is a process's of the cluster; else it closes the answer.
func (c *Client) isCallee(addr string, name callName, request *http.Request, answer *http.Response) error {
	if c.signer.isCallee(answer.Header.Get(answerHeader), request.Header.Get(requestHeader)) {
		return nil
	}
	return errors.Join(c.unproved(addr, name, answer, nil), answer.Body.Close())
}

// readError reads the error that is the answer to a read or to the opening of a stream, and closes it. The incarnation in it is not proved, so
// it is forgotten: the callee is met again.
func (c *Client) readError(addr string, name callName, request *http.Request, answer *http.Response) error {
	if err := c.isCallee(addr, name, request, answer); err != nil {
		return err
	}
	encoded, err := io.ReadAll(io.LimitReader(answer.Body, maxErrorBytes))
	if err = errors.Join(err, answer.Body.Close()); err != nil {
		return fmt.Errorf("%w: status %s: %w", ErrBroken, answer.Status, err)
	}
	err = parseError(answer.Status, encoded)
	var remote *Error
	if errors.As(err, &remote) {
		remote.Incarnation = 0
	}
	return err
}

// request is a signed request.
func (c *Client) request(ctx context.Context, verb, url string, body []byte, name callName) (*http.Request, error) {
	var reader io.Reader
	if len(body) > 0 {
		reader = bytes.NewReader(body)
	}
	request, err := http.NewRequestWithContext(ctx, verb, url, reader)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	request.Header.Set(callHeader, name.String())
	if verb == http.MethodPost {
		request.Header.Set("Content-Type", protobufType)
	}
	if deadline, ok := ctx.Deadline(); ok {
		millis := max(0, time.Until(deadline).Milliseconds())
		request.Header.Set(timeoutHeader, strconv.FormatInt(millis, 10))
	}
	c.signer.sign(request, body)
	return request, nil
}

// send sends a request and returns whatever is answered.
func (c *Client) send(request *http.Request) (*http.Response, error) {
	over := &c.http
	if waits(request) {
		over = &c.waiting
	}
	answer, err := over.Do(request)
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) && op.Op == "dial" {
			return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
		}
		return nil, fmt.Errorf("%w: %w", ErrBroken, err)
	}
	return answer, nil
}

// parseError reads the error in the body of an answer with status.
func parseError(status string, encoded []byte) error {
	remote := new(Error)
	if err := json.Unmarshal(encoded, remote); err != nil || remote.Code == "" {
		return fmt.Errorf("%w: status %s", ErrBroken, status)
	}
	return remote
}

// NotExecuted says whether err proves that the callee has not executed the call, so that it may be sent again elsewhere.
func NotExecuted(err error) bool {
	for _, sure := range []error{ErrUnreachable, ErrOverloaded, ErrUnauthorized, ErrStranger, ErrTooLarge, ErrBadRequest, ErrUnknownMethod, ErrOtherIncarnation} {
		if errors.Is(err, sure) {
			return true
		}
	}
	return false
}

// LeaderHint returns the leader's address that came with err, or "".
func LeaderHint(err error) string {
	var remote *Error
	if errors.As(err, &remote) {
		return remote.Leader
	}
	return ""
}
