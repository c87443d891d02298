package cluster

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// commandTimeout bounds one command that a test runs to its end.
const commandTimeout = 60 * time.Second

// Result is how a command ended.
type Result struct {
	Stdout, Stderr string
	Code           int
}

// Command runs a program to its end with input on its standard input.
func Command(t testing.TB, input, name string, args ...string) Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), commandTimeout)
	defer cancel()
	var stdout, stderr bytes.Buffer
	command := exec.CommandContext(ctx, name, args...)
	command.Stdin, command.Stdout, command.Stderr = strings.NewReader(input), &stdout, &stderr
	command.SysProcAttr = childAttributes()
	command.Env = os.Environ()
	err := command.Run()
	result := Result{Stdout: stdout.String(), Stderr: stderr.String()}
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		t.Fatalf("%s %q: still running after %v\n%s%s", name, args, commandTimeout, result.Stdout, result.Stderr)
	case errors.As(err, &exit):
		result.Code = exit.ExitCode()
	case err != nil:
		t.Fatalf("%s %q: %v", name, args, err)
	}
	return result
}

// MustCommand is Command, and fails the test unless it exits with 0. It returns the standard output.
func MustCommand(t testing.TB, input, name string, args ...string) string {
	t.Helper()
	result := Command(t, input, name, args...)
	if result.Code != 0 {
		t.Fatalf("%s %q: exit code %d\n%s%s", name, args, result.Code, result.Stdout, result.Stderr)
	}
	return result.Stdout
}
