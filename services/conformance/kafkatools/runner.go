package kafkatools

import (
	"bufio"
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// patience bounds one command of a tool.
const patience = 90 * time.Second

// program is what runs the tools. Java compiles it when it starts it.
//
//go:embed Tools.java
var program []byte

// Options are those of the virtual machine: it ends before compiling well would pay.
var Options = []string{"-Xmx384m", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"}

// Runner is a process of Java that runs tools one after the other. It is not for several goroutines at once.
type Runner struct {
	command *exec.Cmd
	input   io.WriteCloser
	output  *bufio.Reader
}

// Result is how a tool ended.
type Result struct {
	Stdout, Stderr string
	Code           int
}

// Start starts a process that has the tools among the jars of a folder. It ends with the test.
func Start(t testing.TB, folder string) *Runner {
	t.Helper()
	jars, err := filepath.Glob(filepath.Join(folder, "*.jar"))
	if err != nil {
		t.Fatal(err)
	}
	isTool := func(jar string) bool {
		return strings.HasPrefix(filepath.Base(jar), "kafka-tools-4") || strings.HasPrefix(filepath.Base(jar), "kafka_2.13")
	}
	tools := slices.DeleteFunc(slices.Clone(jars), func(jar string) bool { return !isTool(jar) })
	if len(tools) == 0 {
		t.Fatalf("run Kafka's tools: none is in %s", folder)
	}
	source := filepath.Join(t.TempDir(), "Tools.java")
	if err := os.WriteFile(source, program, 0o600); err != nil {
		t.Fatal(err)
	}
	libraries := strings.Join(slices.DeleteFunc(jars, isTool), string(filepath.ListSeparator))
	r := &Runner{command: exec.Command("java", slices.Concat(Options, []string{"-cp", libraries, source}, tools)...)}
	r.command.Stderr = os.Stderr
	if r.input, err = r.command.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	output, err := r.command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	r.output = bufio.NewReader(output)
	if err := r.command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// The process ends when its input does. One that Run has killed has failed the test already.
		if err := errors.Join(r.input.Close(), r.command.Wait()); err != nil && !t.Failed() {
			t.Errorf("end Kafka's tools: %v", err)
		}
	})
	return r
}

// Run runs one tool, a class, with input on its standard input to its end.
func (r *Runner) Run(class, input string, args ...string) (Result, error) {
	late := time.AfterFunc(patience, func() { _ = r.command.Process.Kill() }) // then reading fails
	defer late.Stop()
	words := append([]string{class}, args...)
	request := binary.BigEndian.AppendUint32(nil, uint32(len(words)))
	for _, block := range append(words, input) {
		request = append(binary.BigEndian.AppendUint32(request, uint32(len(block))), block...)
	}
	if _, err := r.input.Write(request); err != nil {
		return Result{}, fmt.Errorf("run tool %s: %w", class, err)
	}
	var head [4]byte
	if _, err := io.ReadFull(r.output, head[:]); err != nil {
		return Result{}, fmt.Errorf("run tool %s: it did not end: %w", class, err)
	}
	result := Result{Code: int(int32(binary.BigEndian.Uint32(head[:])))}
	for _, output := range []*string{&result.Stdout, &result.Stderr} {
		if _, err := io.ReadFull(r.output, head[:]); err != nil {
			return Result{}, fmt.Errorf("run tool %s: %w", class, err)
		}
		text := make([]byte, binary.BigEndian.Uint32(head[:]))
		if _, err := io.ReadFull(r.output, text); err != nil {
			return Result{}, fmt.Errorf("run tool %s: %w", class, err)
		}
		*output = string(text)
	}
	return result, nil
}
