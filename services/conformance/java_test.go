package conformance

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/varvelog/varve/services/e2e/cluster"
)

// javaOptions keep a client small and quick to start: several run beside each other.
var javaOptions = []string{
	"-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-Dorg.slf4j.simpleLogger.logFile=System.err",
}

// streamsClasses compiles an application of streams/ and returns a class path with it.
func streamsClasses(t testing.TB, application string) string {
	t.Helper()
	libs := jars(t)
	classes := t.TempDir()
	source := filepath.Join(cluster.Root(), "services", "conformance", "streams", application+".java")
	cluster.MustCommand(t, "", "javac", "-d", classes, "-cp", libs, source)
	return classes + string(os.PathListSeparator) + libs
}

// javaProcess is a Java client in a process of its own, which can be killed and started again.
type javaProcess struct {
	t       testing.TB
	name    string
	args    []string
	log     string
	command *exec.Cmd
	exited  chan struct{}
}

// newJava returns a process that has not been started. Its log is printed if the test fails.
func newJava(t testing.TB, name, classes, class string, args ...string) *javaProcess {
	t.Helper()
	log := filepath.Join(cluster.Root(), ".cache", "kafka", strings.ReplaceAll(t.Name(), "/", "-")+"-"+name+".log")
	if err := os.Remove(log); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	p := &javaProcess{t: t, name: name, log: log, args: append(append([]string{}, javaOptions...), append([]string{"-cp", classes, class}, args...)...)}
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			text := p.text()
			t.Logf("log of %s, its end:\n%s", p.name, text[max(0, len(text)-(16<<10)):])
		}
	})
	return p
}

func (p *javaProcess) start() {
	p.t.Helper()
	output, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		p.t.Fatal(err)
	}
	defer output.Close() // the process has its own descriptor
	p.command, p.exited = exec.Command("java", p.args...), make(chan struct{})
	p.command.Stdout, p.command.Stderr, p.command.SysProcAttr = output, output, childAttributes()
	if err := p.command.Start(); err != nil {
		p.t.Fatal(err)
	}
	go func(command *exec.Cmd, exited chan struct{}) {
		defer close(exited)
		_ = command.Wait() // how it ended is in ProcessState
	}(p.command, p.exited)
}

func (p *javaProcess) running() bool {
	if p.command == nil {
		return false
	}
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// mustRun is an error where the process has ended by itself.
func (p *javaProcess) mustRun() error {
	if !p.running() {
		p.t.Fatalf("%s has ended: %v", p.name, p.command.ProcessState)
	}
	return nil
}

// kill ends the process with SIGKILL.
func (p *javaProcess) kill() {
	p.t.Helper()
	if !p.running() {
		return
	}
	if err := p.command.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Errorf("kill %s: %v", p.name, err)
		return
	}
	<-p.exited
}

// suspend has the process do nothing any more, with its connections open, until it is killed.
func (p *javaProcess) suspend() {
	p.t.Helper()
	if err := p.command.Process.Signal(syscall.SIGSTOP); err != nil {
		p.t.Fatalf("suspend %s: %v", p.name, err)
	}
}

// stop ends the process as an operator would, and fails the test where it takes long.
func (p *javaProcess) stop() {
	p.t.Helper()
	if err := p.command.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatalf("stop %s: %v", p.name, err)
	}
	limit := time.NewTimer(40 * time.Second)
	defer limit.Stop()
	select {
	case <-p.exited:
	case <-limit.C:
		p.t.Errorf("stop %s: it is still there", p.name)
	}
}

func (p *javaProcess) text() string {
	text, err := os.ReadFile(p.log)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		p.t.Fatal(err)
	}
	return string(text)
}

// writeProperties writes a file of Java properties.
func writeProperties(t testing.TB, path string, properties map[string]string) string {
	t.Helper()
	var text bytes.Buffer
	for name, value := range properties {
		fmt.Fprintf(&text, "%s=%s\n", name, value)
	}
	if err := os.WriteFile(path, text.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// holds prints the line of a check.
func holds(format string, args ...any) { fmt.Printf("holds     "+format+"\n", args...) }
