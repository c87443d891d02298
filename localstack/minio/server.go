// Package minio runs a MinIO server as a child process, for the local stack and for tests. build.sh beside it builds
// the server's binary; nothing of MinIO is linked into Varve.
package minio

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ErrNoBinary: no MinIO binary where it was looked for.
var ErrNoBinary = errors.New("no minio binary: run localstack/minio/build.sh")

// binaryVariable names the environment variable that points to another binary.
const binaryVariable = "VARVE_MINIO_BINARY"

const (
	// readyTimeout is how long a server may take to serve. Half a second is usual.
	readyTimeout = 20 * time.Second
	// stopTimeout is how long a server may take to end after SIGTERM.
	stopTimeout = 5 * time.Second
	// startAttempts: the free port that was chosen may be taken by the time the server listens.
	startAttempts = 3
)

// Config says how to run a server.
type Config struct {
	// Binary is the server's path. Empty means what FindBinary finds.
	Binary string
	// DataDir holds the buckets. Required.
	DataDir string
	// Address is host:port. Empty means a free port on loopback.
	Address string
	// AccessKey and SecretKey of the administrator; "minioadmin" where empty. MinIO wants at least 3 and 8 characters.
	AccessKey string
	SecretKey string
	// CertsDir, where not empty, has public.crt and private.key, and the server speaks HTTPS.
	CertsDir string
	// Log receives the server's output. Nil means a file in DataDir.
	Log io.Writer
}

// Server is a running MinIO.
type Server struct {
	Address   string
	AccessKey string
	SecretKey string

	certsDir string
	process  *exec.Cmd
	watchdog *exec.Cmd
	logFile  *os.File
	// exited is closed when the process has been waited for.
	exited  chan struct{}
	exitErr error
}

// FindBinary returns the path of the MinIO binary: what VARVE_MINIO_BINARY names, or .cache/bin/minio in the nearest folder
// above the working one that has a go.mod. The error matches ErrNoBinary where there is none.
func FindBinary() (string, error) {
	if path := os.Getenv(binaryVariable); path != "" {
		if _, err := os.Stat(path); err != nil {
			return "", fmt.Errorf("%w (%s: %w)", ErrNoBinary, binaryVariable, err)
		}
		return path, nil
	}
	folder, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find minio binary: %w", err)
	}
	for ; ; folder = filepath.Dir(folder) {
		path := filepath.Join(folder, ".cache", "bin", "minio")
		if _, err := os.Stat(path); err == nil {
			return path, nil
		} else if !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("find minio binary: %w", err)
		}
		if folder == filepath.Dir(folder) {
			return "", ErrNoBinary
		}
	}
}

// Start runs a server and returns when it answers. Stop must be called; should this process die without, a watchdog
// ends the server.
func Start(ctx context.Context, config Config) (*Server, error) {
	if config.DataDir == "" {
		return nil, errors.New("start minio: DataDir: missing")
	}
	if config.Binary == "" {
		binary, err := FindBinary()
		if err != nil {
			return nil, err
		}
		config.Binary = binary
	}
	if config.AccessKey == "" {
		config.AccessKey, config.SecretKey = "minioadmin", "minioadmin"
	}
	if config.Address != "" {
		return start(ctx, config)
	}
	var failures error
	for range startAttempts {
		address, err := freeAddress()
		if err != nil {
			return nil, err
		}
		config.Address = address
		server, err := start(ctx, config)
		if err == nil {
			return server, nil
		}
		failures = errors.Join(failures, err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, failures
}

func freeAddress() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find free port: %w", err)
	}
	return listener.Addr().String(), listener.Close()
}

