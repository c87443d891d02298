package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// The errors on which callers branch.
var (
	// ErrDisconnected: there is no connection to a NATS server at the moment; it is being sought.
	ErrDisconnected = errors.New("nats is not connected")
	// ErrMaxPayload: the server allows messages smaller than Varve sends.
	ErrMaxPayload = errors.New("nats max_payload is too small")
	// ErrNoAnswer: nobody answered a request.
	ErrNoAnswer = errors.New("nobody answered")
)

// pendingMessages and pendingBytes bound what a slow subscriber holds back; beyond it hints are dropped.
const (
	pendingMessages = 8192
	pendingBytes    = 64 << 20
)

// ConnConfig says where to connect. Exactly one of Server and URL is set.
type ConnConfig struct {
	// Server is an embedded server of this process.
	Server *Server
	// URL is an external server's, or several separated by commas; it may carry credentials of its own.
	URL string
	// Password is the embedded server's, for URLs that lead to one in another process; empty for servers of the user's.
	Password string
	// Name is the connection's name for people.
	Name string
	// Optional has Connect return also where no server is there yet; it is sought from then on.
	Optional bool
	Logger   *slog.Logger
}

// Conn is a connection that reconnects for ever. Its methods may be called concurrently.
type Conn struct {
	nats    *nats.Conn
	account *server.Account // of an embedded server, where the connection's subjects live; nil for others
	unfit   atomic.Bool     // the server connected to allows too little
	logger  *slog.Logger
	closed  chan struct{}
	stop    sync.Once
}

// Connect returns when the first connection stands or ctx ends. The caller must Close it.
func Connect(ctx context.Context, cfg ConnConfig) (*Conn, error) {
	c := &Conn{closed: make(chan struct{}), logger: cfg.Logger}
	opts := []nats.Option{
		nats.Name(cfg.Name),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(100 * time.Millisecond),
		nats.ReconnectJitter(200*time.Millisecond, 400*time.Millisecond),
		nats.PingInterval(5 * time.Second),
		nats.MaxPingsOutstanding(2),
		// Hints that pile up while disconnected are worth nothing: publish fails instead.
		nats.ReconnectBufSize(-1),
		nats.ClosedHandler(func(*nats.Conn) { close(c.closed) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			if cfg.Logger != nil && !errors.Is(err, nats.ErrSlowConsumer) {
				cfg.Logger.Warn("nats connection", "error", err)
			}
		}),
	}
	opts = append(opts,
		nats.RetryOnFailedConnect(cfg.Optional), nats.ReconnectHandler(c.connected), nats.ConnectHandler(func(nc *nats.Conn) {
			if cfg.Optional {
				c.connected(nc)
			}
		}))
	if cfg.Logger != nil {
		opts = append(opts,
			nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
				if err != nil {
					cfg.Logger.Warn("nats disconnected, reconnecting", "error", err)
				}
			}))
	}
	url, password := cfg.URL, cfg.Password
	if cfg.Server != nil {
		url, password = nats.DefaultURL, cfg.Server.password
		opts = append(opts, nats.InProcessServer(cfg.Server.nats))
		c.account = cfg.Server.nats.GlobalAccount()
	}
	if password != "" {
		opts = append(opts, nats.UserInfo(internalUser, password))
	}
	if err := c.dial(ctx, url, opts); err != nil {
		return nil, err
	}
	if err := c.fits(c.nats); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// connected looks whether a server that was connected to later is one that Varve can use.
func (c *Conn) connected(nc *nats.Conn) {
	err := c.fits(nc)
	c.unfit.Store(err != nil)
	switch {
	case c.logger == nil:
	case err != nil:
		c.logger.Error("nats server cannot be used", "error", err)
	default:
		c.logger.Info("nats connected", "server", Redact(nc.ConnectedUrl()))
	}
}

func (c *Conn) fits(nc *nats.Conn) error {
	if limit := nc.MaxPayload(); nc.IsConnected() && limit < MinMaxPayload {
		return fmt.Errorf("%w: %s allows %d bytes, Varve needs max_payload of at least %d", ErrMaxPayload, Redact(nc.ConnectedUrl()), limit, MinMaxPayload)
	}
	return nil
}

// dialInterval is how often, about, a server is dialled that has not been there yet: many processes may have been started in one moment.
const dialInterval = 200 * time.Millisecond

