package history

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
)

// Anomaly names what must not happen.
type Anomaly string

// The anomalies, as doc.go explains them.
const (
	LostWrite            Anomaly = "lost write"
	UnseenWrite          Anomaly = "unseen write"
	Duplicate            Anomaly = "duplicate"
	InconsistentOffset   Anomaly = "inconsistent offset"
	AbortedRead          Anomaly = "aborted read"
	ForeignRead          Anomaly = "foreign read"
	InternalSkip         Anomaly = "internal skipped poll"
	InternalNonMonotonic Anomaly = "internal non-monotonic poll"
	ExternalSkip         Anomaly = "external skipped poll"
	ExternalNonMonotonic Anomaly = "external non-monotonic poll"
	NonMonotonicSend     Anomaly = "non-monotonic send"
	TornTransaction      Anomaly = "torn transaction"
	LastStableOffset     Anomaly = "last stable offset"
	WatermarkWentBack    Anomaly = "watermark went back"
	GroupOffsetWentBack  Anomaly = "group offset went back"
	GroupSkipped         Anomaly = "group skipped records"
	DependencyCycle      Anomaly = "dependency cycle"
)

// Finding is one anomaly that was found.
type Finding struct {
	Anomaly Anomaly
	What    string
	Events  []Event // that show it, in their order in the history

	refs []int
}

// Report is the result of a check.
type Report struct {
	Events       int
	Sends        map[Status]int // records by what their senders know
	Transactions map[Status]int // ended ones; Invoked are those left open
	Polled       int            // records in polls
	Findings     []Finding      // at most examples of each anomaly
	Count        map[Anomaly]int
}

// examples of each anomaly are kept; the rest is counted.
const examples = 5

// Valid tells that nothing was found.
func (r *Report) Valid() bool { return len(r.Count) == 0 }

func (r *Report) add(a Anomaly, refs []int, format string, args ...any) {
	r.Count[a]++
	if r.Count[a] > examples {
		return
	}
	refs = slices.DeleteFunc(slices.Clone(refs), func(ref int) bool { return ref < 0 })
	slices.Sort(refs)
	r.Findings = append(r.Findings, Finding{Anomaly: a, What: fmt.Sprintf(format, args...), refs: slices.Compact(refs)})
}

// fill looks up the events that the findings refer to.
func (r *Report) fill(source Source) error {
	wanted := map[int]*Event{}
	for _, f := range r.Findings {
		for _, ref := range f.refs {
			wanted[ref] = nil
		}
	}
	if len(wanted) == 0 {
		return nil
	}
	n := 0
	for e, err := range source() {
		if err != nil {
			return err
		}
		if _, ok := wanted[n]; ok {
			copied := *e
			wanted[n] = &copied
		}
		n++
	}
	for i := range r.Findings {
		for _, ref := range r.Findings[i].refs {
			r.Findings[i].Events = append(r.Findings[i].Events, *wanted[ref])
		}
	}
	return nil
}

// Write prints the report for people.
func (r *Report) Write(w io.Writer) error {
	p := &printer{w: w}
	p.printf("%d events; records sent: %d acknowledged, %d unknown, %d refused; transactions: %d ended, %d unknown, %d left open; records polled: %d\n",
		r.Events, r.Sends[OK], r.Sends[Unknown], r.Sends[Failed], r.Transactions[OK], r.Transactions[Unknown], r.Transactions[Invoked], r.Polled)
	for _, a := range slices.Sorted(maps.Keys(r.Count)) {
		p.printf("%s: %d\n", a, r.Count[a])
	}
	for _, f := range r.Findings {
		p.printf("\n%s: %s\n", f.Anomaly, f.What)
		for i := range f.Events {
			p.event(&f.Events[i])
		}
	}
	return p.err
}

type printer struct {
	w   io.Writer
	err error
}

func (p *printer) printf(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format, args...)
	}
}

// longLine bounds a printed event: a poll may hold thousands of records.
const longLine = 600

func (p *printer) event(e *Event) {
	line, err := json.Marshal(e)
	if err != nil {
		p.err = err
		return
	}
	if len(line) > longLine {
		line = append(line[:longLine:longLine], "…"...)
	}
	p.printf("    %s\n", line)
}
