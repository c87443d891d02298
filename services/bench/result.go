package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"
)

// relation is on which side of its bound a figure has to lie.
type relation string

const (
	atMost  relation = "<="
	atLeast relation = ">="
	told    relation = "" // nothing is required: the figure explains another
)

// Verdicts of a Result.
const (
	VerdictOK   = "ok"
	VerdictMiss = "miss"
	VerdictNone = "" // nothing is required
)

// Result is one figure as measured. Unit is "x" for ratios.
type Result struct {
	Figure   string   `json:"figure"`
	Measure  string   `json:"measure"`
	Value    float64  `json:"value"`
	Unit     string   `json:"unit"`
	Required string   `json:"required,omitempty"`
	Bound    *float64 `json:"bound,omitempty"`
	Verdict  string   `json:"verdict,omitempty"`
	// Detail says what the value was computed from.
	Detail string `json:"detail,omitempty"`
}

// required makes a result that is judged against a bound.
func required(measure string, value float64, unit string, side relation, bound float64, detail string) Result {
	r := Result{Measure: measure, Value: value, Unit: unit, Detail: detail, Bound: &bound, Verdict: VerdictMiss}
	r.Required = string(side) + " " + quantity(bound, unit)
	if (side == atMost && value <= bound) || (side == atLeast && value >= bound) {
		r.Verdict = VerdictOK
	}
	return r
}

// info makes a result that nothing is required of.
func info(measure string, value float64, unit, detail string) Result {
	return Result{Measure: measure, Value: value, Unit: unit, Detail: detail}
}

// quantity prints a value with three significant digits, or whole from a thousand on.
func quantity(value float64, unit string) string {
	text := fmt.Sprintf("%.3g", value)
	if value >= 1000 || value <= -1000 {
		text = fmt.Sprintf("%.0f", value)
	}
	switch unit {
	case "":
		return text
	case "x":
		return text + "x"
	default:
		return text + " " + unit
	}
}

// PrintTable writes the results for people, and nothing where there are none.
func PrintTable(w io.Writer, results []Result) error {
	if len(results) == 0 {
		return nil
	}
	table := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(table, "FIGURE\tMEASURE\tMEASURED\tREQUIRED\tVERDICT\tFROM")
	figure := ""
	for _, r := range results {
		name := r.Figure
		if name == figure {
			name = ""
		}
		figure = r.Figure
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", name, r.Measure, quantity(r.Value, r.Unit), r.Required, r.Verdict, r.Detail)
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("print table: %w", err)
	}
	return nil
}

// PrintJSON writes the results as one JSON document a line.
func PrintJSON(w io.Writer, results []Result) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false) // "<=" is to be read
	for _, r := range results {
		if err := encoder.Encode(r); err != nil {
			return fmt.Errorf("print result: %w", err)
		}
	}
	return nil
}
