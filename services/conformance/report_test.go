package conformance

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
)

// report prints a line per check and a table per API, and fails the test for what it cannot explain.
type report struct {
	t     testing.TB
	file  *os.File
	out   *bufio.Writer
	tally map[string]*tally
	used  map[int]int // of intended
}

type tally struct{ checks, equal, intended, unexplained int }

func newReport(t testing.TB, path string) *report {
	t.Helper()
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	return &report{t: t, file: file, out: bufio.NewWriter(io.MultiWriter(os.Stdout, file)), tally: map[string]*tally{}, used: map[int]int{}}
}

func codeName(code int16) string {
	switch e := kerr.TypedErrorForCode(code); {
	case code == 0:
		return "NONE"
	case e == nil || code != e.Code:
		return fmt.Sprintf("error %d", code)
	default:
		return e.Message
	}
}

// compare goes through what the same scenario saw on Kafka and on Varve.
func (r *report) compare(kafka, varve []*observation) {
	for i := range max(len(kafka), len(varve)) {
		if i >= len(kafka) || i >= len(varve) || kafka[i].name() != varve[i].name() {
			r.t.Errorf("the scenario of %s went different ways", first(kafka, varve).name())
			return
		}
		r.check(kafka[i], varve[i])
	}
}

func first(lists ...[]*observation) *observation {
	for _, l := range lists {
		if len(l) > 0 {
			return l[0]
		}
	}
	return &observation{}
}

func (r *report) check(kafka, varve *observation) {
	count := r.tally[kafka.api]
	if count == nil {
		count = &tally{}
		r.tally[kafka.api] = count
	}
	count.checks++
	paths := map[string]bool{}
	for path := range kafka.fields {
		paths[path] = true
	}
	for path := range varve.fields {
		paths[path] = true
	}
	var meant, unexplained []string
	explained := map[string]bool{} // elements that are told of already
	for _, path := range slices.SortedFunc(maps.Keys(paths), byDepth) {
		k, v := valueAt(kafka, path), valueAt(varve, path)
		if k == v || within(explained, path) {
			continue
		}
		path0 := path
		element := path[:max(0, strings.LastIndexByte(path, '.'))]
		switch last := path[len(element):]; {
		case path == noAnswer:
			explained[""] = true
		case k == absent || v == absent:
			path, k, v = element, presence(k), presence(v)
			if strings.HasSuffix(last, "#") || element == "" {
				path, k, v = strings.Trim(element+last, "."), valueAt(kafka, path0), valueAt(varve, path0)
			} else {
				explained[element] = true
			}
		case strings.HasSuffix(last, "ErrorCode"):
			explained[element] = true // with another error the rest says nothing
		}
		if n := findIntended(kafka, path, k, v); n >= 0 {
			r.used[n]++
			meant = append(meant, fmt.Sprintf("    %s: kafka %s, varve %s (%s)", path, k, v, intended[n].reason))
			continue
		}
		unexplained = append(unexplained, fmt.Sprintf("    %s: kafka %s, varve %s", path, k, v))
	}
	switch {
	case len(unexplained) > 0:
		count.unexplained++
		fmt.Fprintf(r.out, "DIFFERS   %s\n%s\n", kafka.name(), strings.Join(unexplained, "\n"))
		r.t.Fail()
	case len(meant) > 0:
		count.intended++
		fmt.Fprintf(r.out, "intended  %s\n%s\n", kafka.name(), strings.Join(meant, "\n"))
	default:
		count.equal++
		fmt.Fprintf(r.out, "equal     %s\n", kafka.name())
	}
}

const absent = "(absent)"

func presence(value string) string {
	if value == absent {
		return absent
	}
	return "(present)"
}

// byDepth has what contains come before what it contains, and an error's code before what goes with it.
func byDepth(a, b string) int {
	rank := func(path string) int {
		if path == noAnswer {
			return -1
		}
		n := 4 * strings.Count(path, ".")
		if !strings.HasSuffix(path, "ErrorCode") {
			n++
		}
		return n
	}
	return cmp.Or(cmp.Compare(rank(a), rank(b)), strings.Compare(a, b))
}

// within tells whether a path lies in one of the elements; the empty element is the whole answer.
func within(elements map[string]bool, path string) bool {
	for element := range elements {
		if element == "" || strings.HasPrefix(path, element+".") || strings.HasPrefix(path, element+"[") {
			return true
		}
	}
	return false
}

func valueAt(o *observation, path string) string {
	if v, ok := o.fields[path]; ok {
		return v
	}
	return absent
}

// finish prints the table. Where everything ran, an intended difference that was not seen, of an API that was asked, is an error: the list
// would grow stale.
func (r *report) finish(everything bool) {
	fmt.Fprintf(r.out, "\n%-26s %7s %7s %9s %12s\n", "API", "checks", "equal", "intended", "unexplained")
	var total tally
	for _, name := range slices.Sorted(maps.Keys(r.tally)) {
		c := r.tally[name]
		fmt.Fprintf(r.out, "%-26s %7d %7d %9d %12d\n", name, c.checks, c.equal, c.intended, c.unexplained)
		total = tally{total.checks + c.checks, total.equal + c.equal, total.intended + c.intended, total.unexplained + c.unexplained}
	}
	fmt.Fprintf(r.out, "%-26s %7d %7d %9d %12d\n\n", "all", total.checks, total.equal, total.intended, total.unexplained)
	for i := range intended {
		if r.used[i] > 0 {
			fmt.Fprintf(r.out, "intended, %d fields: %s\n", r.used[i], intended[i].reason)
		} else if everything && !intended[i].elsewhere {
			r.t.Errorf("an intended difference was not seen: %s", intended[i].reason)
		}
	}
	if err := r.out.Flush(); err != nil {
		r.t.Error(err)
	}
	if err := r.file.Close(); err != nil {
		r.t.Error(err)
	}
}
