package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

const (
	readyTimeout = 30 * time.Second
	readyPoll    = 2 * time.Millisecond
	// logTail is how much of a server's log an error quotes.
	logTail = 2 << 10
)

// server is a `varve serve`, or one role of a cluster, in a process of its own, on free loopback ports. It is a child of this process and
// dies with it.
type server struct {
	role                          string
	kafkaAddr, httpAddr, natsAddr string
	// readyAfter is the time from before the process was made until /readyz said yes and Kafka clients could connect.
	readyAfter time.Duration

	dataDir string
	logPath string
	command *exec.Cmd
	exited  chan struct{} // closed once the process is gone
	http    *http.Client
}

// noShipping are the flags that keep everything in the hot log for as long as a figure takes.
var noShipping = []string{"--hot-segment-bytes=2GiB", "--seal-age=2h"}

// serveRole is the role of a server that has all of them.
const serveRole = "serve"

// startServer starts a server on dataDir and waits until it is ready. The caller stops or kills it.
func startServer(ctx context.Context, binary, role, dataDir string, flags ...string) (*server, error) {
	addresses, err := freeAddresses(4)
	if err != nil {
		return nil, err
	}
	s := &server{
		role: role, kafkaAddr: addresses[0], httpAddr: addresses[1], natsAddr: addresses[3],
		dataDir: dataDir, logPath: dataDir + ".log",
		exited: make(chan struct{}),
		http:   &http.Client{Timeout: 10 * time.Second},
	}
	log, err := os.OpenFile(s.logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open server log: %w", err)
	}
	defer log.Close()
	// Not CommandContext: the context's end would kill without waiting for what depends on the process; whoever started it ends it.
	s.command = exec.Command(binary, append([]string{role, "--data-dir", dataDir, "--log-level", "warn",
		"--kafka-addr", addresses[0], "--http-addr", addresses[1], "--internal-addr", addresses[2], "--nats-addr", addresses[3]}, flags...)...)
	s.command.Stdout, s.command.Stderr = log, log
	s.command.Env = append(os.Environ(), "AWS_ACCESS_KEY_ID=bench", "AWS_SECRET_ACCESS_KEY=bench") // for the store in this process
	s.command.SysProcAttr = childAttributes()
	started := time.Now()
	if err := s.command.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", binary, err)
	}
	go func() {
		defer close(s.exited)
		_ = s.command.Wait() // how it ended is in ProcessState
	}()
	if err := s.awaitReady(ctx, started); err != nil {
		return nil, errors.Join(err, s.kill())
	}
	return s, nil
}

func freeAddresses(n int) ([]string, error) {
	var addresses []string
	for range n {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("find a free port: %w", err)
		}
		defer listener.Close() // all are held until all are found, so that they differ
		addresses = append(addresses, listener.Addr().String())
	}
	return addresses, nil
}

func (s *server) awaitReady(ctx context.Context, started time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	poll := time.NewTicker(readyPoll)
	defer poll.Stop()
	last := errors.New("no answer")
	for {
		err := s.ready(ctx)
		if err == nil {
			s.readyAfter = time.Since(started)
			return nil
		}
		if ctx.Err() == nil {
			last = err
		}
		select {
		case <-poll.C:
		case <-s.exited:
			return s.explain(errors.New("server ended while starting"))
		case <-ctx.Done():
			return s.explain(fmt.Errorf("server not ready after %v: %w", time.Since(started).Round(time.Millisecond), last))
		}
	}
}

func (s *server) ready(ctx context.Context) error {
	body, err := s.get(ctx, "/readyz")
	if err != nil {
		return err
	}
	if s.role == "coordinator" {
		return body.Close() // it does not speak Kafka
	}
	c, err := dial(ctx, s.kafkaAddr)
	if err != nil {
		return errors.Join(err, body.Close())
	}
	return errors.Join(c.close(), body.Close())
}

func (s *server) get(ctx context.Context, path string) (io.ReadCloser, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.httpAddr+path, nil)
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", path, err)
	}
	response, err := s.http.Do(request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(response.Body, logTail)) // only for the message
		response.Body.Close()
		return nil, fmt.Errorf("get %s: %s: %s", path, response.Status, text)
	}
	return response.Body, nil
}

// explain adds the end of the server's log to an error.
func (s *server) explain(err error) error {
	log, readErr := os.ReadFile(s.logPath)
	if readErr != nil || len(log) == 0 {
		return err
	}
	return fmt.Errorf("%w\n--- end of the server's log\n%s", err, log[max(0, len(log)-logTail):])
}

func (s *server) cpu() (time.Duration, error) { return processCPU(s.command.Process.Pid) }
func (s *server) memory() (memory, error)     { return processMemory(s.command.Process.Pid) }
func (s *server) bucketDir() string           { return filepath.Join(s.dataDir, "bucket") }

func (s *server) scrape(ctx context.Context) (metrics, error) {
	body, err := s.get(ctx, "/metrics")
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return parseMetrics(body)
}

// kill ends the server as a power failure would, as far as the process is concerned.
func (s *server) kill() error {
	s.http.CloseIdleConnections()
	if err := s.command.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill server: %w", err)
	}
	<-s.exited
	return nil
}

// usage is what a server has used up to a moment; differences of two are what a phase cost.
type usage struct {
	cpu     time.Duration
	at      time.Time
	metrics metrics
}

func (s *server) usage(ctx context.Context) (usage, error) {
	m, err := s.scrape(ctx)
	if err != nil {
		return usage{}, fmt.Errorf("sample server: %w", err)
	}
	cpu, err := s.cpu()
	if err != nil {
		return usage{}, fmt.Errorf("sample server: %w", err)
	}
	return usage{cpu: cpu, at: time.Now(), metrics: m}, nil
}