// dial tries until ctx ends: roles of one cluster start in any order.
func (c *Conn) dial(ctx context.Context, url string, opts []nats.Option) error {
	for {
		nc, err := nats.Connect(url, opts...)
		if err == nil {
			c.nats = nc
			return nil
		}
		if errors.Is(err, nats.ErrAuthorization) {
			return fmt.Errorf("connect to nats %s: %w: is it a server of another cluster or of another build, or are there no credentials for it in --nats-url?", Redact(url), err)
		}
		timer := time.NewTimer(dialInterval/2 + rand.N(dialInterval))
		select {
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("connect to nats %s: %w", Redact(url), errors.Join(err, ctx.Err()))
		case <-timer.C:
		}
	}
}

// NATS is the connection itself, for coordinator/metalog/jetstream only.
func (c *Conn) NATS() *nats.Conn { return c.nats }

// Ready returns nil while connected, else ErrDisconnected; it is what /readyz asks.
func (c *Conn) Ready() error {
	if c.nats.IsConnected() {
		if c.unfit.Load() {
			return ErrMaxPayload
		}
		return nil
	}
	return fmt.Errorf("%w (%s)", ErrDisconnected, c.nats.Status())
}

// Wanted tells whether anybody may hear what is published on subject. It asks an embedded server, which costs a fraction of
// publishing; of other servers nothing is known, and everything is wanted.
func (c *Conn) Wanted(subject string) bool {
	return c.account == nil || c.account.SubscriptionInterest(subject)
}

// Publish sends data, at most once, without waiting. data may be reused on return.
func (c *Conn) Publish(subject string, data []byte) error {
	if !c.nats.IsConnected() {
		return ErrDisconnected
	}
	if err := c.nats.Publish(subject, data); err != nil {
		return fmt.Errorf("publish on %s: %w", subject, err)
	}
	return nil
}

// Subscribe calls handle for each message, one at a time, until cancel. data is the handler's to keep. A handler that falls
// behind loses messages. cancel returns at once; a call under way may still end after it.
func (c *Conn) Subscribe(subject string, handle func(data []byte)) (cancel func(), err error) {
	return c.subscribe(subject, func(m *nats.Msg) { handle(m.Data) })
}

// Respond answers requests on subject with what answer returns, nil for no answer.
func (c *Conn) Respond(subject string, answer func(data []byte) []byte) (cancel func(), err error) {
	return c.subscribe(subject, func(m *nats.Msg) {
		if m.Reply == "" {
			return
		}
		if body := answer(m.Data); body != nil {
			// The asker asks again where this is lost.
			_ = m.Respond(body)
		}
	})
}

func (c *Conn) subscribe(subject string, handle nats.MsgHandler) (func(), error) {
	sub, err := c.nats.Subscribe(subject, handle)
	if err != nil {
		return nil, fmt.Errorf("subscribe to %s: %w", subject, err)
	}
	if err := sub.SetPendingLimits(pendingMessages, pendingBytes); err != nil {
		return nil, errors.Join(fmt.Errorf("bound subscription to %s: %w", subject, err), sub.Unsubscribe())
	}
	// Unsubscribing fails only where the connection has ended, and the subscription with it.
	return func() { _ = sub.Unsubscribe() }, nil
}

// Request sends data and waits until ctx ends for an answer that accept takes. Others are passed over: they may be of strangers who are faster.
func (c *Conn) Request(ctx context.Context, subject string, data []byte, accept func(answer []byte) bool) ([]byte, error) {
	inbox := c.nats.NewInbox()
	answers, err := c.nats.SubscribeSync(inbox)
	if err != nil {
		return nil, fmt.Errorf("request on %s: %w", subject, err)
	}
	// Unsubscribing fails only where the connection has ended, and the subscription with it.
	defer func() { _ = answers.Unsubscribe() }()
	if err := c.nats.PublishRequest(subject, inbox, data); err != nil {
		return nil, fmt.Errorf("request on %s: %w", subject, err)
	}
	for {
		m, err := answers.NextMsgWithContext(ctx)
		switch {
		case errors.Is(err, nats.ErrNoResponders):
			return nil, fmt.Errorf("request on %s: %w", subject, ErrNoAnswer)
		case err != nil:
			return nil, fmt.Errorf("request on %s: %w", subject, err)
		case accept(m.Data):
			return m.Data, nil
		}
	}
}

// Flush waits until the server has taken all that was published and subscribed before.
func (c *Conn) Flush(ctx context.Context) error {
	if err := c.nats.FlushWithContext(ctx); err != nil {
		return fmt.Errorf("flush nats connection: %w", err)
	}
	return nil
}

// Close ends the connection and its subscriptions, and waits until its goroutines have ended.
func (c *Conn) Close() {
	c.stop.Do(c.nats.Close)
	<-c.closed
}
