package bus

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// MinMaxPayload is the least max_payload, in bytes, a NATS server must allow: metalog entries are up to 512 KiB of commands
// and their frames. It is also what the embedded server sets.
const MinMaxPayload = 1 << 20

const (
	internalUser = "varve"
	publicUser   = "public"
	readyTimeout = 10 * time.Second
)

// ErrListen: the embedded server could not listen on its address.
var ErrListen = errors.New("nats server cannot listen")

// ErrDiskFull: the server cannot start for want of space. It can when there is some.
var ErrDiskFull = errors.New("the disk is full")

// ServerConfig configures the embedded server. The zero value listens nowhere, keeps no JetStream and lets in-process
// connections do everything.
type ServerConfig struct {
	// ListenAddr is host:port for other processes; empty for in-process connections only. Port 0 takes a free port.
	ListenAddr string
	// ListenFlag names the setting behind ListenAddr in error messages; "--nats-addr" by default.
	ListenFlag string
	// StoreDir is where JetStream keeps its streams, synced on every write; empty turns JetStream off.
	StoreDir string
	// Name is the server's name; in a cluster it must be unique, and stay the same over restarts.
	Name string
	// Cluster joins the server with others; nil for a server alone.
	Cluster *ClusterConfig
	// Password is that of Varve's own connections. With it, connections without credentials may only subscribe to
	// commit notifications. Without it, every connection may do everything.
	Password string
	// Logger receives the server's warnings and errors; nil drops them.
	Logger *slog.Logger
}

// ClusterConfig says which other servers a server forms a cluster with. They must have the same password.
type ClusterConfig struct {
	// Name is the cluster's.
	Name string
	// ListenAddr is where the others connect to, host:port.
	ListenAddr string
	// ListenFlag names the setting behind ListenAddr in error messages.
	ListenFlag string
	// Routes are the addresses of all servers, this one's among them: JetStream takes their number for the cluster's size.
	Routes []string
}

// Validate reports the first field that cannot be used.
func (c *ServerConfig) Validate() error {
	if c.ListenAddr != "" {
		if _, _, err := splitAddr(c.ListenAddr); err != nil {
			return fmt.Errorf("%s: %w", c.listenFlag(), err)
		}
	}
	if c.Cluster != nil {
		if _, _, err := splitAddr(c.Cluster.ListenAddr); err != nil {
			return fmt.Errorf("%s: %w", c.Cluster.ListenFlag, err)
		}
	}
	return nil
}

func (c *ServerConfig) listenFlag() string {
	if c.ListenFlag == "" {
		return "--nats-addr"
	}
	return c.ListenFlag
}

func splitAddr(addr string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, fmt.Errorf("address %q is not host:port: %w", addr, err)
	}
	port, err = strconv.Atoi(text)
	if err != nil || port < 0 || port > 65535 {
		return "", 0, fmt.Errorf("address %q has no valid port", addr)
	}
	return host, port, nil
}

// Server is an embedded NATS server.
type Server struct {
	nats     *server.Server
	password string
	stop     sync.Once

	logger   *slog.Logger
	stopping chan struct{} // ends the watch over the disk's space
	running  sync.WaitGroup
}

// StartServer starts an embedded server and returns when it accepts connections. Its error names the flag where the port is
// taken, and wraps ErrDiskFull where there is no space. The caller must Shutdown it.
func StartServer(cfg ServerConfig) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	opts, err := serverOptions(&cfg)
	if err != nil {
		return nil, err
	}
	ns, err := server.NewServer(opts)
	if err != nil {
		return nil, fmt.Errorf("create nats server: %w", err)
	}
	log := &serverLog{logger: cfg.Logger, fatal: make(chan string, 1)}
	if cfg.Cluster != nil && cfg.StoreDir != "" {
		log.space = &space{nats: ns, logger: cfg.Logger, config: server.JetStreamConfig{
			StoreDir: opts.StoreDir, SyncAlways: opts.SyncAlways, MaxMemory: opts.JetStreamMaxMemory, MaxStore: opts.JetStreamMaxStore, Strict: true,
		}}
	}
	ns.SetLoggerV2(log, false, false, false)
	ns.Start()
	if err := awaitReady(ns, log); err != nil {
		ns.Shutdown()
		ns.WaitForShutdown()
		return nil, err
	}
	s := &Server{nats: ns, password: cfg.Password, logger: cfg.Logger, stopping: make(chan struct{})}
	if log.space != nil {
		s.running.Go(func() { log.space.run(s.stopping) })
	}
	return s, nil
}

func awaitReady(ns *server.Server, log *serverLog) error {
	deadline := time.Now().Add(readyTimeout)
	for !ns.ReadyForConnections(50 * time.Millisecond) {
		select {
		case reason := <-log.fatal:
			return notStarted(reason)
		default:
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("start nats server: not ready after %s", readyTimeout)
		}
	}
	// A server whose JetStream could not start is ready for connections all the same.
	select {
	case reason := <-log.fatal:
		return notStarted(reason)
	default:
		return nil
	}
}

func notStarted(reason string) error {
	if LacksSpace(reason) {
		return fmt.Errorf("start nats server: %w: %s", ErrDiskFull, reason)
	}
	return fmt.Errorf("start nats server: %s", reason)
}

