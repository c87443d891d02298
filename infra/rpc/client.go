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
	// MaxConnsPerAddr bounds the connections to one callee; 2,048 by default, since group members wait in calls. Beyond it calls wait.
	MaxConnsPerAddr int
	// Transport carries the calls instead of TCP; nil for TCP. The bound on connections is its own matter then.
	Transport http.RoundTripper
	// Dial makes connections; nil for TCP's.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// Client calls internal listeners, keeping connections to each address. It may be used concurrently.
type Client struct {
	token string
	names *namer
	dial  func(ctx context.Context, network, addr string) (net.Conn, error)
	http  http.Client
}

// NewClient returns a client. The caller must Close it.
func NewClient(cfg ClientConfig) *Client {
	if cfg.DialTimeout == 0 {
		cfg.DialTimeout = 3 * time.Second
	}
	if cfg.Dial == nil {
		cfg.Dial = (&net.Dialer{Timeout: cfg.DialTimeout, KeepAlive: 15 * time.Second}).DialContext
	}
	c := &Client{token: token(cfg.Secret, cfg.ClusterID), names: newNamer(), dial: cfg.Dial}
	if cfg.Transport == nil {
		cfg.Transport = newTransport(cfg)
	}
	c.http = http.Client{
		Transport:     cfg.Transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c
}

func newTransport(cfg ClientConfig) *http.Transport {
	return &http.Transport{
		DialContext:         cfg.Dial,
		MaxConnsPerHost:     orDefault(cfg.MaxConnsPerAddr, 2048),
		MaxIdleConnsPerHost: 32,
		IdleConnTimeout:     90 * time.Second,
		DisableCompression:  true,
		ReadBufferSize:      64 << 10,
		WriteBufferSize:     64 << 10,
	}
}

// Close closes idle connections; calls under way end as their contexts do.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Call asks addr to execute method and decodes its answer into response. The error is an *Error where the callee answered
// with one, else it wraps ErrUnreachable or ErrBroken.
func (c *Client) Call(ctx context.Context, addr, method string, request, response proto.Message) error {
	body, err := proto.Marshal(request)
	if err != nil {
		return fmt.Errorf("encode request of %s: %w", method, err)
	}
	answer, err := c.post(ctx, addr, method, body)
	if err != nil {
		return fmt.Errorf("call %s at %s: %w", method, addr, err)
	}
	defer func() { _ = answer.Body.Close() }()
	encoded, err := readAnswer(answer)
	if err != nil {
		return fmt.Errorf("call %s at %s: %w: %w", method, addr, ErrBroken, err)
	}
	if err := proto.Unmarshal(encoded, response); err != nil {
		return fmt.Errorf("call %s at %s: %w: decode answer: %w", method, addr, ErrBroken, err)
	}
	return nil
}

// post sends a call under a name of its own, again where the callee is another than the caller knew: such a call was not executed.
func (c *Client) post(ctx context.Context, addr, method string, body []byte) (*http.Response, error) {
	for try := 1; ; try++ {
		answer, err := c.do(ctx, http.MethodPost, "http://"+addr+"/v1/"+method, body, c.names.next(addr).String())
		var remote *Error
		switch {
		case errors.Is(err, ErrRepeated):
			return nil, fmt.Errorf("%w: %w", ErrBroken, err)
		case !errors.Is(err, ErrOtherIncarnation) || try == incarnationTries || !errors.As(err, &remote):
			return answer, err
		}
		c.names.learn(addr, remote.Incarnation)
	}
}

func readAnswer(answer *http.Response) ([]byte, error) {
	if answer.ContentLength < 0 || answer.ContentLength > maxAnswerBytes {
		return nil, fmt.Errorf("answer of %d bytes", answer.ContentLength)
	}
	encoded := make([]byte, answer.ContentLength)
	_, err := io.ReadFull(answer.Body, encoded)
	return encoded, err
}

// Get opens a streaming read of path, which begins with "/" and may carry a query. sizeBytes is -1 where the callee does not
// say. The body must be closed; ctx governs it until then.
func (c *Client) Get(ctx context.Context, addr, path string) (body io.ReadCloser, sizeBytes int64, err error) {
	answer, err := c.do(ctx, http.MethodGet, "http://"+addr+path, nil, "")
	if err != nil {
		return nil, 0, fmt.Errorf("get %s from %s: %w", path, addr, err)
	}
	return answer.Body, answer.ContentLength, nil
}

// do returns an answer with status 200; everything else is an error. A POST is a call, and has a name.
func (c *Client) do(ctx context.Context, verb, url string, body []byte, name string) (*http.Response, error) {
	var reader io.Reader
	if body != nil {
		reader = bytes.NewReader(body)
	}
	request, err := http.NewRequestWithContext(ctx, verb, url, reader)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	request.Header.Set("Authorization", c.token)
	if name != "" {
		request.Header.Set("Content-Type", protobufType)
		request.Header.Set(callHeader, name)
	}
	if deadline, ok := ctx.Deadline(); ok {
		millis := max(0, time.Until(deadline).Milliseconds())
		request.Header.Set(timeoutHeader, strconv.FormatInt(millis, 10))
	}
	answer, err := c.http.Do(request)
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) && op.Op == "dial" {
			return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
		}
		return nil, fmt.Errorf("%w: %w", ErrBroken, err)
	}
	if answer.StatusCode == http.StatusOK || answer.StatusCode == http.StatusPartialContent {
		return answer, nil
	}
	return nil, readError(answer)
}

func readError(answer *http.Response) error {
	encoded, err := io.ReadAll(io.LimitReader(answer.Body, maxErrorBytes))
	err = errors.Join(err, answer.Body.Close())
	remote := new(Error)
	if err == nil {
		err = json.Unmarshal(encoded, remote)
	}
	if err != nil || remote.Code == "" {
		return fmt.Errorf("%w: status %s", ErrBroken, answer.Status)
	}
	return remote
}

// NotExecuted says whether err proves that the callee has not executed the call, so that it may be sent again elsewhere.
func NotExecuted(err error) bool {
	for _, sure := range []error{ErrUnreachable, ErrOverloaded, ErrUnauthorized, ErrTooLarge, ErrBadRequest, ErrUnknownMethod, ErrOtherIncarnation} {
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
