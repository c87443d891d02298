package kafka

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// Server answers Kafka clients. Make one with New, give it listeners with Serve, end it with Shutdown.
type Server struct {
	config  Config
	domain  Domain
	apis    *apiTable
	catalog *catalog
	quotas  *quotas
	// telemetry is of clients that push metrics.
	telemetry *telemetry
	limits    *connectionLimits
	budget    *byteBudget
	// pressBudget bounds what batches that are compressed anew become, until their verdicts.
	pressBudget *byteBudget
	// plainBudget bounds what batches become that are inflated for clients without zstd.
	plainBudget   *byteBudget
	presses       *pressPool
	parker        *parker
	sessions      *sessionCache
	shareSessions *shareSessions
	limiter       logLimiter
	began         time.Time

	ctx    context.Context // ends with Shutdown: what waits returns
	cancel context.CancelFunc
	// turning ends with TurnAway.
	turning  context.Context
	turnAway context.CancelFunc
	wait     sync.WaitGroup // connections
	once     sync.Once      // closes the presses and the parker

	mu struct {
		sync.Mutex
		closed      bool
		listeners   map[net.Listener]struct{}
		connections map[*conn]struct{}
	}
}

// ErrServerClosed is what Serve returns after Shutdown.
var ErrServerClosed = errors.New("kafka server is shut down")

// New makes a server over the domain. It accepts nothing until Serve.
func New(config Config, domain Domain) (*Server, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	if err := domain.validate(); err != nil {
		return nil, err
	}
	domain.Groups = textGroups{domain.Groups}
	s := &Server{config: config.withDefaults(), domain: domain, apis: newApis(), began: time.Now()}
	s.catalog = newCatalog(domain.Metadata, &s.config)
	s.quotas, s.telemetry = newQuotas(domain.Metadata), newTelemetry(domain.Metadata)
	s.limits = newConnectionLimits(domain.Metadata, s.quotas, s.config.NodeID)
	s.budget, s.pressBudget = newByteBudget(s.config.InFlightBytes), newByteBudget(s.config.InFlightBytes)
	s.plainBudget = newByteBudget(s.config.InFlightBytes)
	s.shareSessions = newShareSessions()
	s.sessions = newSessionCache(s.config.FetchSessionSlots, s.config.FetchSessionPartitions)
	s.presses, s.parker = newPressPool(s.config.CompressionWorkers), newParker(s)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.turning, s.turnAway = context.WithCancel(context.Background())
	s.mu.listeners = make(map[net.Listener]struct{})
	s.mu.connections = make(map[*conn]struct{})
	return s, nil
}

// uptime is a clock that nobody sets: waits that went by the time of day would last for hours where that is put back.
func (s *Server) uptime() time.Duration { return time.Since(s.began) }

// Serve accepts connections from l until Shutdown, which closes l, or an error that does not pass.
func (s *Server) Serve(l net.Listener) error { return s.ServeZone(l, "") }

// ServeZone is Serve for clients of one zone, however else they say where they are: they are told nodes of that zone, at the addresses
// that those have for it.
func (s *Server) ServeZone(l net.Listener, zone string) error {
	if !s.addListener(l) {
		return ErrServerClosed
	}
	defer s.removeListener(l)
	var pause time.Duration
	for {
		nc, err := l.Accept()
		switch {
		case err == nil:
			pause = 0
			s.start(nc, zone)
		case s.ctx.Err() != nil || errors.Is(err, net.ErrClosed):
			return ErrServerClosed
		case isTemporary(err):
			// Out of file descriptors, most likely: connections that end will free some.
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			s.warn("accept connection", "err", err, "retry_in", pause)
			if !sleep(s.ctx, pause) {
				return ErrServerClosed
			}
		default:
			return fmt.Errorf("accept connection on %s: %w", l.Addr(), err)
		}
	}
}

// isTemporary tells errors of Accept that pass from those that stay. The net package has no better word for it.
func isTemporary(err error) bool {
	var ne interface{ Temporary() bool }
	return errors.As(err, &ne) && ne.Temporary()
}

func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (s *Server) addListener(l net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.closed {
		return false
	}
	s.mu.listeners[l] = struct{}{}
	return true
}

