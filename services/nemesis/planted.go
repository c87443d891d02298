//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/varvelog/varve/services/nemesis/history"
	"github.com/varvelog/varve/services/nemesis/patched"
)

// planted builds Varve with one deliberate fault after the other, runs each under the nemesis, and demands that it is found.
func planted(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("nemesis planted", flag.ContinueOnError)
	root := flags.String("root", ".", "root of the module")
	dir := flags.String("dir", ".cache/nemesis/planted", "directory that takes binaries and histories")
	only := flags.String("only", "", "plant only the faults whose names contain one of these, with commas")
	duration := flags.Duration("duration", 30*time.Second, "how long each runs")
	attempts := flags.Int("attempts", 3, "runs that each fault may take to be found, each longer than the last")
	coordinators := flags.Int("coordinators", 3, "number of coordinators")
	if err := flags.Parse(args); err != nil {
		return err
	}
	var missed []error
	for i, f := range patched.Faults {
		if !slices.ContainsFunc(strings.Split(*only, ","), func(part string) bool { return strings.Contains(f.Name, part) }) {
			continue
		}
		binary, err := filepath.Abs(filepath.Join(*dir, fmt.Sprint("varve-", i)))
		if err != nil {
			return err
		}
		if err := patched.Build(ctx, *root, binary, f.Changes...); err != nil {
			return fmt.Errorf("plant %q: %w", f.Name, err)
		}
		err = find(ctx, f, binary, filepath.Join(*dir, fmt.Sprint(i)), *duration, *attempts, *coordinators)
		if errors.Is(err, errSkipped) || ctx.Err() != nil {
			return err
		}
		missed = append(missed, err, os.Remove(binary))
	}
	return errors.Join(missed...)
}

var errSkipped = errors.New("skipped")

// find runs the binary until what is wanted is found.
func find(ctx context.Context, f patched.Fault, binary, dir string, duration time.Duration, attempts, coordinators int) error {
	faults := f.Faults
	if faults == "" {
		faults = "none"
	}
	for attempt := 1; attempt <= attempts; attempt++ {
		if err := os.RemoveAll(filepath.Join(dir, findingsFile)); err != nil { // of the attempt before
			return err
		}
		args := []string{"-varve", binary, "-clocks", "-dir", dir, "-faults", faults, "-metalog", f.Metalog, "-duration", (duration * time.Duration(attempt)).String(), "-coordinators", fmt.Sprint(coordinators)}
		run := exec.CommandContext(ctx, "/proc/self/exe", args...)
		output, err := run.CombinedOutput()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		var exit *exec.ExitError
		if errors.As(err, &exit) && exit.ExitCode() == exitSkipped {
			return fmt.Errorf("%w: %s", errSkipped, output)
		}
		text, err := os.ReadFile(filepath.Join(dir, findingsFile))
		if err != nil {
			fmt.Printf("%s: no findings: %s\n", f.Name, output)
			continue
		}
		var found findings
		if err := json.Unmarshal(text, &found); err != nil {
			return err
		}
		if i := slices.IndexFunc(found.Complaints, func(c string) bool { return f.Complaint != "" && strings.Contains(c, f.Complaint) }); i >= 0 {
			fmt.Printf("found     %s: %s\n", f.Name, found.Complaints[i])
			return os.RemoveAll(dir)
		}
		for _, want := range f.Wants {
			if n := found.Count[want]; n > 0 {
				fmt.Printf("found     %s: %s, %d times; with it %v\n", f.Name, want, n, found.Count)
				return os.RemoveAll(dir)
			}
		}
		fmt.Printf("          %s: not in run %d: %v, %d complaints %v\n", f.Name, attempt, found.Count, len(found.Complaints), found.Complaints[:min(2, len(found.Complaints))])
	}
	return fmt.Errorf("MISSED %s: none of %v %s; see %s", f.Name, f.Wants, f.Complaint, dir)
}

// findings are a run's result for programs.
type findings struct {
	Seed       uint64                  `json:"seed"`
	Count      map[history.Anomaly]int `json:"count"`
	Complaints []string                `json:"complaints"`
}

const findingsFile = "findings.json"

func (r *run) writeFindings(report *history.Report) error {
	text, err := json.Marshal(findings{r.options.seed, report.Count, slices.Clone(r.cluster.Complaints())})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(r.options.dir, findingsFile), append(text, '\n'), 0o640)
}