func start(ctx context.Context, config Config) (*Server, error) {
	s := &Server{Address: config.Address, AccessKey: config.AccessKey, SecretKey: config.SecretKey, certsDir: config.CertsDir, exited: make(chan struct{})}
	if err := os.MkdirAll(config.DataDir, 0o755); err != nil {
		return nil, fmt.Errorf("start minio: %w", err)
	}
	log := config.Log
	if log == nil {
		// Beside the data, not in it: every folder there is a bucket.
		file, err := os.Create(strings.TrimRight(config.DataDir, "/") + ".log")
		if err != nil {
			return nil, fmt.Errorf("start minio: %w", err)
		}
		s.logFile, log = file, file
	}
	arguments := []string{"server", "--quiet", "--address", config.Address}
	if config.CertsDir != "" {
		arguments = append(arguments, "--certs-dir", config.CertsDir)
	}
	s.process = exec.Command(config.Binary, append(arguments, config.DataDir)...)
	s.process.Stdout, s.process.Stderr = log, log
	s.process.Env = append(os.Environ(),
		"MINIO_ROOT_USER="+config.AccessKey, "MINIO_ROOT_PASSWORD="+config.SecretKey,
		"MINIO_UPDATE=off", "MINIO_BROWSER=off", "CI=true")
	if err := s.process.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start minio: %w", err), s.closeLog())
	}
	go func() {
		defer close(s.exited)
		s.exitErr = s.process.Wait()
	}()
	if err := errors.Join(s.startWatchdog(), s.awaitReady(ctx)); err != nil {
		return nil, errors.Join(fmt.Errorf("start minio at %s: %w", config.Address, err), s.Stop())
	}
	return s, nil
}

// startWatchdog starts a shell that kills the server when this process has died, which closes the shell's input.
func (s *Server) startWatchdog() error {
	watchdog := exec.Command("/bin/sh", "-c", "read _; kill -9 "+strconv.Itoa(s.process.Process.Pid))
	// The writing end stays open in this process, and is never written to.
	if _, err := watchdog.StdinPipe(); err != nil {
		return fmt.Errorf("start watchdog: %w", err)
	}
	if err := watchdog.Start(); err != nil {
		return fmt.Errorf("start watchdog: %w", err)
	}
	s.watchdog = watchdog
	return nil
}

func (s *Server) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	transport := &http.Transport{DisableKeepAlives: true}
	if s.certsDir != "" {
		certificate, err := os.ReadFile(filepath.Join(s.certsDir, "public.crt"))
		if err != nil {
			return fmt.Errorf("read certificate: %w", err)
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(certificate) {
			return errors.New("read certificate: public.crt holds none")
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: roots}
	}
	client := &http.Client{Transport: transport}
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		err := s.healthy(ctx, client)
		if err == nil {
			return nil
		}
		select {
		case <-s.exited:
			return fmt.Errorf("it ended: %w", s.exitErr)
		case <-ctx.Done():
			return fmt.Errorf("it does not answer: %w: %w", ctx.Err(), err)
		case <-ticker.C:
		}
	}
}

func (s *Server) healthy(ctx context.Context, client *http.Client) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL()+"/minio/health/ready", nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	if err := response.Body.Close(); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("health answers %s", response.Status)
	}
	return nil
}

// URL is the server's endpoint.
func (s *Server) URL() string {
	if s.certsDir != "" {
		return "https://" + s.Address
	}
	return "http://" + s.Address
}

// Exited is closed when the server's process has ended, whether asked to or not.
func (s *Server) Exited() <-chan struct{} { return s.exited }

// Stop ends the server and waits for it.
func (s *Server) Stop() error {
	// The watchdog first: the server's process id may be another's once it has ended.
	if s.watchdog != nil {
		if err := s.watchdog.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return fmt.Errorf("stop watchdog: %w", err)
		}
		// A killed process is an error to Wait, and what was asked for.
		var exit *exec.ExitError
		if err := s.watchdog.Wait(); err != nil && !errors.As(err, &exit) {
			return fmt.Errorf("stop watchdog: %w", err)
		}
		s.watchdog = nil
	}
	if err := s.process.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop minio: %w", err)
	}
	timer := time.NewTimer(stopTimeout)
	defer timer.Stop()
	select {
	case <-s.exited:
	case <-timer.C:
		if err := s.process.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return fmt.Errorf("kill minio: %w", err)
		}
		<-s.exited
	}
	return s.closeLog()
}

func (s *Server) closeLog() error {
	if s.logFile == nil {
		return nil
	}
	file := s.logFile
	s.logFile = nil
	return file.Close()
}