func (s *Server) removeListener(l net.Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.mu.listeners, l)
}

// start gives a connection its goroutines, or closes it where there are too many.
func (s *Server) start(nc net.Conn, listener string) {
	c := newConn(s, nc)
	c.listener = listener
	s.mu.Lock()
	why, wait := "too many connections", time.Duration(0)
	if !s.mu.closed && len(s.mu.connections) < s.config.MaxConnections {
		why, wait = s.limits.admit(c.host, len(s.mu.connections), time.Now())
	}
	if why != "" {
		s.mu.Unlock()
		s.config.Metrics.Refused(why)
		s.warn("refuse connection", "remote", nc.RemoteAddr(), "why", why, "max_connections", s.config.MaxConnections)
		closeQuietly(nc)
		return
	}
	c.mute(wait)
	s.mu.connections[c] = struct{}{}
	n := len(s.mu.connections)
	s.wait.Add(1)
	s.mu.Unlock()
	s.config.Metrics.Connections(n)
	go s.host(c)
}

// host runs a connection until it has ended or is parked.
func (s *Server) host(c *conn) {
	for {
		err := c.run()
		switch {
		case !errors.Is(err, errParks):
			s.end(c, err)
			return
		case s.parker.take(c):
			return
		}
		c.parking.after = 0
	}
}

// end leaves nothing of a connection that nobody serves any more.
func (s *Server) end(c *conn, err error) {
	defer s.wait.Done()
	defer s.forget(c)
	c.end(err)
}

func (s *Server) forget(c *conn) {
	s.mu.Lock()
	delete(s.mu.connections, c)
	s.limits.leave(c.host)
	n := len(s.mu.connections)
	s.mu.Unlock()
	s.config.Metrics.Connections(n)
}

// TurnAway has clients look for another node, as long as there are others that Metadata names. Long polls return; from now on producers and
// consumers are told that this node is not their partitions' leader, which every client takes as a reason to ask for metadata and to try
// again. Everything else is served until Shutdown.
func (s *Server) TurnAway() { s.turnAway() }

func (s *Server) turnsAway() bool { return s.turning.Err() != nil }

// Shutdown closes the listeners, reads no more requests, lets long polls return, answers what was read, and waits. When ctx ends first,
// connections are cut. The lane may still hold batches, which are slices of frames: their memory stays until it lets go.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.mu.closed = true
	for l := range s.mu.listeners {
		closeQuietly(l)
	}
	for c := range s.mu.connections {
		c.drain()
	}
	s.mu.Unlock()
	s.cancel()

	done := make(chan struct{})
	go func() {
		s.wait.Wait()
		close(done)
	}()
	var err error
	select {
	case <-done:
	case <-ctx.Done():
		err = ctx.Err()
		s.cut()
		<-done
	}
	s.once.Do(func() {
		s.presses.close()
		s.parker.close()
		s.turnAway()
	})
	return err
}

func (s *Server) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.mu.connections {
		c.abort()
	}
}

// warn logs a line about a client's doings; a client that misbehaves in a loop must not fill the disk.
func (s *Server) warn(message string, args ...any) {
	if suppressed, ok := s.limiter.allow(time.Now()); ok {
		if suppressed > 0 {
			args = append(args, "suppressed", suppressed)
		}
		s.config.Logger.Warn(message, args...)
	}
}

// logLimiter lets a few lines a second through and counts the rest.
type logLimiter struct {
	mu struct {
		sync.Mutex
		second     int64
		lines      int
		suppressed int
	}
}

const maxLinesPerSecond = 10

func (l *logLimiter) allow(now time.Time) (suppressed int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if second := now.Unix(); second != l.mu.second {
		l.mu.second, l.mu.lines = second, 0
	}
	if l.mu.lines >= maxLinesPerSecond {
		l.mu.suppressed++
		return 0, false
	}
	l.mu.lines++
	suppressed, l.mu.suppressed = l.mu.suppressed, 0
	return suppressed, true
}

// closeQuietly closes what there is nothing left to say about: the error of closing a socket tells nobody anything.
func closeQuietly(c interface{ Close() error }) {
	_ = c.Close() //nolint:errcheck // see above
}