func serverOptions(cfg *ServerConfig) (*server.Options, error) {
	opts := &server.Options{
		ServerName:      cfg.Name,
		DontListen:      cfg.ListenAddr == "",
		NoSigs:          true,
		NoSystemAccount: false,
		MaxPayload:      MinMaxPayload,
		JetStream:       cfg.StoreDir != "",
		StoreDir:        cfg.StoreDir,
		// An acknowledged append must survive a power failure; the default syncs every two minutes.
		SyncAlways: true,
		// Varve's metadata is small, and its disk is shared with the hot log: no reservation by share of the disk.
		JetStreamMaxMemory: 64 << 20,
		JetStreamMaxStore:  1 << 40,
	}
	if cfg.Password != "" {
		opts.Users = []*server.User{
			{Username: internalUser, Password: cfg.Password},
			{Username: publicUser, Password: "public", Permissions: &server.Permissions{
				Publish:   &server.SubjectPermission{Deny: []string{">"}},
				Subscribe: &server.SubjectPermission{Allow: []string{CommitWildcard}},
			}},
		}
		opts.NoAuthUser = publicUser
	}
	if cfg.Cluster != nil {
		if err := clusterOptions(opts, cfg); err != nil {
			return nil, err
		}
	}
	if cfg.ListenAddr == "" {
		return opts, nil
	}
	host, port, err := splitAddr(cfg.ListenAddr)
	if err != nil {
		return nil, err
	}
	if err := probe(cfg.ListenAddr, cfg.listenFlag()); err != nil {
		return nil, err
	}
	opts.Host, opts.Port = host, port
	if port == 0 {
		opts.Port = server.RANDOM_PORT
	}
	return opts, nil
}

// probe finds out whether address can be listened on: the server would log a taken port and go on.
func probe(address, flag string) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("%w: %s (set %s to another host:port): %w", ErrListen, address, flag, err)
	}
	if err := listener.Close(); err != nil {
		return fmt.Errorf("close probe of %s: %w", address, err)
	}
	return nil
}

// clusterOptions joins the server with others. Routes have the password, too.
func clusterOptions(opts *server.Options, cfg *ServerConfig) error {
	c := cfg.Cluster
	host, port, err := splitAddr(c.ListenAddr)
	if err != nil {
		return err
	}
	if err := probe(c.ListenAddr, c.ListenFlag); err != nil {
		return err
	}
	opts.Cluster = server.ClusterOpts{
		Name: c.Name, Host: host, Port: port, Username: internalUser, Password: cfg.Password,
		// Peers are all named; what a server of another network calls itself helps nobody.
		NoAdvertise: true, ConnectRetries: 1 << 30,
	}
	for _, address := range c.Routes {
		opts.Routes = append(opts.Routes, &url.URL{Scheme: "nats-route", Host: address, User: url.UserPassword(internalUser, cfg.Password)})
	}
	return nil
}

// Addr is the address the server listens on, empty where it listens nowhere.
func (s *Server) Addr() string {
	if addr := s.nats.Addr(); addr != nil {
		return addr.String()
	}
	return ""
}

// Health tells what keeps the server's streams from being whole here: copies that lag, or a disk that was full.
func (s *Server) Health() error {
	if status := s.nats.Healthz(&server.HealthzOptions{}); status.StatusCode != http.StatusOK {
		return fmt.Errorf("nats server: %s %s", status.Status, status.Error)
	}
	return nil
}

// shutdownTimeout is how long the server may take to stop. All that it has acknowledged is synced by then.
const shutdownTimeout = 10 * time.Second

// Shutdown stops the server and waits until its files are closed, but not for ever. Connections to it must have been closed before.
func (s *Server) Shutdown() {
	s.stop.Do(func() {
		close(s.stopping)
		stopped := make(chan struct{})
		go func() {
			defer close(stopped)
			s.running.Wait()
			s.nats.Shutdown()
			s.nats.WaitForShutdown()
		}()
		timer := time.NewTimer(shutdownTimeout)
		defer timer.Stop()
		select {
		case <-stopped:
		case <-timer.C:
			if s.logger != nil {
				s.logger.Error("the NATS server does not stop; the process ends without it", "after", shutdownTimeout)
			}
		}
	})
}

// serverLog passes the server's complaints on, and keeps the reason of a fatal one: the server's own logger would exit.
type serverLog struct {
	logger *slog.Logger
	fatal  chan string
	space  *space // nil where nobody looks after it
}

func (l *serverLog) say(level func(*slog.Logger, string), format string, v []any) {
	if l.logger != nil {
		level(l.logger, fmt.Sprintf(format, v...))
	}
}

func (l *serverLog) Errorf(format string, v ...any) {
	if l.space != nil {
		l.space.heard(fmt.Sprintf(format, v...))
	}
	if strings.HasPrefix(format, "Error trying to connect to route") {
		// A peer that is away: the server goes on trying.
		l.say(func(g *slog.Logger, m string) { g.Debug("nats server: " + m) }, format, v)
		return
	}
	l.say(func(g *slog.Logger, m string) { g.Error("nats server: " + m) }, format, v)
}

func (l *serverLog) Warnf(format string, v ...any) {
	if strings.HasPrefix(format, "Plaintext passwords detected") {
		return // the password is nowhere in a configuration, so there is nothing to hash
	}
	l.say(func(g *slog.Logger, m string) { g.Warn("nats server: " + m) }, format, v)
}

func (l *serverLog) Fatalf(format string, v ...any) {
	select {
	case l.fatal <- fmt.Sprintf(format, v...):
	default:
	}
}

func (l *serverLog) Noticef(string, ...any) {}
func (l *serverLog) Debugf(string, ...any)  {}
func (l *serverLog) Tracef(string, ...any)  {}
