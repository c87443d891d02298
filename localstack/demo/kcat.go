package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/varvelog/varve/localstack/supervise"
)

// kcat is one running kcat.
type kcat struct {
	command *exec.Cmd
	log     string
	files   []*os.File
	ended   chan error
}

// startKcat starts kcat; its output goes to the file output, or with its messages to the log.
func startKcat(dir, name, output, brokers string, args ...string) (*kcat, error) {
	k := &kcat{log: filepath.Join(dir, "logs", "kcat-"+name+".log"), ended: make(chan error, 1)}
	log, err := os.Create(k.log)
	if err != nil {
		return nil, err
	}
	k.files = append(k.files, log)
	k.command = exec.Command("kcat", append([]string{"-b", brokers}, args...)...)
	k.command.Stderr, k.command.Stdout = log, log
	k.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if output != "" {
		out, err := os.Create(output)
		if err != nil {
			return nil, errors.Join(err, log.Close())
		}
		k.files = append(k.files, out)
		k.command.Stdout = out
	}
	if err := k.command.Start(); err != nil {
		return nil, fmt.Errorf("start kcat: %w", err)
	}
	go func() {
		err := k.command.Wait()
		for _, f := range k.files {
			err = errors.Join(err, f.Close())
		}
		k.ended <- err
	}()
	return k, nil
}

func (k *kcat) wait(ctx context.Context) error {
	select {
	case err := <-k.ended:
		k.ended <- err
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// stop ends kcat if it still runs, and waits for it.
func (k *kcat) stop() {
	select {
	case err := <-k.ended:
		k.ended <- err
		return
	default:
	}
	if err := k.command.Process.Signal(syscall.SIGTERM); err == nil {
		err := <-k.ended
		k.ended <- err
	}
}

// group is the consumers that read while the records are written.
type group struct {
	demo    *demo
	members []*kcat
	files   []string
}

func startGroup(d *demo) (*group, error) {
	g := &group{demo: d}
	for i := range consumers {
		file := filepath.Join(d.dir, fmt.Sprintf("consumer-%d.tsv", i))
		member, err := startKcat(d.dir, fmt.Sprintf("consumer-%d", i), file, d.system.brokers(),
			"-u", "-E", "-G", "demo", "-X", "auto.offset.reset=earliest", "-X", "auto.commit.interval.ms=500", "-f", `%k\t%s\n`, topic)
		if err != nil {
			g.stop()
			return nil, err
		}
		g.members, g.files = append(g.members, member), append(g.files, file)
	}
	return g, nil
}

// awaitAll returns when the group has read every record at least once. What a member reads twice, after the server was
// killed, is what a consumer that commits by time may read twice.
func (g *group) awaitAll(ctx context.Context) error {
	var total int
	err := supervise.Poll(ctx, func() error {
		seen := make([]bool, g.demo.input.records())
		distinct := 0
		total = 0
		for _, file := range g.files {
			err := eachLine(file, func(line string) error {
				key, _, _ := strings.Cut(line, "\t")
				if place, known := g.demo.input.places[key]; known && !seen[place] {
					seen[place] = true
					distinct++
				}
				total++
				return nil
			})
			if err != nil {
				return err
			}
		}
		if distinct < len(seen) {
			return fmt.Errorf("the group has read %d of %d records", distinct, len(seen))
		}
		return nil
	})
	if err != nil {
		return err
	}
	say("consumed: the group of %d has read every record (%d of them twice, across the kill)", consumers, total-g.demo.input.records())
	return nil
}

func (g *group) stop() {
	for _, member := range g.members {
		member.stop()
	}
}
