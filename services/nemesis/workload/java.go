//go:build linux

package workload

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/varvelog/varve/services/nemesis/history"
)

// Java is how to run Java's clients.
type Java struct {
	ClassPath string // with NemesisClient
	Dir       string // takes their logs
}

// A client has values and transactions of its own: the ranges are far apart, and far from those of the clients of this process.
const (
	javaValues       = 1 << 40
	javaTransactions = 1 << 40
	javaRange        = 1 << 24
)

func (w *Workload) startJava(rate int) {
	for _, role := range []string{"producer", "transactor", "member", "classic-member"} {
		w.lives("java-"+role, javaLife, func(l *life) { l.java(role, rate/2) })
	}
	w.lives("java-member-2", javaLife, func(l *life) { l.java("member", 1) })
}

// javaEnd is how long a client that is to end in order may take.
const javaEnd = 40 * time.Second

// java runs one of Java's clients in a process of its own, and takes its events. It is killed, or told to end. It gives way to other processes:
// while no coordinator is to be had, a consumer of Kafka 4.1 polls without a pause, and on machines of their own nobody would notice. It leaves no
// file by its number, which in another cluster's namespace another has: the JVM would say so among its events.
func (l *life) java(role string, rate int) {
	number := uint64(l.process)
	command := exec.Command("nice", "-n", "10", "java", "-Xmx128m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto", "-XX:-UsePerfData", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", l.w.config.Java.ClassPath, "NemesisClient",
		role, fmt.Sprint(l.process), fmt.Sprint(javaValues+number*javaRange), fmt.Sprint(javaTransactions+number*javaRange), fmt.Sprint(max(1, rate)), fmt.Sprint(l.random.Int64()),
		strings.Join(l.w.topics, ","), strings.Join(l.w.config.Bootstrap, ","), l.name)
	if err := l.runJava(command); err != nil {
		l.w.config.Complain("%s: %v", l.name, err)
		l.pause(time.Second)
	}
}

func (l *life) runJava(command *exec.Cmd) error {
	log, err := os.OpenFile(filepath.Join(l.w.config.Java.Dir, l.name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	defer log.Close()
	command.Stderr = log
	output, err := command.StdoutPipe()
	if err != nil {
		return err
	}
	input, err := command.StdinPipe()
	if err != nil {
		return err
	}
	if err := command.Start(); err != nil {
		return err
	}
	told := make(chan error, 1)
	go func() { told <- l.takeEvents(output) }()
	select {
	case err = <-told: // a transactor that knows not how its transaction ended ends itself
		if err != nil { // nobody reads what it says any more: it would wait for that for ever
			err = errors.Join(err, command.Process.Kill())
		}
	case <-l.ctx.Done():
		if l.crashes() {
			_ = command.Process.Kill() // it may have ended
		} else {
			_ = input.Close()
			kill := time.AfterFunc(javaEnd, func() { _ = command.Process.Kill() })
			defer kill.Stop()
		}
		err = <-told
	}
	_ = command.Wait() // what it said is what counts
	return err
}

// takeEvents takes the client's lines into the history; the last may be a part of one.
func (l *life) takeEvents(output io.Reader) error {
	lines := bufio.NewReaderSize(output, 1<<20)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return nil
		}
		var e history.Event
		if err := json.Unmarshal(line, &e); err != nil {
			return fmt.Errorf("%q: %w", line, err)
		}
		if err := l.w.config.History.Write(&e); err != nil {
			return err
		}
		if e.Status != history.OK {
			continue
		}
		switch {
		case e.Kind == history.Send:
			topic, _, _ := strings.Cut(e.Parts[0].Partition, "/")
			l.w.progress.note("java send "+topic, e.Invoke)
		case e.Kind == history.End && e.Commit:
			l.w.progress.note("java transaction", e.Invoke)
		case e.Kind == history.Commit:
			l.w.progress.note("java group "+e.Group, e.Invoke)
		case e.Kind == history.Poll:
			l.w.seen(e.Parts)
		}
	}
}
