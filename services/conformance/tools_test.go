package conformance

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/varvelog/varve/services/conformance/kafkatools"
)

// toolPatience bounds one command of a tool that runs in a process of its own.
const toolPatience = 90 * time.Second

// runAlone runs one tool to its end in a process of its own.
func runAlone(t *testing.T, class string, args ...string) (result kafkatools.Result, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), toolPatience)
	defer cancel()
	command := exec.CommandContext(ctx, "java", slices.Concat(kafkatools.Options, []string{"-cp", jars(t), class}, args)...)
	var stdout, stderr strings.Builder
	command.Stdout, command.Stderr, command.SysProcAttr = &stdout, &stderr, childAttributes()
	err = command.Run()
	result = kafkatools.Result{Stdout: stdout.String(), Stderr: stderr.String(), Code: command.ProcessState.ExitCode()}
	var exit *exec.ExitError
	if errors.As(err, &exit) && ctx.Err() == nil {
		err = nil // it is in the result
	}
	return result, err
}

// toolStep is one command, run against Kafka and against Varve. What it prints has to be the same.
type toolStep struct {
	name  string
	class string
	args  string // words; ADDRESS is put in, and --bootstrap-server in front where it is not named
	input string
	want  []string // in what both print
	// differs is why Varve prints something else than Kafka, on purpose; then it has to print varve, and Kafka want.
	differs string
	varve   []string
	before  func(s *server) error // done first
	// unordered: lines come in any order, as those of groups do.
	unordered bool
	// alone: in a process of its own, because the tool ends in the hooks that end its process.
	alone bool
}

// TestKafkaTools runs the tools that come with Kafka against Varve and against Kafka, and compares what they print.
func TestKafkaTools(t *testing.T) {
	needGate(t)
	// Nothing is shipped meanwhile: get-offsets tells where local and tiered records begin and end, and Kafka tiers none.
	kafka, varve, tools := startKafka(t), startVarve(t, "--seal-age=1h"), kafkatools.Start(t, filepath.Dir(jars(t)))
	only := os.Getenv("VARVE_CONFORMANCE_ONLY")
	files := t.TempDir()
	passed := map[string][2]int{}
	var order []string
	for _, step := range toolSteps(t, files) {
		if only != "" && !strings.Contains(step.name, only) && !strings.HasPrefix(step.name, "setup") {
			continue
		}
		tool, _, _ := strings.Cut(step.name, " ")
		count, known := passed[tool]
		if !known {
			order = append(order, tool)
		}
		count[1]++
		if err := step.compare(t, tools, kafka, varve); err != nil {
			fmt.Printf("DIFFERS   %s: %v\n", step.name, err)
			t.Errorf("%s: %v", step.name, err)
		} else {
			count[0]++
			fmt.Printf("%-9s %s%s\n", map[bool]string{true: "equal", false: "intended"}[step.differs == ""], step.name, map[bool]string{true: "", false: ": " + step.differs}[step.differs == ""])
		}
		passed[tool] = count
	}
	fmt.Printf("\n%-32s %8s %8s\n", "tool", "commands", "as Kafka")
	for _, tool := range order {
		fmt.Printf("%-32s %8d %8d\n", tool, passed[tool][1], passed[tool][0])
	}
}

// compare runs the step on both servers.
func (step *toolStep) compare(t *testing.T, tools *kafkatools.Runner, kafka, varve *server) error {
	var printed [2]string
	for i, s := range []*server{kafka, varve} {
		if step.before != nil {
			if err := step.before(s); err != nil {
				return fmt.Errorf("prepare %s: %w", s.name, err)
			}
		}
		args := strings.Fields(strings.ReplaceAll(step.args, "ADDRESS", s.address))
		if !strings.Contains(step.args, "ADDRESS") {
			args = append([]string{"--bootstrap-server", s.address}, args...)
		}
		run := func() (kafkatools.Result, error) { return tools.Run(step.class, step.input, args...) }
		if step.alone {
			run = func() (kafkatools.Result, error) { return runAlone(t, step.class, args...) }
		}
		result, err := run()
		if err != nil {
			return err
		}
		printed[i] = s.sameByNature(fmt.Sprintf("%s%s(exit code %d)", result.Stdout, result.Stderr, result.Code))
		if step.unordered {
			lines := strings.Split(printed[i], "\n")
			slices.Sort(lines)
			printed[i] = strings.Join(lines, "\n")
		}
	}
	for _, want := range step.want {
		if !strings.Contains(printed[0], want) {
			return fmt.Errorf("Kafka does not print %q:\n%s", want, printed[0])
		}
	}
	if step.differs == "" {
		if printed[0] != printed[1] {
			return fmt.Errorf("Kafka prints\n%s\nVarve prints\n%s", printed[0], printed[1])
		}
		return nil
	}
	if printed[0] == printed[1] {
		return fmt.Errorf("they print the same, though %s", step.differs)
	}
	for _, want := range step.varve {
		if !strings.Contains(printed[1], want) {
			return fmt.Errorf("Varve does not print %q:\n%s", want, printed[1])
		}
	}
	return nil
}

// byNature is what differs from server to server, or from run to run.
var byNature = []struct {
	pattern *regexp.Regexp
	instead string
}{
	{regexp.MustCompile(`(?m)^.*\b__(consumer_offsets|transaction_state|share_group_state)\b.*\n`), ""},                              // Varve has no internal topics
	{regexp.MustCompile(`(?m)^\[[^\]\n]*\] WARN .*(LEADER_NOT_AVAILABLE|UNKNOWN_TOPIC_OR_PARTITION|REBALANCE_IN_PROGRESS).*\n`), ""}, // soon over
	{regexp.MustCompile(`(?m)^exit\nTools\$Exited: exit\n\n?`), ""},                                                                  // of tools that print what exit throws
	{regexp.MustCompile(`(?m)^\s+(at .*|\.\.\. \d+ (more|common frames omitted))\n`), ""},                                            // stack traces
	{regexp.MustCompile(`\b(adminclient|producer|console-consumer|perf-consumer|consumer)-\d+\b`), "$1-N"},                           // what clients call themselves
	{regexp.MustCompile(`(?m)^ +(varve\.|min\.insync\.replicas=1\b).*sensitive=.*\n`), ""},                                           // settings that only one of them has, or sets
	{regexp.MustCompile(`varve\.[a-z.]+=\w+,?|min\.insync\.replicas=1\b,?`), ""},
	{regexp.MustCompile(`"size":\d+`), `"size":N`}, // Varve compresses
	{regexp.MustCompile(`"logDir":"[^"]*"`), `"logDir":"DIR"`},
	{regexp.MustCompile(`\b(Epoch|HighWatermark): \d+`), "$1: N"}, // of the metadata log, which counts otherwise
	{regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`), "UUID"},
	{regexp.MustCompile(`\b[A-Za-z0-9_-]{22}\b`), "ID"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d([:.,]\d+)?Z?`), "TIME"},
	{regexp.MustCompile(`\b1[789]\d{11}\b`), "MILLIS"},
	{regexp.MustCompile(`[ \t]+\n`), "\n"},
	{regexp.MustCompile(`[ \t]{2,}|\t`), " "},
}

// sameByNature makes equal what a tool prints of two servers that are the same.
func (s *server) sameByNature(text string) string {
	text = strings.ReplaceAll(text, s.address, "ADDRESS")
	_, port, _ := strings.Cut(s.address, ":")
	text = strings.ReplaceAll(text, port, "PORT")
	for _, n := range byNature {
		text = n.pattern.ReplaceAllString(text, n.instead)
	}
	return text
}
